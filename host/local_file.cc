#include "host/local_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace host {

namespace {

constexpr long kNanosecondsPerTick = 100;

NtStatus from_errno() {
  switch (errno) {
    case ENOENT: return NtStatus::object_name_not_found;
    case ENOTDIR: return NtStatus::object_path_not_found;
    case EEXIST: return NtStatus::object_name_collision;
    case EISDIR: return NtStatus::file_is_a_directory;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return NtStatus::disk_full;
    case EROFS: return NtStatus::media_write_protected;
    case EACCES:
    case EPERM: return NtStatus::access_denied;
    default: return NtStatus::io_device_error;
  }
}

NtStatus status_of(int result) { return result == 0 ? NtStatus::success : from_errno(); }

}  // namespace

NtResult<LocalFile> LocalFile::open(const std::string& path, Disposition disposition) {
  // A pipe waits for its other end when it is opened, and a failed copy into a device would be unlinked.
  struct stat about{};
  if (disposition != Disposition::create && stat(path.c_str(), &about) == 0 && !S_ISREG(about.st_mode))
    return std::unexpected(S_ISDIR(about.st_mode) ? NtStatus::file_is_a_directory : NtStatus::access_denied);
  int flags = O_RDONLY;
  if (disposition == Disposition::create) flags = O_RDWR | O_CREAT | O_EXCL;
  if (disposition == Disposition::overwrite_or_create) flags = O_RDWR | O_CREAT | O_TRUNC;
  constexpr mode_t kMode = 0666;
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, kMode);
  if (descriptor < 0) return std::unexpected(from_errno());
  return LocalFile(descriptor, path);
}

LocalFile::LocalFile(LocalFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

LocalFile::~LocalFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

bool LocalFile::is(const std::string& path) const {
  struct stat ours{}, theirs{};
  return fstat(descriptor_, &ours) == 0 && stat(path.c_str(), &theirs) == 0 && ours.st_dev == theirs.st_dev &&
         ours.st_ino == theirs.st_ino;
}

std::pair<std::uint64_t, std::uint64_t> LocalFile::identity() const {
  struct stat about{};
  fstat(descriptor_, &about);
  return {about.st_dev, about.st_ino};
}

std::uint64_t LocalFile::size() const {
  struct stat about{};
  return fstat(descriptor_, &about) == 0 ? static_cast<std::uint64_t>(about.st_size) : 0;
}

NtResult<std::size_t> LocalFile::read(std::uint64_t offset, base::MutableBytes out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(from_errno());
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

NtStatus LocalFile::write(std::uint64_t offset, base::Bytes data) {
  while (!data.empty()) {
    const ssize_t put = pwrite(descriptor_, data.data(), data.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return from_errno();
    data = data.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return NtStatus::success;
}

NtStatus LocalFile::set_end_of_file(std::uint64_t length) {
  return status_of(ftruncate(descriptor_, static_cast<off_t>(length)));
}

BasicInformation LocalFile::basic_information() const {
  BasicInformation information;
  information.attributes = kFileAttributeArchive;
  struct stat about{};
  if (fstat(descriptor_, &about) == 0)
    information.last_write_time =
        (static_cast<std::uint64_t>(about.st_mtim.tv_sec) + kSecondsFrom1601To1970) * kFileTimeTicksPerSecond +
        static_cast<std::uint64_t>(about.st_mtim.tv_nsec / kNanosecondsPerTick);
  return information;
}

NtStatus LocalFile::set_last_write_time(std::uint64_t time) {
  timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};
  times[1].tv_sec = static_cast<time_t>(time / kFileTimeTicksPerSecond) - static_cast<time_t>(kSecondsFrom1601To1970);
  times[1].tv_nsec = static_cast<long>(time % kFileTimeTicksPerSecond) * kNanosecondsPerTick;
  return status_of(futimens(descriptor_, times));
}

NtStatus LocalFile::remove() {
  struct stat ours{}, named{};
  const bool itself = fstat(descriptor_, &ours) == 0 && lstat(path_.c_str(), &named) == 0 &&
                      ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
  return itself ? status_of(unlink(path_.c_str())) : set_end_of_file(0);
}

NtStatus LocalFile::flush() { return status_of(fsync(descriptor_)); }

}  // namespace host
