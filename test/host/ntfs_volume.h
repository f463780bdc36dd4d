// A volume made by ntfs_image, in a disk in memory, mounted by host::ntfs::mount; and the tools that judge it
// afterwards.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "host/ntfs/mount.h"
#include "test/host/image_disk.h"
#include "test/host/ntfs/ntfs_image.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#define ODX_TEST_LEAKS_ARE_LOOKED_FOR
#endif
#endif

namespace test {

/// While it lives, what is allocated may leak: ntfs_delete() of libntfs-3g does not free the inodes that it cannot
/// write.
struct LeaksOfTheLibrary {
#ifdef ODX_TEST_LEAKS_ARE_LOOKED_FOR
  __lsan::ScopedDisabler not_looked_for;
#endif
};

class NtfsVolume {
 public:
  explicit NtfsVolume(NtfsImage description) : image(with_path(std::move(description), folder_)) {
    made = make_ntfs_image(image);
    disk = std::make_unique<ImageDisk>(load_file(image.path), image.sector_length);
    device = std::make_unique<host::VolumeDevice>(disk->driver, made.volume_offset, made.volume_length);
  }
  ~NtfsVolume() {
    file_system.reset();
    std::filesystem::remove_all(folder_);
  }
  NtfsVolume(const NtfsVolume&) = delete;
  NtfsVolume& operator=(const NtfsVolume&) = delete;

  host::FileSystem& mount(bool read_only = false) {
    file_system.reset();
    auto mounted = host::ntfs::mount(*device, read_only);
    REQUIRE(mounted.has_value());
    file_system = std::move(*mounted);
    return *file_system;
  }
  std::shared_ptr<host::FileStream> open(const std::string& path, const std::string& stream = {},
                                         host::Disposition disposition = host::Disposition::open) {
    auto opened = file_system->open({path, stream}, disposition);
    CAPTURE(path);
    REQUIRE(opened.has_value());
    return *opened;
  }
  Octets read_all(host::FileStream& stream) {
    Octets bytes(static_cast<std::size_t>(stream.sizes().end_of_file));
    auto count = stream.read(0, bytes);
    REQUIRE(count.has_value());
    REQUIRE(*count == bytes.size());
    return bytes;
  }
  /// The bytes on the volume where a stream's extents say they are; zeros for holes.
  Octets raw(host::FileStream& stream) {
    Octets bytes;
    auto extents = stream.extents(0, ~0ull);
    REQUIRE(extents.has_value());
    for (const host::Extent& extent : *extents) {
      REQUIRE(extent.file_offset == bytes.size());
      bytes.resize(bytes.size() + static_cast<std::size_t>(extent.length));
      if (!extent.volume_offset) continue;
      const auto from = disk->bytes.begin() + static_cast<std::ptrdiff_t>(made.volume_offset + *extent.volume_offset);
      std::copy_n(from, extent.length, bytes.begin() + static_cast<std::ptrdiff_t>(extent.file_offset));
    }
    return bytes;
  }
  /// Has ntfsfix look at what is on the disk.
  void check() {
    const std::string command = "ntfsfix -n " + save() + " >/dev/null 2>&1";
    CHECK(std::system(command.c_str()) == 0);  // NOLINT(cert-env33-c): a fixed command
  }
  /// What ntfsfix makes of it; true when it can be mounted then.
  bool repair() {
    const std::string command = "ntfsfix " + save() + " >/dev/null 2>&1";
    return std::system(command.c_str()) == 0;  // NOLINT(cert-env33-c): a fixed command
  }
  bool marked_dirty() { return dirty_flag(save()); }

  /// Unmounts, and writes the volume to a file.
  std::string save() {
    file_system.reset();
    const std::string path = folder_ + "/volume";
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(disk->bytes.data() + made.volume_offset),
              static_cast<std::streamsize>(made.volume_length));
    return path;
  }

 private:
  static std::string make_folder() {
    char name[] = "/tmp/odx-ntfs-test-XXXXXX";
    return mkdtemp(name);
  }
  static NtfsImage with_path(NtfsImage image, const std::string& folder) {
    image.path = folder + "/image";
    return image;
  }

  std::string folder_ = make_folder();

 public:
  const NtfsImage image;
  NtfsImageMade made;
  std::unique_ptr<ImageDisk> disk;
  std::unique_ptr<host::VolumeDevice> device;
  std::unique_ptr<host::FileSystem> file_system;
};

}  // namespace test
