// Which task runs before which: task attributes (SAM-5 8.6) and overlapping ranges.
//
// Not tested, and why: real threads (test/target runs the executor's); barriers of the copy manager (beside its
// commands).
#include <doctest/doctest.h>

#include "scsi/task_set.h"
#include "test/scsi/device_fixture.h"

namespace scsi {
namespace {

using test::Command;
using test::Device;
using test::DeviceOptions;
using Data = std::vector<std::uint8_t>;
using Order = std::vector<std::uint32_t>;

DeviceOptions blocking() {
  DeviceOptions options;
  options.blocking = true;
  return options;
}

Device::Cdb write(std::uint8_t lba, std::uint8_t blocks = 1) { return {0x2A, 0, 0, 0, 0, lba, 0, 0, blocks, 0}; }
Device::Cdb read(std::uint8_t lba, std::uint8_t blocks = 1) { return {0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0}; }
const Device::Cdb kSynchronizeCache = {0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0};
const Device::Cdb kTestUnitReady = {0x00, 0, 0, 0, 0, 0};

Data blocks(std::uint8_t value, std::size_t count = 1) { return Data(count * 512, value); }

TEST_CASE("work on a store that does not block is done before admit() or execute() returns") {
  Device device;
  CHECK(device.send(write(3), blocks(7)).good());
  CHECK(device.send(read(3)).data() == blocks(7));
  CHECK(device.executor.held() == 0);
}

TEST_CASE("overlapping ranges are served in arrival order, others as they come") {
  Device device(blocking());
  Command& first = device.send(write(0, 4), blocks(1, 4));
  Command& overlapping_read = device.send(read(3, 2));
  Command& elsewhere = device.send(write(8), blocks(2));
  Command& overlapping_write = device.send(write(4), blocks(3));
  CHECK(device.executor.held() == 2);
  device.executor.run(1);
  CHECK(elsewhere.good());
  CHECK(first.task.state == Task::State::running);
  CHECK(overlapping_read.task.state == Task::State::waiting);
  device.executor.run();
  CHECK(first.good());
  CHECK(overlapping_write.task.state == Task::State::waiting);
  device.executor.run_all();
  CHECK(device.order ==
        Order{elsewhere.task.tag, first.task.tag, overlapping_read.task.tag, overlapping_write.task.tag});
  Data expected = blocks(1);
  expected.resize(1024);
  CHECK(overlapping_read.data() == expected);
}

TEST_CASE("reads of one range do not wait for each other") {
  Device device(blocking());
  device.send(read(0));
  device.send(read(0));
  CHECK(device.executor.held() == 2);
  device.executor.run_all();
}

TEST_CASE("SYNCHRONIZE CACHE waits for the writes before it") {
  Device device(blocking());
  device.send(write(0), blocks(1));
  Command& flush = device.send(kSynchronizeCache);
  Command& later = device.send(write(1), blocks(1));
  CHECK(device.executor.held() == 1);
  device.executor.run();
  CHECK_FALSE(flush.done());
  device.executor.run();
  CHECK_FALSE(flush.done());
  CHECK(device.executor.held() == 1);  // the flush alone
  device.executor.run();
  CHECK(flush.good());
  CHECK(device.stores[0]->flushes == 1);
  CHECK_FALSE(later.done());
  device.executor.run_all();
  CHECK(later.good());
}

TEST_CASE("data-out that was only lent is what is written, however late") {
  Device device(blocking());
  device.send(write(0), blocks(1));
  device.send(write(0), blocks(2));
  device.executor.run_all();
  CHECK(device.run(read(0)).data() == blocks(2));
}

TEST_CASE("an ORDERED task waits for everything older and holds back everything younger") {
  Device device(blocking());
  Command& older = device.send(write(0), blocks(1));
  Command& ordered = device.send(write(8), blocks(2), 0, NexusId::none, TaskAttribute::ordered);
  Command& younger = device.send(read(20));
  Command& no_medium = device.send(kTestUnitReady);
  CHECK(device.executor.held() == 1);
  device.executor.run();
  CHECK(older.good());
  CHECK(device.executor.held() == 1);
  CHECK_FALSE(younger.done());
  CHECK_FALSE(no_medium.done());
  device.executor.run();
  CHECK(ordered.good());
  CHECK(no_medium.good());
  device.executor.run_all();
  CHECK(younger.good());
  CHECK(device.run(read(8)).data() == blocks(2));
}

TEST_CASE("an ORDERED task whose data-out is still awaited holds back younger tasks") {
  Device device;
  Command& ordered = device.prepare(write(0));
  ordered.task.attribute = TaskAttribute::ordered;
  device.server.admit(ordered.task);
  Command& younger = device.send(read(0));
  CHECK_FALSE(younger.done());
  Data data = blocks(5);
  ordered.task.data_out = data;
  device.server.execute(ordered.task);
  CHECK(ordered.good());
  CHECK(younger.data() == data);
}

TEST_CASE("an ORDERED task withdrawn lets younger tasks go") {
  Device device;
  Command& ordered = device.prepare(write(0));
  ordered.task.attribute = TaskAttribute::ordered;
  device.server.admit(ordered.task);
  Command& younger = device.send(read(0));
  device.server.withdraw(ordered.task);
  CHECK(younger.good());
  CHECK(ordered.completions == 0);
  CHECK(ordered.task.state == Task::State::idle);
}

TEST_CASE("two ORDERED tasks run one after the other, then the SIMPLE ones behind them") {
  Device device(blocking());
  Command& older = device.send(read(0));
  Command& one = device.send(read(1), {}, 0, NexusId::none, TaskAttribute::ordered);
  Command& between = device.send(read(2));
  Command& two = device.send(read(3), {}, 0, NexusId::none, TaskAttribute::ordered);
  Command& last = device.send(read(4));
  device.executor.run_all();
  CHECK(device.order == Order{older.task.tag, one.task.tag, between.task.tag, two.task.tag, last.task.tag});
}

TEST_CASE("a HEAD OF QUEUE task begins before tasks held back") {
  Device device(blocking());
  device.send(write(0), blocks(1));
  Command& ordered = device.send(read(1), {}, 0, NexusId::none, TaskAttribute::ordered);
  Command& head = device.send(kTestUnitReady, {}, 0, NexusId::none, TaskAttribute::head_of_queue);
  CHECK(head.good());
  CHECK_FALSE(ordered.done());
  device.executor.run_all();
  CHECK(ordered.good());
}

TEST_CASE("an untagged task is served as a SIMPLE one") {
  Device device;
  CHECK(device.send(kTestUnitReady, {}, 0, NexusId::none, TaskAttribute::untagged).good());
}

TEST_CASE("tasks of one logical unit do not hold back those of another") {
  Device device(blocking());
  device.send(write(0), blocks(1));
  device.send(write(0), blocks(1), 0, NexusId::none, TaskAttribute::ordered);
  Command& other = device.send(kTestUnitReady, {}, 1);
  CHECK(other.good());
  device.executor.run_all();
}

TEST_CASE("what a logical unit's store waits for is posted as that unit's, flushes too") {
  Device device(blocking());
  Device::Cdb durable = write(1);
  durable[1] |= 0x08;
  device.send(read(0), {}, 0);
  device.send(durable, blocks(1), 1);
  device.executor.run_all();
  device.send(kSynchronizeCache, {}, 0);
  device.executor.run_all();
  CHECK(device.executor.owners == std::vector<const void*>{&device.lu(0), &device.lu(1), &device.lu(1), &device.lu(0)});
}

TEST_CASE("thousands of tasks behind an ORDERED one are woken without deep recursion") {
  Device device(blocking());
  Command& ordered = device.send(read(0), {}, 0, NexusId::none, TaskAttribute::ordered);
  std::vector<Command*> behind;
  for (int i = 0; i < 20000; ++i) behind.push_back(&device.send(kTestUnitReady));
  device.executor.run_all();
  CHECK(ordered.good());
  for (Command* command : behind) REQUIRE(command->good());
}

}  // namespace
}  // namespace scsi
