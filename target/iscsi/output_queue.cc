#include "target/iscsi/output_queue.h"

#include <cassert>

namespace iscsi {
namespace {

constexpr std::size_t kMaxSpareChunks = 16;

}  // namespace

base::MutableBytes OutputQueue::append(std::size_t count) {
  assert(count > 0 && count <= kChunkSize);
  std::size_t wasted = 0;
  if (chunks_.empty() || kChunkSize - written_ < count) {
    if (!chunks_.empty()) wasted = kChunkSize - written_;
    if (spare_.empty()) spare_.push_back(std::make_unique_for_overwrite<std::uint8_t[]>(kChunkSize));
    chunks_.push_back(std::move(spare_.back()));
    spare_.pop_back();
    written_ = 0;
  }
  std::uint8_t* to = chunks_.back().get() + written_;
  written_ += count;
  size_ += count;
  Entry* last = count_ > 0 ? &at(count_ - 1) : nullptr;
  if (last && last->chunk_bytes > 0 && last->data + last->length == to && wasted == 0) {
    last->length += count;
    last->chunk_bytes += count;
  } else {
    Entry& entry = push();
    entry.data = to;
    entry.length = count;
    entry.chunk_bytes = count + wasted;
  }
  return {to, count};
}

void OutputQueue::append_pinned(base::Bytes bytes, const base::Ref<const base::RefCounted>& owner) {
  if (bytes.empty()) return;
  Entry& entry = push();
  entry.data = bytes.data();
  entry.length = bytes.size();
  entry.chunk_bytes = 0;
  entry.owner = owner;
  size_ += bytes.size();
}

OutputQueue::Entry& OutputQueue::push() {
  if (count_ == entries_.size()) {
    std::vector<Entry> larger(entries_.size() * 2);
    for (std::size_t i = 0; i < count_; ++i) larger[i] = std::move(at(i));
    entries_ = std::move(larger);
    first_ = 0;
  }
  return at(count_++);
}

std::size_t OutputQueue::gather(std::span<iovec> out) const {
  std::size_t filled = 0;
  for (; filled < out.size() && filled < count_; ++filled) {
    const Entry& entry = at(filled);
    std::size_t skip = filled == 0 ? sent_of_first_ : 0;
    out[filled] = {const_cast<std::uint8_t*>(entry.data + skip), entry.length - skip};
  }
  return filled;
}

void OutputQueue::consume(std::size_t count) {
  assert(count <= size_);
  size_ -= count;
  while (count > 0) {
    Entry& entry = at(0);
    std::size_t left = entry.length - sent_of_first_;
    if (count < left) {
      sent_of_first_ += count;
      return;
    }
    count -= left;
    sent_of_first_ = 0;
    std::size_t chunk_bytes = entry.chunk_bytes;
    entry.owner = {};
    first_ = (first_ + 1) & (entries_.size() - 1);
    --count_;
    give_back(chunk_bytes);
  }
}

void OutputQueue::give_back(std::size_t chunk_bytes) {
  returned_ += chunk_bytes;
  // The wasted tail of a chunk is counted with the first bytes of the next one.
  while (chunks_.size() > 1 && returned_ >= kChunkSize) {
    returned_ -= kChunkSize;
    if (spare_.size() < kMaxSpareChunks) spare_.push_back(std::move(chunks_.front()));
    chunks_.erase(chunks_.begin());
  }
  if (count_ == 0 && chunks_.size() == 1) returned_ = written_ = 0;
}

void OutputQueue::clear() {
  if (size_ > 0) consume(size_);
}

}  // namespace iscsi
