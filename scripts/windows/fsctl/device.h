// Handles and control requests, by the native calls, so that the NTSTATUS is the one the kernel gave: Win32's error
// numbers merge several.
// Handles are synchronous; no request is ever pending.
// Thread: one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fsctl/definitions.h"

namespace fsctl {

class Handle {
 public:
  Handle() = default;
  explicit Handle(HANDLE handle) : handle_(handle) {}
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Handle() { close(); }

  HANDLE get() const { return handle_; }
  /// Closes and forgets.
  void close();

 private:
  HANDLE handle_ = nullptr;
};

struct Opening {
  ACCESS_MASK access = FILE_GENERIC_READ;
  ULONG share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  ULONG disposition = FILE_OPEN;
};

/// Opens a path as Win32 spells it: file, file:stream, directory, \\.\X: or \\.\PhysicalDriveN.
NTSTATUS open_path(const std::wstring& path, const Opening& how, Handle& opened);
/// The same; throws Failure(preparation) naming path and status.
Handle open_or_fail(const std::wstring& path, const Opening& how);

struct Answer {
  NTSTATUS status = 0;
  std::uint64_t information = 0;
  /// The output buffer as far as Information says it was filled.
  std::vector<std::uint8_t> reply = {};
};
/// A length of 0 passes no buffer at all.
Answer fs_control(HANDLE handle, ULONG code, std::span<const std::uint8_t> input, std::uint32_t output_length);
Answer device_control(HANDLE handle, ULONG code, std::span<const std::uint8_t> input, std::uint32_t output_length);

/// A structure as bytes.
template <typename T>
std::span<const std::uint8_t> bytes_of(const T& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof(T)};
}

NTSTATUS set_end_of_file(HANDLE handle, std::uint64_t size);
NTSTATUS end_of_file(HANDLE handle, std::uint64_t& size);
/// A Win32 error number.
DWORD lock_range(HANDLE handle, std::uint64_t offset, std::uint64_t length, bool exclusive);
NTSTATUS mark_deletion_pending(HANDLE handle);
/// Logical bytes per sector of the volume the handle's file is on.
NTSTATUS sector_size(HANDLE handle, std::uint32_t& bytes);
/// The device name of the volume a path is on, \\?\Volume{...} or \\.\X:. Throws Failure(preparation).
std::wstring volume_of(const std::wstring& path);

/// Throws Failure(preparation): "what: 0xC0000054 STATUS_FILE_LOCK_CONFLICT".
void require(NTSTATUS status, const std::string& what);

}  // namespace fsctl
