// MODE SENSE and MODE SELECT (SPC-4 6.11 to 6.14, SBC-3 6.5).
//
// Not tested, and why: what WCE changes for writes (beside the block commands); long LBA block descriptors above 2^32
// blocks, because no store of a test is that large.
#include <doctest/doctest.h>

#include "scsi/mode_pages.h"
#include "test/scsi/device_fixture.h"

namespace scsi {
namespace {

using test::Command;
using test::Device;
using test::DeviceOptions;
using Data = std::vector<std::uint8_t>;

constexpr std::uint8_t kDbd = 0x08;
constexpr std::uint8_t kPf = 0x10;

Device::Cdb sense6(std::uint8_t page, std::uint8_t flags = kDbd, std::uint8_t subpage = 0) {
  return {0x1A, flags, page, subpage, 0xFF, 0};
}
Device::Cdb sense10(std::uint8_t page, std::uint8_t flags = kDbd) {
  return {0x5A, flags, page, 0, 0, 0, 0, 0, 0xFF, 0};
}

/// MODE SELECT of `list`, whole.
Command& select6(Device& device, const Data& list, std::uint8_t flags = kPf, NexusId from = NexusId::none) {
  return device.run({0x15, flags, 0, 0, static_cast<std::uint8_t>(list.size()), 0}, list, 0, from);
}
Command& select10(Device& device, const Data& list) {
  return device.run({0x55, kPf, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(list.size()), 0}, list);
}

const Data kControl = {0x0A, 0x0A, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0};

Data with(Data data, std::size_t at, std::uint8_t value) {
  data.at(at) = value;
  return data;
}
Data behind_header6(const Data& page) {
  Data list(4);
  list.insert(list.end(), page.begin(), page.end());
  return list;
}

TEST_CASE("MODE SENSE(6) of the Caching page has WCE, and DPOFUA in the header") {
  Device device;
  Data expected = {23, 0, 0x10, 0, 0x08, 0x12, 0x04};
  expected.resize(24);
  CHECK(device.run(sense6(0x08)).data() == expected);
}

TEST_CASE("MODE SENSE(6) without DBD has a short block descriptor") {
  Device device;
  Data data = device.run(sense6(0x0A, 0)).data();
  CHECK(Data(data.begin(), data.begin() + 12) == Data{23, 0, 0x10, 8, 0, 0, 0x08, 0x00, 0, 0, 0x02, 0x00});
  CHECK(Data(data.begin() + 12, data.end()) == kControl);
}

TEST_CASE("MODE SENSE(10) has the long header, and a long block descriptor with LLBAA") {
  Device device;
  CHECK(device.run(sense10(0x1C)).data() == Data{0, 18, 0, 0x10, 0, 0, 0, 0, 0x1C, 0x0A, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  Data data = device.run(sense10(0x1C, 0x10)).data();
  CHECK(Data(data.begin(), data.begin() + 24) ==
        Data{0, 34, 0, 0x10, 1, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 0, 0, 0, 2, 0});
}

TEST_CASE("page 3Fh is all pages, ascending") {
  Device device;
  Data codes;
  Data data = device.run(sense6(0x3F)).data();
  for (std::size_t at = 4; at < data.size(); at += 2u + data[at + 1]) codes.push_back(data[at]);
  CHECK(codes == Data{0x01, 0x02, 0x08, 0x0A, 0x1A, 0x1C});
}

TEST_CASE("page control: changeable bits, defaults, and no saved values") {
  Device device;
  CHECK(select6(device, behind_header6(with(kControl, 4, 0x08))).good());
  Data changeable = device.run(sense6(0x0A | 0x40)).data();
  CHECK(Data(changeable.begin() + 4, changeable.end()) == Data{0x0A, 0x0A, 0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0});
  Data defaults = device.run(sense6(0x0A | 0x80)).data();
  CHECK(Data(defaults.begin() + 4, defaults.end()) == kControl);
  Data current = device.run(sense6(0x0A)).data();
  CHECK(Data(current.begin() + 4, current.end()) == with(kControl, 4, 0x08));
  CHECK(device.run(sense6(0x0A | 0xC0)).sense() ==
        Sense::illegal_request(AdditionalSense::saving_parameters_not_supported, "", FieldPointer::cdb(2, 7)));
}

TEST_CASE("a mode page or subpage that does not exist is refused where it is named") {
  Device device;
  CHECK(device.run(sense6(0x0B)).sense() == Sense::invalid_field_in_cdb(2, 5, ""));
  CHECK(device.run(sense6(0x0A, kDbd, 0x02)).sense() == Sense::invalid_field_in_cdb(3, {}, ""));
}

TEST_CASE("D_SENSE changes how sense data is encoded, for every nexus") {
  Device device;
  Command& refused = device.run({0xFF});
  CHECK(device.server.sense_data(refused.task)[0] == 0x70);
  CHECK(select6(device, behind_header6(with(kControl, 2, 0x06))).good());
  CHECK(device.server.sense_data(refused.task)[0] == 0x72);
}

TEST_CASE("SWP sets WP and protects the medium as software does") {
  Device device;
  CHECK(select6(device, behind_header6(with(kControl, 4, 0x08))).good());
  CHECK(device.run(sense6(0x3F)).data()[2] == 0x90);
  CHECK(device.run({0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0}, Data(512))
            .failed_with(SenseKey::data_protect, AdditionalSense::logical_unit_software_write_protected));
}

TEST_CASE("a read-only logical unit has WP and is write protected") {
  DeviceOptions options;
  options.read_only = true;
  Device device(options);
  CHECK(device.run(sense6(0x3F)).data()[2] == 0x90);
  CHECK(device.run({0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0}, Data(512))
            .failed_with(SenseKey::data_protect, AdditionalSense::write_protected));
}

TEST_CASE("MODE SELECT tells every other nexus that mode parameters changed, if they did") {
  Device device;
  NexusId other = device.attach("iqn.2025-01.example:other");
  CHECK(select6(device, behind_header6(kControl)).good());
  CHECK(device.run({0x00, 0, 0, 0, 0, 0}, {}, 0, other).good());
  CHECK(select6(device, behind_header6(with(kControl, 2, 0x06))).good());
  CHECK(device.run({0x00, 0, 0, 0, 0, 0}).good());
  CHECK(device.run({0x00, 0, 0, 0, 0, 0}, {}, 1, other).good());
  CHECK(device.run({0x00, 0, 0, 0, 0, 0}, {}, 0, other)
            .failed_with(SenseKey::unit_attention, AdditionalSense::mode_parameters_changed));
}

TEST_CASE("a parameter that cannot be changed is refused with its byte and bit, and nothing changes") {
  Device device;
  // QERR 01b: classpnp only ever asks for 00b.
  CHECK(select6(device, behind_header6(with(kControl, 3, 0x02))).sense() == Sense::invalid_field_in_list(7, 1, ""));
  Data caching = {0x08, 0x12};
  caching.resize(20);
  Data list = behind_header6(caching);
  list.insert(list.end(), kControl.begin(), kControl.end());
  list.back() = 1;
  CHECK(select6(device, list).sense() == Sense::invalid_field_in_list(35, 0, ""));
  CHECK(device.lu().mode_pages().write_cache_enabled());
}

TEST_CASE("WCE can be cleared, with what MODE SENSE returned sent back as Windows does") {
  Device device;
  Data list = device.run(sense6(0x08)).data();
  list[0] = 0;
  list[6] = 0;
  CHECK(select6(device, list).good());
  CHECK_FALSE(device.lu().mode_pages().write_cache_enabled());
}

TEST_CASE("while WCE is zero a write is on the medium before it is answered") {
  Device device;
  Data caching = {0x08, 0x12};
  caching.resize(20);
  const Device::Cdb write = {0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  CHECK(device.run(write, Data(512)).good());
  CHECK(device.stores[0]->flushes == 0);
  CHECK(select6(device, behind_header6(caching)).good());
  CHECK(device.run(write, Data(512)).good());
  CHECK(device.stores[0]->flushes == 1);
  CHECK(device.run({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}).good());
  CHECK(device.stores[0]->flushes == 1);
  device.stores[0]->write_error = handlers::IoError{handlers::IoError::Kind::medium_write, "test"};
  CHECK(device.run(write, Data(512)).failed_with(SenseKey::medium_error, AdditionalSense::write_error));
}

TEST_CASE("QERR of zero is accepted, with the mode data length and block descriptor left as they were read") {
  Device device;
  Data list = device.run(sense6(0x0A, 0)).data();
  CHECK(select6(device, list).good());
  CHECK(select10(device, device.run(sense10(0x0A, 0)).data()).good());
  CHECK(select10(device, device.run(sense10(0x0A, 0x10)).data()).good());
}

TEST_CASE("MODE SELECT refuses lists that are cut or lie about themselves") {
  Device device;
  auto length_error = [](const Command& command) {
    return command.failed_with(SenseKey::illegal_request, AdditionalSense::parameter_list_length_error);
  };
  Data whole = behind_header6(kControl);
  for (std::size_t size = 1; size < whole.size(); ++size) {
    CAPTURE(size);
    if (size == 4) continue;  // a header alone changes nothing
    CHECK(length_error(select6(device, Data(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)))));
  }
  CHECK(select6(device, Data(4)).good());
  CHECK(length_error(select10(device, Data(7))));
  CHECK(length_error(select6(device, with(Data(4), 3, 8))));
  CHECK(select6(device, with(Data(16), 3, 12)).sense() == Sense::invalid_field_in_list(3, {}, ""));
  CHECK(select6(device, behind_header6({0x0A, 0x02, 0, 0})).sense() == Sense::invalid_field_in_list(5, {}, ""));
  CHECK(select6(device, behind_header6({0x0B, 0x00})).sense() == Sense::invalid_field_in_list(4, 5, ""));
  CHECK(length_error(select6(device, behind_header6({0x4A, 0x00}))));
  CHECK(select6(device, behind_header6({0x4B, 0x01, 0, 0})).sense() == Sense::invalid_field_in_list(4, 5, ""));
}

TEST_CASE("a parameter list shorter than PARAMETER LIST LENGTH is a parameter list length error") {
  Device device;
  CHECK(device.run({0x15, kPf, 0, 0, 16, 0}, Data(4))
            .failed_with(SenseKey::illegal_request, AdditionalSense::parameter_list_length_error));
}

TEST_CASE("PARAMETER LIST LENGTH zero changes nothing and is no error") {
  Device device;
  CHECK(device.run({0x15, kPf, 0, 0, 0, 0}).good());
}

TEST_CASE("capacity and block length cannot be changed by a block descriptor") {
  Device device;
  auto list = [](Data descriptor) {
    Data whole = {0, 0, 0, 8};
    whole.insert(whole.end(), descriptor.begin(), descriptor.end());
    return whole;
  };
  CHECK(select6(device, list({0, 0, 0, 0, 0, 0, 0, 0})).good());
  CHECK(select6(device, list({0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 2, 0})).good());
  CHECK(select6(device, list({0, 0, 0x08, 0x01, 0, 0, 2, 0})).sense() == Sense::invalid_field_in_list(4, {}, ""));
  CHECK(select6(device, list({0, 0, 0x08, 0x00, 0, 0, 0x10, 0})).sense() == Sense::invalid_field_in_list(9, {}, ""));
}

TEST_CASE("PF of zero and SP of one are refused at their bits") {
  Device device;
  CHECK(select6(device, Data(4), 0).sense() == Sense::invalid_field_in_cdb(1, 4, ""));
  CHECK(select6(device, Data(4), kPf | 1).sense() == Sense::invalid_field_in_cdb(1, 0, ""));
}

}  // namespace
}  // namespace scsi
