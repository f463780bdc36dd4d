// NTSTATUS values an ODX client can meet (MS-ERREF 2.3.1), by the names Windows gives them.
// Thread: any, nothing is shared.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace host {

enum class NtStatus : std::uint32_t {
  success = 0x00000000,
  device_busy = 0x80000011,
  no_data_detected = 0x80000022,
  cleaner_cartridge_installed = 0x80000027,
  unsuccessful = 0xC0000001,
  invalid_handle = 0xC0000008,
  invalid_parameter = 0xC000000D,
  no_such_device = 0xC000000E,
  invalid_device_request = 0xC0000010,
  end_of_file = 0xC0000011,
  no_media_in_device = 0xC0000013,
  unrecognized_media = 0xC0000014,
  nonexistent_sector = 0xC0000015,
  access_denied = 0xC0000022,
  buffer_too_small = 0xC0000023,
  disk_corrupt_error = 0xC0000032,
  object_name_invalid = 0xC0000033,
  object_name_not_found = 0xC0000034,
  object_name_collision = 0xC0000035,
  object_path_not_found = 0xC000003A,
  data_overrun = 0xC000003C,
  sharing_violation = 0xC0000043,
  file_lock_conflict = 0xC0000054,
  lock_not_granted = 0xC0000055,
  delete_pending = 0xC0000056,
  range_not_locked = 0xC000007E,
  disk_full = 0xC000007F,
  insufficient_resources = 0xC000009A,
  device_data_error = 0xC000009C,
  device_not_connected = 0xC000009D,
  media_write_protected = 0xC00000A2,
  device_not_ready = 0xC00000A3,
  io_timeout = 0xC00000B5,
  file_is_a_directory = 0xC00000BA,
  not_supported = 0xC00000BB,
  directory_not_empty = 0xC0000101,
  file_corrupt_error = 0xC0000102,
  not_a_directory = 0xC0000103,
  cancelled = 0xC0000120,
  file_deleted = 0xC0000123,
  file_closed = 0xC0000128,
  unrecognized_volume = 0xC000014F,
  invalid_block_length = 0xC0000173,
  io_device_error = 0xC0000185,
  too_late = 0xC0000189,
  invalid_lock_range = 0xC00001A1,
  retry = 0xC000022D,
  volume_dismounted = 0xC000026E,
  io_reparse_tag_not_handled = 0xC0000279,
  copy_protection_failure = 0xC0000305,
  css_authentication_failure = 0xC0000306,
  css_key_not_present = 0xC0000307,
  css_key_not_established = 0xC0000308,
  css_scrambled_sector = 0xC0000309,
  css_region_mismatch = 0xC000030A,
  css_resets_exhausted = 0xC000030B,
  beyond_vdl = 0xC0000432,
  disk_resources_exhausted = 0xC0000461,
  device_feature_not_supported = 0xC0000463,
  device_unreachable = 0xC0000464,
  invalid_token = 0xC0000465,
  too_many_segment_descriptors = 0xC0000473,
  invalid_offset_alignment = 0xC0000474,
  invalid_field_in_parameter_list = 0xC0000475,
  operation_in_progress = 0xC0000476,
  invalid_initiator_target_path = 0xC0000477,
  device_hardware_error = 0xC0000483,
  volume_dirty = 0xC0000806,
  offload_read_flt_not_supported = 0xC000A2A1,
  offload_write_flt_not_supported = 0xC000A2A2,
  offload_read_file_not_supported = 0xC000A2A3,
  offload_write_file_not_supported = 0xC000A2A4,
};

struct NamedStatus {
  NtStatus value;
  std::string_view name;
};
/// All of them.
std::span<const NamedStatus> named_statuses();
/// "STATUS_INVALID_TOKEN"; "STATUS_?" for a value not named above.
std::string_view name(NtStatus status);

/// NT_SUCCESS: neither warning (80000000h) nor error.
constexpr bool succeeded(NtStatus status) {
  constexpr std::uint32_t kFirstWarning = 0x80000000;
  return static_cast<std::uint32_t>(status) < kFirstWarning;
}

}  // namespace host
