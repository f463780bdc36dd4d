#include "cli/volume_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace cli {

namespace {

/// Where every user of the machine finds the same file, as far as there is such a place.
std::vector<std::string> folders() {
  std::vector<std::string> list{"/run/lock"};
  if (const char* runtime = std::getenv("XDG_RUNTIME_DIR")) list.emplace_back(runtime);
  list.emplace_back("/tmp");
  return list;
}

/// Another user's file can be locked but not created again (fs.protected_regular), so it is first opened as it is.
int open_lock_file(const std::string& path) {
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW;
  constexpr mode_t kMode = 0644;
  int descriptor = open(path.c_str(), kFlags);
  if (descriptor >= 0 || errno != ENOENT) return descriptor;
  descriptor = open(path.c_str(), kFlags | O_CREAT, kMode);
  if (descriptor >= 0) fchmod(descriptor, kMode);  // whatever the umask: who cannot open it is not kept out
  return descriptor;
}

}  // namespace

std::expected<VolumeLock, std::string> VolumeLock::take(const std::string& name, bool exclusive) {
  std::string file = "odx-" + name + ".lock";
  std::ranges::replace_if(
      file, [](unsigned char c) { return std::isalnum(c) == 0 && c != '-' && c != '.' && c != '_'; }, '-');
  for (const std::string& folder : folders()) {
    const std::string path = folder + "/" + file;
    const int descriptor = open_lock_file(path);
    if (descriptor < 0) continue;
    VolumeLock lock(descriptor);
    if (flock(descriptor, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) return lock;
    if (errno != EWOULDBLOCK) return std::unexpected(fmt::format("{}: {}", path, std::strerror(errno)));
    return std::unexpected(
        fmt::format("another odx of this machine {} (its lock is {})",
                    exclusive ? "uses this volume, so that it cannot be written" : "writes to this volume", path));
  }
  return std::unexpected("no lock file can be made in /run/lock, $XDG_RUNTIME_DIR and /tmp");
}

VolumeLock::~VolumeLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace cli
