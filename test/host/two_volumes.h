// Two volumes with the file system of the tests, on the disks of the array of the tests, and the host's handles: the
// way from FSCTL to copied blocks without a socket.
#pragma once

#include <string>
#include <vector>

#include "host/fsctl_layouts.h"
#include "host/io_manager.h"
#include "host/memory_file_system.h"
#include "test/host/array_of_two_disks.h"

namespace test {

using host::MemoryFileSystem;
using host::MemoryStream;

constexpr std::uint32_t kAllAccess =
    host::kFileReadData | host::kFileWriteData | host::kFileReadAttributes | host::kDelete;
constexpr host::OpenOptions kOpenForAll{kAllAccess};

inline std::vector<std::uint8_t> octets(base::Bytes bytes) { return {bytes.begin(), bytes.end()}; }

inline host::OffloadReadInput read_input(std::uint64_t file_offset, std::uint64_t copy_length,
                                         std::uint32_t time_to_live_ms = 0) {
  host::OffloadReadInput input{};
  input.size = sizeof input;
  input.token_time_to_live_ms = time_to_live_ms;
  input.file_offset = file_offset;
  input.copy_length = copy_length;
  return input;
}

inline host::OffloadWriteInput write_input(std::uint64_t file_offset, std::uint64_t copy_length,
                                           std::uint64_t transfer_offset, const host::Token& token) {
  host::OffloadWriteInput input{};
  input.size = sizeof input;
  input.file_offset = file_offset;
  input.copy_length = copy_length;
  input.transfer_offset = transfer_offset;
  input.token = token;
  return input;
}

/// Bytes that differ from place to place.
inline std::vector<std::uint8_t> pattern(std::size_t length, unsigned seed = 1) {
  std::vector<std::uint8_t> bytes(length);
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::uint8_t& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::uint8_t>(state >> 24) | 1;  // never 0
  }
  return bytes;
}

/// A volume with a MemoryFileSystem on any disk.
struct MemoryVolumeOnDisk {
  MemoryFileSystem* files = nullptr;
  std::unique_ptr<host::Volume> volume;

  MemoryVolumeOnDisk(host::ClassDriver& driver, std::uint64_t first_byte, std::uint64_t length,
                     std::uint32_t cluster_length = 4096) {
    const auto mounter = [&](host::VolumeDevice& device, bool read_only) {
      auto made = std::make_unique<MemoryFileSystem>(device, cluster_length);
      made->read_only = read_only;
      files = made.get();
      return host::NtResult<std::unique_ptr<host::FileSystem>>(std::move(made));
    };
    volume =
        std::move(*host::Volume::with(driver, {1, first_byte, length}, host::FileSystemKind::ntfs, mounter, false));
  }
};

struct TwoVolumes {
  static constexpr std::uint64_t kVolumeLength = 8ull << 30;

  ArrayOfTwoDisks array;
  host::IoManager io;
  MemoryVolumeOnDisk first, second;

  explicit TwoVolumes(std::uint32_t second_block_length = 512, scsi::DeviceProfile profile = {})
      : array(profile, second_block_length),
        first((array.start(), array.first), 1 << 20, kVolumeLength),
        second(array.second, 2 << 20, kVolumeLength) {}

  host::Handle open(MemoryVolumeOnDisk& on, const std::string& path, host::OpenOptions options = kOpenForAll) {
    return *io.open(*on.volume, {path}, options);
  }
  host::FsctlReply read(host::Handle handle, const host::OffloadReadInput& input) {
    forget();
    return io.fs_control(handle, host::kFsctlOffloadRead, base::bytes_of(input), sizeof(host::OffloadReadOutput));
  }
  host::FsctlReply write(host::Handle handle, const host::OffloadWriteInput& input) {
    forget();
    return io.fs_control(handle, host::kFsctlOffloadWrite, base::bytes_of(input), sizeof(host::OffloadWriteOutput));
  }
  /// What a program reads, to the end of the file.
  std::vector<std::uint8_t> content(MemoryStream& stream) {
    std::vector<std::uint8_t> bytes(stream.stream_sizes.end_of_file);
    bytes.resize(stream.read(0, bytes).value());
    return bytes;
  }

  /// Commands sent so far are not part of what follows.
  void forget() {
    array.first.take_trace();
    array.second.take_trace();
  }
  static std::vector<std::string> names(const host::ClassDriver& driver) {
    std::vector<std::string> found;
    for (const host::TraceEntry& entry : driver.trace()) found.push_back(host::ClassDriver::command_name(entry.cdb));
    return found;
  }
  bool nothing_sent() const { return array.first.trace().empty() && array.second.trace().empty(); }
};

using Names = std::vector<std::string>;

}  // namespace test
