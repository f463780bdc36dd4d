// INQUIRY: standard data and the VPD pages of every device type (SPC-4 6.4, 7.8).
//
// Not tested, and why: the content of B0h, B1h, B2h and 8Fh (beside their own commands); qualifiers of devices that are
// not disks, because there are none.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "test/scsi/device_fixture.h"

namespace scsi {
namespace {

using test::Command;
using test::Device;
using test::DeviceOptions;
using Data = std::vector<std::uint8_t>;

constexpr std::uint8_t kEvpd = 1;

Device::Cdb inquiry(std::uint8_t evpd, std::uint8_t page, std::uint16_t allocation_length) {
  base::be16 length(allocation_length);
  auto bytes = base::bytes_of(length);
  return {0x12, evpd, page, bytes[0], bytes[1], 0};
}

Data page(Device& device, std::uint8_t code) { return device.run(inquiry(kEvpd, code, 0xFFFF)).data(); }

std::string text(const Data& data, std::size_t at, std::size_t length) {
  return std::string(base::text_of(base::Bytes(data).subspan(at, length)));
}

TEST_CASE("standard INQUIRY data is SPC-4's, with 3PC, CMDQUE, HISUP and the versions claimed") {
  Device device;
  Data data = device.run(inquiry(0, 0, 260)).data();
  REQUIRE(data.size() == 96);
  CHECK(Data(data.begin(), data.begin() + 8) == Data{0x00, 0x00, 0x06, 0x12, 91, 0x08, 0x00, 0x02});
  CHECK(text(data, 8, 28) == "ODX     VIRTUAL-DISK    0001");
  CHECK(Data(data.begin() + 58, data.begin() + 66) == Data{0x00, 0xA0, 0x09, 0x60, 0x04, 0x60, 0x04, 0xC0});
}

TEST_CASE("3PC is zero and page 8Fh absent when no third-party copy command is offered") {
  DeviceOptions options;
  options.profile.odx = options.profile.extended_copy = false;
  Device device(options);
  CHECK((device.run(inquiry(0, 0, 96)).data()[5] & 0x08) == 0);
  Data codes = page(device, 0x00);
  CHECK(std::find(codes.begin() + 4, codes.end(), 0x8F) == codes.end());
  CHECK(device.run(inquiry(kEvpd, 0x8F, 255)).sense() == Sense::invalid_field_in_cdb(2, {}, ""));
}

TEST_CASE("INQUIRY data is cut to the allocation length without being an error") {
  Device device;
  for (std::uint16_t length : {0, 1, 5, 36, 95}) {
    Command& command = device.run(inquiry(0, 0, length));
    CHECK(command.good());
    CHECK(command.data().size() == length);
    CHECK(command.task.data_in_length == length);
  }
}

TEST_CASE("VPD page 00h is the pages in strictly ascending order, itself first") {
  Device device;
  CHECK(page(device, 0x00) == Data{0x00, 0x00, 0x00, 8, 0x00, 0x80, 0x83, 0x86, 0x8F, 0xB0, 0xB1, 0xB2});
}

TEST_CASE("every page VPD page 00h lists can be read, names itself and has the length it says") {
  Device device;
  Data codes = page(device, 0x00);
  for (auto code = codes.begin() + 4; code != codes.end(); ++code) {
    CAPTURE(*code);
    Command& command = device.run(inquiry(kEvpd, *code, 0xFFFF));
    REQUIRE(command.good());
    Data data = command.data();
    REQUIRE(data.size() >= 4);
    CHECK(data[0] == 0);
    CHECK(data[1] == *code);
    CHECK(data.size() == 4u + base::load<base::be16>(base::Bytes(data).subspan(2)));
  }
}

TEST_CASE("VPD page 80h is the serial number") {
  Device device;
  Data data = page(device, 0x80);
  CHECK(text(data, 4, data.size() - 4) == "SERIAL0000");
}

TEST_CASE("VPD page 83h names the logical unit, the target port and the target device") {
  Device device;
  Data data = page(device, 0x83);
  base::Bytes rest = base::Bytes(data).subspan(4);
  auto designator = [&] {
    Data whole(rest.begin(), rest.begin() + 4 + rest[3]);
    rest = rest.subspan(whole.size());
    return whole;
  };
  CHECK(designator() == Data{0x01, 0x03, 0, 16, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0A});
  Data vendor = designator();
  CHECK(Data(vendor.begin(), vendor.begin() + 4) == Data{0x02, 0x01, 0, 18});
  CHECK(text(vendor, 4, 18) == "ODX     SERIAL0000");
  CHECK(designator() == Data{0x01, 0x02, 0, 8, 0x02, 0x4F, 0x44, 0, 0, 0, 0, 0x0A});
  Data name = designator();
  CHECK(Data(name.begin(), name.begin() + 4) == Data{0x03, 0x08, 0, 24});
  CHECK(text(name, 4, 24) == std::string("eui.024F44000000000A\0\0\0\0", 24));
  CHECK(designator() == Data{0x51, 0x94, 0, 4, 0, 0, 0, 1});
  CHECK(designator() == Data{0x51, 0x95, 0, 4, 0, 0, 0, 1});
  Data port = designator();
  CHECK(Data(port.begin(), port.begin() + 3) == Data{0x53, 0x98, 0});
  CHECK(text(port, 4, 36) == std::string("iqn.2025-01.example:target,t,0x0001\0", 36));
  CHECK(port.size() % 4 == 0);
  Data target = designator();
  CHECK(Data(target.begin(), target.begin() + 4) == Data{0x53, 0xA8, 0, 28});
  CHECK(text(target, 4, 28) == std::string("iqn.2025-01.example:target\0\0", 28));
  CHECK(rest.empty());
}

TEST_CASE("two logical units never share a designator of their own") {
  Device device;
  Data other = device.run(inquiry(kEvpd, 0x83, 0xFFFF), {}, 1).data();
  Data mine = page(device, 0x83);
  CHECK_FALSE(std::equal(mine.begin() + 4, mine.begin() + 24, other.begin() + 4));
  CHECK_FALSE(std::equal(mine.begin() + 24, mine.begin() + 46, other.begin() + 24));
}

TEST_CASE("VPD page 86h says which task attributes are served and that there is a volatile cache") {
  Device device;
  Data data = page(device, 0x86);
  REQUIRE(data.size() == 64);
  CHECK(Data(data.begin(), data.begin() + 7) == Data{0x00, 0x86, 0x00, 0x3C, 0x00, 0x07, 0x01});
}

TEST_CASE("PAGE CODE without EVPD, and a page that does not exist, are refused at PAGE CODE") {
  Device device;
  CHECK(device.run(inquiry(0, 0x80, 255)).sense() == Sense::invalid_field_in_cdb(2, {}, ""));
  CHECK(device.run(inquiry(kEvpd, 0x8E, 255)).sense() == Sense::invalid_field_in_cdb(2, {}, ""));
}

TEST_CASE("INQUIRY of a LUN without logical unit is GOOD with a qualifier that says so") {
  Device device;
  CHECK(device.run(inquiry(0, 0, 96), {}, 9).data()[0] == 0x7F);
  CHECK(device.run(inquiry(kEvpd, 0x00, 96), {}, 9)
            .failed_with(SenseKey::illegal_request, AdditionalSense::logical_unit_not_supported));
}

TEST_CASE("LUN 0 without logical unit answers INQUIRY as not connected") {
  base::VirtualClock clock;
  base::SeededEntropy entropy(1);
  CopyManager copies({}, clock, entropy);
  DeviceServer server({"iqn.2025-01.example:empty", 1}, clock, nullptr, copies);
  Command command;
  command.task.nexus = server.attach({});
  command.task.observer = &command;
  auto cdb = inquiry(0, 0, 96);
  std::copy(cdb.begin(), cdb.end(), command.task.cdb.begin());
  server.admit(command.task);
  CHECK(command.good());
  CHECK(command.data()[0] == 0x3F);
}

TEST_CASE("INQUIRY neither reports nor clears a unit attention condition") {
  Device device;
  NexusId late = device.server.attach({});
  CHECK(device.run(inquiry(0, 0, 96), {}, 0, late).good());
  CHECK(device.run({0x00, 0, 0, 0, 0, 0}, {}, 0, late)
            .failed_with(SenseKey::unit_attention, AdditionalSense::power_on_reset_or_bus_device_reset_occurred));
}

}  // namespace
}  // namespace scsi
