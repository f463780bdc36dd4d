#include "host/nt_status.h"

#include <algorithm>
#include <iterator>

namespace host {

namespace {

constexpr NamedStatus kNames[] = {
    {NtStatus::success, "STATUS_SUCCESS"},
    {NtStatus::device_busy, "STATUS_DEVICE_BUSY"},
    {NtStatus::no_data_detected, "STATUS_NO_DATA_DETECTED"},
    {NtStatus::cleaner_cartridge_installed, "STATUS_CLEANER_CARTRIDGE_INSTALLED"},
    {NtStatus::unsuccessful, "STATUS_UNSUCCESSFUL"},
    {NtStatus::invalid_handle, "STATUS_INVALID_HANDLE"},
    {NtStatus::invalid_parameter, "STATUS_INVALID_PARAMETER"},
    {NtStatus::no_such_device, "STATUS_NO_SUCH_DEVICE"},
    {NtStatus::invalid_device_request, "STATUS_INVALID_DEVICE_REQUEST"},
    {NtStatus::end_of_file, "STATUS_END_OF_FILE"},
    {NtStatus::no_media_in_device, "STATUS_NO_MEDIA_IN_DEVICE"},
    {NtStatus::unrecognized_media, "STATUS_UNRECOGNIZED_MEDIA"},
    {NtStatus::nonexistent_sector, "STATUS_NONEXISTENT_SECTOR"},
    {NtStatus::access_denied, "STATUS_ACCESS_DENIED"},
    {NtStatus::buffer_too_small, "STATUS_BUFFER_TOO_SMALL"},
    {NtStatus::disk_corrupt_error, "STATUS_DISK_CORRUPT_ERROR"},
    {NtStatus::object_name_invalid, "STATUS_OBJECT_NAME_INVALID"},
    {NtStatus::object_name_not_found, "STATUS_OBJECT_NAME_NOT_FOUND"},
    {NtStatus::object_name_collision, "STATUS_OBJECT_NAME_COLLISION"},
    {NtStatus::object_path_not_found, "STATUS_OBJECT_PATH_NOT_FOUND"},
    {NtStatus::data_overrun, "STATUS_DATA_OVERRUN"},
    {NtStatus::sharing_violation, "STATUS_SHARING_VIOLATION"},
    {NtStatus::file_lock_conflict, "STATUS_FILE_LOCK_CONFLICT"},
    {NtStatus::lock_not_granted, "STATUS_LOCK_NOT_GRANTED"},
    {NtStatus::delete_pending, "STATUS_DELETE_PENDING"},
    {NtStatus::range_not_locked, "STATUS_RANGE_NOT_LOCKED"},
    {NtStatus::disk_full, "STATUS_DISK_FULL"},
    {NtStatus::insufficient_resources, "STATUS_INSUFFICIENT_RESOURCES"},
    {NtStatus::device_data_error, "STATUS_DEVICE_DATA_ERROR"},
    {NtStatus::device_not_connected, "STATUS_DEVICE_NOT_CONNECTED"},
    {NtStatus::media_write_protected, "STATUS_MEDIA_WRITE_PROTECTED"},
    {NtStatus::device_not_ready, "STATUS_DEVICE_NOT_READY"},
    {NtStatus::io_timeout, "STATUS_IO_TIMEOUT"},
    {NtStatus::file_is_a_directory, "STATUS_FILE_IS_A_DIRECTORY"},
    {NtStatus::not_supported, "STATUS_NOT_SUPPORTED"},
    {NtStatus::directory_not_empty, "STATUS_DIRECTORY_NOT_EMPTY"},
    {NtStatus::file_corrupt_error, "STATUS_FILE_CORRUPT_ERROR"},
    {NtStatus::not_a_directory, "STATUS_NOT_A_DIRECTORY"},
    {NtStatus::cancelled, "STATUS_CANCELLED"},
    {NtStatus::file_deleted, "STATUS_FILE_DELETED"},
    {NtStatus::file_closed, "STATUS_FILE_CLOSED"},
    {NtStatus::unrecognized_volume, "STATUS_UNRECOGNIZED_VOLUME"},
    {NtStatus::invalid_block_length, "STATUS_INVALID_BLOCK_LENGTH"},
    {NtStatus::io_device_error, "STATUS_IO_DEVICE_ERROR"},
    {NtStatus::too_late, "STATUS_TOO_LATE"},
    {NtStatus::invalid_lock_range, "STATUS_INVALID_LOCK_RANGE"},
    {NtStatus::retry, "STATUS_RETRY"},
    {NtStatus::volume_dismounted, "STATUS_VOLUME_DISMOUNTED"},
    {NtStatus::io_reparse_tag_not_handled, "STATUS_IO_REPARSE_TAG_NOT_HANDLED"},
    {NtStatus::copy_protection_failure, "STATUS_COPY_PROTECTION_FAILURE"},
    {NtStatus::css_authentication_failure, "STATUS_CSS_AUTHENTICATION_FAILURE"},
    {NtStatus::css_key_not_present, "STATUS_CSS_KEY_NOT_PRESENT"},
    {NtStatus::css_key_not_established, "STATUS_CSS_KEY_NOT_ESTABLISHED"},
    {NtStatus::css_scrambled_sector, "STATUS_CSS_SCRAMBLED_SECTOR"},
    {NtStatus::css_region_mismatch, "STATUS_CSS_REGION_MISMATCH"},
    {NtStatus::css_resets_exhausted, "STATUS_CSS_RESETS_EXHAUSTED"},
    {NtStatus::beyond_vdl, "STATUS_BEYOND_VDL"},
    {NtStatus::disk_resources_exhausted, "STATUS_DISK_RESOURCES_EXHAUSTED"},
    {NtStatus::device_feature_not_supported, "STATUS_DEVICE_FEATURE_NOT_SUPPORTED"},
    {NtStatus::device_unreachable, "STATUS_DEVICE_UNREACHABLE"},
    {NtStatus::invalid_token, "STATUS_INVALID_TOKEN"},
    {NtStatus::too_many_segment_descriptors, "STATUS_TOO_MANY_SEGMENT_DESCRIPTORS"},
    {NtStatus::invalid_offset_alignment, "STATUS_INVALID_OFFSET_ALIGNMENT"},
    {NtStatus::invalid_field_in_parameter_list, "STATUS_INVALID_FIELD_IN_PARAMETER_LIST"},
    {NtStatus::operation_in_progress, "STATUS_OPERATION_IN_PROGRESS"},
    {NtStatus::invalid_initiator_target_path, "STATUS_INVALID_INITIATOR_TARGET_PATH"},
    {NtStatus::device_hardware_error, "STATUS_DEVICE_HARDWARE_ERROR"},
    {NtStatus::volume_dirty, "STATUS_VOLUME_DIRTY"},
    {NtStatus::offload_read_flt_not_supported, "STATUS_OFFLOAD_READ_FLT_NOT_SUPPORTED"},
    {NtStatus::offload_write_flt_not_supported, "STATUS_OFFLOAD_WRITE_FLT_NOT_SUPPORTED"},
    {NtStatus::offload_read_file_not_supported, "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED"},
    {NtStatus::offload_write_file_not_supported, "STATUS_OFFLOAD_WRITE_FILE_NOT_SUPPORTED"},
};

}  // namespace

std::span<const NamedStatus> named_statuses() { return kNames; }

std::string_view name(NtStatus status) {
  const auto row = std::ranges::find(kNames, status, &NamedStatus::value);
  return row == std::end(kNames) ? "STATUS_?" : row->name;
}

}  // namespace host
