#include "host/nt_status.h"

namespace host {

std::string_view name(NtStatus status) {
  switch (status) {
    case NtStatus::success: return "STATUS_SUCCESS";
    case NtStatus::device_busy: return "STATUS_DEVICE_BUSY";
    case NtStatus::no_data_detected: return "STATUS_NO_DATA_DETECTED";
    case NtStatus::cleaner_cartridge_installed: return "STATUS_CLEANER_CARTRIDGE_INSTALLED";
    case NtStatus::unsuccessful: return "STATUS_UNSUCCESSFUL";
    case NtStatus::invalid_handle: return "STATUS_INVALID_HANDLE";
    case NtStatus::invalid_parameter: return "STATUS_INVALID_PARAMETER";
    case NtStatus::no_such_device: return "STATUS_NO_SUCH_DEVICE";
    case NtStatus::invalid_device_request: return "STATUS_INVALID_DEVICE_REQUEST";
    case NtStatus::end_of_file: return "STATUS_END_OF_FILE";
    case NtStatus::no_media_in_device: return "STATUS_NO_MEDIA_IN_DEVICE";
    case NtStatus::unrecognized_media: return "STATUS_UNRECOGNIZED_MEDIA";
    case NtStatus::nonexistent_sector: return "STATUS_NONEXISTENT_SECTOR";
    case NtStatus::access_denied: return "STATUS_ACCESS_DENIED";
    case NtStatus::buffer_too_small: return "STATUS_BUFFER_TOO_SMALL";
    case NtStatus::disk_corrupt_error: return "STATUS_DISK_CORRUPT_ERROR";
    case NtStatus::object_name_invalid: return "STATUS_OBJECT_NAME_INVALID";
    case NtStatus::object_name_not_found: return "STATUS_OBJECT_NAME_NOT_FOUND";
    case NtStatus::object_name_collision: return "STATUS_OBJECT_NAME_COLLISION";
    case NtStatus::object_path_not_found: return "STATUS_OBJECT_PATH_NOT_FOUND";
    case NtStatus::data_overrun: return "STATUS_DATA_OVERRUN";
    case NtStatus::file_lock_conflict: return "STATUS_FILE_LOCK_CONFLICT";
    case NtStatus::lock_not_granted: return "STATUS_LOCK_NOT_GRANTED";
    case NtStatus::delete_pending: return "STATUS_DELETE_PENDING";
    case NtStatus::range_not_locked: return "STATUS_RANGE_NOT_LOCKED";
    case NtStatus::disk_full: return "STATUS_DISK_FULL";
    case NtStatus::insufficient_resources: return "STATUS_INSUFFICIENT_RESOURCES";
    case NtStatus::device_data_error: return "STATUS_DEVICE_DATA_ERROR";
    case NtStatus::device_not_connected: return "STATUS_DEVICE_NOT_CONNECTED";
    case NtStatus::media_write_protected: return "STATUS_MEDIA_WRITE_PROTECTED";
    case NtStatus::device_not_ready: return "STATUS_DEVICE_NOT_READY";
    case NtStatus::io_timeout: return "STATUS_IO_TIMEOUT";
    case NtStatus::file_is_a_directory: return "STATUS_FILE_IS_A_DIRECTORY";
    case NtStatus::not_supported: return "STATUS_NOT_SUPPORTED";
    case NtStatus::directory_not_empty: return "STATUS_DIRECTORY_NOT_EMPTY";
    case NtStatus::file_corrupt_error: return "STATUS_FILE_CORRUPT_ERROR";
    case NtStatus::not_a_directory: return "STATUS_NOT_A_DIRECTORY";
    case NtStatus::file_deleted: return "STATUS_FILE_DELETED";
    case NtStatus::file_closed: return "STATUS_FILE_CLOSED";
    case NtStatus::unrecognized_volume: return "STATUS_UNRECOGNIZED_VOLUME";
    case NtStatus::invalid_block_length: return "STATUS_INVALID_BLOCK_LENGTH";
    case NtStatus::io_device_error: return "STATUS_IO_DEVICE_ERROR";
    case NtStatus::too_late: return "STATUS_TOO_LATE";
    case NtStatus::invalid_lock_range: return "STATUS_INVALID_LOCK_RANGE";
    case NtStatus::retry: return "STATUS_RETRY";
    case NtStatus::volume_dismounted: return "STATUS_VOLUME_DISMOUNTED";
    case NtStatus::copy_protection_failure: return "STATUS_COPY_PROTECTION_FAILURE";
    case NtStatus::css_authentication_failure: return "STATUS_CSS_AUTHENTICATION_FAILURE";
    case NtStatus::css_key_not_present: return "STATUS_CSS_KEY_NOT_PRESENT";
    case NtStatus::css_key_not_established: return "STATUS_CSS_KEY_NOT_ESTABLISHED";
    case NtStatus::css_scrambled_sector: return "STATUS_CSS_SCRAMBLED_SECTOR";
    case NtStatus::css_region_mismatch: return "STATUS_CSS_REGION_MISMATCH";
    case NtStatus::css_resets_exhausted: return "STATUS_CSS_RESETS_EXHAUSTED";
    case NtStatus::beyond_vdl: return "STATUS_BEYOND_VDL";
    case NtStatus::disk_resources_exhausted: return "STATUS_DISK_RESOURCES_EXHAUSTED";
    case NtStatus::device_feature_not_supported: return "STATUS_DEVICE_FEATURE_NOT_SUPPORTED";
    case NtStatus::device_unreachable: return "STATUS_DEVICE_UNREACHABLE";
    case NtStatus::invalid_token: return "STATUS_INVALID_TOKEN";
    case NtStatus::too_many_segment_descriptors: return "STATUS_TOO_MANY_SEGMENT_DESCRIPTORS";
    case NtStatus::invalid_offset_alignment: return "STATUS_INVALID_OFFSET_ALIGNMENT";
    case NtStatus::invalid_field_in_parameter_list: return "STATUS_INVALID_FIELD_IN_PARAMETER_LIST";
    case NtStatus::operation_in_progress: return "STATUS_OPERATION_IN_PROGRESS";
    case NtStatus::invalid_initiator_target_path: return "STATUS_INVALID_INITIATOR_TARGET_PATH";
    case NtStatus::device_hardware_error: return "STATUS_DEVICE_HARDWARE_ERROR";
    case NtStatus::offload_read_flt_not_supported: return "STATUS_OFFLOAD_READ_FLT_NOT_SUPPORTED";
    case NtStatus::offload_write_flt_not_supported: return "STATUS_OFFLOAD_WRITE_FLT_NOT_SUPPORTED";
    case NtStatus::offload_read_file_not_supported: return "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED";
    case NtStatus::offload_write_file_not_supported: return "STATUS_OFFLOAD_WRITE_FILE_NOT_SUPPORTED";
  }
  return "STATUS_?";
}

}  // namespace host
