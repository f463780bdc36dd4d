// The bytes in which reservations persist.
//
// Not tested, and why: files (test/target/state_file_test.cc); bytes nobody thought of (test/fuzz).
#include "scsi/reservation_image.h"

#include <doctest/doctest.h>
#include <isa-l/crc.h>

#include <string>

#include "scsi/state_image.h"

namespace {

using scsi::PersistentState;
using scsi::ReservationType;

PersistentState some_state() {
  PersistentState state;
  state.activated = true;
  state.type = ReservationType::write_exclusive_registrants_only;
  state.holder = 1;
  state.registrations = {{"iqn.2025-01.example:a", {0x80, 0, 0, 0, 0, 1}, 1, 0xAAAA},
                         {"iqn.2025-01.example:a", {0x80, 0, 0, 0, 0, 1}, 2, 0xAAAA},
                         {"iqn.2025-01.example:b,i,0x", {}, 1, ~0ull}};
  return state;
}

std::string error_of(const std::vector<std::uint8_t>& image) {
  auto state = scsi::parse_reservation_image(image);
  return state ? "" : state.error();
}

/// With the checksum that its other bytes want.
std::vector<std::uint8_t> sealed(std::vector<std::uint8_t> image) {
  image.resize(image.size() - 4);
  std::uint32_t checksum = ~crc32_iscsi(image.data(), static_cast<int>(image.size()), 0xFFFFFFFF);
  base::ByteWriter(image).u32(checksum);
  return image;
}

/// The image of `some_state()` with one byte changed, and the right checksum.
std::vector<std::uint8_t> with(std::size_t at, std::uint8_t value) {
  auto image = scsi::reservation_image(some_state());
  image[at] = value;
  return sealed(image);
}

}  // namespace

TEST_CASE("an image holds what was put into it") {
  CHECK(scsi::parse_reservation_image(scsi::reservation_image(some_state())) == some_state());
  CHECK(scsi::parse_reservation_image(scsi::reservation_image({})) == PersistentState{});
  PersistentState only_registered = some_state();
  only_registered.type.reset();
  only_registered.holder.reset();
  CHECK(scsi::parse_reservation_image(scsi::reservation_image(only_registered)) == only_registered);
  PersistentState all = some_state();
  all.type = ReservationType::exclusive_access_all_registrants;
  all.holder.reset();
  CHECK(scsi::parse_reservation_image(scsi::reservation_image(all)) == all);
}

TEST_CASE("the fullest image there can be is taken, and within its limit") {
  PersistentState state;
  state.activated = true;
  for (std::uint32_t i = 0; i < scsi::Reservations::kMaximumRegistrants; ++i) {
    std::string name = "iqn.2025-01.example:" + std::to_string(i);
    state.registrations.push_back({name + std::string(223 - name.size(), 'x'), {}, 1, i + 1});
  }
  auto image = scsi::reservation_image(state);
  CHECK(image.size() <= scsi::kMaximumStateImage);
  CHECK(scsi::parse_reservation_image(image) == state);
}

TEST_CASE("an image that lost bytes, gained some or has a changed one is told from a whole one") {
  const auto image = scsi::reservation_image(some_state());
  for (std::size_t size = 0; size < image.size(); ++size) {
    CAPTURE(size);
    CHECK(error_of({image.begin(), image.begin() + static_cast<std::ptrdiff_t>(size)}) != "");
  }
  auto longer = image;
  longer.push_back(0);
  CHECK(error_of(longer) == "it has 205 bytes and says it has 204");
  for (std::size_t at = 0; at < image.size(); ++at) {
    CAPTURE(at);
    auto changed = image;
    changed[at] ^= 0x40;
    CHECK(error_of(changed) != "");
  }
}

TEST_CASE("what cannot be is refused, also with the right checksum, and said in words") {
  CHECK(error_of({}) == "0 bytes are too few");
  CHECK(error_of(with(0, 'X')) == "it does not begin as such a file does");
  CHECK(error_of(with(11, 2)) == "version 2 is not one this odxd knows");
  CHECK(error_of(with(16, 3)) == "reserved bits or a reserved type");
  CHECK(error_of(with(17, 2)) == "reserved bits or a reserved type");
  CHECK(error_of(with(16, 0)) == "APTPL is zero, and yet it is not empty");
  CHECK(error_of(with(23, 3)) == "its holder is not a registration");
  CHECK(error_of(with(17, 7)) == "its holder is not a registration");  // of all registrants, and one of them holds it
  CHECK(error_of(with(26, 0x10)) == "more registrations than there can be");
  CHECK(error_of(with(27, 2)) == "bytes are left after its registrations");
  CHECK(error_of(with(27, 4)) == "it ends inside a registration");
  CHECK(error_of(with(36, 1)) == "a registration without key, or with reserved bits");
  CHECK(error_of(with(40, 0x05)) != "");  // a TransportID of another format
  PersistentState twice = some_state();
  twice.registrations[1].relative_target_port = 1;
  CHECK(error_of(scsi::reservation_image(twice)) == "an I_T nexus is registered twice");
  PersistentState nobody = some_state();
  nobody.registrations.clear();
  nobody.holder.reset();
  nobody.type = ReservationType::write_exclusive_all_registrants;
  CHECK(error_of(scsi::reservation_image(nobody)) == "a reservation without registrations");
}
