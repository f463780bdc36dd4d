// How often each command of a device server ended with each status.
//
// Not tested, and why: that counting allocates nothing (allocation_test.cc); how it is told
// (test/target/control_test.py).
#include "scsi/command_counts.h"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <utility>

#include "scsi/rules.h"
#include "test/scsi/block_cdbs.h"
#include "test/scsi/copy_fixture.h"

namespace {

using scsi::Status;
using test::CopyDevice;

/// "READ (10) GOOD": 2
std::map<std::string, std::uint64_t> counts_of(const scsi::DeviceServer& server) {
  std::map<std::string, std::uint64_t> all;
  server.counts().for_each([&](const scsi::CommandDescriptor* row, std::optional<Status> status, std::uint64_t count) {
    all[std::string(row ? row->name : "?") + " " + (status ? scsi::describe(*status) : "other")] = count;
  });
  return all;
}

}  // namespace

TEST_CASE("commands are counted by row and status, whatever ends them") {
  CopyDevice device;
  auto before = counts_of(device.server);
  auto counted = [&] {
    const auto past = std::exchange(before, counts_of(device.server));
    std::map<std::string, std::uint64_t> now;
    for (const auto& [name, count] : before) {
      const auto found = past.find(name);
      if (const std::uint64_t more = count - (found == past.end() ? 0 : found->second); more > 0) now[name] = more;
    }
    return now;
  };
  using Counts = std::map<std::string, std::uint64_t>;
  device.run(test::read_10(0, 1), {}, CopyDevice::kSource);
  device.run(test::read_10(0, 1), {}, CopyDevice::kSource);
  device.run(test::read_10(0xFFFFFFFF, 1), {}, CopyDevice::kSource);
  CHECK(counted() == Counts{{"READ (10) GOOD", 2}, {"READ (10) CHECK CONDITION", 1}});
  device.run({0xFF});        // no such operation code
  device.run({0x83, 0x1F});  // no such service action
  CHECK(counted() == Counts{{"? CHECK CONDITION", 2}});
  device.token_of({{0, 8}});
  CHECK(counted() == Counts{{"POPULATE TOKEN GOOD", 1}, {"RECEIVE ROD TOKEN INFORMATION GOOD", 1}});
  for (Status status : {Status::busy, Status{0x22}}) {
    auto& rules = device.copies.fabric().rules();
    rules.clear();
    rules.add({.name = "test", .match = {}, .action = scsi::action::Fail{status}});
    device.run(test::read_10(0, 1), {}, CopyDevice::kSource);
  }
  CHECK(counted() == Counts{{"READ (10) BUSY", 1}, {"READ (10) other", 1}});
}

TEST_CASE("a task that is aborted is counted once, as TASK ABORTED") {
  CopyDevice device;
  const auto before = counts_of(device.server);
  auto& command = device.prepare(test::write_10(0, 1), CopyDevice::kSource);
  device.server.admit(command.task);
  device.server.manage(scsi::TaskManagementFunction::logical_unit_reset, device.nexus, scsi::Lun{CopyDevice::kSource},
                       0, [](auto) {});
  auto after = counts_of(device.server);
  std::erase_if(after, [&](auto& each) { return before.contains(each.first) && before.at(each.first) == each.second; });
  CHECK(after == std::map<std::string, std::uint64_t>{{"WRITE (10) TASK ABORTED", 1}});
}
