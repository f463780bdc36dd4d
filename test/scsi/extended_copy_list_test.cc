// The parameter lists of EXTENDED COPY: golden vectors of both forms, every rule that the list and the profile decide
// with its sense key, code and field pointer, and lists cut at every byte.
//
// Not tested, and why: what is decided while segments are processed is in extended_copy_rules_test.cc; lists that came
// from nowhere are test/fuzz/extended_copy_list_fuzz.cc's.
#include <doctest/doctest.h>

#include "scsi/extended_copy_list.h"
#include "test/scsi/copy_fixture.h"
#include "test/scsi/extended_copy_lists.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::DeviceProfile;
using scsi::FieldPointer;
using scsi::ListFormat;
using scsi::ListIdUsage;
using scsi::Sense;

namespace {

constexpr std::array<std::uint8_t, 16> kSourceNaa{0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0A};
constexpr std::array<std::uint8_t, 16> kDestinationNaa{0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0B};

CopyList two_units(ListFormat format = ListFormat::lid1) {
  return {.format = format,
          .cscds = {naa_cscd(kSourceNaa), naa_cscd(kDestinationNaa)},
          .segments = {blocks_segment(0x800, 0, 0x10000, {.flags = scsi::kDc})}};
}

void accepts(const CopyList& list, const DeviceProfile& profile = {}) {
  auto parsed = scsi::parse_extended_copy(list.bytes(), list.format, profile);
  CHECK_MESSAGE(parsed.has_value(), (parsed ? "" : scsi::describe(parsed.error()) + ": " + parsed.error().rule));
}

void refuses(const List& bytes, ListFormat format, AdditionalSense code, std::optional<FieldPointer> field,
             const DeviceProfile& profile = {}) {
  auto parsed = scsi::parse_extended_copy(bytes, format, profile);
  REQUIRE_FALSE(parsed);
  CHECK(scsi::describe(parsed.error()) == scsi::describe(Sense::illegal_request(code, "")));
  CHECK(parsed.error().field == field);
  CHECK_FALSE(parsed.error().information);
  CHECK_FALSE(parsed.error().rule.empty());
}
void refuses(const CopyList& list, AdditionalSense code, std::optional<FieldPointer> field,
             const DeviceProfile& profile = {}) {
  refuses(list.bytes(), list.format, code, field, profile);
}
void refuses_field(const CopyList& list, std::size_t byte, std::optional<std::uint8_t> bit = {},
                   const DeviceProfile& profile = {}) {
  refuses(list, AdditionalSense::invalid_field_in_parameter_list, FieldPointer::list(byte, bit), profile);
}

constexpr ListFormat kBoth[] = {ListFormat::lid1, ListFormat::lid4};

/// `size` bytes of zeros but for the first.
List raw_cscd(std::uint8_t type, std::size_t size = 32) {
  List cscd(size);
  cscd[0] = type;
  return cscd;
}

}  // namespace

TEST_CASE("EXTENDED COPY(LID1) and (LID4) lists of the golden vectors are the same copy") {
  auto descriptors =
      hex("E4 00 00 00 01 03 00 10 60 00 00 00 00 00 00 00 00 00 00 00 00 00 00 0A 00 00 00 00 00 00 02 00"
          "E4 00 00 00 01 03 00 10 60 00 00 00 00 00 00 00 00 00 00 00 00 00 00 0B 00 00 00 00 00 00 02 00"
          "02 02 00 18 00 00 00 01 00 00 08 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00");
  auto lid1 = hex("2C 00 00 40 00 00 00 00 00 00 00 1C 00 00 00 00");
  auto lid4 =
      hex("01 00 00 20 00 00 00 00 00 00 00 00 00 00 00 00 FF 00 00 00 00 00 00 2C 00 00 00 00 00 00 00 00"
          "00 00 00 00 00 00 00 00 00 00 00 40 00 1C 00 00");
  for (ListFormat format : kBoth) {
    List bytes = format == ListFormat::lid1 ? lid1 : lid4;
    bytes.insert(bytes.end(), descriptors.begin(), descriptors.end());
    CHECK(bytes == two_units(format).bytes());
    auto list = scsi::parse_extended_copy(bytes, format, {});
    REQUIRE(list);
    CHECK(list->header.list_identifier == 0x2C);
    CHECK(list->header.usage == ListIdUsage::hold);
    CHECK_FALSE(list->header.immediate);
    REQUIRE(list->cscds.size() == 2);
    const auto& unit = std::get<scsi::LogicalUnitCscd>(list->cscds[1].what);
    CHECK(unit.code_set == 1);
    CHECK(unit.association == 0);
    CHECK(unit.designator_type == 3);
    CHECK(std::ranges::equal(unit.name(), kDestinationNaa));
    CHECK(list->cscds[1].block_length == 512);
    CHECK(list->cscds[1].device_type == 0);
    CHECK_FALSE(list->cscds[1].pad);
    REQUIRE(list->segments.size() == 1);
    const scsi::SegmentDescriptor& segment = list->segments[0];
    CHECK(segment.offset == (format == ListFormat::lid1 ? 80 : 112));
    CHECK(segment.type == scsi::SegmentType::block_to_block);
    CHECK(segment.dc);
    CHECK_FALSE(segment.cat);
    CHECK(segment.source == 0);
    CHECK(segment.destination == 1);
    const auto& copy = std::get<scsi::CopyBlocks>(segment.what);
    CHECK(copy.blocks == 0x800);
    CHECK(copy.source_lba == 0);
    CHECK(copy.destination_lba == 0x10000);
  }
}

TEST_CASE("header fields: STR, PRIORITY, LIST ID USAGE, and of LID4 IMMED and G_SENSE") {
  CopyList list = two_units(ListFormat::lid4);
  list.list_identifier = 0xFEDCBA98;
  list.flags = scsi::kStr | 5;
  list.usage = ListIdUsage::discard;
  list.g_sense_immed = scsi::kExtendedCopyImmed;
  auto header = scsi::parse_extended_copy_header(list.bytes(), list.format, {});
  REQUIRE(header);
  CHECK(header->list_identifier == 0xFEDCBA98);
  CHECK(header->sequential_striped);
  CHECK(header->priority == 5);
  CHECK(header->usage == ListIdUsage::discard);
  CHECK(header->immediate);
  CHECK_FALSE(header->g_sense);
  list.g_sense_immed = scsi::kGSense;
  CHECK(scsi::parse_extended_copy_header(list.bytes(), list.format, {})->g_sense);
}

TEST_CASE("every segment type is read into its fields") {
  CopyList list = two_units();
  list.cscds.push_back(rod_cscd());
  list.segments = {
      blocks_segment(3, 0x1122334455667788, 0x99AABBCCDDEEFF00, {}, 0x0D),
      bytes_segment(
          {.bytes = 7, .source_lba = 8, .destination_lba = 9, .source_byte_offset = 10, .destination_byte_offset = 11},
          {.flags = scsi::kCat}),
      image_segment(0x12345678, 1, 2, {.flags = scsi::kFco}),
      verify_segment(true, {.source = scsi::kThisLogicalUnit}),
      populate_segment({{5, 6}, {7, 0}}, {.source = 0xFFFF, .destination = 2}),
      populate_one_segment(12, 13, {.source = 0xFFFF, .destination = 2}),
  };
  auto parsed = scsi::parse_extended_copy(list.bytes(), list.format, {});
  REQUIRE(parsed);
  auto& segments = parsed->segments;
  REQUIRE(segments.size() == 6);
  CHECK(segments[0].type == scsi::SegmentType::block_to_block_and_hold);
  CHECK(std::get<scsi::CopyBlocks>(segments[0].what).source_lba == 0x1122334455667788);
  CHECK(std::get<scsi::CopyBlocks>(segments[0].what).destination_lba == 0x99AABBCCDDEEFF00);
  const auto& bytes = std::get<scsi::CopyBytes>(segments[1].what);
  CHECK(segments[1].cat);
  CHECK(bytes.bytes == 7);
  CHECK(bytes.source_lba == 8);
  CHECK(bytes.destination_lba == 9);
  CHECK(bytes.source_byte_offset == 10);
  CHECK(bytes.destination_byte_offset == 11);
  CHECK(segments[2].fast_copy_only);
  CHECK(std::get<scsi::CopyBlocks>(segments[2].what).blocks == 0x12345678);
  CHECK(segments[3].source == scsi::kThisLogicalUnit);
  CHECK(std::get<scsi::VerifyCscd>(segments[3].what).test_unit_ready);
  const auto& ranges = std::get<scsi::PopulateRod>(segments[4].what).ranges;
  REQUIRE(ranges.size() == 2);
  CHECK(ranges[0].lba == 5);
  CHECK(ranges[0].blocks == 6);
  CHECK(std::get<scsi::PopulateRod>(segments[5].what).ranges[0].lba == 12);
  CHECK(segments[5].destination == 2);
  for (std::size_t i = 0; i < segments.size(); ++i) CHECK(segments[i].offset == list.segment_at(i));
}

TEST_CASE("a ROD CSCD descriptor with R_TOKEN, and one of an inline token, are read into their fields") {
  CopyList list = two_units(ListFormat::lid4);
  tokens::RodToken token{};
  token.rod_type = 0x00800000;
  token.copy_manager_rod_token_identifier = 77;
  list.inline_data = List(5, 0xEE);
  List image = as_list(token);
  list.inline_data.insert(list.inline_data.end(), image.begin(), image.end());
  list.cscds = {rod_cscd({.r_token = true, .lifetime_s = 30, .inactivity_s = 20}),
                rod_cscd({.type = 0, .del_tkn = true, .token_offset = 5, .producer = scsi::kRodTokenLogicalUnit})};
  auto parsed = scsi::parse_extended_copy(list.bytes(), list.format, {});
  REQUIRE(parsed);
  const auto& made = std::get<scsi::RodCscd>(parsed->cscds[0].what);
  CHECK(made.rod_type == 0x00800000);
  CHECK(made.return_token);
  CHECK(made.lifetime_s == 30);
  CHECK(made.inactivity_timeout_s == 20);
  CHECK_FALSE(made.token);
  const auto& given = std::get<scsi::RodCscd>(parsed->cscds[1].what);
  CHECK(given.delete_token);
  CHECK(given.producer == 0xF800);
  CHECK(given.token_offset == list.bytes().size() - 512);
  REQUIRE(given.token);
  CHECK(given.token->copy_manager_rod_token_identifier == 77);
}

TEST_CASE("a list cut at any byte is PARAMETER LIST LENGTH ERROR, and bytes behind its end are not looked at") {
  for (ListFormat format : kBoth) {
    CopyList list = two_units(format);
    list.inline_data = List(3);
    List bytes = list.bytes();
    for (std::size_t size = 0; size < bytes.size(); ++size)
      refuses(List(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)), format,
              AdditionalSense::parameter_list_length_error, {});
    bytes.resize(bytes.size() + 9, 0xFF);
    CHECK(scsi::parse_extended_copy(bytes, format, {}).has_value());
  }
}

TEST_CASE("PARAMETER LIST FORMAT, HEADER CSCD DESCRIPTOR LIST LENGTH and TYPE CODE of LID4 have one value each") {
  for (std::size_t byte : {0, 2, 16}) {
    List bytes = two_units(ListFormat::lid4).bytes();
    bytes[byte] ^= 0x02;
    refuses(bytes, ListFormat::lid4, AdditionalSense::invalid_field_in_parameter_list, FieldPointer::list(byte));
  }
}

TEST_CASE("LIST ID USAGE 01b is refused at its field") {
  for (ListFormat format : kBoth) {
    CopyList list = two_units(format);
    list.usage = ListIdUsage::reserved;
    refuses_field(list, 1, 4);
  }
}

TEST_CASE("LIST ID USAGE 11b wants LIST IDENTIFIER 0") {
  for (ListFormat format : kBoth) {
    CopyList list = two_units(format);
    list.usage = ListIdUsage::none;
    refuses_field(list, format == ListFormat::lid1 ? 0 : 20);
    list.list_identifier = 0;
    accepts(list);
  }
}

TEST_CASE("LIST ID USAGE 11b takes no held data and no R_TOKEN, and no segment is processed") {
  CopyList list = two_units();
  list.usage = ListIdUsage::none;
  list.list_identifier = 0;
  list.segments.push_back(blocks_segment(1, 0, 0, {}, 0x0D));
  refuses_field(list, list.segment_at(1));
  list.segments.pop_back();
  list.cscds.push_back(rod_cscd({.r_token = true}));
  refuses_field(list, list.cscd_at(2) + 22, 0);
  for (ListIdUsage usage : {ListIdUsage::hold, ListIdUsage::discard}) {
    list.usage = usage;
    accepts(list);
  }
}

TEST_CASE("IMMED with G_SENSE or with LIST ID USAGE 11b is INVALID FIELD IN CDB") {
  CopyList list = two_units(ListFormat::lid4);
  list.g_sense_immed = scsi::kExtendedCopyImmed | scsi::kGSense;
  refuses(list, AdditionalSense::invalid_field_in_cdb, {});
  list.g_sense_immed = scsi::kExtendedCopyImmed;
  list.usage = ListIdUsage::none;
  list.list_identifier = 0;
  refuses(list, AdditionalSense::invalid_field_in_cdb, {});
}

TEST_CASE("IMMED is refused where there are no background operations") {
  CopyList list = two_units(ListFormat::lid4);
  list.g_sense_immed = scsi::kExtendedCopyImmed;
  refuses_field(list, 15, 0, {.background = false});
  accepts(list);
}

TEST_CASE("descriptors of MAXIMUM DESCRIPTOR LIST LENGTH are taken, a byte less of it is a length error") {
  accepts(two_units(), {.maximum_descriptor_list_bytes = 92});
  refuses(two_units(), AdditionalSense::parameter_list_length_error, {}, {.maximum_descriptor_list_bytes = 91});
}

TEST_CASE("inline data beyond MAXIMUM INLINE DATA LENGTH is INLINE DATA LENGTH EXCEEDED, at its length") {
  for (ListFormat format : kBoth) {
    CopyList list = two_units(format);
    list.inline_data = List(100);
    accepts(list, {.maximum_inline_data_bytes = 100});
    refuses(list, AdditionalSense::inline_data_length_exceeded,
            FieldPointer::list(format == ListFormat::lid1 ? 12 : 46), {.maximum_inline_data_bytes = 99});
  }
}

TEST_CASE("more CSCD descriptors than MAXIMUM CSCD DESCRIPTOR COUNT are TOO MANY TARGET DESCRIPTORS, whatever type") {
  for (ListFormat format : kBoth) {
    CopyList list = two_units(format);
    accepts(list, {.maximum_cscd_descriptors = 2});
    list.cscds[1] = raw_cscd(0xE0);
    refuses(list, AdditionalSense::too_many_target_descriptors, FieldPointer::list(format == ListFormat::lid1 ? 2 : 42),
            {.maximum_cscd_descriptors = 1});
  }
}

TEST_CASE("the CSCD descriptor types of 64 bytes count as one") {
  CopyList list = two_units();
  list.cscds = {raw_cscd(0xEA, 64), raw_cscd(0xEB, 64)};
  refuses(list, AdditionalSense::unsupported_target_descriptor_type_code, FieldPointer::list(list.cscd_at(0)),
          {.maximum_cscd_descriptors = 2});
  refuses(list, AdditionalSense::too_many_target_descriptors, FieldPointer::list(2), {.maximum_cscd_descriptors = 1});
}

TEST_CASE("a CSCD descriptor list length that cuts a descriptor is refused at the length") {
  CopyList list = two_units();
  list.cscds[1].resize(31);
  refuses_field(list, 2);
  list.cscds[1] = raw_cscd(0xEA, 32);
  refuses_field(list, 2);
}

TEST_CASE("every CSCD descriptor type but E4h and FEh is UNSUPPORTED TARGET DESCRIPTOR TYPE CODE, at the descriptor") {
  for (int type = 0; type <= 0xFF; ++type) {
    if (type == 0xE4 || type == 0xFE) continue;
    CopyList list = two_units();
    list.cscds[1] = raw_cscd(static_cast<std::uint8_t>(type), type == 0xEA || type == 0xEB ? 64 : 32);
    refuses(list, AdditionalSense::unsupported_target_descriptor_type_code, FieldPointer::list(list.cscd_at(1)));
  }
}

TEST_CASE("without ROD types there are no ROD CSCD descriptors and no populating segments") {
  CopyList list = two_units();
  list.cscds[1] = rod_cscd();
  refuses(list, AdditionalSense::unsupported_target_descriptor_type_code, FieldPointer::list(list.cscd_at(1)),
          {.rod_types = {}});
  list = two_units();
  list.segments = {populate_one_segment(0, 1)};
  refuses(list, AdditionalSense::unsupported_segment_descriptor_type_code, FieldPointer::list(list.segment_at(0)),
          {.rod_types = {}});
  CHECK(scsi::supported_descriptor_types({.rod_types = {}}) == List{0x02, 0x07, 0x0A, 0x0D, 0x14, 0x15, 0x16, 0xE4});
  CHECK(scsi::supported_descriptor_types({}) == List{0x02, 0x07, 0x0A, 0x0D, 0x14, 0x15, 0x16, 0xBE, 0xBF, 0xE4, 0xFE});
  CHECK(scsi::supported_cscd_ids({.rod_types = {}}) == std::vector<std::uint16_t>{0xC000, 0xFFFF});
  CHECK(scsi::supported_cscd_ids({}) == std::vector<std::uint16_t>{0xC000, 0xF800, 0xFFFF});
}

TEST_CASE("a designator of more than 20 bytes is refused at DESIGNATOR LENGTH; LU ID TYPE and NUL are not looked at") {
  CopyList list = two_units();
  list.cscds[1][7] = 20;
  list.cscds[1][1] = 0xE0;
  accepts(list);
  list.cscds[1][7] = 21;
  refuses_field(list, list.cscd_at(1) + 7);
}

TEST_CASE("ROD CSCD descriptor rules are refused at the field that breaks them") {
  CopyList list = two_units();
  list.inline_data = List(512 + 4);
  auto refuses_rod = [&](RodOptions options, std::size_t byte, std::optional<std::uint8_t> bit = {}) {
    list.cscds[1] = rod_cscd(options);
    refuses_field(list, list.cscd_at(1) + byte, bit);
  };
  auto accepts_rod = [&](RodOptions options) {
    list.cscds[1] = rod_cscd(options);
    accepts(list);
  };
  SUBCASE("ROD TYPE") {
    refuses_rod({.type = 0x00800005}, 8);
    refuses_rod({.type = 0xFFFF0001}, 8);  // the zero ROD is no ROD to be made
    accepts_rod({.type = 0x00010000});
    accepts_rod({.type = 0x0080FFFF, .r_token = true});
  }
  SUBCASE("token lifetime and inactivity timeout without R_TOKEN") {
    refuses_rod({.lifetime_s = 1}, 12);
    refuses_rod({.inactivity_s = 1}, 16);
  }
  SUBCASE("token lifetime and inactivity timeout at and above the maximum") {
    accepts_rod({.r_token = true, .lifetime_s = 3600, .inactivity_s = 600});
    refuses_rod({.r_token = true, .lifetime_s = 3601}, 12);
    refuses_rod({.r_token = true, .inactivity_s = 601}, 16);
  }
  SUBCASE("DEL_TKN and ROD TOKEN OFFSET without a token") {
    refuses_rod({.del_tkn = true}, 23, 0);
    refuses_rod({.token_offset = 1}, 24);
  }
  SUBCASE("R_TOKEN for a token that was given") { refuses_rod({.type = 0, .r_token = true}, 22, 0); }
  SUBCASE("ROD TOKEN OFFSET at and beyond the last place for a whole token") {
    accepts_rod({.type = 0, .token_offset = 4});
    refuses_rod({.type = 0, .token_offset = 5}, 24);
    refuses_rod({.type = 0, .token_offset = 0xFFFFFFFF}, 24);
    list.inline_data = List(511);
    refuses_rod({.type = 0}, 24);
  }
  SUBCASE("ROD PRODUCER CSCD DESCRIPTOR ID") {
    accepts_rod({.producer = 0});
    accepts_rod({.type = 0, .producer = 0xFFFF});
    accepts_rod({.type = 0, .producer = 0xF800});
    refuses_rod({.producer = 0xF800}, 4);
    refuses_rod({.producer = 2}, 4);
    refuses_rod({.producer = 0xC000}, 4);
  }
}

TEST_CASE("more segment descriptors than MAXIMUM SEGMENT DESCRIPTOR COUNT are TOO MANY SEGMENT DESCRIPTORS") {
  for (ListFormat format : kBoth) {
    CopyList list = two_units(format);
    list.segments.push_back(verify_segment(false));
    accepts(list, {.maximum_segment_descriptors = 2});
    list.segments[1][0] = 0x03;
    refuses(list, AdditionalSense::too_many_segment_descriptors,
            FieldPointer::list(format == ListFormat::lid1 ? 8 : 44), {.maximum_segment_descriptors = 1});
  }
}

TEST_CASE("a segment descriptor list length that cuts a descriptor is refused at the length") {
  CopyList list = two_units();
  for (std::size_t size : {1u, 3u, 4u, 27u}) {
    list.segments[0] = blocks_segment(1, 0, 0);
    list.segments[0].resize(size);
    refuses_field(list, 8);
  }
}

TEST_CASE("segment types with nothing behind them are UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE, at the descriptor") {
  List supported = scsi::supported_descriptor_types({});
  for (int type = 0; type <= 0xFF; ++type) {
    if (type < 0xE0 && std::ranges::binary_search(supported, static_cast<std::uint8_t>(type))) continue;
    CopyList list = two_units();
    list.segments.push_back(list.segments[0]);
    list.segments[1][0] = static_cast<std::uint8_t>(type);
    refuses(list, AdditionalSense::unsupported_segment_descriptor_type_code, FieldPointer::list(list.segment_at(1)));
  }
}

TEST_CASE("DESCRIPTOR LENGTH of a segment that is not its type's is refused at the field") {
  const List segments[] = {blocks_segment(1, 0, 0), blocks_segment(1, 0, 0, {}, 0x0D),
                           bytes_segment({}),       image_segment(1, 0, 0),
                           verify_segment(false),   register_key_segment(1, 2)};
  for (const List& right : segments) {
    for (int change : {-1, 1}) {
      CopyList list = two_units();
      List wrong = right;
      wrong.resize(right.size() + static_cast<std::size_t>(change));
      wrong[3] = static_cast<std::uint8_t>(wrong[3] + change);
      list.segments[0] = wrong;
      refuses_field(list, list.segment_at(0) + 2);
    }
  }
}

TEST_CASE("type 15h has one TransportID of one port, as long as it says") {
  CopyList list = two_units();
  const scsi::ITNexus to{"iqn.2025-01.example:app", {0x40, 0, 0, 0, 0, 1}, "iqn.2025-01.example:target", 1};
  const test::List good = source_nexus_segment(1, 2, to);
  list.segments[0] = good;
  accepts(list);
  ++list.segments[0][31];
  refuses_field(list, list.segment_at(0) + 28);
  list.segments[0] = good;
  list.segments[0][32] = 0x46;  // SAS
  refuses_field(list, list.segment_at(0) + 32, 3);
  list.segments[0] = source_nexus_segment(1, 2, to, {.flags = 1});
  accepts(list);
}

TEST_CASE("a populating segment of one range may have room behind it, not less") {
  CopyList list = two_units();
  list.cscds[1] = rod_cscd();
  list.segments[0] = populate_one_segment(0, 1);
  list.segments[0].resize(28);
  list.segments[0][3] = 24;
  accepts(list);
  list.segments[0].resize(19);
  list.segments[0][3] = 15;
  refuses_field(list, list.segment_at(0) + 2);
}

TEST_CASE("a populating segment's range type, length and ranges are refused at their fields") {
  CopyList list = two_units();
  list.cscds[1] = rod_cscd();
  List good = populate_segment({{0, 8}, {100, 8}});
  list.segments[0] = good;
  accepts(list);
  list.segments[0][13] = 2;
  refuses_field(list, list.segment_at(0) + 13);
  list.segments[0] = good;
  list.segments[0][15] = 16;
  refuses_field(list, list.segment_at(0) + 14);
  list.segments[0] = good;
  list.segments[0].resize(40);
  list.segments[0][3] = 36;
  list.segments[0][15] = 24;
  refuses_field(list, list.segment_at(0) + 14);
  list.segments[0] = populate_segment({{100, 8}, {0, 8}, {107, 1}, {107, 0}});
  refuses_field(list, list.segment_at(0) + 16 + 2 * 16);
  list.segments[0] = populate_segment({{100, 8}, {0, 8}, {108, 1}});
  accepts(list);
}

TEST_CASE("a populating segment takes data of FFFFh to a ROD of a block device that has no token") {
  CopyList list = two_units();
  list.inline_data = List(512);
  list.cscds[1] = rod_cscd();
  SUBCASE("another source") {
    list.segments[0] = populate_one_segment(0, 1, {.source = 0, .destination = 1});
    refuses_field(list, list.segment_at(0) + 4);
  }
  SUBCASE("another destination") {
    for (std::uint16_t destination : {0, 2, 0xFFFF}) {
      list.segments[0] = populate_segment({{0, 1}}, {.source = 0xFFFF, .destination = destination});
      refuses_field(list, list.segment_at(0) + 6);
    }
  }
  SUBCASE("a ROD of ROD TYPE 0") {
    list.cscds[1] = rod_cscd({.type = 0});
    list.segments[0] = populate_one_segment(0, 1);
    refuses_field(list, list.segment_at(0) + 6);
  }
  SUBCASE("a ROD of another device type") {
    list.cscds[1] = rod_cscd({.device_type = 1});
    list.segments[0] = populate_one_segment(0, 1);
    refuses_field(list, list.segment_at(0) + 6);
  }
}

TEST_CASE("a list without CSCDs and without segments is good") {
  for (ListFormat format : kBoth) accepts({.format = format});
}
