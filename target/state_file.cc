#include "target/state_file.h"

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

#include "scsi/state_image.h"

namespace target {
namespace {

constexpr mode_t kFileMode = 0600;

std::string_view suffix(StateKind kind) {
  switch (kind) {
    case StateKind::reservations: return ".reservations";
    case StateKind::settings: return ".settings";
  }
  return {};
}

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
  std::vector<std::uint8_t> bytes(scsi::kMaximumStateImage + 1);
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

long StateFileCalls::write(int fd, const void* bytes, std::size_t count) { return ::write(fd, bytes, count); }
int StateFileCalls::fsync(int fd) { return ::fsync(fd); }
int StateFileCalls::rename(const char* from, const char* to) { return std::rename(from, to); }

StateFile::StateFile(std::string path, std::shared_ptr<StateFileCalls> calls)
    : path_(std::move(path)), calls_(calls ? std::move(calls) : std::make_shared<StateFileCalls>()) {}

bool StateFile::read_bytes(std::string_view what) {
  Descriptor file(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 && errno == ENOENT) return false;
  if (file.get() < 0) refuse(path_, fmt::format("cannot be opened: {}", std::strerror(errno)));
  auto bytes = contents(path_, file.get());
  if (bytes.size() > scsi::kMaximumStateImage) refuse(path_, fmt::format("is too long for {}", what));
  kept_ = std::move(bytes);
  return true;
}

void StateFile::refuse_content(std::string_view what, std::string_view reason) const {
  refuse(path_, fmt::format("does not hold {}: {}", what, reason));
}

std::unexpected<std::string> StateFile::error(std::string_view call, const std::string& path) const {
  return std::unexpected(fmt::format("{}: {}: {}", path, call, std::strerror(errno)));
}

std::expected<void, std::string> StateFile::write_new(const std::string& path, base::Bytes image) {
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

std::expected<void, std::string> StateFile::sync_folder() {
  const std::string folder = folder_of(path_);
  Descriptor opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0) return error("open", folder);
  if (calls_->fsync(opened.get()) != 0) return error("fsync", folder);
  return {};
}

std::expected<void, std::string> StateFile::replace(base::Bytes image) {
  const std::string made = path_ + ".new";
  if (auto written = write_new(made, image); !written) {
    unlink(made.c_str());
    return written;
  }
  if (calls_->rename(made.c_str(), path_.c_str()) != 0) return error("rename", made);
  return {};
}

std::expected<void, std::string> StateFile::write(base::Bytes image) {
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

std::string StateFolder::file(std::string_view name, StateKind kind) const {
  std::string plain_name;
  for (unsigned char each : name) {
    bool plain = std::isalnum(each) || each == '-' || (each == '.' && !plain_name.empty());
    plain_name += plain ? std::string(1, static_cast<char>(each)) : fmt::format("_{:02x}", each);
  }
  return fmt::format("{}/{}{}", path_, plain_name, suffix(kind));
}

std::optional<std::string> state_file_beside(const std::string& image, StateKind kind) {
  struct stat status{};
  if (stat(image.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  std::string path = image + std::string(suffix(kind));
  // A file that is there is never passed over, even if it could not be written any more.
  bool there = access(path.c_str(), F_OK) == 0;
  if (!there && access(folder_of(path).c_str(), W_OK | X_OK) != 0) return {};
  return path;
}

}  // namespace target
