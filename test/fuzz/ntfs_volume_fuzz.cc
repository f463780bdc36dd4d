// Fuzzes what a malicious target would serve below the file system: an NTFS volume with bytes of its boot sector and
// metadata changed, mounted read-only, listed, opened and read; or a partition table, read and each partition looked
// at. Nothing may crash, no answer may lie outside the volume, and nothing may be written.
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "host/ntfs/mount.h"
#include "host/partitions.h"
#include "test/host/image_disk.h"
#include "test/host/ntfs/ntfs_image.h"

namespace {

void require(bool good) {
  if (!good) std::abort();
}

using Kind = test::NtfsFile::Kind;

test::Octets make_disk() {
  char folder[] = "/tmp/odx-ntfs-fuzz-XXXXXX";
  require(mkdtemp(folder) != nullptr);
  test::NtfsImage image{.path = std::string(folder) + "/image",
                        .size = 8 << 20,
                        .table = test::NtfsImage::Table::gpt,
                        .files = {{.path = "dir/plain", .size = 20000, .valid_data_length = 9000},
                                  {.path = "pieces", .size = 65536, .runs = 5},
                                  {.path = "tiny", .size = 100},
                                  {.path = "tiny:stream", .size = 5000},
                                  {.path = "packed", .kind = Kind::compressed, .size = 70000},
                                  {.path = "holes", .kind = Kind::sparse, .size = 65536},
                                  {.path = "marked", .kind = Kind::deduplicated, .size = 5000},
                                  {.path = "many", .kind = Kind::directory, .children = 40}}};
  test::make_ntfs_image(image);
  test::Octets bytes = test::load_file(image.path);
  std::filesystem::remove_all(folder);
  return bytes;
}

constexpr std::size_t kVolume = 1 << 20;
constexpr std::size_t kMft = kVolume + 4 * 4096;  // where mkntfs puts it

void look_at(host::FileStream& stream, std::uint64_t volume_length) {
  (void)stream.kind();
  (void)stream.basic_information();
  (void)stream.stream_names();
  if (auto extents = stream.extents(0, ~0ull)) {
    for (const host::Extent& extent : *extents)
      require(!extent.volume_offset ||
              (*extent.volume_offset <= volume_length && extent.length <= volume_length - *extent.volume_offset));
  }
  require(stream.sizes().valid_data_length <= stream.sizes().end_of_file);
  test::Octets buffer(30000);
  auto count = stream.read(0, buffer);
  require(!count || *count <= buffer.size());
  (void)stream.read(stream.sizes().end_of_file / 2, buffer);
}

void mount_and_look(test::ImageDisk& disk) {
  host::VolumeDevice volume(disk.driver, kVolume, disk.bytes.size() - 2 * kVolume);
  (void)host::recognise(volume);
  auto mounted = host::ntfs::mount(volume, true);
  if (!mounted) return;
  host::FileSystem& file_system = **mounted;
  (void)file_system.information();
  for (const char* directory : {"", "dir", "many"}) (void)file_system.list(directory);
  for (const host::StreamName& name :
       {host::StreamName{"dir/plain"}, host::StreamName{"pieces"}, host::StreamName{"tiny"},
        host::StreamName{"tiny", "stream"}, host::StreamName{"packed"}, host::StreamName{"holes"},
        host::StreamName{"marked"}, host::StreamName{"many/00020"}, host::StreamName{"$Secure", "$SDS"}})
    if (auto stream = file_system.open(name, host::Disposition::open)) look_at(**stream, volume.length());
}

void read_table_and_look(test::ImageDisk& disk) {
  auto table = host::read_partition_table(disk.driver);
  if (!table) return;
  for (const host::Partition& partition : table->partitions) {
    require(partition.first_byte <= disk.bytes.size() && partition.length <= disk.bytes.size() - partition.first_byte);
    host::VolumeDevice volume(disk.driver, partition.first_byte, partition.length);
    (void)host::recognise(volume);
  }
}

}  // namespace

/// libntfs-3g leaks a run list when it refuses a volume (ntfs_volume_startup), and more when it cannot write. Leaks of
/// ours show in test_host_ntfs, on volumes that it accepts.
extern "C" const char* __lsan_default_suppressions() { return "leak:libntfs-3g.so"; }

/// Records of four bytes: place (00h boot sector, 01h to 3Fh 512 bytes of $MFT and $MFTMirr alike, 40h to 7Fh the first
/// MBR and GPT sectors, else the volume in steps of 16 KiB), offset there (two bytes, big endian), value.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const test::Octets original = make_disk();
  static test::ImageDisk disk(original, 512);
  // The two have to agree, or nothing of a change would be seen.
  static const std::size_t mirror =
      kVolume + 4096 * base::load<base::le64>(base::Bytes(original).subspan(kVolume + 56));
  bool table = false;
  std::vector<std::size_t> changed;
  const auto change = [&](std::size_t at, std::uint8_t value) {
    if (at >= disk.bytes.size()) return;
    disk.bytes[at] = value;
    changed.push_back(at);
  };
  for (base::ByteReader reader(base::Bytes(data, size)); reader.remaining() >= 4;) {
    const std::size_t place = reader.u8();
    const std::size_t offset = reader.u16();
    const std::uint8_t value = reader.u8();
    if (place == 0) {
      change(kVolume + offset % 90, value);
    } else if (place < 0x40) {
      change(kMft + place % 0x3F * 1024 + offset % 1024, value);
      if (place < 4) change(mirror + place * 1024 + offset % 1024, value);
    } else if (place < 0x80) {
      change(place % 0x40 * 512 + offset % 512, value);
      table = true;
    } else {
      change(kVolume + (place - 0x80) * 16384 + offset % 16384, value);
    }
  }
  mount_and_look(disk);
  if (table) read_table_and_look(disk);
  require(disk.writes == 0);
  disk.driver.take_trace();
  for (std::size_t at : changed) disk.bytes[at] = original[at];
  return 0;
}
