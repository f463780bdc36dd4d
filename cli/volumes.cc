#include "cli/volumes.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "cli/exit_code.h"
#include "cli/ntfs.h"
#include "host/scsi_layouts.h"

namespace cli {

namespace json = boost::json;

namespace {

constexpr std::uint8_t kDeviceIdentification = 0x83;

/// The first globally unique name of the logical unit (SPC-4 7.8.6: EUI-64, or an NAA that is not locally assigned) in
/// hexadecimal; empty when there is none.
std::string unique_name(host::ClassDriver& driver) {
  constexpr std::uint16_t kLength = 0x1000;
  constexpr std::uint8_t kEui64 = 2, kNaa = 3, kLocallyAssigned = 3;
  host::InquiryCdb cdb;
  cdb.evpd = 1;
  cdb.page_code = kDeviceIdentification;
  cdb.allocation_length = kLength;
  base::Bytes bytes = base::bytes_of(cdb);
  const initiator::Result result = driver.query({bytes.begin(), bytes.end()}, kLength);
  if (!result.good()) return {};
  for (const host::Designator& designator : host::read_designators(result.data_in)) {
    const base::Bytes name = designator.value;
    if (name.empty() || designator.association != 0) continue;
    if (designator.type != kEui64 && designator.type != kNaa) continue;
    if (designator.type == kNaa && name[0] >> 4 == kLocallyAssigned) continue;
    std::string text;
    for (std::uint8_t byte : name) text += fmt::format("{:02x}", byte);
    return text;
  }
  return {};
}

std::string table_text(const json::array& rows) {
  std::string text;
  for (const json::value& row : rows)
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", row.at("number").to_number<unsigned>(),
                        row.at("file_system").get_string().c_str());
  return text.empty() ? "nothing" : text;
}

}  // namespace

std::string does_not_fit(const FileUrl& url, std::string_view what) {
  if (url.path.contains("://") && url.local()) return fmt::format("{} begins with no iscsi://; {}", url.path, what);
  if (url.local()) return fmt::format("{} is a path of this machine; {}", url.path, what);
  const auto names = initiator::parse_iscsi_url(url.disk);
  const std::string disk = names ? without_secrets(*names) : "the URL";
  return url.partition ? fmt::format("{}#{} is a volume; {}", disk, *url.partition, what)
                       : fmt::format("{} is a disk or a volume; {}", disk, what);
}

std::string not_ntfs(const host::Volume& volume) {
  return fmt::format("the volume holds {}, not NTFS", host::name(volume.kind()));
}

std::string why_not_opened(const std::string& place, const host::Volume& volume, host::NtStatus status) {
  using enum host::NtStatus;
  if (status == unrecognized_volume) return not_ntfs(volume);
  if (status == object_name_not_found) return place + " is not there";
  if (status == object_path_not_found) return "the directory of " + place + " is not there";
  return fmt::format("{} cannot be opened: {}", place, name(status));
}

host::NtResult<json::array> partitions_json(host::ClassDriver& driver, const host::PartitionTable& table) {
  std::vector<host::Partition> partitions = table.partitions;
  if (table.style == host::PartitionStyle::none) partitions = {{.length = driver.disk().bytes()}};
  json::array rows;
  for (const host::Partition& partition : partitions) {
    host::VolumeDevice device(driver, partition.first_byte, partition.length);
    auto kind = host::recognise(device);
    if (!kind) return std::unexpected(kind.error());
    rows.push_back({{"number", partition.number},
                    {"first_byte", partition.first_byte},
                    {"length_bytes", partition.length},
                    {"type", partition.type},
                    {"name", partition.name},
                    {"file_system", host::name(*kind)}});
  }
  return rows;
}

std::expected<HostDisk*, Report> Volumes::disk(const std::string& url) {
  auto names = initiator::parse_iscsi_url(url);
  if (!names) return std::unexpected(failure("odx", host::NtStatus::invalid_parameter, names.error(), kUsage));
  // A target's name is the same at all of its portals, and nobody else's.
  const std::string key = fmt::format("{}/{}", names->target_name, names->lun);
  for (const auto& [known, disk] : disks_)
    if (known == key) return disk;
  auto opened = host_.open(url);
  if (opened) disks_.emplace_back(key, *opened);
  return opened;
}

std::expected<Volumes::Entry*, Report> Volumes::find(const FileUrl& url) {
  auto opened = disk(url.disk);
  if (!opened) return std::unexpected(opened.error());
  HostDisk* disk = *opened;
  host::ClassDriver& driver = *disk->driver;
  auto fail = [&](host::NtStatus status, const std::string& reason) {
    Report report = failure("odx", status, disk->url + ": " + reason, kFailed);
    host_.finish(report);
    return std::unexpected(std::move(report));
  };
  auto table = host::read_partition_table(driver);
  if (!table) return fail(table.error(), "the partition table cannot be read");
  std::optional<host::Partition> place;
  if (url.partition == 0u || (!url.partition && table->style == host::PartitionStyle::none)) {
    place = host::Partition{.length = driver.disk().bytes()};
  } else {
    auto rows = partitions_json(driver, *table);
    if (!rows) return fail(rows.error(), "the volumes cannot be read");
    std::size_t fitting = 0;
    for (std::size_t i = 0; i < table->partitions.size(); ++i) {
      const bool fits = url.partition
                            ? table->partitions[i].number == *url.partition
                            : rows->at(i).at("file_system").get_string() == host::name(host::FileSystemKind::ntfs);
      if (fits && fitting++ == 0) place = table->partitions[i];
    }
    if (fitting != 1) {
      std::string problem = fitting != 0     ? "several partitions hold NTFS; say which with #NUMBER/PATH"
                            : !url.partition ? "no partition holds NTFS"
                                             : fmt::format("there is no partition {}", *url.partition);
      return fail(host::NtStatus::no_such_device, problem + "; partitions: " + table_text(*rows));
    }
  }
  for (Entry& entry : entries_)
    if (entry.disk == disk && entry.place.first_byte == place->first_byte) return &entry;
  entries_.push_back({disk, *place});
  return &entries_.back();
}

std::optional<Report> Volumes::mount(Entry& entry) {
  auto fail = [&](host::NtStatus status, std::string_view reason) {
    Report report =
        failure("odx", status, fmt::format("{}#{}: {}", entry.disk->url, entry.place.number, reason), kFailed);
    host_.finish(report);
    return report;
  };
  std::string name = unique_name(*entry.disk->driver);
  if (name.empty()) name = entry.disk->url.substr(entry.disk->url.find('/', sizeof("iscsi://")) + 1);
  auto lock = VolumeLock::take(fmt::format("{}-{}", name, entry.place.first_byte), entry.writes);
  if (!lock) return fail(host::NtStatus::device_busy, lock.error());
  entry.lock.emplace(std::move(*lock));
  auto volume = host::Volume::mount(*entry.disk->driver, entry.place, ntfs_mounter(), !entry.writes);
  if (!volume) return fail(volume.error(), "the volume cannot be mounted");
  entry.volume = std::move(*volume);
  return std::nullopt;
}

std::expected<std::vector<host::Volume*>, Report> Volumes::open(std::span<const WantedVolume> wanted) {
  for (const WantedVolume& one : wanted)
    if (!one.url.local() && !one.url.is_volume && !has_ntfs())
      return std::unexpected(failure("odx", host::NtStatus::not_supported, kWithoutNtfs, kFailed));
  std::vector<Entry*> found;
  for (const WantedVolume& one : wanted) {
    found.push_back(nullptr);
    if (one.url.local()) continue;
    auto entry = find(one.url);
    if (!entry) return std::unexpected(std::move(entry.error()));
    found.back() = *entry;
    found.back()->writes |= one.writes;
  }
  for (Entry& entry : entries_)
    if (!entry.volume)
      if (auto report = mount(entry)) return std::unexpected(std::move(*report));
  std::vector<host::Volume*> volumes;
  for (const Entry* entry : found) volumes.push_back(entry ? entry->volume.get() : nullptr);
  return volumes;
}

const Volumes::Entry& Volumes::entry_of(const host::Volume& volume) const {
  return *std::ranges::find_if(entries_, [&](const Entry& entry) { return entry.volume.get() == &volume; });
}

std::string Volumes::text(const FileUrl& url, const host::Volume* volume) const {
  if (volume == nullptr) return url.path;
  const Entry& entry = entry_of(*volume);
  return fmt::format("{}#{}{}{}{}", entry.disk->url, entry.place.number == 0 ? "" : std::to_string(entry.place.number),
                     url.is_volume ? "" : "/", url.path, url.stream.empty() ? "" : ":" + url.stream);
}

host::NtStatus Volumes::close() {
  host::NtStatus status = host::NtStatus::success;
  for (Entry& entry : entries_) {
    if (!entry.volume || entry.volume->state() == host::Volume::State::dismounted) continue;
    const host::NtStatus one = entry.volume->dismount();
    if (status == host::NtStatus::success) status = one;
  }
  return status;
}

}  // namespace cli
