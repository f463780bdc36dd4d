// A store in a raw image: any other tool can open the file.
//
// Holes are what is unmapped. Durable after flush(). While a snapshot needs old data it is saved before being
// overwritten (file_originals.h). The image stays open and locked until the store and its last snapshot are gone, not
// until all that they have left in the pool is reclaimed: of a snapshot that has saved much, most is.
// Thread: workers, several at once on ranges that do not overlap; captures are alone; snapshots are read on any
// thread, at any time.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "handlers/backing_store.h"
#include "handlers/file_image.h"

namespace handlers {

class FileCore;

class FileStore final : public BackingStore {
 public:
  /// Throws OpenError.
  explicit FileStore(const FileStoreOptions& options);
  ~FileStore() override;

  std::uint64_t size_bytes() const override;
  IoResult<void> resize(std::uint64_t size_bytes) override;
  IoResult<std::uint64_t> measure() const override;
  bool may_block() const override { return true; }
  bool read_only() const override { return read_only_; }
  IoResult<void> read(ByteRange range, base::Segments& out) override;
  IoResult<void> write(std::uint64_t offset, base::Bytes data) override;
  bool read_at_once(ByteRange range, base::Segments& out) override;
  bool write_at_once(std::uint64_t offset, base::Bytes data) override;
  IoResult<void> write_same(ByteRange range, base::Bytes pattern) override;
  IoResult<void> unmap(ByteRange range) override;
  /// After one failure every later flush and change fails too: the kernel has dropped what it could not write
  /// and would report success the next time (fsync(2), EIO).
  IoResult<void> flush() override;
  bool flush_at_once() override;
  IoResult<ProvisioningRun> provisioning(std::uint64_t offset) override;
  IoResult<SnapshotRef> capture(std::span<const ByteRange> ranges) override;
  IoResult<void> clone(const Snapshot& snapshot, ByteRange range, std::uint64_t offset, std::uint64_t* copied) override;
  std::uint64_t allocated_bytes() const override;

 private:
  IoResult<void> check_writable() const;

  PoolUser pool_;
  std::shared_ptr<FileCore> core_;
  const bool read_only_;
  std::atomic<std::optional<IoError::Kind>> flush_failed_{};
};

}  // namespace handlers
