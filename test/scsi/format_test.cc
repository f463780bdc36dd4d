// FORMAT UNIT, SANITIZE and READ DEFECT DATA.
//
// Not tested, and why: that old data cannot be got back from whatever a store's medium is made of: a store promises
// what it reads as.
#include <doctest/doctest.h>

#include "scsi/format_layouts.h"
#include "scsi/medium.h"
#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::Sense;
using scsi::SenseKey;
using Bytes = std::vector<std::uint8_t>;

namespace {

const Bytes kTestUnitReady = {0x00, 0, 0, 0, 0, 0};
const Bytes kRequestSense = {0x03, 0, 0, 0, 252, 0};
const Bytes kFormat = {0x04, 0, 0, 0, 0, 0};
const Bytes kFormatWithList = {0x04, 0x10, 0, 0, 0, 0};
const Bytes kFormatWithLongList = {0x04, 0x30, 0, 0, 0, 0};
const Bytes kBlockErase = {0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0};
const Bytes kExitFailureMode = {0x48, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0};
constexpr std::uint8_t kImmediate = 0x80;
constexpr std::uint8_t kAuse = 0x20;
const handlers::IoError kBroken{handlers::IoError::Kind::medium_write, "broken"};

Bytes overwrite(std::uint16_t length, std::uint8_t flags = 0) {
  return {0x48,
          static_cast<std::uint8_t>(flags | 0x01),
          0,
          0,
          0,
          0,
          0,
          static_cast<std::uint8_t>(length >> 8),
          static_cast<std::uint8_t>(length),
          0};
}
Bytes with_flags(Bytes cdb, std::uint8_t flags) {
  cdb[1] |= flags;
  return cdb;
}
/// Parameter list of an OVERWRITE: `head` is INVERT, TEST, OVERWRITE COUNT.
Bytes overwrite_list(std::uint8_t head, const Bytes& pattern) {
  Bytes list = {head, 0, 0, static_cast<std::uint8_t>(pattern.size())};
  list.insert(list.end(), pattern.begin(), pattern.end());
  return list;
}

Command& format(Device& device, const Bytes& cdb, const Bytes& list) {
  Command& command = device.prepare(cdb);
  command.task.expected_data_length = list.size();
  device.go(command, list);
  return command;
}
Command& formatted(Device& device, const Bytes& cdb, const Bytes& list) {
  Command& command = format(device, cdb, list);
  device.executor.run_all();
  return command;
}

bool all_are(const Bytes& bytes, std::uint8_t value) {
  return std::all_of(bytes.begin(), bytes.end(), [&](auto byte) { return byte == value; });
}

Sense in_progress(bool sanitizing, std::uint16_t progress) {
  Sense sense{SenseKey::not_ready, sanitizing ? AdditionalSense::logical_unit_not_ready_sanitize_in_progress
                                              : AdditionalSense::logical_unit_not_ready_format_in_progress};
  sense.progress = progress;
  return sense;
}

}  // namespace

// ---- FORMAT UNIT ----------------------------------------------------------------------------------------------

TEST_CASE("FORMAT UNIT leaves zeros: deallocated where thin, written where not") {
  for (bool thin : {true, false}) {
    Device device({.thin = thin});
    CHECK(device.run(write_10(0, 8), pattern(8 * 512, 1)).good());
    CHECK(device.run(kFormat).good());
    CHECK(all_are(device.stores[0]->bytes(), 0));
    CHECK(device.stores[0]->allocated_bytes() == (thin ? 0u : 1u << 20));
    CHECK(device.stores[0]->flushes == 1);
    CHECK(device.run(kTestUnitReady).good());
  }
}

TEST_CASE("FORMAT UNIT with an initialization pattern repeats it in each block") {
  Device device;
  CHECK(formatted(device, kFormatWithList, {0, 0x88, 0, 0, 0x20, 0x01, 0, 3, 0xA1, 0xB2, 0xC3}).good());
  auto block = device.run(read_10(2047, 1)).data();
  CHECK(block[0] == 0xA1);
  CHECK(block[5] == 0xC3);
  CHECK(block[511] == 0xB2);
  CHECK(formatted(device, kFormatWithLongList, {0, 0x88, 0, 0, 0, 0, 0, 0, 0, 0x00, 0, 0}).good());
  CHECK(all_are(device.stores[0]->bytes(), 0));
}

TEST_CASE("what is wrong in a FORMAT UNIT is refused at the field, and nothing changes") {
  Device device;
  CHECK(device.run(write_10(0, 1), pattern(512, 1)).good());
  auto cdb_refused = [&](Bytes cdb, std::uint8_t bit) {
    return device.run(cdb).sense() == Sense::invalid_field_in_cdb(1, bit, {});
  };
  CHECK(cdb_refused({0x04, 0x08, 0, 0, 0, 0}, 3));
  CHECK(cdb_refused({0x04, 0x01, 0, 0, 0, 0}, 2));
  CHECK(cdb_refused({0x04, 0x16, 0, 0, 0, 0}, 2));
  CHECK(cdb_refused({0x04, 0x80, 0, 0, 0, 0}, 7));
  CHECK(cdb_refused({0x04, 0x40, 0, 0, 0, 0}, 6));
  auto list_refused = [&](const Bytes& cdb, const Bytes& list, std::size_t byte, std::optional<std::uint8_t> bit) {
    return formatted(device, cdb, list).sense() == Sense::invalid_field_in_list(byte, bit, {});
  };
  CHECK(list_refused(kFormatWithList, {0x01, 0, 0, 0}, 0, 2));
  CHECK(list_refused(kFormatWithList, {0, 0x08, 0, 0}, 1, 3));
  CHECK(list_refused(kFormatWithList, {0, 0x60, 0, 0}, 1, 6));
  CHECK(list_refused(kFormatWithList, {0, 0, 0, 4, 0, 0, 0, 1}, 2, {}));
  CHECK(list_refused(kFormatWithLongList, {0, 0, 0, 0x10, 0, 0, 0, 0}, 3, 7));
  CHECK(list_refused(kFormatWithLongList, {0, 0, 0, 0x02, 0, 0, 0, 0}, 3, 3));
  CHECK(list_refused(kFormatWithLongList, {0, 0, 0, 0, 0, 0, 0, 8}, 4, {}));
  CHECK(list_refused(kFormatWithList, {0, 0x88, 0, 0, 0, 0x02, 0, 0}, 5, {}));
  CHECK(list_refused(kFormatWithList, {0, 0x88, 0, 0, 0, 0x00, 0, 1, 7}, 6, {}));
  CHECK(list_refused(kFormatWithList, {0, 0x88, 0, 0, 0, 0x01, 0, 0}, 6, {}));
  CHECK(list_refused(kFormatWithList, {0, 0x88, 0, 0, 0, 0x01, 0x02, 0x01, 7}, 6, {}));
  for (const Bytes& cut : {Bytes{}, Bytes{0, 0, 0}, Bytes{0, 0x88, 0, 0, 0, 1}, Bytes{0, 0x88, 0, 0, 0, 1, 0, 9, 1}}) {
    CHECK(formatted(device, kFormatWithList, cut)
              .failed_with(SenseKey::illegal_request, AdditionalSense::parameter_list_length_error));
  }
  CHECK(device.run(read_10(0, 1)).data() == pattern(512, 1));
}

TEST_CASE("FORMAT UNIT with IMMED is answered first, and other commands are 02/04/04 with progress until it is over") {
  Device device({.size_bytes = 48 << 20, .blocking = true, .thin = false});
  CHECK(format(device, kFormatWithList, {0, 0x02, 0, 0}).good());
  const Sense begun = in_progress(false, 0);
  CHECK(device.send(kTestUnitReady).sense() == begun);
  CHECK(scsi::decode(device.send(kRequestSense).data()) == begun);
  device.executor.run();
  const Sense third = in_progress(false, 21845);
  CHECK(device.send(read_10(0, 1)).sense() == third);
  CHECK(device.send({0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}).sense() == third);
  CHECK(device.send({0x1A, 0, 0x3F, 0, 255, 0}).sense() == third);
  CHECK(device.send(kFormat).sense() == third);
  CHECK(device.send({0x12, 0, 0, 0, 96, 0}).good());
  CHECK(device.send({0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}).good());
  CHECK(device.send(kTestUnitReady, {}, 1).good());
  device.executor.run_all();
  CHECK(device.send(kTestUnitReady).good());
  CHECK(scsi::decode(device.send(kRequestSense).data()) == Sense{});
}

TEST_CASE("FORMAT UNIT comes after the writes before it, and a write that waits for its data finds it in progress") {
  Device device({.blocking = true});
  Command& write = device.send(write_10(0, 1), pattern(512, 1));
  Command& late = device.prepare(write_10(4, 1));
  device.server.admit(late.task);
  Command& format = device.send(kFormat);
  CHECK(device.executor.held() == 1);
  auto data = pattern(512, 2);
  late.task.data_out = data;
  device.server.execute(late.task);
  CHECK(late.sense() == in_progress(false, 0));
  device.executor.run_all();
  CHECK((write.good() && format.good()));
  CHECK(all_are(device.stores[0]->bytes(), 0));
}

TEST_CASE("a FORMAT UNIT that fails is 03/31/01, then everything is 03/31/00 until one succeeds") {
  Device device;
  device.stores[0]->write_error = kBroken;
  CHECK(device.run(kFormat).failed_with(SenseKey::medium_error, AdditionalSense::format_command_failed));
  for (const Bytes& cdb : {kTestUnitReady, read_10(0, 1), Bytes{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}})
    CHECK(device.run(cdb).failed_with(SenseKey::medium_error, AdditionalSense::medium_format_corrupted));
  CHECK(device.run({0x1A, 0, 0x3F, 0, 255, 0}).good());
  device.stores[0]->write_error.reset();
  CHECK(device.run(kFormat).good());
  CHECK(device.run(kTestUnitReady).good());
}

TEST_CASE("an aborted FORMAT UNIT, and a reset, do not stop the formatting") {
  Device device({.size_bytes = 48 << 20, .blocking = true, .thin = false});
  Command& first = device.send(kFormat);
  bool complete = false;
  device.server.manage(scsi::TaskManagementFunction::abort_task, device.nexus, scsi::Lun{0}, first.task.tag,
                       [&](auto response) { complete = response == scsi::TaskManagementResponse::function_complete; });
  CHECK(complete);
  CHECK(first.status() == scsi::Status::task_aborted);
  device.server.manage(scsi::TaskManagementFunction::logical_unit_reset, device.nexus, scsi::Lun{0}, 0, [](auto) {});
  device.send(kTestUnitReady);
  CHECK(device.send(kTestUnitReady).sense() == in_progress(false, 0));
  device.executor.run_all();
  CHECK(device.send(kTestUnitReady).good());
  CHECK(first.completions == 1);
}

TEST_CASE("FORMAT UNIT and SANITIZE need a medium that is started, and one that may be written") {
  Device device({.removable = true});
  device.lu().set_stopped(true);
  auto stopped = AdditionalSense::logical_unit_not_ready_initializing_command_required;
  for (const Bytes& cdb : {kFormat, kBlockErase, overwrite(5)})
    CHECK(device.run(cdb, overwrite_list(1, {1})).failed_with(SenseKey::not_ready, stopped));
  Device read_only({.read_only = true});
  for (const Bytes& cdb : {kFormat, kBlockErase, overwrite(5)})
    CHECK(read_only.run(cdb).failed_with(SenseKey::data_protect, AdditionalSense::write_protected));
}

TEST_CASE("what stops when the process ends leaves the rest as it was") {
  Device device({.size_bytes = 48 << 20, .blocking = true, .thin = false});
  CHECK(format(device, kFormatWithList, {0, 0x8A, 0, 0, 0, 1, 0, 1, 0x55}).good());
  device.lu().medium().stop_operation();
  device.executor.run_all();
  CHECK(device.stores[0]->bytes().front() == 0x55);
  CHECK(device.stores[0]->bytes().back() == 0x00);
}

// ---- SANITIZE -------------------------------------------------------------------------------------------------

TEST_CASE("SANITIZE, OVERWRITE repeats its pattern in each block") {
  Device device;
  CHECK(device.run(overwrite(7), overwrite_list(2, {0xAA, 0xBB, 0xCC})).good());
  auto block = device.run(read_10(2047, 1)).data();
  CHECK((block[0] == 0xAA && block[1] == 0xBB && block[2] == 0xCC && block[511] == 0xBB));
  CHECK(device.stores[0]->allocated_bytes() == 1u << 20);
  CHECK(device.run(overwrite(6), overwrite_list(1, {0x11, 0x22})).good());
}

TEST_CASE("SANITIZE, OVERWRITE with INVERT ends with the complement after an even number of passes") {
  for (std::uint8_t passes : {1, 2, 3, 31}) {
    Device device;
    CHECK(device.run(overwrite(5), overwrite_list(static_cast<std::uint8_t>(0x80 | passes), {0x0F})).good());
    CHECK(all_are(device.stores[0]->bytes(), passes % 2 == 1 ? 0x0F : 0xF0));
  }
}

TEST_CASE("SANITIZE, OVERWRITE with a wrong list is refused at the field") {
  Device device;
  for (std::uint16_t length : {0, 1, 4, 517, 600})
    CHECK(device.run(overwrite(length)).sense() == Sense::invalid_field_in_cdb(7, {}, {}));
  CHECK(device.run(overwrite(5), overwrite_list(0, {1})).sense() == Sense::invalid_field_in_list(0, 4, {}));
  CHECK(device.run(overwrite(5), overwrite_list(0x21, {1})).sense() == Sense::invalid_field_in_list(0, 6, {}));
  CHECK(device.run(overwrite(5), {1, 0, 0, 0, 1}).sense() == Sense::invalid_field_in_list(2, {}, {}));
  CHECK(device.run(overwrite(5), {1, 0, 0, 2, 1}).sense() == Sense::invalid_field_in_list(2, {}, {}));
  CHECK(device.run(overwrite(5), {1, 0, 0})
            .failed_with(SenseKey::illegal_request, AdditionalSense::parameter_list_length_error));
  CHECK(device.run(with_flags(kBlockErase, 0x40)).sense() == Sense::invalid_field_in_cdb(1, 6, {}));
  CHECK(device.run({0x48, 0x03, 0, 0, 0, 0, 0, 0, 0, 0}).sense() == Sense::invalid_field_in_cdb(1, 4, {}));
}

TEST_CASE("SANITIZE, BLOCK ERASE deallocates everything, of thin logical units, and B1h says that reads succeed") {
  Device device;
  CHECK(device.run(write_10(0, 8), pattern(8 * 512, 1)).good());
  CHECK(device.run(kBlockErase).good());
  CHECK(all_are(device.stores[0]->bytes(), 0));
  CHECK(device.stores[0]->allocated_bytes() == 0);
  CHECK(device.run(read_10(0, 1)).good());
  CHECK(device.run({0x12, 0x01, 0xB1, 0, 64, 0}).data()[7] == 0x40);
  CHECK(device.run({0x48, 0x02, 0, 0, 0, 0, 0, 0, 8, 0}).sense() == Sense::invalid_field_in_cdb(8, 3, {}));

  Device thick({.thin = false});
  CHECK(thick.run(kBlockErase).sense() == Sense::invalid_field_in_cdb(1, 4, {}));
  CHECK(thick.run({0x12, 0x01, 0xB1, 0, 64, 0}).data()[7] == 0x00);
  CHECK(thick.run(overwrite(5), overwrite_list(1, {1})).good());
}

TEST_CASE(
    "SANITIZE, CRYPTOGRAPHIC ERASE of a self-encrypting logical unit is over at once, whatever the erase rate is") {
  const Device::Cdb erase = {0x48, 0x03, 0, 0, 0, 0, 0, 0, 0, 0};
  for (bool thin : {false, true}) {
    DeviceOptions options{.thin = thin, .self_encrypting = true};
    options.profile.erase_bytes_per_second = 1;
    Device device(options);
    CHECK(device.run(write_10(0, 8), pattern(8 * 512, 1)).good());
    CHECK(device.run(erase).good());
    CHECK(all_are(device.stores[0]->bytes(), 0));
    CHECK(device.stores[0]->allocated_bytes() == 0);
    CHECK(device.run(read_10(0, 1)).good());
    CHECK(device.run({0x12, 0x01, 0xB1, 0, 64, 0}).data()[7] == (thin ? 0x50 : 0x10));
    CHECK(device.run({0x48, 0x03, 0, 0, 0, 0, 0, 0, 8, 0}).sense() == Sense::invalid_field_in_cdb(8, 3, {}));
    device.stores[0]->write_error = handlers::IoError{handlers::IoError::Kind::medium_write, "test"};
    CHECK(device.run(erase).failed_with(SenseKey::medium_error, AdditionalSense::sanitize_command_failed));
  }
}

TEST_CASE("SANITIZE with IMMED is answered first, and other commands are 02/04/1B with progress until it is over") {
  Device device({.size_bytes = 32 << 20, .blocking = true});
  CHECK(device.send(overwrite(5, kImmediate), overwrite_list(2, {0x42})).good());
  CHECK(device.send(kTestUnitReady).sense() == in_progress(true, 0));
  device.executor.run();
  CHECK(scsi::decode(device.send(kRequestSense).data()) == in_progress(true, 16384));
  device.executor.run();
  device.executor.run();
  device.executor.run();
  CHECK(device.send(kTestUnitReady).sense() == in_progress(true, 65535));  // the flush is left
  CHECK(device.send(kExitFailureMode).sense() == in_progress(true, 65535));
  device.executor.run_all();
  CHECK(device.send(kTestUnitReady).good());
  CHECK(all_are(device.stores[0]->bytes(), 0x42));
}

TEST_CASE("a store that does not block yields between pieces") {
  Device device({.size_bytes = 48 << 20});
  CHECK(device.send(overwrite(5, kImmediate), overwrite_list(1, {0x42})).good());
  CHECK(device.executor.held() == 1);
  CHECK(device.stores[0]->bytes().front() == 0x42);
  CHECK(device.stores[0]->bytes().back() == 0x00);
  device.executor.run_all();
  CHECK(device.stores[0]->bytes().back() == 0x42);
}

TEST_CASE("at a profile's rate each piece is done when its time is over") {
  DeviceOptions options{.size_bytes = 16 << 20};
  options.profile.erase_bytes_per_second = 4 << 20;
  Device device(options);
  CHECK(device.send(overwrite(5, kImmediate), overwrite_list(1, {0x42})).good());
  auto pass = [&](std::chrono::milliseconds time) {
    device.clock.advance(time);
    do {
      device.copies.timers().run_due(device.clock.now());
      device.executor.run_all();
    } while (device.copies.timers().next() && *device.copies.timers().next() <= device.clock.now());
  };
  pass(std::chrono::milliseconds(124));
  CHECK(device.stores[0]->bytes().front() == 0x00);
  pass(std::chrono::milliseconds(1876));
  CHECK(device.send(kTestUnitReady).sense() == in_progress(true, 32768));
  CHECK(device.stores[0]->bytes()[(8 << 20) - 1] == 0x42);
  CHECK(device.stores[0]->bytes()[8 << 20] == 0x00);
  pass(std::chrono::milliseconds(1999));
  CHECK_FALSE(device.send(kTestUnitReady).good());
  pass(std::chrono::milliseconds(1));
  CHECK(device.send(kTestUnitReady).good());
}

TEST_CASE("a SANITIZE that fails without AUSE is 03/31/03 until one without AUSE succeeds") {
  Device device;
  device.stores[0]->write_error = kBroken;
  auto failed = AdditionalSense::sanitize_command_failed;
  CHECK(device.run(kBlockErase).failed_with(SenseKey::medium_error, failed));
  device.stores[0]->write_error.reset();
  CHECK(device.run(kTestUnitReady).failed_with(SenseKey::medium_error, failed));
  CHECK(device.run(read_10(0, 1)).failed_with(SenseKey::medium_error, failed));
  CHECK(device.run(kExitFailureMode).sense() == Sense::invalid_field_in_cdb(1, 4, {}));
  CHECK(device.run(with_flags(kBlockErase, kAuse)).sense() == Sense::invalid_field_in_cdb(1, 5, {}));
  CHECK(device.run(kTestUnitReady).failed_with(SenseKey::medium_error, failed));
  CHECK(device.run(kBlockErase).good());
  CHECK(device.run(kTestUnitReady).good());
}

TEST_CASE("EXIT FAILURE MODE ends what a failed SANITIZE with AUSE left, and is good when nothing failed") {
  Device device;
  CHECK(device.run(kExitFailureMode).good());
  device.stores[0]->write_error = kBroken;
  CHECK(device.run(with_flags(kBlockErase, kAuse | kImmediate)).good());
  CHECK(device.run(kTestUnitReady).failed_with(SenseKey::medium_error, AdditionalSense::sanitize_command_failed));
  CHECK(device.run(kExitFailureMode).good());
  CHECK(device.run(kTestUnitReady).good());
}

// ---- READ DEFECT DATA -----------------------------------------------------------------------------------------

TEST_CASE("READ DEFECT DATA returns empty lists in the format asked for") {
  Device device;
  for (std::uint8_t format : {0, 3, 4, 5}) {
    auto lists = static_cast<std::uint8_t>(0x18 | format);
    CHECK(device.run({0x37, 0, lists, 0, 0, 0, 0, 0, 32, 0}).data() == Bytes{0, lists, 0, 0});
    CHECK(device.run({0xB7, lists, 0, 0, 0, 9, 0, 0, 0, 32, 0, 0}).data() == Bytes{0, lists, 0, 0, 0, 0, 0, 0});
  }
  CHECK(device.run({0x37, 0, 0x08, 0, 0, 0, 0, 0, 2, 0}).data() == Bytes{0, 0x08});
  for (std::uint8_t format : {1, 2, 6, 7}) {
    CHECK(device.run({0x37, 0, format, 0, 0, 0, 0, 0, 32, 0}).sense() == Sense::invalid_field_in_cdb(2, 2, {}));
    CHECK(device.run({0xB7, format, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}).sense() == Sense::invalid_field_in_cdb(1, 2, {}));
  }
}
