#include "fsctl/device.h"

#include <algorithm>

#include "fsctl/options.h"
#include "fsctl/output.h"

namespace fsctl {
namespace {

// winternl.h names no information class of these four; the numbers are MS-FSCC 2.4 and 2.5's.
constexpr auto kFileStandardInformation = static_cast<FILE_INFORMATION_CLASS>(5);
constexpr auto kFileDispositionInformation = static_cast<FILE_INFORMATION_CLASS>(13);
constexpr auto kFileEndOfFileInformation = static_cast<FILE_INFORMATION_CLASS>(20);
constexpr auto kFileFsSizeInformation = static_cast<FS_INFORMATION_CLASS>(3);

struct StandardInformation {
  LARGE_INTEGER allocation_size;
  LARGE_INTEGER end_of_file;
  ULONG number_of_links;
  BOOLEAN delete_pending;
  BOOLEAN directory;
};

struct FsSizeInformation {
  LARGE_INTEGER total_allocation_units;
  LARGE_INTEGER available_allocation_units;
  ULONG sectors_per_allocation_unit;
  ULONG bytes_per_sector;
};

LARGE_INTEGER large(std::uint64_t value) {
  LARGE_INTEGER result;
  result.QuadPart = static_cast<LONGLONG>(value);
  return result;
}

using Control = decltype(&NtFsControlFile);
Answer control(Control call, HANDLE handle, ULONG code, std::span<const std::uint8_t> input, std::uint32_t length) {
  std::vector<std::uint8_t> in(input.begin(), input.end());
  std::vector<std::uint8_t> out(length);
  IO_STATUS_BLOCK result = {};
  Answer answer;
  answer.status = call(handle, nullptr, nullptr, nullptr, &result, code, in.empty() ? nullptr : in.data(),
                       static_cast<ULONG>(in.size()), out.empty() ? nullptr : out.data(), length);
  answer.information = result.Information;
  out.resize(std::min<std::uint64_t>(length, answer.information));
  answer.reply = std::move(out);
  return answer;
}

}  // namespace

void Handle::close() {
  if (handle_ != nullptr) NtClose(std::exchange(handle_, nullptr));
}

NTSTATUS open_path(const std::wstring& path, const Opening& how, Handle& opened) {
  UNICODE_STRING name = {};
  if (!RtlDosPathNameToNtPathName_U(path.c_str(), &name, nullptr, nullptr)) {
    return static_cast<NTSTATUS>(0xC0000033);  // STATUS_OBJECT_NAME_INVALID
  }
  OBJECT_ATTRIBUTES attributes = {};
  attributes.Length = sizeof attributes;
  attributes.ObjectName = &name;
  attributes.Attributes = OBJ_CASE_INSENSITIVE;
  IO_STATUS_BLOCK result = {};
  HANDLE handle = nullptr;
  const NTSTATUS status =
      NtCreateFile(&handle, how.access | SYNCHRONIZE, &attributes, &result, nullptr, FILE_ATTRIBUTE_NORMAL, how.share,
                   how.disposition, FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_FOR_BACKUP_INTENT, nullptr, 0);
  RtlFreeUnicodeString(&name);
  if (NT_SUCCESS(status)) opened = Handle(handle);
  return status;
}

Handle open_or_fail(const std::wstring& path, const Opening& how) {
  Handle opened;
  require(open_path(path, how, opened), "open '" + utf8(path) + "'");
  return opened;
}

Answer fs_control(HANDLE handle, ULONG code, std::span<const std::uint8_t> input, std::uint32_t output_length) {
  return control(&NtFsControlFile, handle, code, input, output_length);
}

Answer device_control(HANDLE handle, ULONG code, std::span<const std::uint8_t> input, std::uint32_t output_length) {
  return control(&NtDeviceIoControlFile, handle, code, input, output_length);
}

NTSTATUS set_end_of_file(HANDLE handle, std::uint64_t size) {
  IO_STATUS_BLOCK result = {};
  LARGE_INTEGER end = large(size);
  return NtSetInformationFile(handle, &result, &end, sizeof end, kFileEndOfFileInformation);
}

NTSTATUS end_of_file(HANDLE handle, std::uint64_t& size) {
  IO_STATUS_BLOCK result = {};
  StandardInformation information = {};
  const NTSTATUS status =
      NtQueryInformationFile(handle, &result, &information, sizeof information, kFileStandardInformation);
  size = static_cast<std::uint64_t>(information.end_of_file.QuadPart);
  return status;
}

DWORD lock_range(HANDLE handle, std::uint64_t offset, std::uint64_t length, bool exclusive) {
  OVERLAPPED at = {};
  at.Offset = static_cast<DWORD>(offset);
  at.OffsetHigh = static_cast<DWORD>(offset >> 32);
  const DWORD flags = LOCKFILE_FAIL_IMMEDIATELY | (exclusive ? LOCKFILE_EXCLUSIVE_LOCK : 0);
  const bool locked =
      LockFileEx(handle, flags, 0, static_cast<DWORD>(length), static_cast<DWORD>(length >> 32), &at) != FALSE;
  return locked ? ERROR_SUCCESS : GetLastError();
}

NTSTATUS mark_deletion_pending(HANDLE handle) {
  IO_STATUS_BLOCK result = {};
  BOOLEAN yes = TRUE;
  return NtSetInformationFile(handle, &result, &yes, sizeof yes, kFileDispositionInformation);
}

NTSTATUS sector_size(HANDLE handle, std::uint32_t& bytes) {
  IO_STATUS_BLOCK result = {};
  FsSizeInformation information = {};
  const NTSTATUS status =
      NtQueryVolumeInformationFile(handle, &result, &information, sizeof information, kFileFsSizeInformation);
  bytes = information.bytes_per_sector;
  return status;
}

std::wstring volume_of(const std::wstring& path) {
  constexpr DWORD kLongest = 32768;
  std::wstring mount_point(kLongest, L'\0');
  if (!GetVolumePathNameW(path.c_str(), mount_point.data(), kLongest)) {
    throw Failure(ExitCode::preparation,
                  "volume of '" + utf8(path) + "': Win32 error " + std::to_string(GetLastError()));
  }
  mount_point.resize(wcslen(mount_point.c_str()));
  wchar_t volume[64] = {};
  std::wstring name =
      GetVolumeNameForVolumeMountPointW(mount_point.c_str(), volume, 64) ? volume : L"\\\\.\\" + mount_point;
  if (name.ends_with(L'\\')) name.pop_back();
  return name;
}

void require(NTSTATUS status, const std::string& what) {
  if (!NT_SUCCESS(status)) throw Failure(ExitCode::preparation, what + ": " + status_text(status));
}

}  // namespace fsctl
