// TransportIDs of iSCSI initiator ports (SPC-4 7.6.4.6), as persistent reservations and EXTENDED COPY segment type 15h
// carry them. Thread: any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "scsi/sense.h"
#include "scsi/status.h"

namespace scsi {

struct TransportId {
  std::string initiator_name{};
  std::optional<std::array<std::uint8_t, 6>> isid{};  ///< absent: format 00b, every port of that initiator
};

/// Takes the next TransportID. `offset` is that of the reader's first byte in the parameter list, for the field
/// pointer. 05/26/00: cut short, another protocol, a bad length or name.
std::expected<TransportId, Sense> parse_transport_id(base::ByteReader& reader, std::size_t offset);

/// The initiator port of `nexus`, format 01b.
void write_transport_id(base::ByteWriter& writer, const ITNexus& nexus);

}  // namespace scsi
