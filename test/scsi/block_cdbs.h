// Block command CDBs for tests, through the layouts the commands parse, and data to send with them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "scsi/block_layouts.h"

namespace test {

template <typename Layout>
std::vector<std::uint8_t> cdb_of(const Layout& layout) {
  base::Bytes bytes = base::bytes_of(layout);
  return {bytes.begin(), bytes.end()};
}

inline std::vector<std::uint8_t> cdb_6(std::uint8_t code, std::uint32_t lba, std::uint8_t count) {
  return cdb_of(scsi::BlockCdb6{code, lba, count, 0});
}
inline std::vector<std::uint8_t> cdb_10(std::uint8_t code, std::uint32_t lba, std::uint16_t count,
                                        std::uint8_t flags = 0) {
  return cdb_of(scsi::BlockCdb10{code, flags, lba, 0, count, 0});
}
inline std::vector<std::uint8_t> cdb_12(std::uint8_t code, std::uint32_t lba, std::uint32_t count,
                                        std::uint8_t flags = 0) {
  return cdb_of(scsi::BlockCdb12{code, flags, lba, count, 0, 0});
}
inline std::vector<std::uint8_t> cdb_16(std::uint8_t code, std::uint64_t lba, std::uint32_t count,
                                        std::uint8_t flags = 0) {
  return cdb_of(scsi::BlockCdb16{code, flags, lba, count, 0, 0});
}

inline std::vector<std::uint8_t> read_10(std::uint32_t lba, std::uint16_t count, std::uint8_t flags = 0) {
  return cdb_10(0x28, lba, count, flags);
}
inline std::vector<std::uint8_t> write_10(std::uint32_t lba, std::uint16_t count, std::uint8_t flags = 0) {
  return cdb_10(0x2A, lba, count, flags);
}
inline std::vector<std::uint8_t> compare_and_write(std::uint64_t lba, std::uint8_t count, std::uint8_t flags = 0) {
  return cdb_of(scsi::CompareAndWriteCdb{0x89, flags, lba, {}, count, 0, 0});
}
inline std::vector<std::uint8_t> unmap_cdb(std::uint16_t parameter_list_length) {
  return cdb_of(scsi::UnmapCdb{0x42, 0, {}, 0, parameter_list_length, 0});
}
inline std::vector<std::uint8_t> get_lba_status(std::uint64_t lba, std::uint32_t allocation_length) {
  return cdb_of(scsi::ServiceActionIn16Cdb{0x9E, 0x12, lba, allocation_length, 0, 0});
}

struct Unmapped {
  std::uint64_t lba = 0;
  std::uint32_t count = 0;
};

/// A well-formed UNMAP parameter list.
inline std::vector<std::uint8_t> unmap_list(const std::vector<Unmapped>& descriptors) {
  auto length = static_cast<std::uint16_t>(descriptors.size() * sizeof(scsi::UnmapBlockDescriptor));
  std::vector<std::uint8_t> list;
  base::ByteWriter out(list);
  out.layout(scsi::UnmapHeader{static_cast<std::uint16_t>(length + 6), length, {}});
  for (const Unmapped& unmapped : descriptors) out.layout(scsi::UnmapBlockDescriptor{unmapped.lba, unmapped.count, {}});
  return list;
}

/// What ORWRITE leaves of both.
inline std::vector<std::uint8_t> or_ed(std::vector<std::uint8_t> a, const std::vector<std::uint8_t>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] |= b[i];
  return a;
}

/// `count` bytes that tell their place and `seed` apart.
inline std::vector<std::uint8_t> pattern(std::size_t count, std::uint8_t seed) {
  std::vector<std::uint8_t> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 512 + seed);
  return bytes;
}

}  // namespace test
