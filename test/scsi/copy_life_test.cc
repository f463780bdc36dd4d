// Not tested, and why: what a transport loses of a response (RECEIVE ROD TOKEN INFORMATION counts as delivered when the
// ALLOCATION LENGTH was large enough).

// What copies do when nothing is wrong, and how long their results and tokens live.
#include <doctest/doctest.h>

#include "scsi/copy_manager.h"
#include "test/scsi/copy_fixture.h"
#include "tokens/copy_operation.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::SenseKey;

namespace {

constexpr std::uint16_t kSource = CopyDevice::kSource;
constexpr std::uint16_t kDestination = CopyDevice::kDestination;
constexpr std::uint16_t kLarge = CopyDevice::kLarge;
constexpr std::uint8_t kDelTkn = 2;

bool unknown_list_identifier(const Command& command) {
  return command.failed_with(SenseKey::illegal_request, AdditionalSense::invalid_field_in_cdb);
}

}  // namespace

TEST_CASE("a token of several ranges is their concatenation, captured at once") {
  CopyDevice device;
  device.fill(kSource, {100, 3}, 1);
  device.fill(kSource, {10, 2}, 2);
  tokens::RodToken token = device.token_of({{100, 3}, {10, 2}});
  CHECK(device.store(kSource).captures == 1);
  CHECK(token.number_of_bytes_represented == 5 * 512);
  CHECK(device.write_using(1, token, {{1000, 1}, {0, 4}}).good());
  CHECK(device.read(kDestination, {1000, 1}) == device.read(kSource, {100, 1}));
  CHECK(device.read(kDestination, {0, 2}) == device.read(kSource, {101, 2}));
  CHECK(device.read(kDestination, {2, 2}) == device.read(kSource, {10, 2}));
}

TEST_CASE("what is written to the source after POPULATE TOKEN never shows through") {
  CopyDevice device;
  device.fill(kSource, {0, 8}, 1);
  Bytes before = device.read(kSource, {0, 8});
  tokens::RodToken token = device.token_of({{0, 8}});
  device.fill(kSource, {2, 2}, 9);
  device.store(kSource).unmap({6 * 512, 1024}).value();
  CHECK(device.write_using(1, token, {{0, 8}}).good());
  CHECK(device.read(kDestination, {0, 8}) == before);
}

TEST_CASE("a token may be written over its own source, overlapping") {
  CopyDevice device;
  device.fill(kSource, {0, 8}, 1);
  Bytes before = device.read(kSource, {0, 8});
  tokens::RodToken token = device.token_of({{0, 8}});
  CHECK(device.write_using(1, token, {{3, 8}}, 0, 0, kSource).good());
  CHECK(device.read(kSource, {3, 8}) == before);
  CHECK(device.write_using(2, token, {{0, 8}}, 0, 0, kSource).good());
  CHECK(device.read(kSource, {0, 8}) == before);
}

TEST_CASE("OFFSET INTO ROD counts blocks of the destination, whatever the source's are") {
  CopyDevice device;
  device.fill(kSource, {0, 24}, 1);
  tokens::RodToken token = device.token_of({{0, 24}});
  CHECK(device.write_using(1, token, {{5, 1}}, 1, 0, kLarge).good());
  CHECK(device.read(kLarge, {5, 1}) == device.read(kSource, {8, 8}));
  CHECK(device.result(1, kLarge).header.transfer_count == 1);

  device.fill(kLarge, {100, 2}, 2);
  token = device.token_of({{100, 2}}, {}, kLarge);
  CHECK(token.block_device.logical_block_length == 4096);
  CHECK(device.write_using(2, token, {{70, 3}}, 9).good());
  Bytes large = device.read(kLarge, {101, 1});
  CHECK(device.read(kDestination, {70, 3}) == Bytes(large.begin() + 512, large.begin() + 4 * 512));
  CHECK(device.result(2, kDestination).header.transfer_count == 3);
}

TEST_CASE("a copy keeps holes as holes") {
  CopyDevice device;
  device.fill(kSource, {2, 1}, 1);
  device.fill(kDestination, {0, 8}, 7);
  tokens::RodToken token = device.token_of({{0, 8}});
  CHECK(device.write_using(1, token, {{0, 8}}).good());
  CHECK(device.store(kDestination).sectors.size() == 1);
}

TEST_CASE("the zero token zeroes on every logical unit and ignores OFFSET INTO ROD and DEL_TKN") {
  for (std::uint16_t lun : {kSource, kDestination, kLarge}) {
    CopyDevice device;
    device.fill(lun, {0, 16}, 7);
    CHECK(device.write_using(1, tokens::zero_token(), {{8, 4}, {0, 2}}, UINT64_MAX, kDelTkn, lun).good());
    std::size_t block = device.lu(lun).block_length();
    CHECK(device.read(lun, {8, 4}) == Bytes(4 * block));
    CHECK(device.read(lun, {0, 2}) == Bytes(2 * block));
    CHECK(device.read(lun, {2, 1}) != Bytes(block));
    CHECK(device.read(lun, {12, 1}) != Bytes(block));
    CHECK(device.write_using(2, tokens::zero_token(), {{0, 1}}, 0, 0, lun).good());
    bool mapped = device.store(lun).sectors.contains(8 * block / 512);
    CHECK(mapped == !device.lu(lun).config().thin);  // thin ones give the space back
  }
}

TEST_CASE("the range descriptors that the list cuts off are ignored") {
  CopyDevice device;
  Bytes list = populate_list({{0, 8}, {100, 8}, {200, 8}});
  list.resize(16 + 16 + 15);
  CHECK(device.run(out_cdb(0x10, 1, list.size()), list, kSource).good());
  CHECK(device.result(1, kSource).header.transfer_count == 8);
  list.resize(16 + 15);
  CHECK(device.run(out_cdb(0x10, 2, list.size()), list, kSource).good());
  CHECK(device.result(2, kSource).header.transfer_count == 0);
}

TEST_CASE("an incomplete last descriptor within BLOCK DEVICE RANGE DESCRIPTOR LENGTH is ignored") {
  CopyDevice device;
  Bytes list = populate_list({{0, 8}, {100, 8}});
  list[1] = 14 + 16 + 15;
  list[15] = 16 + 15;
  CHECK(device.run(out_cdb(0x10, 1, list.size()), list, kSource).good());
  CHECK(device.result(1, kSource).header.transfer_count == 8);
}

TEST_CASE("a POPULATE TOKEN of no blocks completes with a count of 0 and no token") {
  CopyDevice device;
  CHECK(device.populate(1, {{5, 0}}).good());
  CopyResult result = device.result(1, kSource);
  CHECK(result.header.copy_operation_status == 0x01);
  CHECK(result.header.transfer_count == 0);
  CHECK(result.descriptors_length == 0);
  CHECK(device.copies.tokens().tokens() == 0);
}

TEST_CASE("a token works on any nexus, repeatedly, and through another target of the array") {
  CopyDevice device;
  device.fill(kSource, {0, 8}, 1);
  tokens::RodToken token = device.token_of({{0, 8}});
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  Bytes list = write_list(token, {{0, 8}});
  CHECK(device.run(out_cdb(0x11, 1, list.size()), list, kDestination, other).good());
  CHECK(device.run(out_cdb(0x11, 1, list.size()), list, kSource, other).good());

  scsi::DeviceServer second({"iqn.2025-01.example:second", 1}, device.clock, nullptr, device.copies);
  second.add(scsi::Lun{0}, device.server.logical_units().at(scsi::Lun{kDestination}));
  device.fill(kDestination, {0, 8}, 2);
  Command& command = device.prepare(out_cdb(0x11, 1, list.size()));
  command.task.nexus = second.attach({"iqn.2025-01.example:host", {}, "iqn.2025-01.example:second", 1});
  second.admit(command.task);  // takes the unit attention of the new nexus
  REQUIRE(command.failed_with(SenseKey::unit_attention, AdditionalSense::power_on_reset_or_bus_device_reset_occurred));
  Command& again = device.prepare(out_cdb(0x11, 1, list.size()));
  again.task.nexus = command.task.nexus;
  second.admit(again.task);
  again.task.data_out = list;
  second.execute(again.task);
  CHECK(again.good());
  CHECK(device.read(kDestination, {0, 8}) == device.read(kSource, {0, 8}));
}

TEST_CASE("DEL_TKN deletes the token after a command that wrote, and not after one that was refused") {
  CopyDevice device;
  tokens::RodToken token = device.token_of({{0, 8}});
  CHECK_FALSE(device.write_using(1, token, {{0, 9}}, 0, kDelTkn).good());
  CHECK(device.write_using(2, token, {{0, 8}}, 0, kDelTkn).good());
  CHECK(device.write_using(3, token, {{0, 8}})
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_deleted));
}

TEST_CASE("each use starts the inactivity time over, up to the lifetime") {
  CopyDevice device({.token_lifetime_s = 100});
  tokens::RodToken token = device.token_of({{0, 8}}, {.timeout_s = 30});
  for (int i = 0; i < 3; ++i) {
    device.clock.advance(std::chrono::seconds(30) - base::Duration(1));
    CHECK(device.write_using(1, token, {{0, 8}}).good());
  }
  device.clock.advance(std::chrono::seconds(10) + base::Duration(2));
  CHECK(device.write_using(1, token, {{0, 8}}).good());
  device.clock.advance(base::Duration(1));
  CHECK(device.write_using(1, token, {{0, 8}})
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_expired));
}

TEST_CASE("INACTIVITY TIMEOUT 0 means the default of VPD page 8Fh") {
  CopyDevice device({.default_inactivity_timeout_s = 20});
  tokens::RodToken token = device.token_of({{0, 8}});
  device.clock.advance(std::chrono::seconds(20));
  CHECK_FALSE(device.write_using(1, token, {{0, 8}}).good());
}

TEST_CASE("ROD token information is given once in full; a read that is cut keeps it; status reads keep it") {
  CopyDevice device;
  CHECK(device.populate(1, {{0, 8}}).good());
  CHECK(device.receive_status(1, kSource).data().size() == 32);
  Command& cut = device.receive_rod_token(1, kSource, 549);
  CHECK(cut.data().size() == 549);
  CHECK(cut.data()[3] == 0x22);  // AVAILABLE DATA does not shrink
  CHECK(device.receive_rod_token(1, kSource, 550).data().size() == 550);
  CHECK(unknown_list_identifier(device.receive_rod_token(1, kSource)));
  CHECK(device.receive_status(1, kSource).good());
}

TEST_CASE("ALLOCATION LENGTH 0 discards the ROD token information, and RECEIVE COPY STATUS's does not") {
  CopyDevice device;
  CHECK(device.populate(1, {{0, 8}}).good());
  CHECK(device.receive_status(1, kSource, 0).good());
  CHECK(device.receive_rod_token(1, kSource, 0).data().empty());
  CHECK(unknown_list_identifier(device.receive_rod_token(1, kSource)));
  CHECK(device.receive_status(1, kSource).good());
}

TEST_CASE("the result of a WRITE USING TOKEN can be read again and again") {
  CopyDevice device;
  CHECK(device.write_using(1, tokens::zero_token(), {{0, 8}}).good());
  for (int i = 0; i < 3; ++i) CHECK(device.result(1, kDestination).header.copy_operation_status == 0x01);
}

TEST_CASE("a list identifier is free again once its operation has ended, and its result is replaced") {
  CopyDevice device;
  CHECK(device.populate(1, {{0, 8}}).good());
  CHECK(device.write_using(1, tokens::zero_token(), {{0, 4}}, 0, 0, kSource).good());
  CopyResult result = device.result(1, kSource);
  CHECK(result.header.response_to_service_action == 0x11);
  CHECK(result.header.transfer_count == 4);
  CHECK_FALSE(result.token);
}

TEST_CASE("beyond the limit the oldest result goes") {
  CopyDevice device({.maximum_copy_results = 2});
  for (std::uint32_t id : {1u, 2u, 3u}) CHECK(device.populate(id, {{0, 8}}).good());
  CHECK(unknown_list_identifier(device.receive_rod_token(1, kSource)));
  CHECK(device.receive_rod_token(2, kSource).good());
}

TEST_CASE("a logical unit reset drops results and keeps tokens") {
  CopyDevice device;
  tokens::RodToken token = device.token_of({{0, 8}});
  CHECK(device.populate(1, {{0, 8}}).good());
  device.server.manage(scsi::TaskManagementFunction::logical_unit_reset, device.nexus, scsi::Lun{kSource}, 0,
                       [](scsi::TaskManagementResponse) {});
  device.run({0, 0, 0, 0, 0, 0}, {}, kSource);  // takes the unit attention
  CHECK(unknown_list_identifier(device.receive_rod_token(1, kSource)));
  CHECK(device.write_using(2, token, {{0, 8}}).good());
}

TEST_CASE("a source that is formatted, sanitized or ejected takes its tokens along, and those of others live on") {
  for (const Device::Cdb& cdb : {Device::Cdb{0x04, 0, 0, 0, 0, 0}, Device::Cdb{0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0}}) {
    CopyDevice device;
    auto token = device.token_of({{0, 8}});
    auto other = device.token_of({{0, 8}}, {}, kLarge);
    CHECK(device.run(cdb, {}, kSource).good());
    CHECK(device.write_using(1, token, {{0, 8}})
              .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_cancelled));
    CHECK(device.write_using(2, other, {{0, 64}}).good());
  }
  CopyDevice device;
  device.add(7, {.removable = true});
  device.nexus = device.attach("iqn.2025-01.example:again");
  auto token = device.token_of({{0, 8}}, {}, 7);
  CHECK(device.run({0x1B, 0, 0, 0, 0x02, 0}, {}, 7).good());
  CHECK(device.write_using(1, token, {{0, 8}})
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_cancelled));
}

TEST_CASE("an I_T nexus loss drops its results and keeps tokens") {
  CopyDevice device;
  tokens::RodToken token = device.token_of({{0, 8}});
  std::size_t before = device.copies.operations().size();
  scsi::NexusId other = device.attach("iqn.2025-01.example:other");
  Bytes list = populate_list({{0, 8}});
  device.run(out_cdb(0x10, 1, list.size()), list, kSource, other);
  CHECK(device.copies.operations().size() == before + 1);
  device.server.detach(other);
  CHECK(device.copies.operations().size() == before);
  CHECK(device.write_using(2, token, {{0, 8}}).good());
}

TEST_CASE("ABORT TASK of a waiting copy leaves status 60h with TASK ABORTED, and frees the list identifier") {
  CopyDevice device;
  device.store(kDestination).blocking = true;
  Bytes list = write_list(tokens::zero_token(), {{0, 8}});
  Command& first = device.send(out_cdb(0x11, 1, list.size()), list, kDestination);
  Command& second = device.send(out_cdb(0x11, 2, list.size()), list, kDestination);
  device.server.manage(scsi::TaskManagementFunction::abort_task, device.nexus, scsi::Lun{kDestination}, second.task.tag,
                       [](scsi::TaskManagementResponse) {});
  device.executor.run_all();
  CHECK(first.good());
  CHECK(second.status() == scsi::Status::task_aborted);
  CopyResult result(device.receive_status(2, kDestination).data());
  CHECK(result.header.copy_operation_status == 0x60);
  CHECK(result.header.extended_copy_completion_status == 0x40);
  CHECK(result.header.sense_data_length == 0);
  CHECK(result.header.transfer_count == 0);
  CHECK(device.write_using(2, tokens::zero_token(), {{0, 8}}).good());
}

TEST_CASE("POPULATE TOKEN holds the writes that were sent before it, and none that were sent after") {
  CopyDevice device;
  device.store(kSource).blocking = true;
  auto write = [&](std::uint64_t lba, std::uint8_t mark) {
    Bytes cdb(16);
    cdb[0] = 0x8A;
    base::store(base::MutableBytes(cdb).subspan(2), base::be64(lba));
    base::store(base::MutableBytes(cdb).subspan(10), base::be32(1));
    device.send(cdb, Bytes(512, mark), kSource);
  };
  write(0, 1);
  Bytes list = populate_list({{0, 1}, {8, 1}});
  Command& populate = device.send(out_cdb(0x10, 1, list.size()), list, kSource);
  write(0, 2);
  write(8, 2);
  CHECK(device.executor.held() == 1);  // the capture waits for the first write, the others wait for the capture
  device.executor.run();
  CHECK(device.executor.held() == 1);
  device.executor.run();
  REQUIRE(populate.good());
  CHECK(device.executor.held() == 2);
  device.executor.run_all();
  CHECK(device.write_using(2, device.result(1, kSource).token.value(), {{0, 2}}).good());
  CHECK(device.read(kDestination, {0, 1}) == Bytes(512, 1));
  CHECK(device.read(kDestination, {1, 1}) == Bytes(512, 0));
  CHECK(device.read(kSource, {8, 1}) == Bytes(512, 2));
}

TEST_CASE("a WRITE USING TOKEN under way keeps its data although the token is deleted meanwhile") {
  CopyDevice device;
  device.fill(kSource, {0, 8}, 1);
  tokens::RodToken token = device.token_of({{0, 8}});
  device.store(kDestination).blocking = true;
  Bytes list = write_list(token, {{0, 8}});
  Command& write = device.send(out_cdb(0x11, 1, list.size()), list, kDestination);
  device.copies.tokens().revoke(tokens::TokenId{token.copy_manager_rod_token_identifier.value()});
  device.executor.run_all();
  CHECK(write.good());
  CHECK(device.read(kDestination, {0, 8}) == device.read(kSource, {0, 8}));
  CHECK(device.write_using(2, token, {{0, 8}})
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_token_operation_token_revoked));
}

TEST_CASE("work on any range of a WRITE USING TOKEN waits for all of it, work beside its ranges does not") {
  CopyDevice device;
  device.store(kDestination).blocking = true;
  Bytes list = write_list(tokens::zero_token(), {{100, 1}, {10, 1}});
  Command& copy = device.send(out_cdb(0x11, 1, list.size()), list, kDestination);
  auto write = [&](std::uint8_t lba) -> Command& {
    Bytes cdb = hex("8A 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00");
    cdb[9] = lba;
    return device.send(cdb, Bytes(512, lba), kDestination);
  };
  Command& first = write(10);
  Command& last = write(100);
  write(9);
  write(101);
  CHECK(device.executor.held() == 3);  // the copy and the two beside it
  device.executor.run(2);
  device.executor.run(1);
  CHECK_FALSE(first.done());
  CHECK_FALSE(last.done());
  device.executor.run_all();
  CHECK(copy.good());
  CHECK(device.read(kDestination, {10, 1}) == Bytes(512, 10));
  CHECK(device.read(kDestination, {100, 1}) == Bytes(512, 100));
}

TEST_CASE("data that has to be waited for is fetched by a worker when the destination's store does not block") {
  Device device;
  device.stores[0]->blocking = true;
  REQUIRE(device.stores[0]->write(0, Bytes(8 * 512, 7)));
  Bytes list = populate_list({{0, 8}});
  REQUIRE(device.run(out_cdb(0x10, 1, list.size()), list).good());
  tokens::RodToken token = CopyResult(device.run(in_cdb(0x07, 1, 805)).data()).token.value();
  auto stored = [&] { return Bytes(device.stores[1]->bytes().begin(), device.stores[1]->bytes().begin() + 8 * 512); };

  list = write_list(token, {{4, 2}, {0, 1}}, 1);
  Command& copy = device.send(out_cdb(0x11, 2, list.size()), list, 1);
  CHECK_FALSE(copy.done());
  CHECK(device.executor.held() == 1);
  Command& read = device.send({0x28, 0, 0, 0, 0, 4, 0, 0, 1, 0}, {}, 1);
  CHECK(read.good());  // nobody is kept waiting: the copy takes its turn when it has its data
  CHECK(read.data() == Bytes(512, 0));
  device.executor.run_all();
  REQUIRE(copy.good());
  Bytes expected(8 * 512);
  std::fill_n(expected.begin(), 512, std::uint8_t{7});
  std::fill_n(expected.begin() + 4 * 512, 2 * 512, std::uint8_t{7});
  CHECK(stored() == expected);

  device.stores[1]->fetch_error = handlers::IoError{handlers::IoError::Kind::no_space, "full"};
  Command& failed = device.run(out_cdb(0x11, 3, list.size()), write_list(token, {{6, 2}, {7 + 9, 1}}), 1);
  CHECK(failed.failed_with(SenseKey::data_protect, AdditionalSense::space_allocation_failed_write_protect));
  CHECK(stored() == expected);
  CHECK(CopyResult(device.run(in_cdb(0x07, 3, 805), {}, 1).data()).header.transfer_count == 0);
}
