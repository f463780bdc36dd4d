// What Windows makes of the answer to an offload command: NTSTATUS, whether classpnp sends the command again, and after
// how long. The table is the one observed on classpnp's own code for POPULATE TOKEN, WRITE USING TOKEN and RECEIVE
// ROD TOKEN INFORMATION; it holds for no other command.
// Thread: any, nothing is shared.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/clock.h"
#include "host/nt_status.h"
#include "initiator/initiator.h"

namespace host {

struct Interpretation {
  NtStatus status = NtStatus::success;
  bool retry = false;              ///< sent again, as far as the command's retries last
  base::Duration wait{};           ///< before it is sent again
  std::string_view side_effect{};  ///< what Windows does besides; empty: nothing
  bool operator==(const Interpretation&) const = default;
};

/// Sense as classpnp reads it. It hands the port driver a buffer of 18 bytes: what lies beyond is not there.
struct SenseView {
  std::uint8_t key = 0;
  std::uint8_t asc = 0;
  std::uint8_t ascq = 0;
  bool incorrect_length_indicator = false;
  /// Fixed format: bytes 3-6, VALID not looked at. Descriptor format: an information descriptor that lies wholly
  /// inside the buffer.
  std::optional<std::uint64_t> information{};
};

/// Nothing when the bytes are no sense data (response code 70h-73h, SPC-4 4.5.1) or too few to hold a sense key.
std::optional<SenseView> read_sense(base::Bytes sense);

/// The table for all 16 x 256 x 256 combinations; `ili` only matters with sense key 0.
Interpretation sense_to_nt_status(std::uint8_t key, std::uint8_t asc, std::uint8_t ascq, bool ili = false);

/// What classpnp tells apart when it reads an answer.
enum class CommandKind : std::uint8_t {
  token_operation,            ///< POPULATE TOKEN, WRITE USING TOKEN: a residual is an error
  receive_token_information,  ///< RRTI: short data is normal
  transfer,                   ///< READ, WRITE, SYNCHRONIZE CACHE: a residual is an error
  query,                      ///< INQUIRY, MODE SENSE and the like: short data is normal
};

/// Everything that can become of a command, with or without sense. For the last two kinds only sense keys 5h and 7h
/// differ from the table: ILLEGAL REQUEST is INVALID_DEVICE_REQUEST except for 21h and 25h, and 27h is
/// MEDIA_WRITE_PROTECTED except for 27h/07h. (That much is known of commands that are not offload commands; their
/// retries and waits are taken to be the same.)
Interpretation interpret(const initiator::Result& result, CommandKind kind);

}  // namespace host
