// Not tested, and why: LibiscsiInitiator (it needs a target on a socket: test/cli).
#include "initiator/in_process_initiator.h"

#include <doctest/doctest.h>

#include "initiator/libiscsi_initiator.h"
#include "scsi/rules.h"
#include "test/host/array_of_two_disks.h"
#include "test/scsi/device_fixture.h"

using initiator::Result;

namespace {

Result execute(test::ArrayOfTwoDisks& array, std::vector<std::uint8_t> cdb, std::uint32_t data_in_length,
               std::vector<std::uint8_t> data_out = {}) {
  return array.first_path.execute({std::move(cdb), std::move(data_out), data_in_length});
}

constexpr std::uint8_t kRead10 = 0x28, kWrite10 = 0x2A;

std::vector<std::uint8_t> block_cdb(std::uint8_t opcode, std::uint8_t blocks) {
  return {opcode, 0, 0, 0, 0, 0, 0, 0, blocks, 0};
}

}  // namespace

TEST_CASE("the first command of a nexus meets its unit attention, as sense bytes") {
  test::ArrayOfTwoDisks array;
  Result result = execute(array, {0, 0, 0, 0, 0, 0}, 0);
  CHECK(result.status == 0x02);
  REQUIRE(result.sense.size() == 18);
  CHECK(result.sense[2] == 0x06);
  CHECK(result.sense[12] == 0x29);
  CHECK(execute(array, {0, 0, 0, 0, 0, 0}, 0).good());
}

TEST_CASE("data-in that is shorter or longer than expected has its residual") {
  test::ArrayOfTwoDisks array;
  array.start();
  Result inquiry = execute(array, {0x12, 0, 0, 0, 0xFF, 0}, 255);
  CHECK(inquiry.good());
  CHECK(inquiry.residual == Result::Residual::underflow);
  CHECK(inquiry.data_in.size() + inquiry.residual_count == 255);
  Result read = execute(array, block_cdb(kRead10, 2), 512);
  CHECK(read.data_in.size() == 512);
  CHECK(read.residual == Result::Residual::overflow);
  CHECK(read.residual_count == 512);
  Result exact = execute(array, block_cdb(kRead10, 2), 1024);
  CHECK(exact.residual == Result::Residual::none);
  CHECK(exact.data_in.size() == 1024);
}

TEST_CASE("data-out that is longer than the CDB asks for has its residual") {
  test::ArrayOfTwoDisks array;
  array.start();
  CHECK(execute(array, block_cdb(kWrite10, 1), 0, std::vector<std::uint8_t>(512, 1)).residual ==
        Result::Residual::none);
  Result longer = execute(array, block_cdb(kWrite10, 1), 0, std::vector<std::uint8_t>(1024, 1));
  CHECK(longer.residual == Result::Residual::underflow);
  CHECK(longer.residual_count == 512);
}

TEST_CASE("a refused command has sense and no data; an unknown logical unit refuses everything") {
  test::ArrayOfTwoDisks array;
  array.start();
  Result refused = execute(array, {0x12, 1, 0x42, 0, 0xFF, 0}, 255);
  CHECK(refused.status == 0x02);
  CHECK(refused.data_in.empty());
  initiator::InProcessInitiator nowhere(array.server, array.nexus, scsi::Lun{7}, array.clock);
  Result unknown = nowhere.execute({block_cdb(kRead10, 1), {}, 512});
  CHECK(unknown.status == 0x02);
  CHECK(unknown.sense[12] == 0x25);
}

TEST_CASE("a command whose store works elsewhere completes when the next step is done") {
  test::Device device({.blocking = true});
  initiator::InProcessInitiator path(device.server, device.nexus, scsi::Lun{0}, device.clock, [&device] {
    if (device.executor.held() == 0) return false;
    device.clock.advance(std::chrono::milliseconds(3));
    device.executor.run();
    return true;
  });
  CHECK(path.execute({block_cdb(kWrite10, 1), std::vector<std::uint8_t>(512, 0x5A)}).good());
  Result read = path.execute({block_cdb(kRead10, 1), {}, 512});
  CHECK(read.data_in == std::vector<std::uint8_t>(512, 0x5A));
}

TEST_CASE("a command that takes longer than its time-out is aborted, and the next one is served") {
  test::Device device({.blocking = true});
  bool stuck = true;
  initiator::InProcessInitiator path(device.server, device.nexus, scsi::Lun{0}, device.clock, [&] {
    if (device.executor.held() == 0) return false;
    device.clock.advance(std::chrono::seconds(1));
    stuck = stuck && device.clock.now() < base::TimePoint(std::chrono::seconds(5));
    if (!stuck) device.executor.run();
    return true;
  });
  initiator::Command read{block_cdb(kRead10, 1), {}, 512};
  read.timeout = std::chrono::seconds(2);
  Result result = path.execute(read);
  CHECK(result.transport == initiator::Transport::timed_out);
  CHECK_FALSE(result.good());
  CHECK_FALSE(result.reason.empty());
  CHECK(path.execute(read).good());
}

TEST_CASE("what rules want of a connection is seen: no answer before the time-out, or a broken one") {
  namespace action = scsi::action;
  using At = action::EndConnection::At;
  struct Row {
    scsi::Action action;
    initiator::Transport transport;
    bool written;
  };
  using enum initiator::Transport;
  const Row rows[] = {
      {action::DropResponse{}, timed_out, true},
      {action::DropCommand{}, timed_out, false},
      {action::EndConnection{At::command}, connection_lost, false},
      {action::EndConnection{At::r2t}, connection_lost, false},
      {action::EndConnection{At::data_out}, connection_lost, false},
      {action::EndConnection{At::response}, connection_lost, true},
      {action::EndConnection{At::after_response}, delivered, true},
  };
  for (const Row& row : rows) {
    test::Device device;
    initiator::InProcessInitiator path(device.server, device.nexus, scsi::Lun{0}, device.clock, [&] {
      device.clock.advance(std::chrono::seconds(1));
      return true;
    });
    scsi::RuleSet& rules = device.copies.fabric().rules();
    rules.add({.match = {.commands = scsi::commands_named("WRITE")}, .action = row.action});
    const base::TimePoint start = device.clock.now();
    Result result = path.execute({block_cdb(kWrite10, 1), std::vector<std::uint8_t>(512, 0x5A)});
    CHECK(result.transport == row.transport);
    CHECK((device.clock.now() > start) == (row.transport == timed_out));
    CHECK(device.lu().idle());
    rules.clear();
    Result read = path.execute({block_cdb(kRead10, 1), {}, 512});
    CHECK(read.data_in == std::vector<std::uint8_t>(512, row.written ? 0x5A : 0));
  }
}

TEST_CASE("a CDB of more than 16 bytes is the caller's mistake") {
  test::ArrayOfTwoDisks array;
  CHECK_THROWS_AS(execute(array, std::vector<std::uint8_t>(17), 0), std::invalid_argument);
}

TEST_CASE("iSCSI URLs are read as libiscsi reads them, and wrong ones are refused with the form expected") {
  auto url = initiator::parse_iscsi_url("iscsi://user%secret@192.0.2.1:3261/iqn.2026-11.example:disks/3");
  REQUIRE(url.has_value());
  CHECK(url->portal == "192.0.2.1:3261");
  CHECK(url->target_name == "iqn.2026-11.example:disks");
  CHECK(url->user == "user");
  CHECK(url->lun == 3);
  CHECK_FALSE(initiator::parse_iscsi_url("http://192.0.2.1/x/1").has_value());
  CHECK_FALSE(initiator::parse_iscsi_url("iscsi://192.0.2.1/iqn.2026-11.example:disks").has_value());
}
