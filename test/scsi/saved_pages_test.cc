// Mode pages that are saved, and identifying information that is kept: what SP=1 writes, what a new start takes up.
//
// Not tested, and why: files (test/target/state_file_test.cc) and real starts (test/target/settings_test.py); bytes
// nobody thought of (test/fuzz).
#include <doctest/doctest.h>
#include <isa-l/crc.h>

#include <optional>

#include "test/scsi/device_fixture.h"

namespace {

using scsi::AdditionalSense;
using scsi::KeptSettings;
using scsi::ModePageName;
using scsi::Sense;
using scsi::SenseKey;
using test::Command;
using test::Device;
using test::KeptState;
using Data = std::vector<std::uint8_t>;

constexpr std::uint8_t kPf = 0x10, kSp = 0x01, kPs = 0x80;
constexpr std::uint8_t kSaved = 0xC0, kDefaults = 0x80, kChangeable = 0x40;

/// Without block descriptors, MODE SENSE(6).
Device::Cdb sense6(std::uint8_t page, std::uint8_t subpage = 0) { return {0x1A, 0x08, page, subpage, 0xFF, 0}; }

/// The Control page with D_SENSE and SWP as said.
Data control(bool d_sense, bool swp) {
  return {0x0A,
          0x0A,
          static_cast<std::uint8_t>(d_sense ? 0x06 : 0x02),
          0,
          static_cast<std::uint8_t>(swp ? 8 : 0),
          0,
          0,
          0,
          0,
          0,
          0,
          0};
}

Data list_of(const Data& page) {
  Data list(4);
  list.insert(list.end(), page.begin(), page.end());
  return list;
}

struct Kept {
  KeptState::Kept kept{};
  std::optional<Device> device{};

  Kept() { start(); }
  /// As odxd does it: with what was kept.
  void start() {
    device.emplace(test::DeviceOptions{.kept_settings = &kept});
    if (!kept.image) return;
    auto settings = scsi::parse_settings_image(*kept.image);
    REQUIRE(settings);
    scsi::restore(device->lu().settings(), *settings);
  }
  Command& select(const Data& page, std::uint8_t flags = kPf | kSp) {
    Data list = list_of(page);
    return device->run({0x15, flags, 0, 0, static_cast<std::uint8_t>(list.size()), 0}, list);
  }
  /// D_SENSE of the Control page's values that PC, in place, asks for.
  bool d_sense(std::uint8_t control) {
    Data data = device->run(sense6(static_cast<std::uint8_t>(0x0A | control))).data();
    REQUIRE(data.size() == 16);
    return data[6] & 0x04;
  }
};

}  // namespace

TEST_CASE("pages that can be changed can be saved: PS is one, whatever PC is") {
  Kept kept;
  for (std::uint8_t control : {std::uint8_t{0}, kChangeable, kDefaults, kSaved}) {
    for (std::uint8_t page : {0x01, 0x02, 0x08, 0x0A, 0x1A, 0x1C}) {
      CAPTURE(page);
      const bool saveable = page == 0x08 || page == 0x0A;
      Data data = kept.device->run(sense6(static_cast<std::uint8_t>(page | control))).data();
      CHECK(data.at(4) == (saveable ? kPs | page : page));
    }
  }
}

TEST_CASE("SP=1 saves, SP=0 does not: a reset brings back what was saved, a start too") {
  Kept kept;
  CHECK(kept.select(control(true, false), kPf).good());
  CHECK(kept.kept.writes == 0);
  CHECK((kept.d_sense(0) && !kept.d_sense(kSaved) && !kept.d_sense(kDefaults)));
  CHECK(kept.select(control(true, false)).good());
  CHECK(kept.kept.writes == 1);
  CHECK((kept.d_sense(kSaved) && !kept.d_sense(kDefaults)));
  CHECK(kept.select(control(false, false), kPf).good());
  CHECK((!kept.d_sense(0) && kept.d_sense(kSaved)));
  kept.device->server.manage(scsi::TaskManagementFunction::logical_unit_reset, kept.device->nexus, scsi::Lun{0}, 0,
                             [](auto) {});
  (void)kept.device->run({0, 0, 0, 0, 0, 0});  // 06/29/03
  CHECK((kept.d_sense(0) && kept.d_sense(kSaved)));
  kept.start();
  CHECK((kept.d_sense(0) && kept.d_sense(kSaved) && !kept.d_sense(kDefaults)));
  CHECK(kept.device->lu().mode_pages().descriptor_format_sense());
  CHECK_FALSE(kept.device->lu(1).mode_pages().descriptor_format_sense());
}

TEST_CASE("SP=1 saves every page, also those that are not in the list, and also without a list") {
  Kept kept;
  CHECK(kept.select(control(true, false), kPf).good());
  Data caching = {0x08, 0x12};
  caching.resize(20);
  CHECK(kept.select(caching).good());
  kept.start();
  CHECK((kept.d_sense(0) && !kept.device->lu().mode_pages().write_cache_enabled()));
  CHECK(kept.select(control(false, false), kPf).good());
  CHECK(kept.device->run({0x55, kPf | kSp, 0, 0, 0, 0, 0, 0, 0, 0}).good());
  CHECK_FALSE(kept.d_sense(kSaved));
}

TEST_CASE("saving what is saved writes nothing") {
  Kept kept;
  CHECK(kept.select(control(true, false)).good());
  CHECK(kept.select(control(true, false)).good());
  CHECK(kept.kept.writes == 1);
}

TEST_CASE("what cannot be written is 04/44/00, and has not happened") {
  Kept kept;
  kept.kept.failing = true;
  CHECK(
      kept.select(control(true, true)).failed_with(SenseKey::hardware_error, AdditionalSense::internal_target_failure));
  CHECK((!kept.d_sense(0) && !kept.d_sense(kSaved)));
  CHECK_FALSE(kept.device->lu().mode_pages().software_write_protect());
  kept.kept.failing = false;
  CHECK(kept.select(control(true, true)).good());
  CHECK(kept.d_sense(kSaved));
}

TEST_CASE("while it is written commands see the old values, and MODE SELECTs are made in their order") {
  Kept kept;
  scsi::NexusId other = kept.device->attach("iqn.2025-01.example:other");
  Data list = list_of(control(true, false));
  auto send = [&](const Data& list_sent, std::uint8_t flags) -> Command& {
    return kept.device->send({0x15, flags, 0, 0, static_cast<std::uint8_t>(list_sent.size()), 0}, list_sent);
  };
  Command& first = send(list, kPf | kSp);
  Command& second = send(list_of(control(false, false)), kPf);
  CHECK((!first.done() && !second.done()));
  CHECK_FALSE(kept.d_sense(0));  // runs what is held
  CHECK((first.good() && second.good()));
  CHECK((!kept.d_sense(0) && kept.d_sense(kSaved)));
  CHECK(kept.device->run({0, 0, 0, 0, 0, 0}, {}, 0, other)
            .failed_with(SenseKey::unit_attention, AdditionalSense::mode_parameters_changed));
  CHECK(kept.device->run({0, 0, 0, 0, 0, 0}, {}, 0, other).good());
}

TEST_CASE("where there is no place to save to, PS is zero, SP=1 is refused at its bit and PC=11b is 05/39/00") {
  Device device;
  CHECK(device.run(sense6(0x0A)).data().at(4) == 0x0A);
  Data list = list_of(control(true, false));
  Command& refused = device.run({0x15, kPf | kSp, 0, 0, static_cast<std::uint8_t>(list.size()), 0}, list);
  CHECK(refused.sense() == Sense::invalid_field_in_cdb(1, 0, ""));
  CHECK(device.run(sense6(0x0A | kSaved))
            .failed_with(SenseKey::illegal_request, AdditionalSense::saving_parameters_not_supported));
}

TEST_CASE("PS as MODE SENSE returned it is taken back by MODE SELECT") {
  Kept kept;
  Data list = kept.device->run(sense6(0x0A)).data();
  REQUIRE(list.at(4) == (kPs | 0x0A));
  list[0] = 0;
  CHECK(kept.device->run({0x15, kPf, 0, 0, static_cast<std::uint8_t>(list.size()), 0}, list).good());
}

TEST_CASE("identifying information outlives a start, and an error of its writing changes nothing") {
  Kept kept;
  const Device::Cdb report = {0xA3, 0x05, 0, 0, 0, 0, 0, 0, 0, 255, 0x00, 0};
  const Device::Cdb set = {0xA4, 0x06, 0, 0, 0, 0, 0, 0, 0, 2, 0x00, 0};
  CHECK(kept.device->run(set, {7, 8}).good());
  kept.start();
  CHECK(kept.device->run(report).data() == Data{0, 0, 0, 2, 7, 8});
  CHECK(kept.device->lu().mode_pages().saved_pages().empty());
  kept.kept.failing = true;
  CHECK(kept.device->run(set, {9, 9}).failed_with(SenseKey::hardware_error, AdditionalSense::internal_target_failure));
  CHECK(kept.device->run(report).data() == Data{0, 0, 0, 2, 7, 8});
}

TEST_CASE("subpages: alone, with their page, and all of them; 3Fh/01h names nothing") {
  Device device;
  auto sized = [&](std::uint8_t page, std::uint8_t subpage) {
    return device.run(sense6(page, subpage)).data().size() - 4;
  };
  Data extension = device.run(sense6(0x0A, 0x01)).data();
  REQUIRE(extension.size() == 4 + 32);
  CHECK(Data(extension.begin() + 4, extension.begin() + 11) == Data{0x4A, 0x01, 0, 0x1C, 0, 0, 252});
  CHECK(sized(0x0A, 0xFF) == 12 + 32);
  const std::size_t all = 12 + 16 + 20 + 12 + 40 + 12;
  CHECK(sized(0x3F, 0) == all);
  CHECK(sized(0x3F, 0xFF) == all + 32);
  CHECK(device.run(sense6(0x3F, 0x01)).sense() == Sense::invalid_field_in_cdb(3, {}, ""));
  CHECK(device.run(sense6(0x0A, 0x02)).sense() == Sense::invalid_field_in_cdb(3, {}, ""));
  CHECK(device.run(sense6(0x1C, 0x02)).sense() == Sense::invalid_field_in_cdb(3, {}, ""));
  // They can be sent back, and not changed.
  Data list = extension;
  list[0] = 0;
  auto select = [&] { return device.run({0x15, kPf, 0, 0, static_cast<std::uint8_t>(list.size()), 0}, list).sense(); };
  CHECK(select() == Sense{});
  list[4 + 4] = 0x01;
  CHECK(select() == Sense::invalid_field_in_list(8, 0, ""));
  list[5] = 0x02;
  CHECK(select() == Sense::invalid_field_in_list(5, {}, ""));
}

// ---- The image -------------------------------------------------------------------------------------------------

namespace {

KeptSettings some_settings() {
  return {{{{0x08, 0}, {0x88, 0x01, 0x04}}, {{0x0A, 0x01}, {0xCA, 1, 0, 1, 9}}}, {{1, 2, 3}, {'a', 0}}};
}

std::string error_of(const Data& image) {
  auto settings = scsi::parse_settings_image(image);
  return settings ? "" : settings.error();
}

/// The image of `some_settings()` with one byte changed, and the right checksum.
Data with(std::size_t at, std::uint8_t value) {
  Data image = scsi::settings_image(some_settings());
  image.at(at) = value;
  image.resize(image.size() - 4);
  std::uint32_t checksum = ~crc32_iscsi(image.data(), static_cast<int>(image.size()), 0xFFFFFFFF);
  base::ByteWriter(image).u32(checksum);
  return image;
}

}  // namespace

TEST_CASE("an image of settings holds what was put into it, and one that lost or changed bytes is refused") {
  CHECK(scsi::parse_settings_image(scsi::settings_image(some_settings())) == some_settings());
  CHECK(scsi::parse_settings_image(scsi::settings_image({})) == KeptSettings{});
  const Data image = scsi::settings_image(some_settings());
  for (std::size_t size = 0; size < image.size(); ++size)
    CHECK(error_of({image.begin(), image.begin() + static_cast<std::ptrdiff_t>(size)}) != "");
  CHECK(error_of(with(0, 'x')) == "it does not begin as such a file does");
  CHECK(error_of(with(11, 2)) == "version 2 is not one this odxd knows");
  CHECK(error_of(with(16, 3)) == "more identifying information than there can be");
  CHECK(error_of(with(17, 200)) == "it ends inside the identifying information");
  CHECK(error_of(with(23, 3)) == "it ends inside a mode page");
  CHECK(error_of(with(23, 1)) == "bytes are left after its mode pages");
  CHECK(error_of(with(29, 0x0B)) == "its mode pages are not in ascending order");
}

TEST_CASE("of what was saved, only bits that can be changed of pages that there are count") {
  scsi::ModePages pages({.saving = true});
  const std::vector<scsi::SavedModePage> saved = {{{0x0A, 0}, Data(12, 0xFF)}, {{0x08, 0}, {0x08}}, {{0x30, 0}, {1}}};
  pages.restore(saved);
  CHECK(pages.descriptor_format_sense());
  CHECK(pages.software_write_protect());
  CHECK(pages.write_cache_enabled());
  const base::Bytes values = pages.find({0x0A, 0})->current;
  CHECK(Data(values.begin(), values.end()) == Data{0x8A, 0x0A, 0x06, 0, 0x08, 0, 0, 0, 0, 0, 0, 0});
}
