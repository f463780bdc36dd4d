// Sense data on the wire (SPC-4 4.5).
//
// Not tested, and why: descriptors other than information and sense-key specific are never sent (nothing here produces
// them); names of additional sense codes we never produce.
#include <doctest/doctest.h>

#include "scsi/sense.h"

namespace scsi {
namespace {

using Data = std::vector<std::uint8_t>;

TEST_CASE("fixed format sense data is 18 bytes with the field pointer in the sense-key specific bytes") {
  auto sense = Sense::illegal_request(AdditionalSense::too_many_segment_descriptors, "", FieldPointer::list(14));
  CHECK(encode_fixed(sense) == Data{0x70, 0, 5, 0, 0, 0, 0, 0x0A, 0, 0, 0, 0, 0x26, 0x08, 0, 0x80, 0, 0x0E});
}

TEST_CASE("INFORMATION sets VALID, and a count above 32 bits leaves it zero in fixed format") {
  Sense sense{SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun, 0x300};
  CHECK(encode_fixed(sense) == Data{0xF0, 0, 0x0A, 0, 0, 3, 0, 0x0A, 0, 0, 0, 0, 0x0D, 0x04, 0, 0, 0, 0});
  sense.information = 0x1'0000'0000;
  CHECK(encode_fixed(sense)[0] == 0x70);
  CHECK(decode(encode_descriptor(sense)) == sense);
}

TEST_CASE("a field pointer says CDB or list, and the bit when there is one") {
  auto bytes = encode_fixed(Sense::invalid_field_in_cdb(1, 4, ""));
  CHECK(Data(bytes.begin() + 12, bytes.end()) == Data{0x24, 0x00, 0, 0xCC, 0, 1});
}

TEST_CASE("descriptor format carries information and sense-key specific descriptors as far as they apply") {
  Sense sense = Sense::invalid_field_in_list(8, {}, "");
  CHECK(encode_descriptor(sense) == Data{0x72, 5, 0x26, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 0, 8, 0});
  sense.information = 7;
  auto bytes = encode_descriptor(sense);
  CHECK(bytes.size() == 28);
  CHECK(Data(bytes.begin() + 7, bytes.begin() + 20) == Data{20, 0, 0x0A, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 7});
  CHECK(encode_descriptor(Sense{}).size() == 8);
}

TEST_CASE("what is encoded is decoded, in both formats") {
  for (auto information : {std::optional<std::uint64_t>{}, std::optional<std::uint64_t>{0xFFFFFFFF}}) {
    for (auto bit : {std::optional<std::uint8_t>{}, std::optional<std::uint8_t>{0}, std::optional<std::uint8_t>{7}}) {
      Sense sense = Sense::invalid_field_in_cdb(9, bit, "");
      sense.information = information;
      CHECK(decode(encode_fixed(sense)) == sense);
      CHECK(decode(encode_descriptor(sense)) == sense);
    }
  }
}

TEST_CASE("sense data cut before the qualifier, or of another response code, is not decoded") {
  auto fixed = encode_fixed(Sense{SenseKey::aborted_command, AdditionalSense::data_phase_error});
  CHECK(decode(Data(fixed.begin(), fixed.begin() + 14)).has_value());
  CHECK_FALSE(decode(Data(fixed.begin(), fixed.begin() + 13)));
  auto descriptor = encode_descriptor(Sense{SenseKey::aborted_command, AdditionalSense::data_phase_error});
  CHECK(decode(Data(descriptor.begin(), descriptor.begin() + 4)).has_value());
  CHECK_FALSE(decode(Data(descriptor.begin(), descriptor.begin() + 3)));
  CHECK_FALSE(decode({}));
  CHECK_FALSE(decode(Data(18, 0)));
}

TEST_CASE("descriptor sense data that lies about its lengths is read no further than it goes") {
  Data lying{0x72, 5, 0x24, 0, 0, 0, 0, 0xFF, 0x02, 0xFF, 0, 0, 0xC8};
  auto sense = decode(lying);
  REQUIRE(sense);
  CHECK(sense->field == FieldPointer::cdb(0, 0));
}

TEST_CASE("sense data is described in T10's words") {
  CHECK(describe(Sense::invalid_field_in_cdb(0, {}, "")) == "ILLEGAL REQUEST, INVALID FIELD IN CDB");
  CHECK(describe(Sense{SenseKey::hardware_error, static_cast<AdditionalSense>(0x8123)}) == "HARDWARE ERROR, 81h/23h");
}

}  // namespace
}  // namespace scsi
