// READ, WRITE, WRITE AND VERIFY, SYNCHRONIZE CACHE, PRE-FETCH.
//
// Not tested, and why: DPO and GROUP NUMBER, which change nothing that can be seen; residual counts, which are the
// transport's (test/iscsi).
#include <doctest/doctest.h>

#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

using namespace test;
using handlers::IoError;
using scsi::AdditionalSense;
using scsi::BlockFlags;
using scsi::FieldPointer;
using scsi::Sense;
using scsi::SenseKey;

namespace {

constexpr std::uint32_t kBlocks = 2048;  ///< of 512 bytes: the fixture's logical units

DeviceOptions blocks_of(std::uint32_t block_length) {
  DeviceOptions options;
  options.block_length = block_length;
  return options;
}

DeviceOptions held_back() {
  DeviceOptions options;
  options.blocking = true;
  return options;
}

Sense out_of_range(std::uint64_t first_invalid) {
  return {SenseKey::illegal_request, AdditionalSense::logical_block_address_out_of_range, first_invalid, {}, {}};
}

Sense wrong_length() {
  return {SenseKey::illegal_request, AdditionalSense::invalid_field_in_command_information_unit, {}, {}, {}};
}

/// A write, and a read of the same form, for each CDB form.
struct Forms {
  std::vector<std::uint8_t> write;
  std::vector<std::uint8_t> read;
};

}  // namespace

TEST_CASE("READ returns what WRITE wrote, in every CDB form and with both block lengths") {
  for (std::uint32_t block_length : {512u, 4096u}) {
    CAPTURE(block_length);
    std::vector<Forms> all = {{cdb_6(0x0A, 3, 2), cdb_6(0x08, 3, 2)},
                              {cdb_10(0x2A, 3, 2), cdb_10(0x28, 3, 2)},
                              {cdb_12(0xAA, 3, 2), cdb_12(0xA8, 3, 2)},
                              {cdb_16(0x8A, 3, 2), cdb_16(0x88, 3, 2)}};
    std::uint8_t seed = 0;
    for (const Forms& forms : all) {
      Device device(blocks_of(block_length));
      auto data = pattern(2 * block_length, ++seed);
      CHECK(device.run(forms.write, data).good());
      CHECK(device.stores[0]->bytes()[3 * block_length - 1] == 0);
      CHECK(device.stores[0]->bytes()[5 * block_length] == 0);
      Command& read = device.run(forms.read);
      CHECK(read.good());
      CHECK(read.data() == data);
    }
  }
}

TEST_CASE("TRANSFER LENGTH 0 is 256 blocks in the 6-byte form and none in the others") {
  Device device;
  auto data = pattern(256 * 512, 9);
  CHECK(device.run(cdb_6(0x0A, 0, 0), data).good());
  CHECK(device.run(cdb_6(0x08, 0, 0)).data() == data);
  for (const auto& none : {cdb_10(0x28, 0, 0), cdb_12(0xA8, 0, 0), cdb_16(0x88, 0, 0)}) {
    Command& read = device.run(none);
    CHECK(read.good());
    CHECK(read.data().empty());
  }
  CHECK(device.run(write_10(0, 0)).good());
  CHECK(device.stores[0]->flushes == 0);
}

TEST_CASE("a range beyond the capacity is 05/21/00 with the first invalid LBA in INFORMATION") {
  Device device;
  auto data = pattern(2 * 512, 1);
  CHECK(device.run(read_10(kBlocks - 1, 2)).sense() == out_of_range(kBlocks));
  CHECK(device.run(read_10(kBlocks, 1)).sense() == out_of_range(kBlocks));
  CHECK(device.run(read_10(kBlocks + 5, 1)).sense() == out_of_range(kBlocks + 5));
  CHECK(device.run(write_10(kBlocks - 1, 2), data).sense() == out_of_range(kBlocks));
  CHECK(device.run(cdb_6(0x08, 0x1FFFFF, 1)).sense() == out_of_range(0x1FFFFF));
  CHECK(device.run(cdb_12(0xA8, 0xFFFFFFFF, 0xFFFFFFFF)).sense() == out_of_range(0xFFFFFFFF));
  CHECK(device.run(cdb_16(0x88, ~0ull, 1)).sense() == out_of_range(~0ull));
  CHECK(device.run(cdb_16(0x8A, ~0ull, ~0u)).sense() == out_of_range(~0ull));
  CHECK(device.run(cdb_16(0x8E, 1ull << 63, 2)).sense() == out_of_range(1ull << 63));
  CHECK(device.run(read_10(kBlocks - 1, 2)).sense().rule == "LBA 2047 + 2 blocks exceed the capacity of 2048 blocks");
  CHECK(device.stores[0]->allocated_bytes() == 0);
}

TEST_CASE("no blocks may start at the capacity, not beyond it") {
  Device device;
  for (std::uint8_t code : {0x28, 0x2A, 0x2E, 0x2F, 0x34, 0x35, 0x41}) {
    CAPTURE(code);
    CHECK(device.run(cdb_10(code, kBlocks, 0), pattern(512, 1)).good());
    CHECK(device.run(cdb_10(code, kBlocks + 1, 0), pattern(512, 1)).sense() == out_of_range(kBlocks + 1));
  }
}

TEST_CASE("a WRITE beyond the capacity is refused before its data is asked for") {
  Device device;
  Command& command = device.prepare(write_10(kBlocks, 1));
  device.server.admit(command.task);
  CHECK(command.done());
  CHECK(command.sense() == out_of_range(kBlocks));
}

TEST_CASE("RDPROTECT, WRPROTECT and VRPROTECT other than 0 are 05/24/00 at the field") {
  Device device;
  for (unsigned protect = 1; protect < 8; ++protect) {
    auto flags = static_cast<std::uint8_t>(protect << 5);
    for (std::uint8_t code : {0x28, 0x2A, 0x2E, 0x2F, 0x41}) {
      Sense sense = device.run(cdb_10(code, 0, 1, flags), pattern(512, 1)).sense();
      CHECK(sense == Sense::invalid_field_in_cdb(1, 7, {}));
    }
    for (std::uint8_t code : {0xA8, 0xAA, 0xAE, 0xAF})
      CHECK(device.run(cdb_12(code, 0, 1, flags)).sense() == Sense::invalid_field_in_cdb(1, 7, {}));
    for (std::uint8_t code : {0x88, 0x8A, 0x8E, 0x8F, 0x93})
      CHECK(device.run(cdb_16(code, 0, 1, flags)).sense() == Sense::invalid_field_in_cdb(1, 7, {}));
    CHECK(device.run(compare_and_write(0, 1, flags)).sense() == Sense::invalid_field_in_cdb(1, 7, {}));
  }
}

TEST_CASE("more than MAXIMUM TRANSFER LENGTH is 05/24/00 at TRANSFER LENGTH, when the profile sets one") {
  DeviceOptions options;
  options.profile.maximum_transfer_bytes = 4 * 512;
  Device device(options);
  CHECK(device.run(read_10(0, 4)).good());
  CHECK(device.run(cdb_6(0x08, 0, 5)).sense() == Sense::invalid_field_in_cdb(4, {}, {}));
  CHECK(device.run(read_10(0, 5)).sense() == Sense::invalid_field_in_cdb(7, {}, {}));
  CHECK(device.run(cdb_12(0xAA, 0, 5)).sense() == Sense::invalid_field_in_cdb(6, {}, {}));
  CHECK(device.run(cdb_16(0x8A, 0, 5)).sense() == Sense::invalid_field_in_cdb(10, {}, {}));
  CHECK(device.run(cdb_10(0x2F, 0, 5)).good());  // VERIFY without BYTCHK transfers nothing
  CHECK(device.run(cdb_10(0x2F, 0, 5, BlockFlags::kByteCheckEach)).sense() == Sense::invalid_field_in_cdb(7, {}, {}));
}

TEST_CASE("data that would be too much to hold in memory is 05/24/00 at TRANSFER LENGTH, though B0h reports no limit") {
  DeviceOptions options;
  options.size_bytes = 8 * 512;
  options.profile.largest_transfer_bytes = 4 * 512;
  Device device(options);
  CHECK(device.run(cdb_16(0x88, 0, 4)).good());
  CHECK(device.run(cdb_16(0x88, 0, 5)).sense() == Sense::invalid_field_in_cdb(10, {}, {}));
  CHECK(device.run(cdb_16(0x8A, 0, 5)).sense() == Sense::invalid_field_in_cdb(10, {}, {}));
  CHECK(device.run(cdb_16(0x8F, 0, 8)).good());  // VERIFY without BYTCHK transfers nothing
  const std::vector<std::uint8_t> block(512);
  CHECK(device.run(cdb_16(0x8F, 0, 4, BlockFlags::kByteCheckOneBlock), block).good());
  CHECK(device.run(cdb_16(0x8F, 0, 5, BlockFlags::kByteCheckOneBlock), block).sense() ==
        Sense::invalid_field_in_cdb(10, {}, {}));
}

TEST_CASE("memory that runs out in a command is 0B/55/03, and the next command is served") {
  for (bool blocking : {false, true}) {
    DeviceOptions options;
    options.blocking = blocking;
    Device device(options);
    device.stores[0]->out_of_memory = true;
    CHECK(device.run(read_10(0, 1)).failed_with(SenseKey::aborted_command, AdditionalSense::insufficient_resources));
    device.stores[0]->out_of_memory = false;
    CHECK(device.run(read_10(0, 1)).good());
  }
}

TEST_CASE("data-out that is short by whole blocks writes the blocks there are") {
  for (std::uint8_t code : {0x2A, 0x2E}) {
    Device device;
    auto data = pattern(512, 5);
    CHECK(device.run(cdb_10(code, 4, 3), data).good());
    CHECK(device.run(read_10(4, 1)).data() == data);
    CHECK(device.stores[0]->allocated_bytes() == 512);
    CHECK(device.run(cdb_10(code, 4, 3), {}).good());
    CHECK(device.run(read_10(4, 1)).data() == data);
  }
}

TEST_CASE("data-out that ends inside a block is 05/0E/03 and writes nothing") {
  for (std::uint8_t code : {0x2A, 0x2E}) {
    Device device;
    CHECK(device.run(cdb_10(code, 4, 1), pattern(200, 5)).sense() == wrong_length());
    CHECK(device.run(cdb_10(code, 4, 3), pattern(513, 5)).sense() == wrong_length());
    CHECK(device.stores[0]->allocated_bytes() == 0);
  }
}

TEST_CASE("writes to a read-only logical unit are 07/27/00, reads are served") {
  DeviceOptions options;
  options.read_only = true;
  Device device(options);
  for (const auto& cdb : {cdb_6(0x0A, 0, 1), write_10(0, 1), cdb_12(0xAA, 0, 1), cdb_16(0x8A, 0, 1), cdb_10(0x2E, 0, 1),
                          cdb_12(0xAE, 0, 1), cdb_16(0x8E, 0, 1), compare_and_write(0, 1), cdb_10(0x41, 0, 1),
                          cdb_16(0x93, 0, 1), unmap_cdb(8)}) {
    CAPTURE(cdb[0]);
    CHECK(device.run(cdb).failed_with(SenseKey::data_protect, AdditionalSense::write_protected));
  }
  CHECK(device.run(read_10(0, 1)).good());
  CHECK(device.run(cdb_10(0x2F, 0, 1)).good());
}

TEST_CASE("FUA WRITE is flushed before it is answered, WRITE without it is not") {
  Device device(held_back());
  Command& fua = device.send(write_10(0, 1, BlockFlags::kFua), pattern(512, 1));
  CHECK_FALSE(fua.done());
  device.executor.run();
  CHECK_FALSE(fua.done());
  CHECK(device.stores[0]->flushes == 0);
  device.executor.run();
  CHECK(fua.good());
  CHECK(device.stores[0]->flushes == 1);
  CHECK(device.run(write_10(0, 1), pattern(512, 2)).good());
  CHECK(device.stores[0]->flushes == 1);
  CHECK(device.run(cdb_16(0x8A, 0, 1, BlockFlags::kFua), pattern(512, 3)).good());
  CHECK(device.stores[0]->flushes == 2);
  CHECK(device
            .run(compare_and_write(0, 1, BlockFlags::kFua),
                 [] {
                   auto both = pattern(512, 3);
                   both.resize(1024);
                   return both;
                 }())
            .good());
  CHECK(device.stores[0]->flushes == 3);
  CHECK(device.run(read_10(0, 1, BlockFlags::kFua)).good());
  CHECK(device.stores[0]->flushes == 4);
}

TEST_CASE("overlapping READ and WRITE are served in arrival order, others are not held up") {
  Device device(held_back());
  auto first = pattern(2 * 512, 1);
  auto second = pattern(512, 2);
  Command& write = device.send(write_10(10, 2), first);
  Command& read = device.send(read_10(11, 2));
  Command& rewrite = device.send(write_10(11, 1), second);
  Command& elsewhere = device.send(write_10(100, 1), second);
  CHECK(device.executor.held() == 2);  // write and elsewhere
  device.executor.run(1);
  CHECK(elsewhere.good());
  CHECK_FALSE(write.done());
  device.executor.run_all();
  CHECK(write.good());
  CHECK(rewrite.good());
  auto seen = read.data();
  CHECK(std::equal(first.begin() + 512, first.end(), seen.begin()));
  CHECK(device.run(read_10(11, 1)).data() == second);
}

TEST_CASE("every IoError has its own sense data") {
  struct Case {
    IoError::Kind kind;
    SenseKey key;
    AdditionalSense code;
  };
  const Case cases[] = {
      {IoError::Kind::no_space, SenseKey::data_protect, AdditionalSense::space_allocation_failed_write_protect},
      {IoError::Kind::write_protected, SenseKey::data_protect, AdditionalSense::write_protected},
      {IoError::Kind::medium_read, SenseKey::medium_error, AdditionalSense::unrecovered_read_error},
      {IoError::Kind::medium_write, SenseKey::medium_error, AdditionalSense::write_error},
      {IoError::Kind::snapshot_lost, SenseKey::illegal_request,
       AdditionalSense::invalid_token_operation_token_cancelled},
      {IoError::Kind::unreachable, SenseKey::copy_aborted, AdditionalSense::copy_target_device_not_reachable},
      {IoError::Kind::unavailable, SenseKey::not_ready, AdditionalSense::logical_unit_not_ready_cause_not_reportable},
  };
  for (const Case& wanted : cases) {
    for (bool blocking : {false, true}) {
      DeviceOptions options;
      options.blocking = blocking;
      Device device(options);
      const Sense sense{wanted.key, wanted.code, {}, {}, {}};
      device.stores[0]->read_error = IoError{wanted.kind, "test"};
      Command& read = device.run(read_10(0, 1));
      CHECK(read.sense() == sense);
      CHECK(read.sense().rule == "test");
      CHECK(read.data().empty());
      CHECK(device.run(compare_and_write(0, 1), pattern(1024, 1)).sense() == sense);
      CHECK(device.run(cdb_10(0x2F, 0, 1, BlockFlags::kByteCheckEach), pattern(512, 1)).sense() == sense);
      CHECK(device.run(cdb_10(0x2E, 0, 1), pattern(512, 1)).sense() == sense);
      CHECK(device.run(cdb_10(0x2F, 0, 1)).sense() == sense);  // the block is mapped now
      device.stores[0]->read_error.reset();
      device.stores[0]->write_error = IoError{wanted.kind, "test"};
      CHECK(device.run(write_10(0, 1), pattern(512, 1)).sense() == sense);
      CHECK(device.run(write_10(0, 1, BlockFlags::kFua), pattern(512, 1)).sense() == sense);
      CHECK(device.run(cdb_10(0x35, 0, 0)).sense() == sense);
      CHECK(device.run(cdb_10(0x41, 0, 1), pattern(512, 1)).sense() == sense);
      CHECK(device.run(unmap_cdb(24), unmap_list({{0, 1}})).sense() == sense);
      CHECK(device.run({0x1B, 0, 0, 0, 0, 0}).sense() == sense);
      CHECK_FALSE(device.lu().stopped());
    }
  }
}

TEST_CASE("SYNCHRONIZE CACHE is answered after a flush, with IMMED too") {
  Device device(held_back());
  for (const auto& cdb : {cdb_10(0x35, 0, 0), cdb_16(0x91, 0, 0), cdb_10(0x35, 5, 7), cdb_10(0x35, 0, 0, 0x02)}) {
    unsigned before = device.stores[0]->flushes;
    Command& command = device.send(cdb);
    CHECK_FALSE(command.done());
    device.executor.run_all();
    CHECK(command.good());
    CHECK(device.stores[0]->flushes == before + 1);
  }
  CHECK(device.run(cdb_10(0x35, kBlocks - 1, 2)).sense() == out_of_range(kBlocks));
  CHECK(device.run(cdb_16(0x91, kBlocks + 1, 0)).sense() == out_of_range(kBlocks + 1));
}

TEST_CASE("SYNCHRONIZE CACHE comes after the writes that came before it") {
  Device device(held_back());
  Command& write = device.send(write_10(10, 1), pattern(512, 1));
  Command& flush = device.send(cdb_10(0x35, 0, 0));
  CHECK(device.executor.held() == 1);
  device.executor.run();
  CHECK(write.good());
  CHECK_FALSE(flush.done());
  device.executor.run_all();
  CHECK(flush.good());
}

TEST_CASE("commands that wait for the medium share a flush that began after their work") {
  Device device(held_back());
  std::vector<Command*> commands;
  for (std::uint32_t lba = 0; lba < 8; ++lba)
    commands.push_back(&device.send(write_10(lba, 1, BlockFlags::kFua), pattern(512, 1)));
  device.executor.run();  // the first one's work: a flush is begun for it
  commands.push_back(&device.send(cdb_10(0x35, 100, 1)));
  Command& late = device.send(write_10(50, 1, BlockFlags::kFua), pattern(512, 1));
  while (device.stores[0]->flushes == 0) device.executor.run();
  CHECK(commands[0]->good());
  for (std::size_t i = 1; i < commands.size(); ++i) CHECK_FALSE(commands[i]->done());
  CHECK_FALSE(late.done());
  while (device.stores[0]->flushes == 1) device.executor.run();
  for (Command* command : commands) CHECK(command->good());
  CHECK_FALSE(late.done());
  device.executor.run_all();
  CHECK(late.good());
  CHECK(device.stores[0]->flushes == 3);
}

TEST_CASE("a flush that fails fails every command that waits for it, and no other") {
  Device device(held_back());
  Command& first = device.send(write_10(0, 1, BlockFlags::kFua), pattern(512, 1));
  device.executor.run();
  Command& second = device.send(write_10(1, 1, BlockFlags::kFua), pattern(512, 2));
  Command& third = device.send(write_10(2, 1, BlockFlags::kFua), pattern(512, 3));
  Command& cached = device.send(write_10(3, 1), pattern(512, 4));
  device.executor.run();  // the flush for the first
  CHECK(first.good());
  for (int work = 0; work < 3; ++work) device.executor.run();
  CHECK(cached.good());
  device.stores[0]->write_error = IoError{IoError::Kind::medium_write, "the disk is broken"};
  device.executor.run();  // the flush for the second
  CHECK(second.sense().key == SenseKey::medium_error);
  CHECK_FALSE(third.done());
  device.stores[0]->write_error.reset();
  device.executor.run_all();
  CHECK(third.good());
}

TEST_CASE("PRE-FETCH judges its range and is GOOD") {
  Device device;
  CHECK(device.run(cdb_10(0x34, 0, 1)).good());
  CHECK(device.run(cdb_10(0x34, 0, 1, 0x02)).good());
  CHECK(device.run(cdb_16(0x90, kBlocks - 1, 0)).good());
  CHECK(device.run(cdb_10(0x34, kBlocks, 1)).sense() == out_of_range(kBlocks));
  CHECK(device.run(cdb_16(0x90, ~0ull, 1)).sense() == out_of_range(~0ull));
}

TEST_CASE("WRITE AND VERIFY writes, flushes and reads back") {
  Device device;
  auto data = pattern(2 * 512, 7);
  for (std::uint8_t flags : {std::uint8_t{0}, BlockFlags::kByteCheckEach, BlockFlags::kDpo}) {
    unsigned before = device.stores[0]->flushes;
    CHECK(device.run(cdb_10(0x2E, 8, 2, flags), data).good());
    CHECK(device.run(cdb_12(0xAE, 8, 2, flags), data).good());
    CHECK(device.run(cdb_16(0x8E, 8, 2, flags), data).good());
    CHECK(device.stores[0]->flushes == before + 3);
    CHECK(device.run(read_10(8, 2)).data() == data);
  }
  CHECK(device.run(cdb_10(0x2E, 8, 2, BlockFlags::kByteCheckOneBlock), data).sense() ==
        Sense::invalid_field_in_cdb(1, 2, {}));
}
