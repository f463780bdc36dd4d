// READ, WRITE, WRITE AND VERIFY, VERIFY, SYNCHRONIZE CACHE, PRE-FETCH.
//
// Not tested, and why: DPO and GROUP NUMBER, which change nothing that can be seen; residuals, which the transport
// counts (test/iscsi).
#include <doctest/doctest.h>

#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

using namespace test;
using handlers::IoError;
using scsi::AdditionalSense;
using scsi::BlockFlags;
using scsi::FieldPointer;
using scsi::SenseKey;

namespace {

constexpr std::uint64_t kSize = 1 << 20;

DeviceOptions blocks_of(std::uint32_t block_length) {
  DeviceOptions options;
  options.block_length = block_length;
  return options;
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
}
