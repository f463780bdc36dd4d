// Parameter data of RECEIVE ROD TOKEN INFORMATION and RECEIVE COPY STATUS(LID4) (SPC-4 6.24, 6.26; SBC-4 5.25).
// Thread: any.
#pragma once

#include <cstdint>
#include <vector>

#include "tokens/copy_operation.h"

namespace scsi {

/// Status header, sense data and token descriptors: 36 bytes, or 550 with a token, plus the sense data field.
std::vector<std::uint8_t> encode_rod_token_information(const tokens::CopyOperation& operation);

/// Status header and sense data: 32 bytes plus the sense data field.
std::vector<std::uint8_t> encode_copy_status(const tokens::CopyOperation& operation);

}  // namespace scsi
