// LOG SENSE, LOG SELECT and SEND DIAGNOSTIC (SPC-4 6.7, 6.8, 6.43). Page 0Ch with thresholds is in
// provisioning_thresholds_test.cc.
//
// Not tested, and why: counters that reach their greatest value (2^64 bytes), resources of more than 2^32 blocks: no
// store of a test is that large.
#include <doctest/doctest.h>

#include "test/scsi/device_fixture.h"

namespace {

using scsi::AdditionalSense;
using scsi::NexusId;
using scsi::Sense;
using scsi::SenseKey;
using test::Device;
using Data = std::vector<std::uint8_t>;

Device::Cdb log_sense(std::uint8_t page, std::uint8_t subpage = 0, std::uint8_t from = 0) {
  return {0x4D, 0, static_cast<std::uint8_t>(0x40 | page), subpage, 0, 0, from, 0x01, 0x00, 0};
}
Device::Cdb reset(std::uint8_t page) {
  return {0x4C, 0x02, static_cast<std::uint8_t>(0x40 | page), 0, 0, 0, 0, 0, 0, 0};
}

const Device::Cdb kRead = {0x28, 0, 0, 0, 0, 0, 0, 0, 4, 0};
const Device::Cdb kWrite = {0x2A, 0, 0, 0, 0, 0, 0, 0, 2, 0};
const Device::Cdb kVerify = {0x2F, 0, 0, 0, 0, 0, 0, 0, 1, 0};

/// The 64-bit counter of a parameter on a page of them; nothing when it has none.
std::optional<std::uint64_t> counter(Device& device, std::uint8_t page, std::uint16_t code) {
  Data data = device.run(log_sense(page)).data();
  base::ByteReader reader(data);
  CHECK(reader.u8() == page);
  reader.skip(1);
  CHECK(reader.u16() == data.size() - 4);
  while (reader.remaining() > 0) {
    const std::uint16_t each = reader.u16();
    CHECK(reader.u16() == 8);  // format 00h, length
    const std::uint64_t value = reader.u64();
    if (each == code) return value;
  }
  CHECK(reader.ok());
  return {};
}

}  // namespace

TEST_CASE("the supported pages are listed, 0Ch where blocks are thin, and 00h/FFh lists subpages too") {
  Device device;
  CHECK(device.run(log_sense(0)).data() == Data{0, 0, 0, 7, 0, 2, 3, 5, 0x0C, 0x0D, 0x2F});
  CHECK(device.run(log_sense(0, 0xFF)).data() ==
        Data{0x40, 0xFF, 0, 16, 0, 0, 0, 0xFF, 2, 0, 3, 0, 5, 0, 0x0C, 0, 0x0D, 0, 0x2F, 0});
  Device thick({.thin = false});
  CHECK(thick.run(log_sense(0)).data() == Data{0, 0, 0, 6, 0, 2, 3, 5, 0x0D, 0x2F});
  CHECK(device.run(log_sense(0x0E)).sense() == Sense::invalid_field_in_cdb(2, 5, ""));
  CHECK(thick.run(log_sense(0x0C)).sense() == Sense::invalid_field_in_cdb(2, 5, ""));
  CHECK(device.run(log_sense(0x0D, 0x01)).sense() == Sense::invalid_field_in_cdb(3, {}, ""));
  CHECK(device.run(log_sense(0x0D, 0xFF)).sense() == Sense::invalid_field_in_cdb(3, {}, ""));
}

TEST_CASE("bytes of good commands and commands that failed are counted, each on its page") {
  Device device;
  CHECK(device.run(kRead).good());
  CHECK(device.run(kWrite, Data(1024)).good());
  CHECK(device.run(kWrite, Data(1024)).good());
  CHECK(device.run(kVerify).good());
  CHECK(counter(device, 0x03, 5) == 4 * 512);
  CHECK(counter(device, 0x02, 5) == 4 * 512);
  CHECK_FALSE(counter(device, 0x05, 5));
  device.stores[0]->read_error = handlers::IoError{handlers::IoError::Kind::medium_read, "test"};
  CHECK_FALSE(device.run(kRead).good());
  CHECK_FALSE(device.run(kRead).good());
  CHECK_FALSE(device.run({0x2F, 0x02, 0, 0, 0, 0, 0, 0, 1, 0}, Data(512)).good());
  device.stores[0]->write_error = handlers::IoError{handlers::IoError::Kind::medium_write, "test"};
  CHECK_FALSE(device.run(kWrite, Data(1024)).good());
  CHECK(counter(device, 0x03, 6) == 2);
  CHECK(counter(device, 0x02, 6) == 1);
  CHECK(counter(device, 0x05, 6) == 1);
  CHECK(counter(device, 0x03, 5) == 4 * 512);
  // A range beyond the capacity is no error of the medium.
  CHECK_FALSE(device.run({0x28, 0, 0xFF, 0, 0, 0, 0, 0, 1, 0}).good());
  CHECK(counter(device, 0x03, 6) == 2);
  for (std::uint16_t code = 0; code < 5; ++code) CHECK(counter(device, 0x03, code) == 0);
  CHECK(device.run(log_sense(0x03), {}, 1).data().size() == 4 + 7 * 12);
}

TEST_CASE("PARAMETER POINTER leaves out what is before it, and is refused beyond the last parameter") {
  Device device;
  CHECK(device.run(log_sense(0x0D)).data() == Data{0x0D, 0, 0, 12, 0, 0, 3, 2, 0, 0xFF, 0, 1, 3, 2, 0, 0xFF});
  CHECK(device.run(log_sense(0x0D, 0, 1)).data() == Data{0x0D, 0, 0, 6, 0, 1, 3, 2, 0, 0xFF});
  CHECK(device.run(log_sense(0x0D, 0, 2)).sense() == Sense::invalid_field_in_cdb(5, {}, ""));
  CHECK(device.run(log_sense(0x2F)).data() == Data{0x2F, 0, 0, 8, 0, 0, 3, 4, 0, 0, 0xFF, 0});
}

TEST_CASE("page 0Ch without thresholds counts blocks of its own") {
  Device device;
  CHECK(device.run(kWrite, Data(1024)).good());
  CHECK(device.run(log_sense(0x0C)).data() ==
        Data{0x0C, 0, 0, 24, 0, 1, 3, 8, 0, 0, 0x07, 0xFE, 1, 0, 0, 0, 0, 2, 3, 8, 0, 0, 0, 2, 1, 0, 0, 0});
  CHECK(device.run(log_sense(0x0C, 0, 2)).data() == Data{0x0C, 0, 0, 12, 0, 2, 3, 8, 0, 0, 0, 2, 1, 0, 0, 0});
}

TEST_CASE("LOG SELECT with PCR resets counters, of one page or of all, and the others are told if there were some") {
  Device device;
  NexusId other = device.attach("iqn.2025-01.example:other");
  const Device::Cdb ready = {0, 0, 0, 0, 0, 0};
  CHECK(device.run(reset(0)).good());
  CHECK(device.run(ready, {}, 0, other).good());
  CHECK(device.run(kRead).good());
  CHECK(device.run(kWrite, Data(1024)).good());
  CHECK(device.run(reset(0x03)).good());
  CHECK(counter(device, 0x03, 5) == 0);
  CHECK(counter(device, 0x02, 5) == 1024);
  CHECK(device.run(ready).good());
  CHECK(device.run(ready, {}, 0, other).failed_with(SenseKey::unit_attention, AdditionalSense::log_parameters_changed));
  CHECK(device.run(reset(0)).good());
  CHECK(counter(device, 0x02, 5) == 0);
  CHECK(device.run(kRead).good());
  CHECK(device.run({0x4C, 0, 0, 0, 0, 0, 0, 0, 0, 0}).good());
  CHECK(counter(device, 0x03, 5) == 2048);
  CHECK(device.run(reset(0x0E)).sense() == Sense::invalid_field_in_cdb(2, 5, ""));
  CHECK(device.run({0x4C, 0x01, 0, 0, 0, 0, 0, 0, 0, 0}).sense() == Sense::invalid_field_in_cdb(1, 0, ""));
  CHECK(device.run({0x4C, 0, 0, 0, 0, 0, 0, 0, 4, 0}).sense() == Sense::invalid_field_in_cdb(8, 2, ""));
}

TEST_CASE("the default self-test reads the medium, and fails with it; other tests and pages there are none") {
  Device device;
  CHECK(device.run({0x1D, 0x04, 0, 0, 0, 0}).good());
  CHECK(device.run({0x1D, 0x10, 0, 0, 0, 0}).good());
  CHECK(device.run({0x1D, 0x20, 0, 0, 0, 0}).sense() == Sense::invalid_field_in_cdb(1, 7, ""));
  CHECK(device.run({0x1D, 0x10, 0, 0, 4, 0}).sense() == Sense::invalid_field_in_cdb(4, 2, ""));
  device.stores[0]->read_error = handlers::IoError{handlers::IoError::Kind::medium_read, "test"};
  CHECK(device.run({0x1D, 0x04, 0, 0, 0, 0})
            .failed_with(SenseKey::hardware_error, AdditionalSense::logical_unit_failed_self_test));
  CHECK(device.run({0x1D, 0x00, 0, 0, 0, 0}).good());
}
