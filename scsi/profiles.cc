#include "scsi/profiles.h"

#include <algorithm>
#include <array>
#include <initializer_list>

namespace scsi {

namespace {

using tokens::RodType;

constexpr std::uint64_t kMiB = 1ull << 20;

std::vector<tokens::RodTypeSupport> rows_of(std::initializer_list<RodType> types) {
  std::vector<tokens::RodTypeSupport> rows;
  for (const tokens::RodTypeSupport& row : tokens::all_rod_types())
    if (std::ranges::find(types, row.type) != types.end()) rows.push_back(row);
  return rows;
}

DeviceProfile copying() {
  DeviceProfile profile;
  // 256 MiB, the most that Windows asks for in one command, in 1.3 s: well within its 4 s.
  profile.copy_duration = {.latency_us = 10'000, .bytes_per_second = 200 * kMiB};
  return profile;
}

/// Microsoft (ifs/offloaded-data-transfers): an array may invalidate a token whose source is written, or keep the old
/// data. This one invalidates.
DeviceProfile change_vulnerable() {
  DeviceProfile profile;
  profile.source_write_cancels = true;
  return profile;
}

/// NetApp: tokens of 8 MB over SMB, so many tokens for one file. What SAN hosts are told is not documented; the same
/// figure is used.
DeviceProfile ontap_like() {
  DeviceProfile profile;
  profile.maximum_token_transfer_bytes = 8 * kMiB;
  profile.optimal_transfer_bytes = 8 * kMiB;
  return profile;
}

/// Dell KB 000388631: host pieces of 64 MB, at most 256 MB for an extent, answered at once while the blocks are copied
/// in the background (which reads show as if it were done).
DeviceProfile powermax_like() {
  DeviceProfile profile;
  profile.maximum_token_transfer_bytes = 256 * kMiB;
  profile.optimal_transfer_bytes = 64 * kMiB;
  return profile;
}

/// Pure Storage: copies change references only, and do not reach across pods or arrays. Which refusal that is, is not
/// documented: SPC-4 5.17.6.4 names 23h/02h where REMOTE TOKENS is 0h.
DeviceProfile pure_like() {
  DeviceProfile profile;
  profile.remote_tokens = 0;
  profile.unreachable_refusal = UnreachableRefusal::remote_token_usage_not_supported;
  return profile;
}

/// The VPD 8Fh of an HP 3PAR in ddptctl(8): 8 ranges, 30 s by default and 60 s at most, 524288 blocks both at most and
/// at best, ROD type 0080 0000h.
DeviceProfile three_par_like() {
  DeviceProfile profile;
  profile.maximum_range_descriptors = 8;
  profile.default_inactivity_timeout_s = 30;
  profile.maximum_inactivity_timeout_s = 60;
  profile.maximum_token_transfer_bytes = 256 * kMiB;
  profile.optimal_transfer_bytes = 256 * kMiB;
  profile.rod_types = rows_of({RodType::point_in_time_default, RodType::block_device_zero});
  return profile;
}

/// QNAP's Linux target (mlpzaq9998/linux-4.2, target_core_qodx*): 8 ranges, 30 s by default and 32 s at most, 64 MiB
/// at best and 128 MiB at most (a comment there says 512 MiB), more than the token holds is 0Dh/04h.
DeviceProfile qnap_like() {
  DeviceProfile profile;
  profile.maximum_range_descriptors = 8;
  profile.default_inactivity_timeout_s = 30;
  profile.maximum_inactivity_timeout_s = 32;
  profile.maximum_token_transfer_bytes = 128 * kMiB;
  profile.optimal_transfer_bytes = 64 * kMiB;
  profile.rod_types = rows_of({RodType::point_in_time_default, RodType::block_device_zero});
  return profile;
}

/// QUADStor (allfs/quadstorvirt, core/copymgr.c): 1 range, 4 MiB, inactivity 35 s by default and 60 s at most, lives of
/// 300 to 600 s, three point in time types, REMOTE TOKENS 4h.
DeviceProfile quadstor_like() {
  DeviceProfile profile;
  profile.maximum_range_descriptors = 1;
  profile.default_inactivity_timeout_s = 35;
  profile.maximum_inactivity_timeout_s = 60;
  profile.maximum_token_transfer_bytes = 4 * kMiB;
  profile.optimal_transfer_bytes = 4 * kMiB;
  profile.token_lifetime_s = 600;
  profile.minimum_token_lifetime_s = 300;
  profile.maximum_token_lifetime_s = 600;
  profile.rod_types = rows_of({RodType::point_in_time_default, RodType::point_in_time_change_vulnerable,
                               RodType::point_in_time_persistent, RodType::block_device_zero});
  profile.remote_tokens = 4;
  return profile;
}

/// FreeBSD's CTL (sys/cam/ctl/ctl_tpc.c): 64 ranges, 60 s by default and 600 s at most, no limit on their sum, POPULATE
/// TOKEN makes access upon reference tokens and takes no other type, a token lives as long as it is used; REMOTE
/// TOKENS 0h although a token works on every logical unit of the machine; 64 CSCD and 64 segment descriptors in 8192
/// bytes, no inline and no held data, 255 lists at once.
DeviceProfile freebsd_ctl_like() {
  DeviceProfile profile;
  profile.maximum_range_descriptors = 64;
  profile.default_inactivity_timeout_s = 60;
  profile.maximum_inactivity_timeout_s = 600;
  profile.maximum_token_transfer_bytes = 0;
  profile.optimal_transfer_bytes = 0;
  profile.token_lifetime_s = UINT32_MAX;
  profile.minimum_token_lifetime_s = 1;
  profile.maximum_token_lifetime_s = UINT32_MAX;
  profile.rod_types = rows_of({RodType::access_upon_reference, RodType::block_device_zero});
  profile.rod_types.front().point_in_time = true;  // POPULATE TOKEN may name it there
  profile.rod_types.front().internal = false;
  profile.populate_token_type = RodType::access_upon_reference;
  profile.remote_tokens = 0;
  profile.maximum_copy_operations = 255;
  profile.maximum_cscd_descriptors = 64;
  profile.maximum_segment_descriptors = 64;
  profile.maximum_descriptor_list_bytes = 8192;
  profile.maximum_inline_data_bytes = 0;
  profile.held_data_limit_bytes = 0;
  return profile;
}

DeviceProfile no_odx() {
  DeviceProfile profile;
  profile.odx = false;
  return profile;
}

DeviceProfile no_third_party_copy() {
  DeviceProfile profile;
  profile.odx = false;
  profile.extended_copy = false;
  profile.background = false;
  return profile;
}

}  // namespace

std::span<const NamedProfile> profiles() {
  static const std::array kProfiles{
      NamedProfile{"instant", "everything odx can do, and a copy takes no time", DeviceProfile{}},
      NamedProfile{"copying", "as instant, but a copy takes 10 ms and then a second for each 200 MiB", copying()},
      NamedProfile{"change-vulnerable", "as instant, but a write to its source cancels a token", change_vulnerable()},
      NamedProfile{"ontap-like", "tokens of 8 MiB", ontap_like()},
      NamedProfile{"powermax-like", "tokens of 256 MiB, pieces of 64 MiB", powermax_like()},
      NamedProfile{"pure-like", "no token works on another array, at once on its own", pure_like()},
      NamedProfile{"3par-like", "8 ranges, tokens of 256 MiB that end after 30 seconds without use", three_par_like()},
      NamedProfile{"qnap-like", "8 ranges, tokens of 128 MiB that end after 30 seconds without use", qnap_like()},
      NamedProfile{"quadstor-like", "1 range, tokens of 4 MiB that end after 10 minutes", quadstor_like()},
      NamedProfile{"freebsd-ctl-like", "tokens are references: writes to their source show through",
                   freebsd_ctl_like()},
      NamedProfile{"no-odx", "EXTENDED COPY, but no POPULATE TOKEN and WRITE USING TOKEN", no_odx()},
      NamedProfile{"no-third-party-copy", "no third-party copy of any kind", no_third_party_copy()}};
  return kProfiles;
}

std::optional<DeviceProfile> find_profile(std::string_view name) {
  auto found = std::ranges::find(profiles(), name, &NamedProfile::name);
  if (found == profiles().end()) return std::nullopt;
  return found->profile;
}

}  // namespace scsi
