// Copies a range of one disk to another as Windows' copy engine does: an offload read for what is still to copy,
// offload writes of at most 256 MiB until its token is used up, and again. After an error the rest is copied by READ
// and WRITE, but only when the caller allows it.
//
// It works on disks, not on files: the caller knows which bytes it wants.
// Thread: the drivers'.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "host/class_driver.h"

namespace host {

/// The copy engine's chunks: of one FSCTL_OFFLOAD_WRITE (MS-FSCC, notes on it), and of reading and writing.
inline constexpr std::uint64_t kOffloadChunk = 256ull << 20;
inline constexpr std::uint64_t kReadWriteChunk = 1 << 20;

struct CopyRequest {
  std::uint64_t source_offset = 0;
  std::uint64_t destination_offset = 0;
  std::uint64_t length = 0;
  std::uint32_t time_to_live = 0;  ///< of each token; 0: the source's default
  bool fallback = false;           ///< READ and WRITE after an error
};

struct CopyOutcome {
  NtStatus status = NtStatus::success;          ///< of the copy as a whole
  NtStatus offload_status = NtStatus::success;  ///< what ended offloading
  std::string reason;                           ///< for people, when offloading ended
  std::uint64_t offloaded_bytes = 0;
  std::uint64_t fallback_bytes = 0;
  unsigned tokens = 0;
};

/// Called after each step with the bytes that are at the destination.
using CopyProgress = std::function<void(std::uint64_t)>;

/// Offsets and length are multiples of both block lengths, else STATUS_INVALID_PARAMETER.
CopyOutcome copy(ClassDriver& source, ClassDriver& destination, const CopyRequest& request,
                 const CopyProgress& progress = {});

}  // namespace host
