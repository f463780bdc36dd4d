// REPORT and SET IDENTIFYING INFORMATION.
//
// Not tested, and why: what is kept of it (saved_pages_test.cc).
#include <doctest/doctest.h>

#include "test/scsi/device_fixture.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::Sense;
using scsi::SenseKey;
using Bytes = std::vector<std::uint8_t>;

namespace {

constexpr std::uint8_t kIdentifier = 0x00;
constexpr std::uint8_t kText = 0x04;
constexpr std::uint8_t kSupported = 0xFE;

Bytes report(std::uint8_t type, std::uint8_t length = 255) {
  return {0xA3, 0x05, 0, 0, 0, 0, 0, 0, 0, length, type, 0};
}
Bytes set(std::uint8_t type, std::uint16_t length) {
  return {0xA4, 0x06, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(length >> 8), static_cast<std::uint8_t>(length),
          type, 0};
}

}  // namespace

TEST_CASE("what was set is reported, each type of its own, and every other I_T nexus is told 06/3F/05") {
  Device device;
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  CHECK(device.run(report(kIdentifier)).data() == Bytes{0, 0, 0, 0});
  CHECK(device.run(set(kIdentifier, 3), {7, 8, 9}).good());
  CHECK(device.run(report(kIdentifier)).data() == Bytes{0, 0, 0, 3, 7, 8, 9});
  CHECK(device.run(report(kIdentifier, 5)).data() == Bytes{0, 0, 0, 3, 7});
  CHECK(device.run(report(kText)).data() == Bytes{0, 0, 0, 0});
  CHECK(device.run(report(kIdentifier), {}, 0, other)
            .failed_with(SenseKey::unit_attention, AdditionalSense::device_identifier_changed));
  CHECK(device.run(report(kIdentifier), {}, 0, other).good());
  CHECK(device.run(report(kIdentifier), {}, 1).data() == Bytes{0, 0, 0, 0});
  CHECK(device.run(set(kText, 3), {'h', 'i', 0}).good());
  CHECK(device.run(report(kText)).data() == Bytes{0, 0, 0, 3, 'h', 'i', 0});
  CHECK(device.run(set(kIdentifier, 0)).good());
  CHECK(device.run(report(kIdentifier)).data() == Bytes{0, 0, 0, 0});
}

TEST_CASE("setting what is set already tells nobody") {
  Device device;
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  CHECK(device.run(set(kIdentifier, 0)).good());
  CHECK(device.run(report(kIdentifier), {}, 0, other).good());
}

TEST_CASE("the types that are served are reported with their greatest length") {
  Device device;
  CHECK(device.run(report(kSupported)).data() == Bytes{0, 0, 0, 8, kIdentifier, 0, 2, 0, kText, 0, 2, 0});
}

TEST_CASE("unknown types, too much and text without its null are refused at the field") {
  Device device;
  for (std::uint8_t type : {0x02, 0x06, 0xFC}) {
    CHECK(device.run(report(type)).sense() == Sense::invalid_field_in_cdb(10, 7, {}));
    CHECK(device.run(set(type, 1)).sense() == Sense::invalid_field_in_cdb(10, 7, {}));
  }
  CHECK(device.run(set(kSupported, 1)).sense() == Sense::invalid_field_in_cdb(10, 7, {}));
  CHECK(device.run(set(kIdentifier, 513)).sense() == Sense::invalid_field_in_cdb(6, {}, {}));
  CHECK(device.run(set(kIdentifier, 512), Bytes(512, 1)).good());
  CHECK(device.run(set(kText, 2), {'h', 'i'}).sense() == Sense::invalid_field_in_list(1, {}, {}));
  CHECK(device.run(set(kIdentifier, 3), {7, 8})
            .failed_with(SenseKey::illegal_request, AdditionalSense::parameter_list_length_error));
}
