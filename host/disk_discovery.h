// What classpnp and disk.sys learn of a disk when it arrives, and the only gate to ODX: pages 00h and 8Fh.
// Pure functions of the bytes that came; asking for them is ClassDriver's work.
// Thread: any, nothing is shared.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace host {

/// The pages classpnp looks for in VPD 00h.
struct SupportedPages {
  bool third_party_copy = false;       ///< 8Fh
  bool block_limits = false;           ///< B0h
  bool block_characteristics = false;  ///< B1h
  bool provisioning = false;           ///< B2h
};

/// Reads VPD 00h as classpnp does: PAGE LENGTH from byte 3 alone, the first page listed must be 00h, and the list
/// strictly ascending, else none of the four flags stays. The error says which rule broke.
std::expected<SupportedPages, std::string> read_supported_pages(base::Bytes page);

/// Block Device ROD Limits, in blocks of the logical unit. 0 means not reported.
struct RodLimits {
  std::uint16_t maximum_range_descriptors = 0;
  std::uint32_t maximum_inactivity_timeout_s = 0;
  std::uint32_t default_inactivity_timeout_s = 0;
  std::uint64_t maximum_token_transfer_blocks = 0;
  std::uint64_t optimal_transfer_blocks = 0;
};

/// Reads VPD 8Fh as classpnp does: PAGE LENGTH 36 or more, and the first descriptor of type 0000h and length 0020h.
/// The page code is not compared, the numbers are not judged. The error says which rule broke.
std::expected<RodLimits, std::string> read_rod_limits(base::Bytes page);

/// One designation descriptor of VPD 83h (SPC-4 7.8.6).
struct Designator {
  std::uint8_t code_set = 0;     ///< 1: binary
  std::uint8_t association = 0;  ///< 0: the logical unit, 1: a target port, 2: the target device
  std::uint8_t type = 0;         ///< 2: EUI-64, 3: NAA, 8: SCSI name string
  base::Bytes value{};           ///< borrowed from the page
};

/// What VPD 83h lists, as far as it goes; the last one may be cut.
std::vector<Designator> read_designators(base::Bytes page);

/// Whether VPD B2h makes the disk thin for Windows: PROVISIONING TYPE 2 and LBPU 1.
bool read_thin(base::Bytes page);

struct Disk {
  std::uint32_t block_length = 0;
  std::uint64_t blocks = 0;
  bool write_protected = false;
  bool thin = false;
  bool cdb16 = false;  ///< READ CAPACITY(10) said FFFFFFFFh: READ(16) and WRITE(16) from then on
  SupportedPages pages{};
  std::optional<RodLimits> rod_limits{};  ///< nothing: no ODX
  std::string no_odx_reason{};            ///< for people, when there is none

  std::uint64_t bytes() const { return blocks * block_length; }
};

}  // namespace host
