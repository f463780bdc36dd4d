#include "fsctl/definitions.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace fsctl {
namespace {

#define ODX_FIELD(structure, field) \
  FieldLayout { #field, offsetof(structure, field), sizeof(structure::field) }

constexpr FieldLayout kOffloadToken[] = {
    ODX_FIELD(OffloadToken, TokenType),
    ODX_FIELD(OffloadToken, Reserved),
    ODX_FIELD(OffloadToken, TokenIdLength),
    ODX_FIELD(OffloadToken, TokenId),
};
constexpr FieldLayout kOffloadReadInput[] = {
    ODX_FIELD(OffloadReadInput, Size),
    ODX_FIELD(OffloadReadInput, Flags),
    ODX_FIELD(OffloadReadInput, TokenTimeToLive),
    ODX_FIELD(OffloadReadInput, Reserved),
    ODX_FIELD(OffloadReadInput, FileOffset),
    ODX_FIELD(OffloadReadInput, CopyLength),
};
constexpr FieldLayout kOffloadReadOutput[] = {
    ODX_FIELD(OffloadReadOutput, Size),
    ODX_FIELD(OffloadReadOutput, Flags),
    ODX_FIELD(OffloadReadOutput, TransferLength),
    ODX_FIELD(OffloadReadOutput, Token),
};
constexpr FieldLayout kOffloadWriteInput[] = {
    ODX_FIELD(OffloadWriteInput, Size),           ODX_FIELD(OffloadWriteInput, Flags),
    ODX_FIELD(OffloadWriteInput, FileOffset),     ODX_FIELD(OffloadWriteInput, CopyLength),
    ODX_FIELD(OffloadWriteInput, TransferOffset), ODX_FIELD(OffloadWriteInput, Token),
};
constexpr FieldLayout kOffloadWriteOutput[] = {
    ODX_FIELD(OffloadWriteOutput, Size),
    ODX_FIELD(OffloadWriteOutput, Flags),
    ODX_FIELD(OffloadWriteOutput, LengthWritten),
};
constexpr FieldLayout kCopyOffloadDescriptor[] = {
    ODX_FIELD(CopyOffloadDescriptor, Version),
    ODX_FIELD(CopyOffloadDescriptor, Size),
    ODX_FIELD(CopyOffloadDescriptor, MaximumTokenLifetime),
    ODX_FIELD(CopyOffloadDescriptor, DefaultTokenLifetime),
    ODX_FIELD(CopyOffloadDescriptor, MaximumTransferSize),
    ODX_FIELD(CopyOffloadDescriptor, OptimalTransferCount),
    ODX_FIELD(CopyOffloadDescriptor, MaximumDataDescriptors),
    ODX_FIELD(CopyOffloadDescriptor, MaximumTransferLengthPerDescriptor),
    ODX_FIELD(CopyOffloadDescriptor, OptimalTransferLengthPerDescriptor),
    ODX_FIELD(CopyOffloadDescriptor, OptimalTransferLengthGranularity),
    ODX_FIELD(CopyOffloadDescriptor, Reserved),
};
#undef ODX_FIELD

constexpr Layout kLayouts[] = {
    {"STORAGE_OFFLOAD_TOKEN", sizeof(OffloadToken), kOffloadToken},
    {"FSCTL_OFFLOAD_READ_INPUT", sizeof(OffloadReadInput), kOffloadReadInput},
    {"FSCTL_OFFLOAD_READ_OUTPUT", sizeof(OffloadReadOutput), kOffloadReadOutput},
    {"FSCTL_OFFLOAD_WRITE_INPUT", sizeof(OffloadWriteInput), kOffloadWriteInput},
    {"FSCTL_OFFLOAD_WRITE_OUTPUT", sizeof(OffloadWriteOutput), kOffloadWriteOutput},
    {"DEVICE_COPY_OFFLOAD_DESCRIPTOR", sizeof(CopyOffloadDescriptor), kCopyOffloadDescriptor},
};

constexpr StatusName kStatusNames[] = {
    {0x00000000, "STATUS_SUCCESS"},
    {0x00000103, "STATUS_PENDING"},
    {0x80000005, "STATUS_BUFFER_OVERFLOW"},
    {0x80000006, "STATUS_NO_MORE_FILES"},
    {0x80000011, "STATUS_DEVICE_BUSY"},
    {0x80000022, "STATUS_NO_DATA_DETECTED"},
    {0x80000027, "STATUS_CLEANER_CARTRIDGE_INSTALLED"},
    {0xC0000001, "STATUS_UNSUCCESSFUL"},
    {0xC0000002, "STATUS_NOT_IMPLEMENTED"},
    {0xC0000003, "STATUS_INVALID_INFO_CLASS"},
    {0xC0000004, "STATUS_INFO_LENGTH_MISMATCH"},
    {0xC0000008, "STATUS_INVALID_HANDLE"},
    {0xC000000D, "STATUS_INVALID_PARAMETER"},
    {0xC000000E, "STATUS_NO_SUCH_DEVICE"},
    {0xC0000010, "STATUS_INVALID_DEVICE_REQUEST"},
    {0xC0000011, "STATUS_END_OF_FILE"},
    {0xC0000013, "STATUS_NO_MEDIA_IN_DEVICE"},
    {0xC0000014, "STATUS_UNRECOGNIZED_MEDIA"},
    {0xC0000015, "STATUS_NONEXISTENT_SECTOR"},
    {0xC0000022, "STATUS_ACCESS_DENIED"},
    {0xC0000023, "STATUS_BUFFER_TOO_SMALL"},
    {0xC0000024, "STATUS_OBJECT_TYPE_MISMATCH"},
    {0xC0000032, "STATUS_DISK_CORRUPT_ERROR"},
    {0xC0000033, "STATUS_OBJECT_NAME_INVALID"},
    {0xC0000034, "STATUS_OBJECT_NAME_NOT_FOUND"},
    {0xC0000035, "STATUS_OBJECT_NAME_COLLISION"},
    {0xC000003A, "STATUS_OBJECT_PATH_NOT_FOUND"},
    {0xC000003B, "STATUS_OBJECT_PATH_SYNTAX_BAD"},
    {0xC000003C, "STATUS_DATA_OVERRUN"},
    {0xC0000043, "STATUS_SHARING_VIOLATION"},
    {0xC0000054, "STATUS_FILE_LOCK_CONFLICT"},
    {0xC0000055, "STATUS_LOCK_NOT_GRANTED"},
    {0xC0000056, "STATUS_DELETE_PENDING"},
    {0xC0000061, "STATUS_PRIVILEGE_NOT_HELD"},
    {0xC000007E, "STATUS_RANGE_NOT_LOCKED"},
    {0xC000007F, "STATUS_DISK_FULL"},
    {0xC000009A, "STATUS_INSUFFICIENT_RESOURCES"},
    {0xC000009C, "STATUS_DEVICE_DATA_ERROR"},
    {0xC000009D, "STATUS_DEVICE_NOT_CONNECTED"},
    {0xC00000A2, "STATUS_MEDIA_WRITE_PROTECTED"},
    {0xC00000A3, "STATUS_DEVICE_NOT_READY"},
    {0xC00000B5, "STATUS_IO_TIMEOUT"},
    {0xC00000BA, "STATUS_FILE_IS_A_DIRECTORY"},
    {0xC00000BB, "STATUS_NOT_SUPPORTED"},
    {0xC0000101, "STATUS_DIRECTORY_NOT_EMPTY"},
    {0xC0000102, "STATUS_FILE_CORRUPT_ERROR"},
    {0xC0000103, "STATUS_NOT_A_DIRECTORY"},
    {0xC0000120, "STATUS_CANCELLED"},
    {0xC0000121, "STATUS_CANNOT_DELETE"},
    {0xC0000123, "STATUS_FILE_DELETED"},
    {0xC0000128, "STATUS_FILE_CLOSED"},
    {0xC000014F, "STATUS_UNRECOGNIZED_VOLUME"},
    {0xC0000173, "STATUS_INVALID_BLOCK_LENGTH"},
    {0xC0000185, "STATUS_IO_DEVICE_ERROR"},
    {0xC0000189, "STATUS_TOO_LATE"},
    {0xC00001A1, "STATUS_INVALID_LOCK_RANGE"},
    {0xC0000206, "STATUS_INVALID_BUFFER_SIZE"},
    {0xC000022D, "STATUS_RETRY"},
    {0xC000026E, "STATUS_VOLUME_DISMOUNTED"},
    {0xC0000279, "STATUS_IO_REPARSE_TAG_NOT_HANDLED"},
    {0xC0000305, "STATUS_COPY_PROTECTION_FAILURE"},
    {0xC0000306, "STATUS_CSS_AUTHENTICATION_FAILURE"},
    {0xC0000307, "STATUS_CSS_KEY_NOT_PRESENT"},
    {0xC0000308, "STATUS_CSS_KEY_NOT_ESTABLISHED"},
    {0xC0000309, "STATUS_CSS_SCRAMBLED_SECTOR"},
    {0xC000030A, "STATUS_CSS_REGION_MISMATCH"},
    {0xC000030B, "STATUS_CSS_RESETS_EXHAUSTED"},
    {0xC0000432, "STATUS_BEYOND_VDL"},
    {0xC0000461, "STATUS_DISK_RESOURCES_EXHAUSTED"},
    {0xC0000463, "STATUS_DEVICE_FEATURE_NOT_SUPPORTED"},
    {0xC0000464, "STATUS_DEVICE_UNREACHABLE"},
    {0xC0000465, "STATUS_INVALID_TOKEN"},
    {0xC0000473, "STATUS_TOO_MANY_SEGMENT_DESCRIPTORS"},
    {0xC0000474, "STATUS_INVALID_OFFSET_ALIGNMENT"},
    {0xC0000475, "STATUS_INVALID_FIELD_IN_PARAMETER_LIST"},
    {0xC0000476, "STATUS_OPERATION_IN_PROGRESS"},
    {0xC0000477, "STATUS_INVALID_INITIATOR_TARGET_PATH"},
    {0xC0000483, "STATUS_DEVICE_HARDWARE_ERROR"},
    {0xC0000806, "STATUS_VOLUME_DIRTY"},
    {0xC000A2A1, "STATUS_OFFLOAD_READ_FLT_NOT_SUPPORTED"},
    {0xC000A2A2, "STATUS_OFFLOAD_WRITE_FLT_NOT_SUPPORTED"},
    {0xC000A2A3, "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED"},
    {0xC000A2A4, "STATUS_OFFLOAD_WRITE_FILE_NOT_SUPPORTED"},
};
static_assert(std::ranges::is_sorted(kStatusNames, {}, &StatusName::value));

}  // namespace

std::span<const Layout> layouts() { return kLayouts; }

std::span<const StatusName> status_names() { return kStatusNames; }

std::string_view status_name(NTSTATUS status) {
  const auto value = static_cast<std::uint32_t>(status);
  const auto* const found = std::ranges::lower_bound(kStatusNames, value, {}, &StatusName::value);
  return found != std::end(kStatusNames) && found->value == value ? found->name : "STATUS_?";
}

std::string status_text(NTSTATUS status) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08lX ", static_cast<unsigned long>(status));
  return text + std::string(status_name(status));
}

}  // namespace fsctl
