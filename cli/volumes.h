// The volumes a command works on, found by URL: a disk and a partition that are named twice are one volume, mounted
// once, and read-only when nothing of the command writes to it.
//
// Thread: main's.
#pragma once

#include <expected>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/file_url.h"
#include "cli/host_side.h"
#include "cli/volume_lock.h"
#include "host/partitions.h"
#include "host/volume.h"

namespace cli {

struct WantedVolume {
  FileUrl url{};
  bool writes = false;
};

class Volumes {
 public:
  explicit Volumes(HostSide& host) : host_(host) {}

  /// One for each of `wanted`, in that order; null for a path of this machine. The error is a report to end with.
  std::expected<std::vector<host::Volume*>, Report> open(std::span<const WantedVolume> wanted);

  /// "iscsi://HOST/IQN/LUN#2/PATH:STREAM" without secrets, or the local path.
  std::string text(const FileUrl& url, const host::Volume* volume) const;
  const HostDisk& disk_of(const host::Volume& volume) const { return *entry_of(volume).disk; }
  const host::Partition& place_of(const host::Volume& volume) const { return entry_of(volume).place; }

  /// Unmounts; the first failure. Call before HostSide::finish(), so that what it sends is reported.
  host::NtStatus close();

 private:
  struct Entry {
    HostDisk* disk = nullptr;
    host::Partition place{};
    bool writes = false;
    std::optional<VolumeLock> lock{};
    std::unique_ptr<host::Volume> volume{};
  };
  std::expected<HostDisk*, Report> disk(const std::string& url);
  std::expected<Entry*, Report> find(const FileUrl& url);
  std::optional<Report> mount(Entry& entry);
  const Entry& entry_of(const host::Volume& volume) const;

  HostSide& host_;
  std::vector<std::pair<std::string, HostDisk*>> disks_;  ///< by target and logical unit
  std::list<Entry> entries_;
};

/// A URL that parse_file_url() took and that does not fit, for people: what it is, and `what` it should be.
std::string does_not_fit(const FileUrl& url, std::string_view what);

/// "the volume holds XFS, not NTFS".
std::string not_ntfs(const host::Volume& volume);

/// Why `place` could not be opened, for people: it or its directory is not there, else the status.
std::string why_not_opened(const std::string& place, const host::Volume& volume, host::NtStatus status);

/// A partition table and what its volumes hold, as a table's rows: number, first_byte, length_bytes, type, name,
/// file_system. A disk without partitions is number 0.
host::NtResult<boost::json::array> partitions_json(host::ClassDriver& driver, const host::PartitionTable& table);

}  // namespace cli
