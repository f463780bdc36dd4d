// Fuzzes the file in which persistent reservations outlive odxd. Its checksum would stop nearly all of it, so an input
// is tried as it is and with the checksum and length its other bytes want. What parses is written again to the same
// state, and can be taken up.
#include <isa-l/crc.h>

#include <cstdlib>

#include "scsi/reservation_image.h"
#include "scsi/reservations.h"

namespace {

void require(bool good) {
  if (!good) std::abort();
}

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
  base::Bytes input(data, size);
  check(input);
  constexpr std::size_t kLengthAt = 12;
  if (size < kLengthAt + sizeof(base::be32)) return 0;
  std::vector<std::uint8_t> sealed(input.begin(), input.end());
  base::store(base::MutableBytes(sealed).subspan(kLengthAt),
              base::be32(static_cast<std::uint32_t>(size + sizeof(std::uint32_t))));
  std::uint32_t checksum = ~crc32_iscsi(sealed.data(), static_cast<int>(sealed.size()), 0xFFFFFFFF);
  base::ByteWriter(sealed).u32(checksum);
  check(sealed);
  return 0;
}
