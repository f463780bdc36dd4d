// ORWRITE (16).
//
// Not tested, and why: what all writes share (ranges, WRPROTECT, write protection) by more than one case, since it is
// one function that block_io_test.cc has; ORWRITE (32), whose CDB no front end takes.
#include <doctest/doctest.h>

#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

using namespace test;
using scsi::AdditionalSense;
using scsi::BlockFlags;
using scsi::Sense;
using scsi::SenseKey;

namespace {

Device::Cdb or_write(std::uint64_t lba, std::uint32_t count, std::uint8_t flags = 0) {
  return cdb_16(0x8B, lba, count, flags);
}

}  // namespace

TEST_CASE("ORWRITE leaves each bit one that was one on the medium or came as one, with both block lengths") {
  for (std::uint32_t block_length : {512u, 4096u}) {
    Device device({.block_length = block_length});
    auto before = pattern(3 * block_length, 1);
    auto data = pattern(3 * block_length, 77);
    CHECK(device.run(write_10(5, 3), before).good());
    CHECK(device.run(or_write(5, 3), data).good());
    CHECK(device.run(read_10(5, 3)).data() == or_ed(before, data));
    CHECK(device.run(read_10(4, 1)).data() == std::vector<std::uint8_t>(block_length));
    CHECK(device.run(read_10(8, 1)).data() == std::vector<std::uint8_t>(block_length));
  }
}

TEST_CASE("ORWRITE of more than one piece") {
  Device device({.size_bytes = 4 << 20});
  constexpr std::uint32_t kCount = 5000;
  auto before = pattern(kCount * 512, 3);
  auto data = pattern(kCount * 512, 200);
  CHECK(device.run(cdb_16(0x8A, 1, kCount), before).good());
  CHECK(device.run(or_write(1, kCount), data).good());
  CHECK(device.run(cdb_16(0x88, 1, kCount)).data() == or_ed(before, data));
}

TEST_CASE("nothing on the range comes between an ORWRITE's read and its write") {
  Device device({.blocking = true});
  auto a = pattern(1024, 1), b = pattern(1024, 2), c = pattern(1024, 4);
  Command& write = device.send(write_10(0, 2), a);
  Command& first = device.send(or_write(0, 2), b);
  Command& second = device.send(or_write(1, 1), {c.begin(), c.begin() + 512});
  Command& read = device.send(read_10(0, 2));
  Command& elsewhere = device.send(or_write(2, 2), c);
  CHECK(device.executor.held() == 2);  // the write, and what overlaps nothing
  device.executor.run(1);
  CHECK(elsewhere.good());
  device.executor.run_all();
  CHECK((write.good() && first.good() && second.good() && read.good()));
  auto expected = or_ed(a, b);
  for (std::size_t i = 0; i < 512; ++i) expected[512 + i] |= c[i];
  CHECK(read.data() == expected);
  CHECK(device.order ==
        std::vector<std::uint32_t>{elsewhere.task.tag, write.task.tag, first.task.tag, second.task.tag, read.task.tag});
}

TEST_CASE("ORWRITE with FUA is flushed before it is answered") {
  Device device;
  auto data = pattern(512, 9);
  CHECK(device.run(or_write(0, 1), data).good());
  CHECK(device.stores[0]->flushes == 0);
  CHECK(device.run(or_write(0, 1, BlockFlags::kFua | BlockFlags::kDpo), data).good());
  CHECK(device.stores[0]->flushes == 1);
}

TEST_CASE("ORWRITE is refused as WRITE is, before its data is asked for") {
  Device device;
  Command& beyond = device.prepare(or_write(2047, 2));
  device.server.admit(beyond.task);
  CHECK(beyond.failed_with(SenseKey::illegal_request, AdditionalSense::logical_block_address_out_of_range));
  CHECK(beyond.sense().information == 2048u);
  CHECK(device.run(or_write(0, 1, 0x20)).sense() == Sense::invalid_field_in_cdb(1, 7, {}));
  CHECK(device.run(or_write(2048, 0)).good());
  Device read_only({.read_only = true});
  CHECK(read_only.run(or_write(0, 1)).failed_with(SenseKey::data_protect, AdditionalSense::write_protected));
}

TEST_CASE("an ORWRITE's data that is short by whole blocks changes the blocks there are, other data none") {
  Device device;
  auto data = pattern(512, 5);
  CHECK(device.run(or_write(0, 2), data).good());
  CHECK(device.run(read_10(0, 1)).data() == data);
  CHECK(device.run(or_write(4, 1), std::vector<std::uint8_t>(100, 0xFF))
            .failed_with(SenseKey::illegal_request, AdditionalSense::invalid_field_in_command_information_unit));
  CHECK(device.run(read_10(4, 1)).data() == std::vector<std::uint8_t>(512));
}

TEST_CASE("an ORWRITE that cannot read or write says so and changes nothing") {
  Device device;
  CHECK(device.run(write_10(0, 1), pattern(512, 1)).good());
  device.stores[0]->read_error = handlers::IoError{handlers::IoError::Kind::medium_read, {}};
  CHECK(device.run(or_write(0, 1), pattern(512, 2))
            .failed_with(SenseKey::medium_error, AdditionalSense::unrecovered_read_error));
  device.stores[0]->read_error.reset();
  device.stores[0]->write_error = handlers::IoError{handlers::IoError::Kind::medium_write, {}};
  CHECK(device.run(or_write(0, 1), pattern(512, 2)).failed_with(SenseKey::medium_error, AdditionalSense::write_error));
  CHECK(device.run(read_10(0, 1)).data() == pattern(512, 1));
}
