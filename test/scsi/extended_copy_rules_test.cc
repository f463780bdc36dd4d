// Every rule of EXTENDED COPY that is judged while segments are processed, and of the commands that receive its
// results: key, code, segment number, pointer, INFORMATION and what is forwarded.
//
// Not tested, and why: data underrun and overrun of a CSCD (0A/0D/04, 0A/0D/05): ours never move less or more than they
// were asked for; copy source or destination not authorized (26/15): there is no access control between logical units.
#include <doctest/doctest.h>

#include "handlers/memory_store.h"
#include "scsi/copy_fabric.h"
#include "scsi/copy_manager.h"
#include "scsi/mode_pages.h"
#include "scsi/reservations.h"
#include "test/scsi/extended_copy_fixture.h"
#include "tokens/copy_operation.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::FieldPointer;
using scsi::ForwardedSense;
using scsi::ListFormat;
using scsi::ListIdUsage;
using scsi::Sense;
using scsi::SenseKey;
using enum scsi::AdditionalSense;

namespace {

constexpr std::uint16_t kA = ExtendedCopyDevice::kA;
constexpr std::uint16_t kB = ExtendedCopyDevice::kB;
constexpr std::uint16_t kWide = ExtendedCopyDevice::kWide;
constexpr std::uint16_t kSparse = CopyDevice::kDestination;  ///< told to fail
constexpr std::uint16_t kThis = scsi::kThisLogicalUnit;
constexpr std::uint64_t kBlocks = ExtendedCopyDevice::kMemoryBytes / 512;
constexpr auto kSource = ForwardedSense::From::copy_source;
constexpr auto kDestination = ForwardedSense::From::copy_destination;

struct Expected {
  AdditionalSense code;
  FieldPointer field;
  std::uint16_t segment = 0;
  std::optional<std::uint64_t> information{};
  std::optional<std::pair<ForwardedSense::From, Sense>> forwarded{};
  SenseKey key = SenseKey::copy_aborted;
};

Sense sense_of(const Expected& expected) {
  Sense sense{expected.key, expected.code, expected.information, expected.field};
  if (expected.key == SenseKey::copy_aborted) sense.segment = expected.segment;
  if (expected.forwarded)
    sense.forwarded.push_back(
        {expected.forwarded->first, scsi::Status::check_condition, encode_fixed(expected.forwarded->second)});
  return sense;
}

void check_sense(const Sense& actual, const Sense& expected) {
  CHECK(scsi::describe(actual) == scsi::describe(expected));
  CHECK(actual.field == expected.field);
  CHECK(actual.segment == expected.segment);
  CHECK(actual.information == expected.information);
  CHECK(actual.forwarded == expected.forwarded);
  CHECK_FALSE(actual.rule.empty());
}

/// The command is refused, and its results say the same.
void aborts(ExtendedCopyDevice& device, const CopyList& list, const Expected& expected, std::uint16_t number = kA) {
  Command& command = device.copy(list, number);
  REQUIRE(command.status() == scsi::Status::check_condition);
  Sense sense = sense_of(expected);
  check_sense(command.sense(), sense);
  CopyStatusLid4 status = device.status(list.list_identifier, number);
  CHECK(status.header.copy_operation_status == 0x02);
  CHECK(status.header.extended_copy_completion_status == 0x02);
  CHECK(status.header.segments_processed == expected.segment);
  CHECK(status.sense == scsi::encode_fixed(sense));
  CHECK(device.receive_lid1(0x00, static_cast<std::uint8_t>(list.list_identifier), 12, number).data()[4] == 0x02);
}

CopyList list_of(ExtendedCopyDevice& device, std::vector<List> segments) {
  return {.cscds = {device.cscd(kA), device.cscd(kB)}, .segments = std::move(segments)};
}

Sense out_of_range(std::uint64_t first_bad) {
  return {SenseKey::illegal_request, logical_block_address_out_of_range, first_bad};
}

bool unknown(const Command& command) {
  return command.failed_with(SenseKey::illegal_request, invalid_field_in_cdb) &&
         command.sense().field == FieldPointer::cdb(2);
}

}  // namespace

TEST_CASE("a list identifier that is being processed on the nexus is OPERATION IN PROGRESS") {
  ExtendedCopyDevice device({.copy_duration = {.latency_us = 1000}});
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  Command& first = device.send(ExtendedCopyDevice::cdb(list.format, list.bytes().size()), list.bytes(), kA);
  CHECK_FALSE(first.done());
  Command& second = device.copy(list);
  CHECK(second.failed_with(SenseKey::illegal_request, operation_in_progress));
  CHECK(device.populate(0x2C, {{0, 1}}, {}, kA).failed_with(SenseKey::illegal_request, operation_in_progress));
  device.pass(std::chrono::seconds(1));
  CHECK(first.good());
}

TEST_CASE("a list identifier that is being processed in the other form is INVALID FIELD IN PARAMETER LIST") {
  for (ListFormat format : {ListFormat::lid1, ListFormat::lid4}) {
    ExtendedCopyDevice device({.copy_duration = {.latency_us = 1000}});
    CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
    list.format = format;
    Command& first = device.send(ExtendedCopyDevice::cdb(list.format, list.bytes().size()), list.bytes(), kA);
    list.format = format == ListFormat::lid1 ? ListFormat::lid4 : ListFormat::lid1;
    Command& second = device.copy(list);
    CHECK(second.failed_with(SenseKey::illegal_request, invalid_field_in_parameter_list));
    CHECK(second.sense().field == FieldPointer::list(list.format == ListFormat::lid1 ? 0 : 20));
    device.pass(std::chrono::seconds(1));
    CHECK(first.good());
    CHECK(device.copies.operations().in_progress() == 0);
  }
}

TEST_CASE("a list refused before the first segment is ILLEGAL REQUEST with VALID zero, and leaves that as its result") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0), blocks_segment(1, 0, 1, {}, 0x03)});
  aborts(device, list,
         {.code = unsupported_segment_descriptor_type_code,
          .field = FieldPointer::list(list.segment_at(1)),
          .key = SenseKey::illegal_request});
}

TEST_CASE("a list whose header is refused leaves no result") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  list.usage = ListIdUsage::reserved;
  CHECK(device.copy(list).failed_with(SenseKey::illegal_request, invalid_field_in_parameter_list));
  CHECK(unknown(device.receive_status(0x2C, kA)));
}

TEST_CASE("a CSCD descriptor ID beyond the list is UNREACHABLE COPY TARGET at the segment's field") {
  ExtendedCopyDevice device;
  for (std::uint16_t id : {2, 0x07FF, 0x0800, 0xC002, 0xFFFE}) {
    aborts(device, list_of(device, {blocks_segment(1, 0, 0), blocks_segment(1, 0, 0, {.source = id})}),
           {.code = unreachable_copy_target, .field = FieldPointer::segment(4), .segment = 1});
    aborts(device, list_of(device, {blocks_segment(1, 0, 0, {.destination = id})}),
           {.code = unreachable_copy_target, .field = FieldPointer::segment(6)});
  }
}

TEST_CASE("C001h, F800h and a null logical unit that a command would go to are not reachable") {
  ExtendedCopyDevice device;
  for (std::uint16_t id : {0xC001, 0xF800, 0xC000}) {
    aborts(device, list_of(device, {blocks_segment(1, 0, 0, {.source = id})}),
           {.code = copy_target_device_not_reachable, .field = FieldPointer::segment(4)});
    aborts(device, list_of(device, {blocks_segment(1, 0, 0, {.flags = scsi::kDc, .destination = id})}),
           {.code = copy_target_device_not_reachable, .field = FieldPointer::segment(6)});
  }
  aborts(device, list_of(device, {bytes_segment({.bytes = 1}, {.source = 0xC000})}),
         {.code = copy_target_device_not_reachable, .field = FieldPointer::segment(4)});
  aborts(device, list_of(device, {image_segment(1, 0, 0, {.destination = 0xC000})}),
         {.code = copy_target_device_not_reachable, .field = FieldPointer::segment(6)});
  aborts(device, list_of(device, {verify_segment(false, {.source = 0xC000})}),
         {.code = copy_target_device_not_reachable, .field = FieldPointer::segment(4)});
}

TEST_CASE("a designator that no logical unit here has is COPY TARGET DEVICE NOT REACHABLE at the CSCD descriptor") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  for (auto change : std::initializer_list<std::pair<std::size_t, std::uint8_t>>{
           {23, 0xEE}, {4, 2}, {5, 0x13}, {5, 0x02}, {5, 0x01}, {7, 15}}) {
    list.cscds[1] = device.cscd(kB);
    list.cscds[1][change.first] = change.second;
    aborts(device, list, {.code = copy_target_device_not_reachable, .field = FieldPointer::list(list.cscd_at(1))});
  }
}

TEST_CASE("a logical unit of another target is not found, unless the profile says so") {
  for (bool across : {false, true}) {
    ExtendedCopyDevice device({.extended_copy_across_targets = across});
    scsi::DeviceServer second({"iqn.2025-01.example:second", 1}, device.clock, nullptr, device.copies);
    scsi::LogicalUnitConfig config;
    config.name = "elsewhere";
    config.identity.naa = {0x60, 9};
    second.add(scsi::Lun{0}, std::make_shared<scsi::LogicalUnit>(config, std::make_unique<SparseStore>(1 << 20)));
    CopyList list{.cscds = {naa_cscd(config.identity.naa)}, .segments = {verify_segment(false)}};
    if (across) CHECK(device.copy(list).good());
    if (!across)
      aborts(device, list, {.code = copy_target_device_not_reachable, .field = FieldPointer::list(list.cscd_at(0))});
  }
}

TEST_CASE(
    "logical units that cannot reach each other are COPY TARGET DEVICE NOT REACHABLE at the source's descriptor") {
  ExtendedCopyDevice device;
  device.copies.reachability().cut("memory20", "memory21");
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  aborts(device, list, {.code = copy_target_device_not_reachable, .field = FieldPointer::list(list.cscd_at(0))});
}

TEST_CASE("another device type in the CSCD descriptor is INCORRECT COPY TARGET DEVICE TYPE") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  list.cscds[1][1] = 0x01;
  aborts(device, list, {.code = incorrect_copy_target_device_type, .field = FieldPointer::list(list.cscd_at(1))});
}

TEST_CASE("another block length in the CSCD descriptor is refused at DISK BLOCK LENGTH") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  list.cscds[0] = naa_cscd(device.lu(kA).identity().naa, 4096);
  aborts(device, list, {.code = invalid_field_in_parameter_list, .field = FieldPointer::list(list.cscd_at(0) + 29)});
}

TEST_CASE("a range beyond the capacity is COPY ABORTED with LBA OUT OF RANGE forwarded") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0), blocks_segment(2, kBlocks - 1, 0)});
  device.fill_bytes(kB, 0, 1024, 1);
  aborts(device, list,
         {.code = none,
          .field = FieldPointer::list(list.cscd_at(0)),
          .segment = 1,
          .forwarded = {{kSource, out_of_range(kBlocks)}}});
  list.segments[1] = blocks_segment(2, 0, kBlocks + 5);
  aborts(device, list,
         {.code = none,
          .field = FieldPointer::list(list.cscd_at(1)),
          .segment = 1,
          .forwarded = {{kDestination, out_of_range(kBlocks + 5)}}});
  list.segments[1] = blocks_segment(1, 0xFFFFFFFFFFFFFFFF, 0, {.source = kThis});
  aborts(device, list,
         {.code = none,
          .field = FieldPointer::segment(4),
          .segment = 1,
          .forwarded = {{kSource, out_of_range(0xFFFFFFFFFFFFFFFF)}}});
}

TEST_CASE("a write-protected destination is THIRD PARTY DEVICE FAILURE with DATA PROTECT forwarded") {
  ExtendedCopyDevice device;
  device.store(kSparse).write_protected = true;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  list.cscds[1] = device.cscd(kSparse);
  aborts(device, list,
         {.code = third_party_device_failure,
          .field = FieldPointer::list(list.cscd_at(1)),
          .forwarded = {{kDestination, Sense{SenseKey::data_protect, write_protected}}}});
}

TEST_CASE("a stopped logical unit is THIRD PARTY DEVICE FAILURE with NOT READY forwarded, also to VERIFY with TUR") {
  ExtendedCopyDevice device;
  device.lu(kB).set_stopped(true);
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  std::pair answer{kDestination, Sense{SenseKey::not_ready, logical_unit_not_ready_initializing_command_required}};
  aborts(device, list,
         {.code = third_party_device_failure, .field = FieldPointer::list(list.cscd_at(1)), .forwarded = answer});
  list.segments = {verify_segment(false, {.source = 1})};
  CHECK(device.copy(list).good());
  list.segments = {verify_segment(true, {.source = 1})};
  answer.first = kSource;
  aborts(device, list,
         {.code = third_party_device_failure, .field = FieldPointer::list(list.cscd_at(1)), .forwarded = answer});
}

TEST_CASE("a store that fails midway: INFORMATION is what was not written, in blocks of the destination") {
  ExtendedCopyDevice device;
  device.store(kSparse).error = handlers::IoError{handlers::IoError::Kind::no_space, "full"};
  device.store(kSparse).bytes_before_error = 3 * 512;
  device.fill(CopyDevice::kSource, {0, 8}, 1);
  CopyList list{.cscds = {device.cscd(CopyDevice::kSource), device.cscd(kSparse)},
                .segments = {blocks_segment(8, 0, 0)}};
  Expected expected{
      .code = third_party_device_failure,
      .field = FieldPointer::list(list.cscd_at(1)),
      .information = 5,
      .forwarded = {{kDestination, Sense{SenseKey::data_protect, space_allocation_failed_write_protect}}}};
  aborts(device, list, expected);
  CHECK(device.status().header.transfer_count == 3 * 512);
  CHECK(device.read(kSparse, {0, 3}) == device.read(CopyDevice::kSource, {0, 3}));
  device.store(kSparse).bytes_before_error = 0;
  expected.information.reset();
  aborts(device, list, expected);
}

TEST_CASE("a source that cannot be read is forwarded from the copy source") {
  ExtendedCopyDevice device;
  device.store(CopyDevice::kSource).error = handlers::IoError{handlers::IoError::Kind::medium_read, "broken"};
  CopyList list{.cscds = {device.cscd(CopyDevice::kSource), device.cscd(kB)}, .segments = {blocks_segment(8, 0, 0)}};
  aborts(device, list,
         {.code = third_party_device_failure,
          .field = FieldPointer::list(list.cscd_at(0)),
          .forwarded = {{kSource, Sense{SenseKey::medium_error, unrecovered_read_error}}}});
}

TEST_CASE("residual data that neither CAT nor PAD explains is UNEXPECTED INEXACT SEGMENT, and nothing is written") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 1 << 16, 1);
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kWide)}, .segments = {blocks_segment(9, 0, 0)}};
  Expected expected{.code = unexpected_inexact_segment, .field = FieldPointer::segment(1, 0)};
  aborts(device, list, expected);
  list.segments = {blocks_segment(1, 0, 0, {.flags = scsi::kDc, .source = 1, .destination = 0})};
  aborts(device, list, expected);
  CHECK(device.bytes(kWide, 0, 4096) == Bytes(4096));
}

TEST_CASE("data for a null logical unit is residual data: an error without CAT, and not without end with it") {
  ExtendedCopyDevice device;
  aborts(device, list_of(device, {blocks_segment(1, 0, 0, {.destination = 0xC000})}),
         {.code = unexpected_inexact_segment, .field = FieldPointer::segment(1, 0)});
  CopyList list = list_of(
      device, {blocks_segment(8192, 0, 0, {.flags = scsi::kCat, .destination = 0xC000}), verify_segment(false)});
  CHECK(device.copy(list).good());
  list.segments[0] = blocks_segment(8193, 0, 0, {.flags = scsi::kCat, .destination = 0xC000});
  aborts(device, list, {.code = insufficient_resources, .field = FieldPointer::list(list.cscd_at(0))});
  std::swap(list.segments[0], list.segments[1]);
  CHECK(device.copy(list).good());
}

TEST_CASE("PAD of the destination does not allow residual destination data beyond what DC=1 or bytes designate") {
  ExtendedCopyDevice device;
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kWide, true), device.cscd(kB, true)}};
  list.segments = {blocks_segment(3, 0, 0, {.flags = scsi::kCat}), blocks_segment(0, 0, 0, {.flags = scsi::kDc})};
  Expected expected{.code = unexpected_inexact_segment, .field = FieldPointer::segment(1, 0), .segment = 1};
  aborts(device, list, expected);
  list.segments[1] = bytes_segment({.bytes = 512});
  aborts(device, list, expected);
}

TEST_CASE("a byte offset beyond its block is refused at its field") {
  ExtendedCopyDevice device;
  aborts(device, list_of(device, {bytes_segment({.bytes = 1, .source_byte_offset = 512})}),
         {.code = invalid_field_in_parameter_list, .field = FieldPointer::segment(28)});
  aborts(device, list_of(device, {bytes_segment({.bytes = 1, .destination_byte_offset = 512})}),
         {.code = invalid_field_in_parameter_list, .field = FieldPointer::segment(30)});
}

namespace {

/// A nexus reserves a logical unit.
void reserve(ExtendedCopyDevice& device, scsi::NexusId holder, std::uint16_t number, scsi::ReservationType type) {
  auto list = [](std::uint64_t key, std::uint64_t new_key) {
    Bytes bytes;
    base::ByteWriter writer(bytes);
    writer.u64(key);
    writer.u64(new_key);
    writer.zeros(8);
    return bytes;
  };
  device.run({0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0}, list(0, 0xBBBB), number, holder);
  CHECK(device.run({0x5F, 1, static_cast<std::uint8_t>(type), 0, 0, 0, 0, 0, 24, 0}, list(0xBBBB, 0), number, holder)
            .good());
}

Sense conflict(const CopyList& list, std::size_t cscd, ForwardedSense::From from, std::uint16_t segment = 0) {
  Sense sense = sense_of(
      {.code = third_party_device_failure, .field = FieldPointer::list(list.cscd_at(cscd)), .segment = segment});
  sense.forwarded.push_back({from, scsi::Status::reservation_conflict, {}});
  return sense;
}

}  // namespace

TEST_CASE("another nexus's reservation is THIRD PARTY DEVICE FAILURE with RESERVATION CONFLICT forwarded") {
  using enum scsi::ReservationType;
  ExtendedCopyDevice device;
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  reserve(device, other, kB, write_exclusive);
  check_sense(device.copy(list, kWide).sense(), conflict(list, 1, kDestination));
  std::swap(list.cscds[0], list.cscds[1]);  // reading passes write exclusive
  CHECK(device.copy(list, kWide).good());
  reserve(device, other, kA, exclusive_access);
  list.segments = {blocks_segment(1, 0, 0, {.source = 1, .destination = kThis})};
  check_sense(device.copy(list, kWide).sense(), conflict(list, 1, kSource));
  CHECK(device.copy(list, kA).status() == scsi::Status::reservation_conflict);
}

TEST_CASE(
    "type 14h registers the nexus that sent the command, so that registrants' reservations let its copy through") {
  ExtendedCopyDevice device;
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  reserve(device, other, kB, scsi::ReservationType::write_exclusive_registrants_only);
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  device.fill_bytes(kA, 0, 512, 1);
  CHECK(device.copy(list).failed_with(SenseKey::copy_aborted, third_party_device_failure));
  list.segments.insert(list.segments.begin(), register_key_segment(0, 0xAAAA));
  CHECK(device.copy(list).good());
  CHECK(device.bytes(kB, 0, 512) == device.bytes(kA, 0, 512));
  // A wrong key, a ROD and a null logical unit; then the key is taken away again.
  list.segments = {register_key_segment(0x1234, 1)};
  check_sense(device.copy(list).sense(), conflict(list, 1, kDestination));
  list.cscds.push_back(rod_cscd());
  list.segments = {populate_one_segment(0, 1, {.source = kThis, .destination = 2}),
                   register_key_segment(0, 1, {.destination = 2})};
  aborts(device, list,
         {.code = invalid_operation_for_copy_source_or_destination, .field = FieldPointer::segment(6), .segment = 1});
  list.segments = {register_key_segment(0, 1, {.destination = 0xC000})};
  aborts(device, list, {.code = copy_target_device_not_reachable, .field = FieldPointer::segment(6)});
  list.segments = {register_key_segment(0xAAAA, 0), blocks_segment(1, 0, 0)};
  check_sense(device.copy(list).sense(), conflict(list, 1, kDestination, 1));
}

TEST_CASE("type 15h gives the reservation to another nexus when the copy is over, well or not") {
  using enum scsi::ReservationType;
  for (bool fails : {false, true}) {
    ExtendedCopyDevice device;
    scsi::NexusId app = device.attach("iqn.2025-01.example:app");
    scsi::ITNexus to = device.server.nexus(app);
    reserve(device, device.nexus, kB, exclusive_access);  // registers with key BBBBh
    const auto& reservations = device.lu(kB).reservations();
    CopyList list = list_of(device, {source_nexus_segment(0xBBBB, 0xCCCC, to, {.flags = 2}), blocks_segment(1, 0, 0)});
    if (fails) list.segments[1] = blocks_segment(1, UINT32_MAX, 0);
    CHECK(device.copy(list).good() == !fails);
    REQUIRE(reservations.holder());
    CHECK(reservations.holder()->first == to);
    CHECK(reservations.holder()->second.key == 0xCCCC);
    CHECK(reservations.registrations().size() == 1);  // UNREG took the mover's
  }
}

TEST_CASE("type 15h without a reservation, a right key or a port of the target fails as the destination answers") {
  ExtendedCopyDevice device;
  scsi::NexusId app = device.attach("iqn.2025-01.example:app");
  scsi::ITNexus to = device.server.nexus(app);
  CopyList list = list_of(device, {source_nexus_segment(0xBBBB, 0xCCCC, to)});
  check_sense(device.copy(list).sense(), conflict(list, 1, kDestination));  // not registered
  reserve(device, device.nexus, kB, scsi::ReservationType::exclusive_access);
  list.segments = {source_nexus_segment(0xAAAA, 0xCCCC, to)};
  check_sense(device.copy(list).sense(), conflict(list, 1, kDestination));
  list.segments = {source_nexus_segment(0xBBBB, 0xCCCC, to, {.port = 2})};
  CHECK(device.copy(list).failed_with(SenseKey::copy_aborted, third_party_device_failure));
  list.segments = {source_nexus_segment(0xBBBB, 0, to)};
  CHECK(device.copy(list).failed_with(SenseKey::copy_aborted, third_party_device_failure));
  list.segments = {source_nexus_segment(0xBBBB, 0xCCCC, to, {.flags = 1})};  // APTPL, which nothing there can be
  CHECK(device.copy(list).failed_with(SenseKey::copy_aborted, third_party_device_failure));
  list.segments = {source_nexus_segment(0xBBBB, 0xCCCC, to, {}, {.destination = 0xC000})};
  check_sense(device.copy(list).sense(),
              sense_of({.code = copy_target_device_not_reachable, .field = FieldPointer::segment(6)}));
  CHECK(device.lu(kB).reservations().holder()->first == device.server.nexus(device.nexus));
}

TEST_CASE("granularities and MAXIMUM SEGMENT LENGTH are enforced as COPY SEGMENT GRANULARITY VIOLATION") {
  Expected expected{.code = copy_segment_granularity_violation, .field = FieldPointer::segment(0)};
  SUBCASE("data segment granularity") {
    ExtendedCopyDevice device({.data_segment_granularity_log2 = 10});
    CHECK(device.copy(list_of(device, {blocks_segment(2, 0, 0)})).good());
    aborts(device, list_of(device, {blocks_segment(3, 0, 0)}), expected);
  }
  SUBCASE("held data granularity") {
    ExtendedCopyDevice device({.held_data_granularity_log2 = 10});
    CHECK(device.copy(list_of(device, {blocks_segment(3, 0, 0)})).good());
    aborts(device, list_of(device, {blocks_segment(3, 0, 0, {}, 0x0D)}), expected);
  }
  SUBCASE("maximum segment length") {
    ExtendedCopyDevice device({.maximum_segment_bytes = 1024});
    CHECK(device.copy(list_of(device, {blocks_segment(2, 0, 0)})).good());
    aborts(device, list_of(device, {blocks_segment(3, 0, 0)}), expected);
  }
}

TEST_CASE("an image between logical units of different block lengths is INCORRECT COPY TARGET DEVICE TYPE") {
  ExtendedCopyDevice device;
  CopyList list{.cscds = {device.cscd(kA), device.cscd(kWide)}, .segments = {image_segment(1, 0, 0)}};
  aborts(device, list, {.code = incorrect_copy_target_device_type, .field = FieldPointer::list(list.cscd_at(1))});
}

TEST_CASE("FCO=1 is FAST COPY NOT POSSIBLE where a store has to be waited for") {
  ExtendedCopyDevice device;
  CHECK(device.copy(list_of(device, {blocks_segment(1, 0, 0, {.flags = scsi::kFco})})).good());
  device.store(kSparse).blocking = true;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0, {.flags = scsi::kFco})});
  list.cscds[1] = device.cscd(kSparse);
  aborts(device, list, {.code = fast_copy_not_possible, .field = FieldPointer::segment(1, 2)});
}

TEST_CASE("a ROD that has no data yet is no copy source, and one that was used is populated no more") {
  ExtendedCopyDevice device;
  CopyList list{.cscds = {rod_cscd(), device.cscd(kB)},
                .segments = {blocks_segment(1, 0, 0), populate_one_segment(0, 4, {.source = kThis, .destination = 0})}};
  aborts(device, list, {.code = copy_target_device_not_reachable, .field = FieldPointer::list(list.cscd_at(0))});
  std::swap(list.segments[0], list.segments[1]);
  list.segments.push_back(populate_one_segment(8, 4, {.source = kThis, .destination = 0}));
  aborts(device, list, {.code = invalid_field_in_parameter_list, .field = FieldPointer::segment(6), .segment = 2});
}

TEST_CASE("a ROD takes no data twice, no other block length, no range beyond the capacity, and no more than its most") {
  ExtendedCopyDevice device({.maximum_token_transfer_bytes = 4096, .optimal_transfer_bytes = 4096});
  SegmentOptions into{.source = kThis, .destination = 0};
  CopyList list{.cscds = {rod_cscd()},
                .segments = {populate_one_segment(0, 4, into), populate_segment({{9, 1}, {3, 1}}, into)}};
  aborts(device, list, {.code = invalid_field_in_parameter_list, .field = FieldPointer::segment(6), .segment = 1});
  list.segments[1] = populate_one_segment(4, 5, into);
  aborts(device, list, {.code = invalid_field_in_parameter_list, .field = FieldPointer::segment(6), .segment = 1});
  list.segments[1] = populate_one_segment(kBlocks, 1, into);
  aborts(
      device, list,
      {.code = none, .field = FieldPointer::segment(4), .segment = 1, .forwarded = {{kSource, out_of_range(kBlocks)}}});
  list.cscds[0] = rod_cscd({.block_length = 4096});
  aborts(device, list, {.code = invalid_field_in_parameter_list, .field = FieldPointer::list(list.cscd_at(0) + 29)});
}

TEST_CASE("a ROD is no copy destination") {
  ExtendedCopyDevice device;
  for (std::uint32_t type : {0x00800000u, 0x00010000u}) {
    CopyList list{.cscds = {rod_cscd({.type = type}), device.cscd(kB)},
                  .segments = {populate_one_segment(0, 4, {.source = kThis, .destination = 0}),
                               blocks_segment(1, 0, 0, {.source = 1, .destination = 0})}};
    aborts(device, list,
           {.code = type == 0x00010000u ? invalid_operation_for_copy_source_or_destination
                                        : invalid_field_in_parameter_list,
            .field = FieldPointer::segment(6),
            .segment = 1});
  }
}

TEST_CASE("each wrong token in the inline data has its own qualifier, at the token, before any segment") {
  ExtendedCopyDevice device;
  tokens::RodToken token = device.token_of({{0, 8}}, {}, kA);
  auto refuses = [&](const tokens::RodToken& wrong, AdditionalSense code, std::size_t byte = 0) {
    CopyList list{.cscds = {device.cscd(kB), rod_cscd({.type = 0, .token_offset = 8})},
                  .segments = {blocks_segment(1, 0, 0, {.source = kThis, .destination = 0}),
                               blocks_segment(1, 0, 0, {.source = 1, .destination = 0})},
                  .inline_data = List(8)};
    List image = as_list(wrong);
    list.inline_data.insert(list.inline_data.end(), image.begin(), image.end());
    aborts(
        device, list,
        {.code = code, .field = FieldPointer::list(list.segment_at(2) + 8 + byte), .key = SenseKey::illegal_request});
  };
  tokens::RodToken wrong = token;
  wrong.rod_type = 0x00800077;
  refuses(wrong, invalid_token_operation_unsupported_token_type);
  wrong = token;
  wrong.rod_token_length = 100;
  refuses(wrong, invalid_token_operation_invalid_token_length, 6);
  wrong = token;
  wrong.creator_logical_unit_descriptor.designator[3] ^= 1;
  refuses(wrong, invalid_token_operation_remote_token_usage_not_supported);
  wrong = token;
  wrong.extended.mac[0] ^= 1;
  refuses(wrong, invalid_token_operation_token_corrupt);
  tokens::TokenId id{token.copy_manager_rod_token_identifier.value()};
  SUBCASE("revoked") {
    device.copies.tokens().revoke(id);
    refuses(token, invalid_token_operation_token_revoked);
  }
  SUBCASE("cancelled") {
    device.copies.tokens().cancel(id);
    refuses(token, invalid_token_operation_token_cancelled);
  }
  SUBCASE("deleted") {
    device.copies.tokens().delete_by_client(id);
    refuses(token, invalid_token_operation_token_deleted);
  }
  SUBCASE("expired") {
    device.clock.advance(std::chrono::seconds(60));
    refuses(token, invalid_token_operation_token_expired);
  }
}

namespace {

/// Another machine's array, for one token.
class OtherMachine final : public scsi::RemoteRods {
 public:
  std::expected<handlers::SnapshotRef, Refusal> open(const tokens::RodToken&, const std::atomic<bool>&) override {
    if (refusal) return std::unexpected(*refusal);
    return data;
  }
  handlers::SnapshotRef data{};
  std::optional<Refusal> refusal{};
};

}  // namespace

TEST_CASE("a token of another machine in the inline data is copied from, or refused as that machine says") {
  OtherMachine other;
  ExtendedCopyDevice device({.remote_tokens = 4});
  tokens::RodToken token = device.token_of({{0, 8}}, {}, kA);
  token.creator_logical_unit_descriptor.designator[3] ^= 1;
  CopyList list{.cscds = {device.cscd(kB), rod_cscd({.type = 0})},
                .segments = {blocks_segment(4, 2, 0, {.source = 1, .destination = 0})},
                .inline_data = as_list(token)};
  FieldPointer at = FieldPointer::list(list.segment_at(1));
  aborts(device, list,
         {.code = invalid_token_operation_remote_token_usage_not_supported,
          .field = at,
          .key = SenseKey::illegal_request});

  device.copies.fabric().set_remote_rods(&other);
  handlers::MemoryStore elsewhere(4096);
  elsewhere.write(0, ExtendedCopyDevice::pattern(4096, 9)).value();
  handlers::ByteRange all{0, 4096};
  other.data = elsewhere.capture({&all, 1}).value();
  CHECK(device.copy(list).good());
  Bytes expected = ExtendedCopyDevice::pattern(4096, 9);
  CHECK(device.bytes(kB, 0, 2048) == Bytes(expected.begin() + 1024, expected.begin() + 3072));

  other.refusal = scsi::RemoteRods::Refusal{.token = tokens::TokenError::expired, .creator_known = true, .reason = ""};
  aborts(device, list, {.code = invalid_token_operation_token_expired, .field = at, .key = SenseKey::illegal_request});
  other.refusal = scsi::RemoteRods::Refusal{.creator_known = true, .reason = "no route"};
  aborts(device, list, {.code = copy_target_device_not_reachable, .field = FieldPointer::list(list.cscd_at(1))});
  device.copies.fabric().set_remote_rods(nullptr);
}

TEST_CASE("a token by reference whose logical unit shrank is cancelled, one whose data is gone is not copied from") {
  ExtendedCopyDevice device;
  CopyList make{.cscds = {rod_cscd({.type = 0x00010000, .r_token = true})},
                .segments = {populate_one_segment(100, 8, {.source = kThis, .destination = 0})}};
  CHECK(device.copy(make, kSparse).good());
  tokens::RodToken token = device.result(0x2C, kSparse).token.value();
  device.lu(kSparse).set_capacity(base::BlockCount(104));  // and nobody has told the copy manager yet
  CopyList list{.cscds = {device.cscd(kB), rod_cscd({.type = 0})},
                .segments = {blocks_segment(4, 0, 0, {.source = 1, .destination = 0})},
                .inline_data = as_list(token)};
  Command& command = device.copy(list);
  CHECK(command.failed_with(SenseKey::illegal_request, invalid_token_operation_token_cancelled));
}

TEST_CASE("a ROD's producer that is another target's logical unit") {
  auto list = [](RodOptions options) {
    options.producer = 0;
    return CopyList{.cscds = {naa_cscd({0x60, 8, 8}), rod_cscd(options)},
                    .segments = {verify_segment(false, {.source = kThis})},
                    .inline_data = as_list(tokens::zero_token())};
  };
  auto refuses = [&](scsi::DeviceProfile profile, RodOptions options, AdditionalSense code) {
    ExtendedCopyDevice device(std::move(profile));
    CopyList wrong = list(options);
    aborts(device, wrong,
           {.code = code, .field = FieldPointer::list(wrong.cscd_at(1) + 4), .key = SenseKey::illegal_request});
  };
  refuses({}, {}, invalid_token_operation_remote_token_usage_not_supported);
  refuses({}, {.r_token = true}, invalid_token_operation_remote_token_usage_not_supported);
  refuses({.remote_tokens = 4}, {}, invalid_field_in_parameter_list);
  refuses({.remote_tokens = 4}, {.r_token = true}, invalid_token_operation_remote_rod_token_creation_not_supported);
  ExtendedCopyDevice device({.remote_tokens = 4});
  CHECK(device.copy(list({.type = 0})).good());
  CopyList rod_of_rod{.cscds = {rod_cscd({.producer = 1}), rod_cscd()}, .segments = {}};
  aborts(device, rod_of_rod,
         {.code = invalid_field_in_parameter_list,
          .field = FieldPointer::list(rod_of_rod.cscd_at(0) + 4),
          .key = SenseKey::illegal_request});
}

TEST_CASE("no room for a token is INSUFFICIENT RESOURCES TO CREATE ROD TOKEN, and no token is left") {
  ExtendedCopyDevice device({.maximum_tokens = 1});
  CopyList list{.cscds = {rod_cscd({.r_token = true}), rod_cscd({.r_token = true})},
                .segments = {populate_one_segment(0, 1, {.source = kThis, .destination = 0}),
                             populate_one_segment(0, 1, {.source = kThis, .destination = 1})}};
  Command& command = device.copy(list);
  CHECK(command.failed_with(SenseKey::illegal_request, insufficient_resources_to_create_rod_token));
  CHECK(device.run(in_cdb(0x08, 0, 4096), {}, kA).data() == hex("00 00 00 04 00 00 00 00"));
}

TEST_CASE("no room for a ROD's data is INSUFFICIENT RESOURCES TO CREATE ROD, and for a copy source's 55/03") {
  ExtendedCopyDevice device;
  device.store(kSparse).error = handlers::IoError{handlers::IoError::Kind::no_space, "no room to capture"};
  CopyList list{.cscds = {rod_cscd()}, .segments = {populate_one_segment(0, 1, {.source = kThis, .destination = 0})}};
  Command& command = device.copy(list, kSparse);
  CHECK(command.failed_with(SenseKey::illegal_request, insufficient_resources_to_create_rod));
  CHECK_FALSE(command.sense().field);
  list = {.cscds = {device.cscd(kSparse), device.cscd(kB)}, .segments = {blocks_segment(1, 0, 0)}};
  aborts(device, list, {.code = insufficient_resources, .field = FieldPointer::list(list.cscd_at(0))});
}

TEST_CASE("RECEIVE COPY FAILURE DETAILS tells status and sense of a failed EXTENDED COPY(LID1), once") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0, {.source = 9})});
  Command& command = device.copy(list);
  Bytes sense = scsi::encode_fixed(command.sense());
  Bytes cut = device.receive_lid1(0x04, 0x2C, 60).data();
  CHECK(cut.size() == 60);
  Bytes data = device.receive_lid1(0x04, 0x2C, 400).data();
  REQUIRE(data.size() == 60 + sense.size());
  CHECK(base::load<base::be32>(data) == data.size() - 4);
  CHECK(data[56] == 0x02);
  CHECK(data[59] == sense.size());
  CHECK(Bytes(data.begin() + 60, data.end()) == sense);
  CHECK(unknown(device.receive_lid1(0x04, 0x2C, 400)));
}

TEST_CASE("RECEIVE COPY FAILURE DETAILS: nothing failed, nothing known, another command, ALLOCATION LENGTH 0") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  CHECK(device.copy(list).good());
  CHECK(device.receive_lid1(0x04, 0x2C, 400).data() == hex("00 00 00 00"));
  CHECK(unknown(device.receive_lid1(0x04, 0x77, 400)));
  list.format = ListFormat::lid4;
  list.segments = {blocks_segment(1, 0, 0, {.source = 9})};
  device.copy(list);
  CHECK(unknown(device.receive_lid1(0x04, 0x2C, 400)));
  list.format = ListFormat::lid1;
  device.copy(list);
  CHECK(device.receive_lid1(0x04, 0x2C, 0).data().empty());
  CHECK(unknown(device.receive_lid1(0x04, 0x2C, 400)));
}

TEST_CASE("results of a list identifier that nobody used, or another nexus did, are INVALID FIELD IN CDB at it") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0, {}, 0x0D)});
  CHECK(device.copy(list).good());
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  for (std::uint8_t action : {0x00, 0x01, 0x04}) {
    CHECK(unknown(device.receive_lid1(action, 0x2D, 100)));
    Bytes cdb(16);
    cdb[0] = 0x84;
    cdb[1] = action;
    cdb[2] = 0x2C;
    cdb[13] = 100;
    CHECK(unknown(device.run(cdb, {}, kA, other)));
  }
  CHECK(unknown(device.run(in_cdb(0x06, 0x2D, 100), {}, kA)));
  CHECK(unknown(device.run(in_cdb(0x06, 0x2C, 100), {}, kA, other)));
}

TEST_CASE("a new EXTENDED COPY of the same list identifier discards the results of the old one") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0, {}, 0x0D)});
  CHECK(device.copy(list).good());
  list.segments = {blocks_segment(1, 0, 0)};
  CHECK(device.copy(list).good());
  CHECK(device.receive_lid1(0x01, 0x2C, 100).data() == hex("00 00 00 00"));
}

TEST_CASE("held data of an operation that failed is not given") {
  ExtendedCopyDevice device;
  CopyList list = list_of(device, {blocks_segment(1, 0, 0, {}, 0x0D), blocks_segment(1, 0, 0, {.source = 9})});
  CHECK(device.copy(list).failed_with(SenseKey::copy_aborted, unreachable_copy_target));
  CopyStatusLid4 held = device.held();
  CHECK(held.header.copy_operation_status == 0x02);
  CHECK(held.held_length == 0);
}

TEST_CASE("the segments before the one that failed have done their work") {
  ExtendedCopyDevice device;
  device.fill_bytes(kA, 0, 512, 1);
  CopyList list =
      list_of(device, {blocks_segment(1, 0, 0), blocks_segment(1, 0, 1, {.source = 9}), blocks_segment(1, 0, 2)});
  aborts(device, list, {.code = unreachable_copy_target, .field = FieldPointer::segment(4), .segment = 1});
  CHECK(device.bytes(kB, 0, 512) == device.bytes(kA, 0, 512));
  CHECK(device.bytes(kB, 512, 1024) == Bytes(1024));
}

TEST_CASE("EXTENDED COPY and what goes with it are not offered where the profile has none") {
  ExtendedCopyDevice device({.extended_copy = false});
  CopyList list = list_of(device, {blocks_segment(1, 0, 0)});
  CHECK(device.copy(list).status() == scsi::Status::check_condition);
  CHECK(device.receive_lid1(0x00, 0x2C, 12).status() == scsi::Status::check_condition);
  CHECK(device.run(hex("84 03 00 00 00 00 00 00 00 00 00 00 10 00 00 00"), {}, kA).status() ==
        scsi::Status::check_condition);
  Bytes page = device.copies.third_party_copy_page(device.lu(kA));
  Bytes held = hex("C0 01 00 1C");
  CHECK(std::search(page.begin(), page.end(), held.begin(), held.end()) == page.end());
}

TEST_CASE("EXTENDED COPY is there without ODX, and page 8Fh then begins with the commands") {
  ExtendedCopyDevice device({.odx = false});
  device.fill_bytes(kA, 0, 512, 1);
  CHECK(device.copy(list_of(device, {blocks_segment(1, 0, 0)})).good());
  CHECK(device.bytes(kB, 0, 512) == device.bytes(kA, 0, 512));
  CHECK(device.copies.third_party_copy_page(device.lu(kA))[5] == 0x01);
  CHECK(device.populate(1, {{0, 1}}, {}, kA).status() == scsi::Status::check_condition);
}

TEST_CASE("where no data is held there is no segment of type 0Dh, and nobody asks for held data") {
  ExtendedCopyDevice device({.held_data_limit_bytes = 0});
  CopyList list = list_of(device, {blocks_segment(1, 0, 0, {}, 0x0D)});
  aborts(device, list,
         {.code = unsupported_segment_descriptor_type_code,
          .field = FieldPointer::list(list.segment_at(0)),
          .key = SenseKey::illegal_request});
  CHECK(device.receive_lid1(0x01, 0x2C, 4).failed_with(SenseKey::illegal_request, invalid_command_operation_code));
  CHECK(device.run(in_cdb(0x06, 0x2C, 36), {}, kA)
            .failed_with(SenseKey::illegal_request, invalid_command_operation_code));
  Bytes page = device.copies.third_party_copy_page(device.lu(kA));
  Bytes held = hex("C0 01 00 1C");
  CHECK(std::search(page.begin(), page.end(), held.begin(), held.end()) == page.end());
}

TEST_CASE("without RODs and without ODX nobody receives tokens") {
  ExtendedCopyDevice device({.odx = false, .rod_types = {}});
  CHECK(device.receive_rod_token(1, kA).failed_with(SenseKey::illegal_request, invalid_command_operation_code));
  CHECK(device.run(in_cdb(0x08, 0, 36), {}, kA).failed_with(SenseKey::illegal_request, invalid_command_operation_code));
  ExtendedCopyDevice with_rods({.odx = false});
  CHECK(unknown(with_rods.receive_rod_token(1, kA)));
}
