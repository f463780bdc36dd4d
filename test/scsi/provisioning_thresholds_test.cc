// Logical block provisioning thresholds: the mode page, when they are reached, whom that is told, and what VPD B2h and
// log page 0Ch say beside them.
//
// Not tested, and why: the memory that is really used up (test/target/settings_test.py).
#include "scsi/provisioning_thresholds.h"

#include <doctest/doctest.h>

#include "test/scsi/device_fixture.h"

namespace {

using scsi::AdditionalSense;
using scsi::NexusId;
using scsi::Sense;
using scsi::SenseKey;
using scsi::ThresholdDescriptor;
using test::Command;
using test::Device;
using Data = std::vector<std::uint8_t>;

constexpr std::uint64_t kSet = 1 << 20;
constexpr std::size_t kPageAt = 4, kFirst = kPageAt + 16;

struct Threshold {
  std::uint8_t flags;
  std::uint8_t resource;
  std::uint8_t count;  ///< sets
};
constexpr std::uint8_t kOn = 0x80, kRising = 0x81;

class Thin : public Device {
 public:
  explicit Thin(std::uint64_t soft_threshold_bytes = 0)
      : Device({.size_bytes = 16 * kSet, .available_bytes = 100 * kSet, .soft_threshold_bytes = soft_threshold_bytes}) {
    other = attach("iqn.2025-01.example:other");
  }
  NexusId other{};

  void left(std::uint64_t bytes) {
    for (test::RamStore* store : stores) store->available = bytes;
  }
  /// With `at` the byte of the first descriptor, for its field pointers.
  Command& set(std::vector<Threshold> thresholds, std::uint8_t flags = 0) {
    Data list = run({0x1A, 0x08, 0x1C, 0x02, 0xFF, 0}).data();
    REQUIRE(list.size() == kPageAt + sizeof(scsi::ProvisioningModePage));
    list[0] = 0;
    list[kPageAt + 4] = flags;
    for (std::size_t i = 0; i < thresholds.size(); ++i) {
      list[kFirst + 8 * i] = thresholds[i].flags;
      list[kFirst + 8 * i + 1] = thresholds[i].resource;
      list[kFirst + 8 * i + 7] = thresholds[i].count;
    }
    Command& command = run({0x15, 0x10, 0, 0, static_cast<std::uint8_t>(list.size()), 0}, list);
    (void)run({0, 0, 0, 0, 0, 0}, {}, 0, other);  // 06/2A/01
    return command;
  }
  /// The byte offset that the next TEST UNIT READY gets with 06/38/07; nothing when it is good.
  std::optional<std::uint64_t> told(NexusId from, std::uint16_t lun = 0) {
    Command& command = run({0, 0, 0, 0, 0, 0}, {}, lun, from);
    if (command.good()) return {};
    CHECK(command.failed_with(SenseKey::unit_attention, AdditionalSense::thin_provisioning_soft_threshold_reached));
    return command.sense().information;
  }
};

}  // namespace

TEST_CASE("a threshold of what is left is told to every I_T nexus once, with its descriptor's place") {
  Thin device;
  CHECK(device.set({{}, {kOn, 0x01, 10}}).good());
  CHECK_FALSE(device.told(device.nexus));
  device.left(10 * kSet);
  CHECK_FALSE(device.told(device.nexus));  // half a set above
  device.left(10 * kSet - kSet / 2);
  CHECK(device.told(device.nexus) == 24);
  CHECK(device.told(device.other) == 24);
  CHECK_FALSE(device.told(device.nexus));
  device.left(0);
  CHECK_FALSE(device.told(device.nexus));
  CHECK_FALSE(device.told(device.nexus, 1));  // has no threshold
}

TEST_CASE("it is armed again half a set on the other side, or when it is set anew") {
  Thin device;
  CHECK(device.set({{kOn, 0x01, 10}}).good());
  device.left(9 * kSet);
  CHECK(device.told(device.nexus) == 16);
  device.left(10 * kSet);
  CHECK_FALSE(device.told(device.nexus));
  device.left(9 * kSet);
  CHECK_FALSE(device.told(device.nexus));
  device.left(10 * kSet + kSet / 2);
  CHECK_FALSE(device.told(device.nexus));
  device.left(9 * kSet);
  CHECK(device.told(device.nexus) == 16);
  (void)device.told(device.other);
  CHECK(device.set({{kOn, 0x01, 20}}).good());
  CHECK(device.told(device.nexus) == 16);
}

TEST_CASE("a threshold of what is used is reached from below") {
  Thin device;
  CHECK(device.set({{kRising, 0x02, 2}}).good());
  const Device::Cdb write = {0x2A, 0, 0, 0, 0, 0, 0, 0x10, 0, 0};  // 2 MiB
  CHECK_FALSE(device.told(device.nexus));
  CHECK(device.run(write, Data(2 * kSet)).good());
  CHECK_FALSE(device.told(device.nexus));
  CHECK(device.run({0x2A, 0, 0, 0, 0x10, 0, 0, 0x04, 0, 0}, Data(kSet / 2)).good());
  CHECK(device.told(device.other) == 16);
  CHECK(device.told(device.nexus) == 16);
}

TEST_CASE("with SITUA only one I_T nexus is told, with LBPERE zero nobody") {
  Thin device;
  CHECK(device.set({{kOn, 0x01, 10}}, 0x01).good());
  device.left(kSet);
  CHECK(device.told(device.nexus) == 16);
  CHECK_FALSE(device.told(device.other));
  device.left(50 * kSet);
  CHECK_FALSE(device.told(device.nexus));
  Data recovery(16);
  recovery[4] = 0x01;
  recovery[5] = 0x0A;
  CHECK(device.run({0x15, 0x10, 0, 0, 16, 0}, recovery).good());
  device.left(kSet);
  CHECK_FALSE(device.told(device.nexus));
}

TEST_CASE("what is no threshold is refused at its field, while it is enabled") {
  Thin device;
  CHECK(device.set({{kOn, 0x00, 1}}).sense() == Sense::invalid_field_in_list(kFirst + 1, {}, ""));
  CHECK(device.set({{}, {kOn, 0x03, 1}}).sense() == Sense::invalid_field_in_list(kFirst + 9, {}, ""));
  CHECK(device.set({{kRising, 0x01, 1}}).sense() == Sense::invalid_field_in_list(kFirst, 2, ""));
  CHECK(device.set({{kOn, 0x02, 1}}).sense() == Sense::invalid_field_in_list(kFirst, 2, ""));
  CHECK(device.set({{kOn | 0x02, 0x01, 1}}).sense() == Sense::invalid_field_in_list(kFirst, 1, ""));
  CHECK(device.set({{kOn | 0x08, 0x01, 1}}).sense() == Sense::invalid_field_in_list(kFirst, 3, ""));
  CHECK(device.set({{0, 0x00, 7}}).good());
}

TEST_CASE("a threshold that is configured is the first default") {
  Thin device(3 * kSet + 1);
  Data page = device.run({0x1A, 0x08, 0x1C | 0x80, 0x02, 0xFF, 0}).data();
  CHECK(Data(page.begin() + kFirst, page.begin() + kFirst + 9) == Data{kOn, 0x01, 0, 0, 0, 0, 0, 4, 0});
  device.left(3 * kSet);
  CHECK(device.told(device.nexus) == 16);
}

TEST_CASE("VPD B2h says the size of a set, log page 0Ch counts them in what several may share") {
  Thin device;
  CHECK(device.run({0x12, 1, 0xB2, 0, 64, 0}).data().at(4) == 11);
  CHECK(device.run({0x2A, 0, 0, 0, 0, 0, 0, 0x10, 0, 0}, Data(2 * kSet)).good());
  device.left(98 * kSet + 5);
  CHECK(device.run({0x4D, 0, 0x4C, 0, 0, 0, 0, 0, 64, 0}).data() ==
        Data{0x0C, 0, 0, 24, 0, 1, 3, 8, 0, 0, 0, 98, 2, 0, 0, 0, 0, 2, 3, 8, 0, 0, 0, 2, 2, 0, 0, 0});
}

TEST_CASE("there are no thresholds where a store may block, and where blocks are not thin") {
  Device blocking({.blocking = true, .available_bytes = 1 << 30});
  CHECK(blocking.lu().thresholds().exponent() == 0);
  CHECK(blocking.run({0x1A, 0x08, 0x1C, 0x02, 0xFF, 0}).sense() == Sense::invalid_field_in_cdb(3, {}, ""));
  Device thick({.thin = false, .available_bytes = 1 << 30});
  CHECK(thick.lu().thresholds().exponent() == 0);
  Device of_4096({.block_length = 4096, .available_bytes = 1 << 30});
  CHECK(of_4096.lu().thresholds().exponent() == 8);
}
