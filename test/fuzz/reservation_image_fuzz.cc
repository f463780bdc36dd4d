// Fuzzes the file in which persistent reservations outlive odxd. Its checksum would stop nearly all of it, so an input
// is tried as it is and with the checksum and length its other bytes want. What parses is written again to the same
// state, and can be taken up.
#include "scsi/reservation_image.h"
#include "scsi/reservations.h"
#include "test/fuzz/state_image_checks.h"

namespace {

using fuzz::require;

void check(base::Bytes image) {
  auto state = scsi::parse_reservation_image(image);
  if (!state) {
    require(!state.error().empty());
    return;
  }
  require(scsi::parse_reservation_image(scsi::reservation_image(*state)) == *state);
  scsi::Reservations reservations;
  reservations.restore(*state, "iqn.2025-01.example:target");
  require(reservations.registrations().size() == state->registrations.size());
  require(reservations.type() == state->type);
  require((reservations.holder() != nullptr) == state->holder.has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::check_as_is_and_sealed({data, size}, check);
  return 0;
}
