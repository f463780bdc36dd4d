// An open image: a raw file or block device, its lock, and transfers that finish or say why not.
//
// Knows nothing of snapshots. Thread: any; transfers on ranges that do not overlap may run at once.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "handlers/backing_store.h"
#include "handlers/memory_pool.h"
#include "handlers/prompt_writes.h"

namespace handlers {

/// The system calls whose failures have to be tested. Each behaves as the call of its name, errno included.
class FileCalls {
 public:
  virtual ~FileCalls() = default;
  virtual ssize_t pread(int fd, void* buffer, std::size_t count, off_t offset);
  virtual ssize_t pwrite(int fd, const void* buffer, std::size_t count, off_t offset);
  /// preadv2 and pwritev2 with RWF_NOWAIT.
  virtual ssize_t pread_at_once(int fd, void* buffer, std::size_t count, off_t offset);
  virtual ssize_t pwrite_at_once(int fd, const void* buffer, std::size_t count, off_t offset);
  /// Which file system it is: f_type of fstatfs(2), 0 when that fails.
  virtual std::uint64_t file_system(int fd);
  /// A clock that only moves forward.
  virtual base::TimePoint now();
  /// How often the calling thread gave up the processor to wait for something: ru_nvcsw of getrusage(2).
  virtual std::uint64_t waits();
  virtual int fdatasync(int fd);
  virtual int fallocate(int fd, int mode, off_t offset, off_t length);
  /// ioctl(to, FICLONERANGE).
  virtual int clone_range(int from, off_t from_offset, off_t length, int to, off_t to_offset);
  virtual ssize_t copy_file_range(int from, off_t from_offset, int to, off_t to_offset, std::size_t length);
};

struct FileStoreOptions {
  std::string path;
  bool read_only = false;
  std::optional<std::uint64_t> create_size;  ///< make the file, with this size, where none exists
  std::uint32_t block_length = 512;
  base::Ref<MemoryPool> pool;        ///< where old data goes that snapshots still need
  std::shared_ptr<FileCalls> calls;  ///< null: the system's
};

class FileImage {
 public:
  /// What one system call of a long work, such as a copy, moves at most, in bytes. Where the kernel lets nobody
  /// interrupt one (PREEMPT_NONE) the loop waits for its end when a worker has the same processor: 0.3 to 5 ms for 1
  /// MiB that is written to ext4.
  static constexpr std::size_t kLongWorkCall = 64 << 10;
  static constexpr std::size_t kAnyCall = SIZE_MAX;

  /// Throws OpenError: missing, locked, not writable, not a whole number of blocks.
  explicit FileImage(const FileStoreOptions& options);
  ~FileImage();
  FileImage(const FileImage&) = delete;
  FileImage& operator=(const FileImage&) = delete;

  std::uint64_t size() const { return size_.load(std::memory_order_relaxed); }
  /// A file that is shorter is made longer, and one that is cut off loses what is beyond. Errors: no_space,
  /// write_protected, medium_write; unavailable: a device has no other size than it has.
  IoResult<void> resize(std::uint64_t size);
  /// How long the file or device is by now. Errors: unavailable.
  IoResult<std::uint64_t> measure() const;
  const std::string& path() const { return path_; }

  /// `most_at_once`: bytes of one system call. Errors: medium_read.
  IoResult<void> read(std::uint64_t offset, base::MutableBytes out, std::size_t most_at_once = kAnyCall) const;
  /// Errors: no_space, medium_write.
  IoResult<void> write(std::uint64_t offset, base::Bytes data, std::size_t most_at_once = kAnyCall);
  /// Reads or writes without waiting for a device; false when it cannot or fails, and then any part of it may be done.
  /// Where a file system does not promise that, as far as prompt_writes.h goes. Writes one at a time; reads of
  /// what nobody writes, on any thread.
  bool read_at_once(std::uint64_t offset, base::MutableBytes out) const;
  bool write_at_once(std::uint64_t offset, base::Bytes data);
  /// Makes `range` a hole, or zeros where the file system knows no holes. Errors as write().
  IoResult<void> punch(ByteRange range);
  /// Errors: medium_write.
  IoResult<void> sync();
  /// Whether sync() has nothing to wait for: there is no device.
  bool in_memory() const { return in_memory_; }
  /// Makes [offset, offset + range.length) share the extents of `range` of another image, or of another part of this
  /// one; only what does not fill a block of the file system at either end is copied. False when the file system cannot
  /// (then any of it may have changed): copy_from() can, or says what is wrong.
  bool share_from(const FileImage& from, ByteRange range, std::uint64_t offset);
  /// Copies likewise, inside the kernel where it can, else through memory; holes stay holes. Errors: medium_read and
  /// those of write().
  IoResult<void> copy_from(const FileImage& from, ByteRange range, std::uint64_t offset);
  /// The run of data or hole at `offset`; all data where the file system does not say.
  ProvisioningRun run(std::uint64_t offset) const;
  std::uint64_t allocated_bytes() const;

 private:
  void open(const FileStoreOptions& options);
  void lock() const;
  void find_size(const FileStoreOptions& options);
  IoError error(IoError::Kind kind, const char* call, std::uint64_t offset, int number) const;
  IoError write_error(const char* call, std::uint64_t offset, int number) const;
  bool write_promptly(std::uint64_t offset, base::Bytes data);
  /// pwrite, for a worker; remembers when it had to wait. errno as pwrite leaves it.
  ssize_t write_and_tell(std::uint64_t offset, base::Bytes data);
  bool edges_cached(ByteRange range) const;
  IoResult<void> copy_data(const FileImage& from, ByteRange range, std::uint64_t offset);
  std::uint64_t copy_in_kernel(const FileImage& from, ByteRange range, std::uint64_t offset);

  std::string path_;
  std::shared_ptr<FileCalls> calls_;
  int fd_ = -1;
  bool read_only_ = false;
  bool device_ = false;
  std::atomic<std::uint64_t> size_{0};
  std::uint64_t file_system_block_ = 1;  ///< what extents are shared in whole numbers of
  bool in_memory_ = false;               ///< on tmpfs
  bool may_write_promptly_ = false;
  std::uint64_t page_ = 1;             ///< what is in the cache as a whole or not
  std::atomic<unsigned> changing_{0};  ///< changes under way, one of which another may have to wait for
  PromptWrites prompt_;
  /// Until the file system says that it cannot.
  mutable std::atomic<bool> can_read_at_once_{true};
  std::atomic<bool> can_write_at_once_{true};
  std::atomic<bool> can_punch_{true};
  std::atomic<bool> can_share_{true};
};

}  // namespace handlers
