// What a connection has to send: an ordered run of bytes, gathered from headers kept here and from data that
// somebody else keeps pinned. Nothing is copied but headers and data too short to be worth a vector entry.
//
// Allocates nothing once warm. Thread: the loop's.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ref.h"

namespace iscsi {

class OutputQueue {
 public:
  /// Data up to this many bytes is copied next to its header.
  static constexpr std::size_t kCopied = 512;

  /// `count` contiguous bytes at the end of the queue, to be filled before anything else is called; at most
  /// kChunkSize.
  base::MutableBytes append(std::size_t count);
  /// Bytes that `owner` keeps alive (null: static storage) until they have been sent.
  void append_pinned(base::Bytes bytes, const base::Ref<const base::RefCounted>& owner);

  std::uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  /// Fills `out` with the first bytes of the queue, returns how many entries were filled. Valid until consume().
  std::size_t gather(std::span<iovec> out) const;
  /// Forgets the first `count` bytes and lets go of what kept them alive.
  void consume(std::size_t count);
  void clear();

  static constexpr std::size_t kChunkSize = 16 * 1024;

 private:
  struct Entry {
    const std::uint8_t* data = nullptr;
    std::size_t length = 0;
    std::size_t chunk_bytes = 0;  // bytes of chunks it gives back when sent; 0 for pinned data
    base::Ref<const base::RefCounted> owner{};
  };
  using Chunk = std::unique_ptr<std::uint8_t[]>;

  Entry& at(std::size_t index) { return entries_[(first_ + index) & (entries_.size() - 1)]; }
  const Entry& at(std::size_t index) const { return entries_[(first_ + index) & (entries_.size() - 1)]; }
  Entry& push();
  void give_back(std::size_t chunk_bytes);

  std::vector<Entry> entries_ = std::vector<Entry>(64);  // a ring; its size is a power of two
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t sent_of_first_ = 0;  // bytes of the first entry already consumed
  std::uint64_t size_ = 0;

  std::vector<Chunk> chunks_;  // in use, oldest first
  std::vector<Chunk> spare_;
  std::size_t written_ = kChunkSize;  // bytes taken of the newest chunk
  std::size_t returned_ = 0;          // bytes given back of the oldest chunk
};

}  // namespace iscsi
