#include "handlers/file_image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "handlers/open_error.h"

namespace handlers {
namespace {

constexpr std::size_t kCopyBuffer = FileImage::kLongWorkCall;
constexpr std::array<std::uint8_t, 256 * 1024> kZeros{};
constexpr std::uint64_t kStatBlock = 512;  // the unit of st_blocks, stat(3type)

std::string text_of(int number) { return std::strerror(number); }  // NOLINT(concurrency-mt-unsafe): glibc's is safe

off_t off(std::uint64_t value) { return static_cast<off_t>(value); }

/// Counts itself while it lives.
class Counted {
 public:
  explicit Counted(std::atomic<unsigned>& count) : count_(count) { count_.fetch_add(1, std::memory_order_relaxed); }
  ~Counted() { count_.fetch_sub(1, std::memory_order_relaxed); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::atomic<unsigned>& count_;
};

}  // namespace

ssize_t FileCalls::pread(int fd, void* buffer, std::size_t count, off_t offset) {
  return ::pread(fd, buffer, count, offset);
}
ssize_t FileCalls::pwrite(int fd, const void* buffer, std::size_t count, off_t offset) {
  return ::pwrite(fd, buffer, count, offset);
}
ssize_t FileCalls::pread_at_once(int fd, void* buffer, std::size_t count, off_t offset) {
  const iovec part{buffer, count};
  return ::preadv2(fd, &part, 1, offset, RWF_NOWAIT);
}
ssize_t FileCalls::pwrite_at_once(int fd, const void* buffer, std::size_t count, off_t offset) {
  const iovec part{const_cast<void*>(buffer), count};
  return ::pwritev2(fd, &part, 1, offset, RWF_NOWAIT);
}
std::uint64_t FileCalls::file_system(int fd) {
  struct statfs file_system{};
  return ::fstatfs(fd, &file_system) == 0 ? static_cast<std::uint64_t>(file_system.f_type) : 0;
}
base::TimePoint FileCalls::now() { return base::SteadyClock().now(); }
std::uint64_t FileCalls::waits() {
  struct rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_nvcsw);
}
int FileCalls::fdatasync(int fd) { return ::fdatasync(fd); }
int FileCalls::fallocate(int fd, int mode, off_t offset, off_t length) { return ::fallocate(fd, mode, offset, length); }
int FileCalls::clone_range(int from, off_t from_offset, off_t length, int to, off_t to_offset) {
  file_clone_range range{};
  range.src_fd = from;
  range.src_offset = static_cast<std::uint64_t>(from_offset);
  range.src_length = static_cast<std::uint64_t>(length);
  range.dest_offset = static_cast<std::uint64_t>(to_offset);
  return ::ioctl(to, FICLONERANGE, &range);
}
ssize_t FileCalls::copy_file_range(int from, off_t from_offset, int to, off_t to_offset, std::size_t length) {
  return ::copy_file_range(from, &from_offset, to, &to_offset, length, 0);
}

FileImage::FileImage(const FileStoreOptions& options)
    : path_(options.path),
      calls_(options.calls ? options.calls : std::make_shared<FileCalls>()),
      read_only_(options.read_only) {
  open(options);
  try {
    lock();
    find_size(options);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

FileImage::~FileImage() { ::close(fd_); }

void FileImage::open(const FileStoreOptions& options) {
  int flags = O_CLOEXEC | (read_only_ ? O_RDONLY : O_RDWR);
  bool may_create = options.create_size && !read_only_;
  constexpr mode_t kNewFileMode = 0644;
  fd_ = ::open(path_.c_str(), flags | (may_create ? O_CREAT : 0), kNewFileMode);
  if (fd_ >= 0) return;
  switch (errno) {
    case ENOENT:
      throw OpenError(fmt::format("file '{}' does not exist{}", path_,
                                  may_create ? " and its folder does not either" : "; add ,size=SIZE to create it"));
    case EACCES:
    case EPERM:
    case EROFS:
    case ETXTBSY:
      if (!read_only_)
        throw OpenError(fmt::format("file '{0}' is not writable ({1}); use file:{0},ro to serve it read-only", path_,
                                    text_of(errno)));
      [[fallthrough]];
    default: throw OpenError(fmt::format("file '{}' cannot be opened: {}", path_, text_of(errno)));
  }
}

void FileImage::lock() const {
  // flock and not an OFD lock: other tools may look at the image meanwhile, a second daemon may not serve it.
  if (::flock(fd_, (read_only_ ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK)
    throw OpenError(
        fmt::format("file '{}' is locked: another process serves it{}", path_, read_only_ ? " for writing" : ""));
  throw OpenError(fmt::format("file '{}' cannot be locked: {}", path_, text_of(errno)));
}

void FileImage::find_size(const FileStoreOptions& options) {
  struct stat status{};
  if (::fstat(fd_, &status) != 0) throw OpenError(fmt::format("file '{}': {}", path_, text_of(errno)));
  if (!S_ISBLK(status.st_mode) && !S_ISREG(status.st_mode))
    throw OpenError(fmt::format("'{}' is neither a regular file nor a block device", path_));
  device_ = S_ISBLK(status.st_mode);
  auto size = measure();
  if (!size) throw OpenError(size.error().reason);
  if (!device_) {
    if (*size == 0 && options.create_size && !read_only_) {
      if (::ftruncate(fd_, off(*options.create_size)) != 0)
        throw OpenError(fmt::format("file '{}' cannot have {} bytes: {}", path_, *options.create_size, text_of(errno)));
      size = *options.create_size;
    }
    struct statvfs file_system{};
    if (::fstatvfs(fd_, &file_system) == 0 && file_system.f_bsize > 0) file_system_block_ = file_system.f_bsize;
    const std::uint64_t type = calls_->file_system(fd_);
    in_memory_ = type == TMPFS_MAGIC;
    may_write_promptly_ = type == EXT4_SUPER_MAGIC;  // and ext3, ext2
  } else {
    may_write_promptly_ = true;
  }
  page_ = std::max(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)), file_system_block_);
  if (*size == 0 || *size % options.block_length != 0)
    throw OpenError(fmt::format("file '{}' has {} bytes, which is not a positive multiple of the block length {}",
                                path_, *size, options.block_length));
  if (options.create_size && *size != *options.create_size)
    throw OpenError(
        fmt::format("file '{}' exists and has {} bytes, not the {} asked for; leave size= out, or remove it", path_,
                    *size, *options.create_size));
  size_ = *size;
}

IoResult<std::uint64_t> FileImage::measure() const {
  using enum IoError::Kind;
  if (device_) {
    std::uint64_t size = 0;
    if (::ioctl(fd_, BLKGETSIZE64, &size) == 0) return size;
    return std::unexpected(
        IoError{unavailable, fmt::format("device '{}' does not tell its size: {}", path_, text_of(errno))});
  }
  struct stat status{};
  if (::fstat(fd_, &status) == 0) return static_cast<std::uint64_t>(status.st_size);
  return std::unexpected(IoError{unavailable, fmt::format("file '{}': {}", path_, text_of(errno))});
}

IoResult<void> FileImage::resize(std::uint64_t wanted) {
  using enum IoError::Kind;
  auto there = measure();
  if (!there) return std::unexpected(std::move(there.error()));
  if (device_ && wanted > *there)
    return std::unexpected(IoError{unavailable, fmt::format("device '{}' has {} bytes", path_, *there)});
  if (!device_ && (wanted > *there || wanted < size())) {
    if (read_only_)
      return std::unexpected(
          IoError{write_protected, fmt::format("file '{}' has {} bytes and is open read-only", path_, *there)});
    if (::ftruncate(fd_, off(wanted)) != 0) return std::unexpected(write_error("ftruncate", wanted, errno));
  }
  size_.store(wanted, std::memory_order_relaxed);
  return {};
}

IoError FileImage::error(IoError::Kind kind, const char* call, std::uint64_t offset, int number) const {
  return {kind, fmt::format("{}: {} at byte {}: {}", path_, call, offset, text_of(number))};
}

IoError FileImage::write_error(const char* call, std::uint64_t offset, int number) const {
  bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
  return error(full ? IoError::Kind::no_space : IoError::Kind::medium_write, call, offset, number);
}

IoResult<void> FileImage::read(std::uint64_t offset, base::MutableBytes out, std::size_t most_at_once) const {
  while (!out.empty()) {
    ssize_t count = calls_->pread(fd_, out.data(), std::min(out.size(), most_at_once), off(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected(error(IoError::Kind::medium_read, "pread", offset, errno));
    if (count == 0) {
      return std::unexpected(
          IoError{IoError::Kind::medium_read,
                  fmt::format("{}: the file ends at byte {}, before its {} bytes", path_, offset, size())});
    }
    out = out.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

IoResult<void> FileImage::write(std::uint64_t offset, base::Bytes data, std::size_t most_at_once) {
  const Counted changing(changing_);
  while (!data.empty()) {
    const base::Bytes piece = data.first(std::min(data.size(), most_at_once));
    ssize_t count = may_write_promptly_ ? write_and_tell(offset, piece)
                                        : calls_->pwrite(fd_, piece.data(), piece.size(), off(offset));
    if (count < 0 && errno == EINTR) continue;
    // A write of nothing without an error would loop for ever; no file system says why it did that.
    if (count <= 0) return std::unexpected(write_error("pwrite", offset, count < 0 ? errno : EIO));
    data = data.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

ssize_t FileImage::write_and_tell(std::uint64_t offset, base::Bytes data) {
  const base::TimePoint began = calls_->now();
  const std::uint64_t waits = calls_->waits();
  const ssize_t count = calls_->pwrite(fd_, data.data(), data.size(), off(offset));
  const int number = errno;
  const base::TimePoint ended = calls_->now();
  if (PromptWrites::long_for_worker(ended - began) && calls_->waits() != waits) prompt_.worker_took_long(began, ended);
  errno = number;
  return count;
}

bool FileImage::read_at_once(std::uint64_t offset, base::MutableBytes out) const {
  if (!can_read_at_once_.load(std::memory_order_relaxed)) return false;
  // tmpfs knows no RWF_NOWAIT, and needs none.
  ssize_t count = in_memory_ ? calls_->pread(fd_, out.data(), out.size(), off(offset))
                             : calls_->pread_at_once(fd_, out.data(), out.size(), off(offset));
  if (count < 0 && errno == EOPNOTSUPP) can_read_at_once_.store(false, std::memory_order_relaxed);
  return count >= 0 && static_cast<std::size_t>(count) == out.size();
}

bool FileImage::write_at_once(std::uint64_t offset, base::Bytes data) {
  auto whole = [&](ssize_t count) { return count >= 0 && static_cast<std::size_t>(count) == data.size(); };
  if (in_memory_) return whole(calls_->pwrite(fd_, data.data(), data.size(), off(offset)));
  if (can_write_at_once_.load(std::memory_order_relaxed)) {
    const ssize_t count = calls_->pwrite_at_once(fd_, data.data(), data.size(), off(offset));
    if (count >= 0 || errno != EOPNOTSUPP) return whole(count);
    can_write_at_once_.store(false, std::memory_order_relaxed);
  }
  return may_write_promptly_ && write_promptly(offset, data);
}

bool FileImage::write_promptly(std::uint64_t offset, base::Bytes data) {
  if (changing_.load(std::memory_order_relaxed) > 0) return false;
  const base::TimePoint began = calls_->now();
  if (!prompt_.may_begin(began) || !edges_cached({offset, data.size()})) return false;
  const bool watched = prompt_.watched(began);
  const std::uint64_t waits = watched ? calls_->waits() : 0;
  const ssize_t count = calls_->pwrite(fd_, data.data(), data.size(), off(offset));
  if (const base::TimePoint ended = calls_->now(); PromptWrites::long_for_loop(ended - began)) [[unlikely]]
    prompt_.took_long(began, ended, watched && calls_->waits() != waits);
  return count >= 0 && static_cast<std::size_t>(count) == data.size();
}

bool FileImage::edges_cached(ByteRange range) const {
  // What a page keeps of its bytes would have to be read first.
  std::uint8_t byte = 0;
  auto cached = [&](std::uint64_t offset) { return read_at_once(offset, {&byte, 1}); };
  return (range.offset % page_ == 0 || cached(range.offset)) && (range.end() % page_ == 0 || cached(range.end() - 1));
}

IoResult<void> FileImage::punch(ByteRange range) {
  const Counted changing(changing_);
  while (can_punch_.load(std::memory_order_relaxed)) {
    if (range.length == 0) return {};
    int result =
        calls_->fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off(range.offset), off(range.length));
    if (result == 0) return {};
    if (errno == EINTR) continue;
    if (errno == EIO) return std::unexpected(write_error("fallocate", range.offset, errno));
    // Others may be this range's (EINVAL: not aligned to a device's blocks) or pass (ENOSPC: no room for what says that
    // there is a hole): this once zeros, next time try again (fallocate(2)).
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV) can_punch_.store(false, std::memory_order_relaxed);
    break;
  }
  while (range.length > 0) {
    std::size_t run = static_cast<std::size_t>(std::min<std::uint64_t>(range.length, kZeros.size()));
    if (auto result = write(range.offset, base::Bytes(kZeros).first(run)); !result) return result;
    range.offset += run;
    range.length -= run;
  }
  return {};
}

IoResult<void> FileImage::sync() {
  while (calls_->fdatasync(fd_) != 0) {
    if (errno != EINTR) return std::unexpected(write_error("fdatasync", 0, errno));
  }
  return {};
}

bool FileImage::share_from(const FileImage& from, ByteRange range, std::uint64_t offset) {
  if (!can_share_.load(std::memory_order_relaxed)) return false;
  const Counted changing(changing_);
  std::uint64_t block = file_system_block_;
  if (range.offset % block != offset % block) return false;
  std::uint64_t head = std::min((block - offset % block) % block, range.length);
  std::uint64_t middle = (range.length - head) / block * block;
  if (middle > 0 &&
      calls_->clone_range(from.fd_, off(range.offset + head), off(middle), fd_, off(offset + head)) != 0) {
    // Other errors may be this pair's or this range's own (ioctl_ficlonerange(2)).
    if (errno == EOPNOTSUPP || errno == ENOTTY) can_share_.store(false, std::memory_order_relaxed);
    return false;
  }
  std::uint64_t tail = head + middle;
  return copy_from(from, {range.offset, head}, offset) &&
         copy_from(from, {range.offset + tail, range.length - tail}, offset + tail);
}

std::uint64_t FileImage::copy_in_kernel(const FileImage& from, ByteRange range, std::uint64_t offset) {
  std::uint64_t done = 0;
  while (done < range.length) {
    ssize_t count = calls_->copy_file_range(from.fd_, off(range.offset + done), fd_, off(offset + done),
                                            static_cast<std::size_t>(range.length - done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += static_cast<std::uint64_t>(count);
  }
  return done;
}

IoResult<void> FileImage::copy_from(const FileImage& from, ByteRange range, std::uint64_t offset) {
  const Counted changing(changing_);
  while (range.length > 0) {
    ProvisioningRun run = from.run(range.offset);
    std::uint64_t length = std::min(run.length, range.length);
    auto result = run.mapped ? copy_data(from, {range.offset, length}, offset) : punch({offset, length});
    if (!result) return result;
    offset += length;
    range = {range.offset + length, range.length - length};
  }
  return {};
}

IoResult<void> FileImage::copy_data(const FileImage& from, ByteRange range, std::uint64_t offset) {
  // Whatever the kernel did not copy is copied by hand, which also finds out what was wrong.
  std::uint64_t done = copy_in_kernel(from, range, offset);
  std::vector<std::uint8_t> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(range.length - done, kCopyBuffer)));
  while (done < range.length) {
    base::MutableBytes piece(buffer);
    piece = piece.first(static_cast<std::size_t>(std::min<std::uint64_t>(range.length - done, piece.size())));
    if (auto result = from.read(range.offset + done, piece); !result) return result;
    if (auto result = write(offset + done, piece); !result) return result;
    done += piece.size();
  }
  return {};
}

ProvisioningRun FileImage::run(std::uint64_t offset) const {
  off_t data = ::lseek(fd_, off(offset), SEEK_DATA);
  const std::uint64_t end = size();
  if (data < 0) return {end - offset, errno != ENXIO};  // ENXIO: only hole is left
  if (off(offset) < data) return {std::min(static_cast<std::uint64_t>(data), end) - offset, false};
  off_t hole = ::lseek(fd_, off(offset), SEEK_HOLE);
  return {(hole < 0 ? end : std::min(static_cast<std::uint64_t>(hole), end)) - offset, true};
}

std::uint64_t FileImage::allocated_bytes() const {
  struct stat status{};
  return ::fstat(fd_, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * kStatBlock : 0;
}

}  // namespace handlers
