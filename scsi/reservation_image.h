// The persistent state of a logical unit's reservations as bytes: what is kept where power is not needed.
//
// In the frame of state_image.h; initiator ports are TransportIDs (SPC-4 7.6.4.6). Knows nothing of files. Thread: any.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "scsi/reservations.h"

namespace scsi {

std::vector<std::uint8_t> reservation_image(const PersistentState& state);

/// The state an image holds; else what is wrong with it, in a few words. Whatever parses has only registrations that
/// could have been made, each I_T nexus once, and a holder that is one of them.
std::expected<PersistentState, std::string> parse_reservation_image(base::Bytes image);

}  // namespace scsi
