#include "fsctl/definitions.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "host/nt_status.h"

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

/// What a Windows host may answer besides what the host model knows.
constexpr StatusName kOfWindowsAlone[] = {
    {0x00000103, "STATUS_PENDING"},
    {0x80000005, "STATUS_BUFFER_OVERFLOW"},
    {0x80000006, "STATUS_NO_MORE_FILES"},
    {0xC0000002, "STATUS_NOT_IMPLEMENTED"},
    {0xC0000003, "STATUS_INVALID_INFO_CLASS"},
    {0xC0000004, "STATUS_INFO_LENGTH_MISMATCH"},
    {0xC0000024, "STATUS_OBJECT_TYPE_MISMATCH"},
    {0xC000003B, "STATUS_OBJECT_PATH_SYNTAX_BAD"},
    {0xC0000061, "STATUS_PRIVILEGE_NOT_HELD"},
    {0xC0000121, "STATUS_CANNOT_DELETE"},
    {0xC0000206, "STATUS_INVALID_BUFFER_SIZE"},
};

}  // namespace

std::span<const Layout> layouts() { return kLayouts; }

std::span<const StatusName> status_names() {
  static const std::vector<StatusName> all = [] {
    std::vector<StatusName> names(std::begin(kOfWindowsAlone), std::end(kOfWindowsAlone));
    for (const host::NamedStatus& status : host::named_statuses())
      names.push_back({static_cast<std::uint32_t>(status.value), status.name});
    std::ranges::sort(names, {}, &StatusName::value);
    return names;
  }();
  return all;
}

std::string_view status_name(NTSTATUS status) {
  const auto value = static_cast<std::uint32_t>(status);
  const std::span<const StatusName> all = status_names();
  const auto found = std::ranges::lower_bound(all, value, {}, &StatusName::value);
  return found != all.end() && found->value == value ? found->name : "STATUS_?";
}

std::string status_text(NTSTATUS status) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08lX ", static_cast<unsigned long>(status));
  return text + std::string(status_name(status));
}

}  // namespace fsctl
