#include "scenario/real_volume.h"

#include <fmt/format.h>

#include <vector>

#include "host/class_driver.h"
#include "scenario/lua_state.h"

namespace scenario {
namespace {

void must_succeed(host::NtStatus status, const std::string& what) {
  if (status != host::NtStatus::success) throw ScriptError(fmt::format("{}: {}", what, host::name(status)));
}

void need_ntfs(const FileAccess& access) {
  if (!access.ntfs) throw ScriptSkip("needs NTFS, which this odx was built without (meson setup -Dntfs=enabled)");
}

}  // namespace

VolumeImage::VolumeImage(const FileAccess& access, const std::string& name) {
  auto granted = access.volumes.find(name);
  if (granted == access.volumes.end())
    throw ScriptSkip(fmt::format("needs --volume {}=FILE: the bytes of an NTFS volume", name));
  need_ntfs(access);
  path_ = granted->second;
  file_.open(path_, std::ios::binary | std::ios::ate);
  if (!file_) throw ScriptError(fmt::format("{}: cannot be read", path_));
  bytes_ = static_cast<std::uint64_t>(file_.tellg());
}

void VolumeImage::put(host::ClassDriver& driver, std::uint64_t first, std::uint64_t offset, std::uint64_t length) {
  std::vector<std::uint8_t> wanted(length), there(length);
  file_.seekg(static_cast<std::streamoff>(offset));
  file_.read(reinterpret_cast<char*>(wanted.data()), static_cast<std::streamsize>(length));
  if (!file_) throw ScriptError(fmt::format("{}: cannot be read", path_));
  must_succeed(driver.read(first + offset, there), path_);
  if (there != wanted) must_succeed(driver.write(first + offset, wanted), path_);
}

std::unique_ptr<host::Volume> mount_ntfs(host::ClassDriver& driver, const host::Partition& place,
                                         const FileAccess& access) {
  need_ntfs(access);
  auto volume = host::Volume::mount(driver, place, access.ntfs);
  if (!volume) throw ScriptError(fmt::format("volume: cannot be mounted: {}", host::name(volume.error())));
  if (!(*volume)->file_system())
    throw ScriptError(fmt::format("volume: there is no NTFS volume from byte {} of the disk on", place.first_byte));
  return std::move(*volume);
}

}  // namespace scenario
