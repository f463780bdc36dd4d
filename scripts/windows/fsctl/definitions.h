// What winioctl.h, ntifs.h and ntstatus.h of a recent Windows SDK define of ODX and mingw-w64's headers do not: control
// codes, layouts (MS-FSCC 2.3.41 to 2.3.44) in Windows' own spelling, the token, and the names of NTSTATUS values:
// those of host/nt_status.h, and some. Little-endian, as Windows is. host/fsctl_layouts.h has the same layouts; a test
// compares. Thread: any, nothing is shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <windows.h>
// windows.h has to come first
#include <winioctl.h>
#include <winternl.h>

#ifndef FSCTL_OFFLOAD_READ
#define FSCTL_OFFLOAD_READ CTL_CODE(FILE_DEVICE_FILE_SYSTEM, 153, METHOD_BUFFERED, FILE_READ_ACCESS)
#endif
#ifndef FSCTL_OFFLOAD_WRITE
#define FSCTL_OFFLOAD_WRITE CTL_CODE(FILE_DEVICE_FILE_SYSTEM, 154, METHOD_BUFFERED, FILE_WRITE_ACCESS)
#endif
#ifndef OFFLOAD_READ_FLAG_ALL_ZERO_BEYOND_CURRENT_RANGE
#define OFFLOAD_READ_FLAG_ALL_ZERO_BEYOND_CURRENT_RANGE 0x00000001
#endif
#ifndef STORAGE_OFFLOAD_TOKEN_TYPE_ZERO_DATA
#define STORAGE_OFFLOAD_TOKEN_TYPE_ZERO_DATA 0xFFFF0001
#endif

namespace fsctl {

static_assert(FSCTL_OFFLOAD_READ == 0x00094264);
static_assert(FSCTL_OFFLOAD_WRITE == 0x00098268);

inline constexpr std::size_t kTokenSize = 512;

/// STORAGE_OFFLOAD_TOKEN (MS-FSCC 2.1.11). Type and length are big-endian, hence bytes here.
struct OffloadToken {
  std::uint8_t TokenType[4];
  std::uint8_t Reserved[2];
  std::uint8_t TokenIdLength[2];
  std::uint8_t TokenId[504];
};
static_assert(sizeof(OffloadToken) == kTokenSize && offsetof(OffloadToken, TokenId) == 8);

/// FSCTL_OFFLOAD_READ_INPUT (2.3.41).
struct OffloadReadInput {
  std::uint32_t Size;
  std::uint32_t Flags;
  std::uint32_t TokenTimeToLive;  // milliseconds
  std::uint32_t Reserved;
  std::uint64_t FileOffset;
  std::uint64_t CopyLength;
};
static_assert(sizeof(OffloadReadInput) == 32 && offsetof(OffloadReadInput, FileOffset) == 16);

/// FSCTL_OFFLOAD_READ_OUTPUT (2.3.42).
struct OffloadReadOutput {
  std::uint32_t Size;
  std::uint32_t Flags;
  std::uint64_t TransferLength;
  OffloadToken Token;
};
static_assert(sizeof(OffloadReadOutput) == 528 && offsetof(OffloadReadOutput, Token) == 16);

/// FSCTL_OFFLOAD_WRITE_INPUT (2.3.43).
struct OffloadWriteInput {
  std::uint32_t Size;
  std::uint32_t Flags;
  std::uint64_t FileOffset;
  std::uint64_t CopyLength;
  std::uint64_t TransferOffset;
  OffloadToken Token;
};
static_assert(sizeof(OffloadWriteInput) == 544 && offsetof(OffloadWriteInput, Token) == 32);

/// FSCTL_OFFLOAD_WRITE_OUTPUT (2.3.44).
struct OffloadWriteOutput {
  std::uint32_t Size;
  std::uint32_t Flags;
  std::uint64_t LengthWritten;
};
static_assert(sizeof(OffloadWriteOutput) == 16);

/// DEVICE_COPY_OFFLOAD_DESCRIPTOR of IOCTL_STORAGE_QUERY_PROPERTY: VPD pages 8Fh and B0h, lengths in blocks, times in
/// seconds. The SDK's structure is checked against this one where there is one.
inline constexpr std::uint32_t kCopyOffloadProperty = 13;
struct CopyOffloadDescriptor {
  std::uint32_t Version;
  std::uint32_t Size;
  std::uint32_t MaximumTokenLifetime;
  std::uint32_t DefaultTokenLifetime;
  std::uint64_t MaximumTransferSize;
  std::uint64_t OptimalTransferCount;
  std::uint32_t MaximumDataDescriptors;
  std::uint32_t MaximumTransferLengthPerDescriptor;
  std::uint32_t OptimalTransferLengthPerDescriptor;
  std::uint16_t OptimalTransferLengthGranularity;
  std::uint8_t Reserved[2];
};
static_assert(sizeof(CopyOffloadDescriptor) == 48 &&
              sizeof(CopyOffloadDescriptor) == sizeof(DEVICE_COPY_OFFLOAD_DESCRIPTOR));
static_assert(offsetof(CopyOffloadDescriptor, OptimalTransferLengthGranularity) ==
              offsetof(DEVICE_COPY_OFFLOAD_DESCRIPTOR, OptimalTransferLengthGranularity));

struct FieldLayout {
  std::string_view name;
  std::size_t offset;
  std::size_t size;
};
struct Layout {
  std::string_view name;
  std::size_t size;
  std::span<const FieldLayout> fields;
};
/// Each structure above, as it was compiled.
std::span<const Layout> layouts();

struct StatusName {
  std::uint32_t value;
  std::string_view name;
};
/// Every NTSTATUS this program can name.
std::span<const StatusName> status_names();
/// "STATUS_INVALID_TOKEN"; "STATUS_?" for a value not in the table.
std::string_view status_name(NTSTATUS status);
/// "0xC0000465 STATUS_INVALID_TOKEN"
std::string status_text(NTSTATUS status);

}  // namespace fsctl
