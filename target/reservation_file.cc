#include "target/reservation_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "scsi/reservation_image.h"

namespace target {
namespace {

constexpr std::string_view kSuffix = ".reservations";
constexpr mode_t kFileMode = 0600;

/// A descriptor that is closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string folder_of(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

[[noreturn]] void refuse(const std::string& path, std::string_view reason) {
  throw std::runtime_error(fmt::format("{}: {}", path, reason));
}

/// At most one byte more than an image can have.
std::vector<std::uint8_t> contents(const std::string& path, int fd) {
  std::vector<std::uint8_t> bytes(scsi::kMaximumReservationImage + 1);
  std::size_t size = 0;
  while (size < bytes.size()) {
    ssize_t count = ::read(fd, bytes.data() + size, bytes.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) refuse(path, fmt::format("cannot be read: {}", std::strerror(errno)));
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace

long ReservationFileCalls::write(int fd, const void* bytes, std::size_t count) { return ::write(fd, bytes, count); }
int ReservationFileCalls::fsync(int fd) { return ::fsync(fd); }
int ReservationFileCalls::rename(const char* from, const char* to) { return std::rename(from, to); }

ReservationFile::ReservationFile(std::string path, std::shared_ptr<ReservationFileCalls> calls)
    : path_(std::move(path)), calls_(calls ? std::move(calls) : std::make_shared<ReservationFileCalls>()) {}

std::optional<scsi::PersistentState> ReservationFile::read() {
  Descriptor file(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 && errno == ENOENT) return {};
  if (file.get() < 0) refuse(path_, fmt::format("cannot be opened: {}", std::strerror(errno)));
  auto bytes = contents(path_, file.get());
  if (bytes.size() > scsi::kMaximumReservationImage) refuse(path_, "is too long for persistent reservations");
  auto state = scsi::parse_reservation_image(bytes);
  if (!state) refuse(path_, fmt::format("does not hold persistent reservations: {}", state.error()));
  kept_ = std::move(bytes);
  return std::move(*state);
}

std::unexpected<std::string> ReservationFile::error(std::string_view call, const std::string& path) const {
  return std::unexpected(fmt::format("{}: {}: {}", path, call, std::strerror(errno)));
}

std::expected<void, std::string> ReservationFile::write_new(const std::string& path, base::Bytes image) {
  Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode));
  if (file.get() < 0) return error("open", path);
  while (!image.empty()) {
    long count = calls_->write(file.get(), image.data(), image.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return error("write", path);
    image = image.subspan(static_cast<std::size_t>(count));
  }
  if (calls_->fsync(file.get()) != 0) return error("fsync", path);
  return {};
}

std::expected<void, std::string> ReservationFile::sync_folder() {
  const std::string folder = folder_of(path_);
  Descriptor opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0) return error("open", folder);
  if (calls_->fsync(opened.get()) != 0) return error("fsync", folder);
  return {};
}

std::expected<void, std::string> ReservationFile::replace(base::Bytes image) {
  const std::string made = path_ + ".new";
  if (auto written = write_new(made, image); !written) {
    unlink(made.c_str());
    return written;
  }
  if (calls_->rename(made.c_str(), path_.c_str()) != 0) return error("rename", made);
  return {};
}

std::expected<void, std::string> ReservationFile::write(base::Bytes image) {
  if (auto replaced = replace(image); !replaced) return replaced;
  if (auto synced = sync_folder(); !synced) {
    // The new file has the name, and the change is not to be. What was there before comes back, as far as it can.
    if (kept_) {
      (void)replace(*kept_);
    } else {
      unlink(path_.c_str());
    }
    return synced;
  }
  kept_.emplace(image.begin(), image.end());
  return {};
}

StateFolder::StateFolder(std::string path) : path_(std::move(path)) {
  std::error_code failed;
  std::filesystem::create_directories(path_, failed);
  if (failed) refuse(path_, fmt::format("cannot be made: {}", failed.message()));
  fd_ = open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) refuse(path_, fmt::format("cannot be opened: {}", std::strerror(errno)));
  std::string_view wrong;
  if (access(path_.c_str(), W_OK | X_OK) != 0) wrong = "cannot be written";
  if (flock(fd_, LOCK_EX | LOCK_NB) != 0) wrong = "is in use by another process";
  if (wrong.empty()) return;
  close(fd_);
  refuse(path_, wrong);
}

StateFolder::~StateFolder() { close(fd_); }

std::string StateFolder::reservation_path(std::string_view name) const {
  std::string file;
  for (unsigned char each : name) {
    bool plain = std::isalnum(each) || each == '-' || (each == '.' && !file.empty());
    file += plain ? std::string(1, static_cast<char>(each)) : fmt::format("_{:02x}", each);
  }
  return fmt::format("{}/{}{}", path_, file, kSuffix);
}

std::optional<std::string> reservation_path_beside(const std::string& image) {
  struct stat status{};
  if (stat(image.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  std::string path = image + std::string(kSuffix);
  // A file that is there is never passed over, even if it could not be written any more.
  bool there = access(path.c_str(), F_OK) == 0;
  if (!there && access(folder_of(path).c_str(), W_OK | X_OK) != 0) return {};
  return path;
}

}  // namespace target
