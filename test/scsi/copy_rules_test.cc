// Not tested, and why: creator copy manager unreachable (COPY ABORTED 0Dh/02h): remote arrays are not built; alignment
// (26h/04h): logical units have no offload granularity; reservations: reservation_conflict_test.cc.

// Every rule of POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION and RECEIVE COPY STATUS(LID4) whose
// violation has a code: key, code, field pointer and INFORMATION.
#include <doctest/doctest.h>

#include <string>

#include "scsi/copy_manager.h"
#include "scsi/mode_pages.h"
#include "test/scsi/copy_fixture.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::FieldPointer;
using scsi::Sense;
using scsi::SenseKey;

namespace {

constexpr std::uint16_t kSource = CopyDevice::kSource;
constexpr std::uint16_t kDestination = CopyDevice::kDestination;
constexpr std::uint16_t kLarge = CopyDevice::kLarge;

Sense illegal(AdditionalSense code, std::optional<FieldPointer> field = {}) {
  return {SenseKey::illegal_request, code, {}, field};
}
Sense list_field(std::size_t byte, std::optional<std::uint8_t> bit = {}) {
  return illegal(AdditionalSense::invalid_field_in_parameter_list, FieldPointer::list(byte, bit));
}

std::string text(const Sense& sense) {
  std::string text = scsi::describe(sense);
  if (sense.field)
    text += (sense.field->in_cdb ? " CDB byte " : " list byte ") + std::to_string(sense.field->byte) +
            (sense.field->bit ? " bit " + std::to_string(*sense.field->bit) : "");
  if (sense.information) text += " INFORMATION " + std::to_string(*sense.information);
  return text;
}

void check_refused(const Command& command, const Sense& expected) {
  REQUIRE(command.status() == scsi::Status::check_condition);
  CHECK(text(command.sense()) == text(expected));
}

/// A command that was refused after its list identifier was taken leaves that refusal as its result, and nothing else.
void check_result(CopyDevice& device, std::uint32_t list_identifier, std::uint16_t lun, const Sense& expected) {
  CopyResult result = device.result(list_identifier, lun);
  CHECK(result.complete);
  CHECK(result.header.copy_operation_status == 0x02);
  CHECK(result.header.transfer_count == 0);
  CHECK(result.header.extended_copy_completion_status == 0x02);
  CHECK(result.sense == scsi::encode_fixed(expected));
  CHECK(result.header.sense_data_length == 18);
  CHECK(result.header.sense_data_field_length == 20);
  CHECK(result.descriptors_length == 0);
  CHECK_FALSE(result.token);
}

/// Sends a POPULATE TOKEN list and expects its refusal, now and as result.
void refuses_populate(const Bytes& list, const Sense& expected, std::uint16_t lun = kSource,
                      scsi::DeviceProfile profile = {}) {
  CopyDevice device(profile);
  check_refused(device.run(out_cdb(0x10, 7, list.size()), list, lun), expected);
  check_result(device, 7, lun, expected);
  CHECK(device.store(lun).captures == 0);
}

/// Sends a WRITE USING TOKEN list made by `make` from a token of 16 blocks of the source; expects its refusal, now and
/// as result, and that nothing was written.
template <typename Make>
void refuses_write(const Sense& expected, Make make, std::uint16_t lun = kDestination,
                   scsi::DeviceProfile profile = {}) {
  CopyDevice device(profile);
  device.fill(kSource, {0, 16}, 0x11);
  tokens::RodToken token = device.token_of({{0, 16}});
  Bytes list = make(device, token);
  check_refused(device.run(out_cdb(0x11, 7, list.size()), list, lun), expected);
  check_result(device, 7, lun, expected);
  CHECK(device.store(lun).sectors.empty());
}

Bytes with(Bytes list, std::size_t at, std::uint8_t value) {
  list.at(at) = value;
  return list;
}

}  // namespace

TEST_CASE("a list identifier being processed is refused with OPERATION IN PROGRESS and leaves no result of its own") {
  CopyDevice device;
  device.store(kSource).blocking = true;
  Bytes list = populate_list({{0, 8}});
  Command& first = device.send(out_cdb(0x10, 7, list.size()), list, kSource);
  REQUIRE_FALSE(first.done());
  check_refused(device.send(out_cdb(0x10, 7, list.size()), list, kSource),
                illegal(AdditionalSense::operation_in_progress));
  Bytes write = write_list(tokens::zero_token(), {{0, 8}});
  check_refused(device.send(out_cdb(0x11, 7, write.size()), write, kSource),
                illegal(AdditionalSense::operation_in_progress));
  CHECK(device.send(out_cdb(0x11, 7, write.size()), write, kDestination).good());  // another copy manager
  CopyResult result(device.send(in_cdb(7, 7, 805), {}, kSource).data());
  CHECK(result.header.copy_operation_status == 0x11);
  CHECK(result.header.response_to_service_action == 0x10);
  CHECK(result.header.estimated_status_update_delay_ms == 0xFFFFFFFF);
  CHECK(result.available_data == 0x20);
  device.executor.run_all();
  CHECK(first.good());
  CHECK(device.result(7, kSource).token);
}

TEST_CASE("an unknown list identifier is INVALID FIELD IN CDB at byte 2") {
  CopyDevice device;
  Sense expected = illegal(AdditionalSense::invalid_field_in_cdb, FieldPointer::cdb(2));
  check_refused(device.receive_rod_token(1, kSource), expected);
  check_refused(device.receive_status(1, kSource), expected);
}

TEST_CASE("a list identifier of another nexus or logical unit is unknown here") {
  CopyDevice device;
  CHECK(device.populate(1, {{0, 8}}).good());
  Sense expected = illegal(AdditionalSense::invalid_field_in_cdb, FieldPointer::cdb(2));
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  check_refused(device.run(in_cdb(7, 1, 805), {}, kSource, other), expected);
  check_refused(device.run(in_cdb(5, 1, 805), {}, kSource, other), expected);
  check_refused(device.receive_rod_token(1, kDestination), expected);
  CHECK(device.receive_rod_token(1, kSource).good());
}

TEST_CASE("PARAMETER LIST LENGTH 0 is GOOD and starts nothing") {
  CopyDevice device;
  CHECK(device.run(out_cdb(0x10, 1, 0), {}, kSource).good());
  CHECK(device.run(out_cdb(0x11, 1, 0), {}, kSource).good());
  CHECK_FALSE(device.receive_rod_token(1, kSource).good());
}

TEST_CASE("PARAMETER LIST LENGTH 1 to 15 of POPULATE TOKEN is PARAMETER LIST LENGTH ERROR") {
  for (std::size_t length : {1, 2, 15}) {
    Bytes list = populate_list({{0, 8}});
    list.resize(length);
    refuses_populate(list, illegal(AdditionalSense::parameter_list_length_error));
  }
}

TEST_CASE("PARAMETER LIST LENGTH 1 to 535 of WRITE USING TOKEN is PARAMETER LIST LENGTH ERROR") {
  for (std::size_t length : {1, 16, 535})
    refuses_write(illegal(AdditionalSense::parameter_list_length_error), [&](auto&, auto& token) {
      Bytes list = write_list(token, {{0, 8}});
      list.resize(length);
      return list;
    });
}

TEST_CASE("a parameter list longer than its own length field can say is refused before any of it is asked for") {
  CopyDevice device;
  Command& command = device.prepare(out_cdb(0x11, 1, 2 + 0xFFFF + 1), kSource);
  device.server.admit(command.task);
  check_refused(command, illegal(AdditionalSense::parameter_list_length_error));
}

TEST_CASE("an initiator that sends less than PARAMETER LIST LENGTH gets PARAMETER LIST LENGTH ERROR") {
  CopyDevice device;
  Bytes list = populate_list({{0, 8}});
  Bytes cdb = out_cdb(0x10, 1, list.size());
  list.pop_back();
  check_refused(device.run(cdb, list, kSource), illegal(AdditionalSense::parameter_list_length_error));
}

TEST_CASE("POPULATE TOKEN DATA LENGTH below 1Eh is INVALID FIELD at byte 0") {
  refuses_populate(with(populate_list({{0, 8}}), 1, 0x1D), list_field(0));
}

TEST_CASE("WRITE USING TOKEN DATA LENGTH below 226h is INVALID FIELD at byte 0") {
  refuses_write(list_field(0), [](auto&, auto& token) { return with(write_list(token, {{0, 8}}), 1, 0x25); });
}

TEST_CASE("WRITE USING TOKEN DATA LENGTH other than the descriptors' length plus 534 is INVALID FIELD at byte 0") {
  refuses_write(list_field(0), [](auto&, auto& token) { return with(write_list(token, {{0, 8}}), 1, 0x27); });
}

TEST_CASE("POPULATE TOKEN DATA LENGTH other than the descriptors' length plus 14 is INVALID FIELD at byte 0") {
  refuses_populate(with(populate_list({{0, 8}}), 1, 0x1F), list_field(0));
  refuses_populate(with(populate_list({{0, 8}}), 0, 0xFF), list_field(0));
  refuses_populate(with(populate_list({{0, 8}, {16, 8}}), 15, 0x10), list_field(0));
}

TEST_CASE("BLOCK DEVICE RANGE DESCRIPTOR LENGTH below 16 is INVALID FIELD at byte 14 or 534") {
  refuses_populate(with(populate_list({{0, 8}}), 15, 15), list_field(14));
  refuses_write(list_field(534), [](auto&, auto& token) { return with(write_list(token, {{0, 8}}), 535, 15); });
}

TEST_CASE("IMMED=1 is INVALID FIELD at byte 2 bit 0 where there are no background copies") {
  scsi::DeviceProfile foreground{.background = false};
  refuses_populate(populate_list({{0, 8}}, {.flags = 1}), list_field(2, 0), kSource, foreground);
  refuses_write(
      list_field(2, 0), [](auto&, auto& token) { return write_list(token, {{0, 8}}, 0, 1); }, kDestination, foreground);
}

TEST_CASE("more range descriptors than MAXIMUM RANGE DESCRIPTORS are TOO MANY SEGMENT DESCRIPTORS") {
  Ranges ranges;
  for (std::uint64_t i = 0; i < 5; ++i) ranges.push_back({i, 1});
  scsi::DeviceProfile four{.maximum_range_descriptors = 4};
  refuses_populate(populate_list(ranges),
                   illegal(AdditionalSense::too_many_segment_descriptors, FieldPointer::list(14)), kSource, four);
  refuses_write(
      illegal(AdditionalSense::too_many_segment_descriptors, FieldPointer::list(534)),
      [&](auto&, auto& token) { return write_list(token, ranges); }, kDestination, four);
  CopyDevice device(four);
  Bytes cut = populate_list(ranges);
  cut.pop_back();  // the fifth is not complete and does not count
  CHECK(device.run(out_cdb(0x10, 2, cut.size()), cut, kSource).good());
  ranges.pop_back();
  CHECK(device.populate(1, ranges).good());
}

TEST_CASE("ranges that share an address are INVALID FIELD at the later descriptor, in whatever order they stand") {
  refuses_populate(populate_list({{0, 8}, {7, 8}}), list_field(16 + 16));
  refuses_populate(populate_list({{7, 8}, {100, 1}, {0, 8}}), list_field(16 + 32));
  refuses_populate(populate_list({{0, 100}, {200, 1}, {50, 1}}), list_field(16 + 32));
  refuses_write(list_field(536 + 16), [](auto&, auto& token) { return write_list(token, {{0, 2}, {1, 2}}); });
}

TEST_CASE("ranges that touch do not overlap") {
  CopyDevice device;
  CHECK(device.populate(1, {{8, 8}, {0, 8}, {16, 1}}).good());
}

TEST_CASE("a sum of ranges over MAXIMUM TOKEN TRANSFER SIZE is INVALID FIELD without pointer") {
  scsi::DeviceProfile small{.maximum_token_transfer_bytes = 16 * 512};
  Sense expected = illegal(AdditionalSense::invalid_field_in_parameter_list);
  refuses_populate(populate_list({{0, 9}, {100, 8}}), expected, kSource, small);
  refuses_write(
      expected, [](auto&, auto& token) { return write_list(token, {{0, 9}, {100, 8}}); }, kDestination, small);
  CopyDevice device(small);
  CHECK(device.populate(1, {{0, 8}, {100, 8}}).good());
}

TEST_CASE("one range over MAXIMUM BYTES IN BLOCK ROD is INVALID FIELD at its NUMBER OF LOGICAL BLOCKS") {
  scsi::DeviceProfile small{.maximum_token_transfer_bytes = 16 * 512};
  refuses_populate(populate_list({{0, 1}, {100, 17}}), list_field(16 + 16 + 8), kSource, small);
  refuses_write(
      list_field(536 + 8), [](auto&, auto& token) { return write_list(token, {{0, 17}}); }, kDestination, small);
}

TEST_CASE("a range beyond the capacity is LBA OUT OF RANGE with the first address there is not") {
  std::uint64_t capacity = CopyDevice::kSize / 512;
  Sense expected = illegal(AdditionalSense::logical_block_address_out_of_range);
  expected.information = capacity;
  refuses_populate(populate_list({{0, 1}, {capacity - 1, 2}}), expected);
  refuses_write(expected, [&](auto&, auto& token) { return write_list(token, {{capacity - 1, 2}}); });
  expected.information = capacity + 5;
  refuses_populate(populate_list({{capacity + 5, 2}}), expected);
  expected.information = UINT64_MAX;
  refuses_populate(populate_list({{UINT64_MAX, 0x1000}}), expected);
}

TEST_CASE("a range of no blocks does nothing, even beyond the capacity") {
  CopyDevice device;
  CHECK(device.populate(1, {{UINT64_MAX, 0}, {0, 8}, {4, 0}}).good());
  CHECK(device.result(1, kSource).header.transfer_count == 8);
}

TEST_CASE("INACTIVITY TIMEOUT above the maximum is INVALID FIELD at byte 4, the maximum itself is not") {
  refuses_populate(populate_list({{0, 8}}, {.timeout_s = 601}), list_field(4));
  CopyDevice device;
  CHECK(device.populate(1, {{0, 8}}, {.timeout_s = 600}).good());
}

TEST_CASE("RTV=1 with a type that is not a supported point in time type is INVALID FIELD at byte 8") {
  for (std::uint32_t type : {0x00000000u, 0x00010000u, 0x00800003u, 0xFFFF0001u, 0xFFFFFFF0u})
    refuses_populate(populate_list({{0, 8}}, {.flags = 2, .rod_type = type}), list_field(8));
}

TEST_CASE("RTV=1 with point in time default makes that type; with RTV=0 ROD TYPE is not looked at") {
  CopyDevice device;
  CHECK(device.token_of({{0, 8}}, {.flags = 2, .rod_type = 0x00800000}).rod_type == 0x00800000);
  CHECK(device.token_of({{0, 8}}, {.rod_type = 0x00010000}).rod_type == 0x00800000);
}

TEST_CASE("OFFSET INTO ROD at or past the end is INVALID FIELD at byte 8") {
  for (std::uint64_t offset : {16ull, 17ull, 0x7FFF'FFFF'FFFF'FFFFull, 0xFFFF'FFFF'FFFF'FFFFull, 1ull << 55})
    refuses_write(list_field(8), [&](auto&, auto& token) { return write_list(token, {{0, 1}}, offset); });
}

TEST_CASE("more than the token holds is DATA UNDERRUN with INFORMATION 0 and VALID 1, and nothing is written") {
  Sense expected = illegal(AdditionalSense::copy_target_device_data_underrun);
  expected.information = 0;
  CHECK(scsi::encode_fixed(expected) == hex("F0 00 05 00 00 00 00 0A 00 00 00 00 0D 04 00 00 00 00"));
  refuses_write(expected, [](auto&, auto& token) { return write_list(token, {{0, 17}}); });
  refuses_write(expected, [](auto&, auto& token) { return write_list(token, {{0, 1}, {8, 8}}, 8); });
  refuses_write(
      expected, [](auto&, auto& token) { return write_list(token, {{0, 2}}, 1); },
      kLarge);  // one of the two 4096-byte blocks is left
}

TEST_CASE("each wrong token has its own qualifier, at the token, or at its length field") {
  using A = AdditionalSense;
  auto refuses = [](A code, std::size_t byte, auto spoil) {
    refuses_write(illegal(code, FieldPointer::list(byte)), [&](CopyDevice& device, tokens::RodToken token) {
      spoil(device, token);
      return write_list(token, {{0, 8}});
    });
  };
  auto id = [](const tokens::RodToken& token) {
    return tokens::TokenId{token.copy_manager_rod_token_identifier.value()};
  };
  refuses(A::invalid_token_operation_unsupported_token_type, 16, [](auto&, auto& t) { t.rod_type = 0x00800003; });
  refuses(A::invalid_token_operation_invalid_token_length, 22, [](auto&, auto& t) { t.rod_token_length = 0x1F4; });
  refuses(A::invalid_token_operation_remote_token_usage_not_supported, 16,
          [](auto&, auto& t) { t.creator_logical_unit_descriptor.designator[5] ^= 1; });
  refuses(A::invalid_token_operation_token_unknown, 16, [](auto&, auto& t) { t.extended.key_epoch[0] ^= 1; });
  refuses(A::invalid_token_operation_token_corrupt, 16, [](auto&, auto& t) { t.number_of_bytes_represented = 512; });
  refuses(A::invalid_token_operation_token_expired, 16,
          [](auto& d, auto&) { d.clock.advance(std::chrono::seconds(60)); });
  refuses(A::invalid_token_operation_token_cancelled, 16, [&](auto& d, auto& t) { d.copies.tokens().cancel(id(t)); });
  refuses(A::invalid_token_operation_token_revoked, 16, [&](auto& d, auto& t) { d.copies.tokens().revoke(id(t)); });
  refuses(A::invalid_token_operation_token_deleted, 16,
          [&](auto& d, auto& t) { d.copies.tokens().delete_by_client(id(t)); });
  refuses(A::invalid_token_operation_unsupported_token_type, 16, [](auto&, auto& t) { t = tokens::RodToken{}; });
}

TEST_CASE("source and destination that cannot reach each other are UNREACHABLE COPY TARGET") {
  refuses_write(illegal(AdditionalSense::unreachable_copy_target), [](CopyDevice& device, auto& token) {
    device.copies.reachability().cut(device.lu(kDestination).config().name, device.lu(kSource).config().name);
    return write_list(token, {{0, 8}});
  });
}

TEST_CASE("the zero token and a copy within the logical unit are always reachable") {
  CopyDevice device;
  device.copies.reachability().cut(device.lu(kDestination).config().name, device.lu(kSource).config().name);
  CHECK(device.write_using(1, tokens::zero_token(), {{0, 8}}).good());
  CHECK(device.write_using(2, device.token_of({{0, 8}}), {{8, 8}}, 0, 0, kSource).good());
}

TEST_CASE("out of tokens is ABORTED COMMAND, INSUFFICIENT RESOURCES") {
  CopyDevice device({.maximum_tokens = 2});
  device.token_of({{0, 8}});
  device.token_of({{0, 8}});
  Sense expected{SenseKey::aborted_command, AdditionalSense::insufficient_resources};
  check_refused(device.populate(1, {{0, 8}}), expected);
  check_result(device, 1, kSource, expected);
}

TEST_CASE("no room to capture is ABORTED COMMAND, INSUFFICIENT RESOURCES") {
  CopyDevice device;
  device.store(kSource).error = {handlers::IoError::Kind::no_space, "full"};
  Sense expected{SenseKey::aborted_command, AdditionalSense::insufficient_resources};
  check_refused(device.populate(1, {{0, 8}}), expected);
  check_result(device, 1, kSource, expected);
}

TEST_CASE("too many operations being processed are ABORTED COMMAND, INSUFFICIENT RESOURCES") {
  CopyDevice device({.maximum_copy_operations = 1});
  device.store(kSource).blocking = true;
  Bytes list = populate_list({{0, 8}});
  device.send(out_cdb(0x10, 1, list.size()), list, kSource);
  check_refused(device.send(out_cdb(0x10, 2, list.size()), list, kSource),
                {SenseKey::aborted_command, AdditionalSense::insufficient_resources});
  device.executor.run_all();
  CHECK(device.populate(2, {{0, 8}}).good());
}

TEST_CASE("a source that cannot be read fails POPULATE TOKEN with its medium error") {
  CopyDevice device;
  device.store(kSource).error = {handlers::IoError::Kind::medium_read, "broken"};
  Sense expected{SenseKey::medium_error, AdditionalSense::unrecovered_read_error};
  check_refused(device.populate(1, {{0, 8}}), expected);
  check_result(device, 1, kSource, expected);
}

TEST_CASE("a full pool is SPACE ALLOCATION FAILED WRITE PROTECT when nothing was written") {
  refuses_write({SenseKey::data_protect, AdditionalSense::space_allocation_failed_write_protect},
                [](CopyDevice& device, auto& token) {
                  device.store(kDestination).error = {handlers::IoError::Kind::no_space, "full"};
                  return write_list(token, {{0, 8}});
                });
}

TEST_CASE("a write-protected destination is WRITE PROTECTED, before its list is looked at") {
  Sense expected{SenseKey::data_protect, AdditionalSense::write_protected};
  refuses_write(expected, [](CopyDevice& device, auto& token) {
    device.store(kDestination).write_protected = true;
    return with(write_list(token, {{0, 8}}), 1, 0x25);
  });
}

TEST_CASE("a write-protected source gives tokens") {
  CopyDevice device;
  device.store(kSource).write_protected = true;
  CHECK(device.populate(1, {{0, 8}}).good());
}

TEST_CASE("a write stopped midway is COPY ABORTED with the blocks written, result 03h, and nothing past them") {
  for (std::uint64_t blocks : {1u, 4u, 5u, 9u}) {
    CopyDevice device;
    device.fill(kSource, {0, 10}, 0x11);
    tokens::RodToken token = device.token_of({{0, 10}});
    device.store(kDestination).error = {handlers::IoError::Kind::no_space, "full"};
    device.store(kDestination).bytes_before_error = blocks * 512;
    Sense expected{SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun, blocks, {}};
    check_refused(device.write_using(1, token, {{100, 4}, {200, 6}}), expected);
    CopyResult result = device.result(1, kDestination);
    CHECK(result.complete);
    CHECK(result.header.copy_operation_status == 0x03);
    CHECK(result.header.transfer_count == blocks);
    CHECK(result.header.extended_copy_completion_status == 0x02);
    CHECK(result.sense == scsi::encode_fixed(expected));
    CHECK(device.store(kDestination).sectors.size() == blocks);
    CHECK(result.header.operation_counter == (blocks <= 4 ? 1 : 2));
  }
}

TEST_CASE("a block written in part does not count") {
  CopyDevice device;
  device.fill(kLarge, {0, 2}, 0x11);
  tokens::RodToken token = device.token_of({{0, 2}}, {}, kLarge);
  device.store(kLarge).error = {handlers::IoError::Kind::medium_write, "broken"};
  device.store(kLarge).bytes_before_error = 4096 + 512;
  check_refused(device.write_using(1, token, {{100, 2}}, 0, 0, kLarge),
                {SenseKey::copy_aborted, AdditionalSense::copy_target_device_data_underrun, 1, {}});
  device.store(kLarge).bytes_before_error = 512;
  check_refused(device.write_using(1, token, {{100, 2}}, 0, 0, kLarge),
                {SenseKey::medium_error, AdditionalSense::write_error});
}

TEST_CASE("a snapshot that could not be kept cancels its token") {
  CopyDevice device;
  tokens::RodToken token = device.token_of({{0, 8}});
  device.store(kDestination).error = {handlers::IoError::Kind::snapshot_lost, "no room to preserve"};
  Sense cancelled = illegal(AdditionalSense::invalid_token_operation_token_cancelled);
  check_refused(device.write_using(1, token, {{0, 8}}), cancelled);
  device.store(kDestination).error.reset();
  cancelled.field = FieldPointer::list(16);
  check_refused(device.write_using(2, token, {{0, 8}}), cancelled);
}

TEST_CASE("an array without third-party copy knows none of the commands, one without ODX none of its own") {
  CopyDevice without_odx({.odx = false});
  for (const Bytes& cdb : {out_cdb(0x10, 1, 0), out_cdb(0x11, 1, 0)})
    check_refused(without_odx.run(cdb, {}, kSource),
                  illegal(AdditionalSense::invalid_command_operation_code, FieldPointer::cdb(1, 4)));
  CopyDevice device({.odx = false, .extended_copy = false});
  for (const Bytes& cdb :
       {out_cdb(0x10, 1, 0), out_cdb(0x11, 1, 0), in_cdb(0x1C, 1, 0), in_cdb(5, 1, 36), in_cdb(7, 1, 36)})
    check_refused(device.run(cdb, {}, kSource),
                  illegal(AdditionalSense::invalid_command_operation_code, FieldPointer::cdb(1, 4)));
}

TEST_CASE("reserved bits of the CDBs are refused with their byte and bit, GROUP NUMBER is not") {
  CopyDevice device;
  Bytes list = populate_list({{0, 8}});
  Bytes cdb = out_cdb(0x10, 1, list.size());
  cdb[14] = 0x1F;
  CHECK(device.run(cdb, list, kSource).good());
  cdb[14] = 0x20;
  check_refused(device.run(cdb, list, kSource),
                illegal(AdditionalSense::invalid_field_in_cdb, FieldPointer::cdb(14, 5)));
  cdb = in_cdb(7, 1, 805);
  cdb[6] = 0x80;
  check_refused(device.run(cdb, {}, kSource), illegal(AdditionalSense::invalid_field_in_cdb, FieldPointer::cdb(6, 7)));
}
