// Sense data on the wire (SPC-4 4.5).
//
// Not tested, and why: descriptors other than information, command-specific, sense-key specific and forwarded sense are
// never sent (nothing here produces them); names of additional sense codes we never produce.
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

/// COPY ABORTED in the third segment, 16 blocks short, after LBA OUT OF RANGE from the copy destination.
Sense copy_aborted() {
  Sense sense{SenseKey::copy_aborted, AdditionalSense::third_party_device_failure, 16, FieldPointer::segment(20)};
  sense.segment = 2;
  sense.forwarded.push_back(
      {ForwardedSense::From::copy_destination, Status::check_condition,
       encode_fixed(Sense{SenseKey::illegal_request, AdditionalSense::logical_block_address_out_of_range})});
  return sense;
}

TEST_CASE("COPY ABORTED in fixed format: segment in bytes 10 and 11, forwarded sense where bytes 8 and 9 point") {
  Data expected{0xF0, 0, 0x0A, 0, 0, 0, 16, 29, 0, 18, 0, 2, 0x0D, 0x01, 0, 0xA0, 0, 20};
  for (int byte : {0x02, 0x70, 0, 5, 0, 0, 0, 0, 0x0A, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0})
    expected.push_back(static_cast<std::uint8_t>(byte));
  CHECK(encode_fixed(copy_aborted()) == expected);

  Sense both = copy_aborted();
  both.forwarded.insert(both.forwarded.begin(), {ForwardedSense::From::copy_source, Status::reservation_conflict, {}});
  Data data = encode_fixed(both);
  CHECK(data[8] == 18);
  CHECK(data[9] == 19);
  CHECK(data[18] == 0x18);
  CHECK(data[19] == 0x02);
}

TEST_CASE("COPY ABORTED in descriptor format: command-specific and forwarded sense descriptors") {
  Data data = encode_descriptor(copy_aborted());
  Data expected{0x72, 0x0A, 0x0D, 0x01, 0, 0, 0, 54};
  for (int byte : {0, 10, 0x80, 0, 0, 0, 0, 0, 0,    0, 0,  16, 1,    10, 0,    0,    0,    0, 0, 0,
                   0, 0,  0,    2, 2, 6, 0, 0, 0xA0, 0, 20, 0,  0x0C, 20, 0x02, 0x02, 0x70, 0, 5})
    expected.push_back(static_cast<std::uint8_t>(byte));
  CHECK(Data(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(expected.size())) == expected);
  CHECK(data.size() == 62);
}

TEST_CASE("COPY ABORTED is decoded to what was encoded, in both formats") {
  Sense sense = copy_aborted();
  for (int count = 1; count <= 2; ++count) {
    for (auto pointer : {FieldPointer::list(48, 3), FieldPointer::segment(6)}) {
      sense.field = pointer;
      CHECK(decode(encode_fixed(sense)) == sense);
      CHECK(decode(encode_descriptor(sense)) == sense);
    }
    sense.forwarded.insert(sense.forwarded.begin(),
                           {ForwardedSense::From::copy_source, Status::check_condition, encode_descriptor(Sense{})});
  }
}

TEST_CASE("forwarded sense data is cut so that all sense data fits 252 bytes, and its descriptor says so") {
  Sense sense = copy_aborted();
  sense.forwarded.clear();
  for (auto from : {ForwardedSense::From::copy_source, ForwardedSense::From::copy_destination})
    sense.forwarded.push_back({from, Status::check_condition, Data(252, 0x55)});
  Data fixed = encode_fixed(sense);
  CHECK(fixed.size() == 252);
  CHECK(fixed[7] == 244);
  CHECK(decode(fixed)->forwarded[0].sense.size() == 116);
  CHECK(decode(fixed)->forwarded[1].sense.size() == 116);
  Data descriptor = encode_descriptor(sense);
  CHECK(descriptor.size() == 252);
  CHECK(descriptor[7] == 244);
  CHECK(descriptor[40] == 0x0C);
  CHECK(descriptor[42] == 0x81);
  CHECK(decode(descriptor)->forwarded[1].sense.size() == 102);
}

TEST_CASE("NOT READY and NO SENSE carry a progress indication where ILLEGAL REQUEST has its field pointer") {
  for (SenseKey key : {SenseKey::not_ready, SenseKey::no_sense}) {
    Sense sense{key, AdditionalSense::logical_unit_not_ready_format_in_progress};
    sense.progress = 0x1234;
    Data fixed = encode_fixed(sense);
    CHECK(Data(fixed.begin() + 15, fixed.end()) == Data{0x80, 0x12, 0x34});
    CHECK(decode(fixed) == sense);
    Data descriptor = encode_descriptor(sense);
    CHECK(Data(descriptor.begin() + 8, descriptor.end()) == Data{0x02, 0x06, 0, 0, 0x80, 0x12, 0x34, 0});
    CHECK(decode(descriptor) == sense);
  }
}

TEST_CASE("COMPLETED carries the number of segments, and forwarded offsets that point nowhere are ignored") {
  Sense sense{SenseKey::completed, AdditionalSense::extended_copy_information_available};
  sense.segment = 3;
  CHECK(decode(encode_descriptor(sense)) == sense);
  Data fixed = encode_fixed(sense);
  CHECK(fixed[11] == 3);
  fixed[8] = 18;
  fixed[9] = 5;
  CHECK(decode(fixed) == sense);
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
  CHECK(code_text(Sense{SenseKey::hardware_error, static_cast<AdditionalSense>(0x8103)}) == "04/81/03");
}

}  // namespace
}  // namespace scsi
