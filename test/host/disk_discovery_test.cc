// Not tested, and why: REPORT LUNS and the port driver's own INQUIRYs (not the class driver's work).
#include "host/disk_discovery.h"

#include <doctest/doctest.h>

#include "test/host/scripted_target.h"

using namespace host;
using test::hex;

TEST_CASE("VPD 00h: the safe list has all four pages Windows looks for") {
  auto pages = read_supported_pages(hex("00 00 00 08 00 80 83 86 8F B0 B1 B2"));
  REQUIRE(pages.has_value());
  CHECK(pages->third_party_copy);
  CHECK(pages->block_limits);
  CHECK(pages->block_characteristics);
  CHECK(pages->provisioning);
}

TEST_CASE("VPD 00h: at the first code that does not ascend everything is forgotten") {
  CHECK_FALSE(read_supported_pages(hex("00 00 00 04 00 8F B1 B0")).has_value());
  CHECK_FALSE(read_supported_pages(hex("00 00 00 04 00 8F 8F B0")).has_value());
}

TEST_CASE("VPD 00h: a list that does not start with page 00h is worth nothing, nor is standard INQUIRY data") {
  CHECK_FALSE(read_supported_pages(hex("00 00 00 03 80 83 8F")).has_value());
  CHECK_FALSE(read_supported_pages(hex("00 00 06 02 5B 00 00 02 4F 44 58 20")).has_value());
  CHECK_FALSE(read_supported_pages(hex("00 00 00 00")).has_value());
  CHECK_FALSE(read_supported_pages({}).has_value());
}

TEST_CASE("VPD 00h: the page length is byte 3 alone, and data that was cut is read as far as it goes") {
  auto pages = read_supported_pages(hex("00 00 01 02 00 8F B0"));
  REQUIRE(pages.has_value());
  CHECK(pages->third_party_copy);
  CHECK_FALSE(pages->block_limits);
  CHECK(read_supported_pages(hex("00 00 00 20 00 8F"))->third_party_copy);
}

TEST_CASE("VPD 8Fh: the limits of the first descriptor are read, later descriptors are not") {
  auto limits = read_rod_limits(
      hex("00 8F 01 78 00 00 00 20 00 00 00 00 00 00 00 10 00 00 02 58 00 00 00 3C 00 00 00 00 00 08 00 00"
          "00 00 00 00 00 02 00 00 00 01 00 10 0F 83 05 00"));
  REQUIRE(limits.has_value());
  CHECK(limits->maximum_range_descriptors == 16);
  CHECK(limits->maximum_inactivity_timeout_s == 600);
  CHECK(limits->default_inactivity_timeout_s == 60);
  CHECK(limits->maximum_token_transfer_blocks == 0x80000);
  CHECK(limits->optimal_transfer_blocks == 0x20000);
}

TEST_CASE("VPD 8Fh: length 36, type 0000h and length 0020h are the gate; the page code is not compared") {
  test::Octets page = hex("00 8F 00 24 00 00 00 20");
  page.resize(40);
  CHECK(read_rod_limits(page).has_value());
  page[1] = 0x00;
  CHECK(read_rod_limits(page).has_value());

  auto with = [&page](std::size_t at, std::uint8_t value) {
    test::Octets changed = page;
    changed[at] = value;
    return read_rod_limits(changed).has_value();
  };
  CHECK_FALSE(with(3, 35));
  CHECK_FALSE(with(5, 1));
  CHECK_FALSE(with(7, 0x1F));
  CHECK_FALSE(with(7, 0x21));
  page.resize(39);
  CHECK_FALSE(read_rod_limits(page).has_value());
}

TEST_CASE("VPD B2h: thin means PROVISIONING TYPE 2 and LBPU") {
  CHECK(read_thin(hex("00 B2 00 04 00 80 02 00")));
  CHECK_FALSE(read_thin(hex("00 B2 00 04 00 00 02 00")));
  CHECK_FALSE(read_thin(hex("00 B2 00 04 00 80 01 00")));
  CHECK_FALSE(read_thin(hex("00 00 00 04 00 80 02 00")));
  CHECK_FALSE(read_thin(hex("00 B2 00 04 00 80 02")));
}

TEST_CASE("VPD 83h: each designator with what it names; the last is cut where the page ends") {
  const auto page =
      test::hex("00 83 00 1C  01 03 00 08 60 01 02 03 04 05 06 07  53 98 00 04 69 71 6E 00  01 14 00 04 AB CD EF 00");
  const auto all = read_designators(page);
  REQUIRE(all.size() == 3);
  CHECK(all[0].code_set == 1);
  CHECK(all[0].association == 0);
  CHECK(all[0].type == 3);
  CHECK(all[0].value.size() == 8);
  CHECK(all[1].code_set == 3);
  CHECK(all[1].association == 1);
  CHECK(all[1].type == 8);
  CHECK(base::text_of(all[1].value.first(3)) == "iqn");
  CHECK(all[2].type == 4);
  CHECK(read_designators(base::Bytes(page).first(18)).size() == 1);
  CHECK(read_designators(base::Bytes(page).first(29))[2].value.size() == 1);
  CHECK(read_designators({}).empty());
}

TEST_CASE("a disk that arrives is asked what Windows asks, in its order") {
  test::Host host;
  CHECK(host.driver.start() == NtStatus::success);
  std::vector<test::Octets> cdbs;
  for (const initiator::Command& command : host.target.sent) cdbs.push_back(command.cdb);
  CHECK(cdbs == std::vector<test::Octets>{
                    hex("25 00 00 00 00 00 00 00 00 00"),
                    hex("9E 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00"),
                    hex("12 01 00 00 FF 00"),
                    hex("12 01 B2 00 FF 00"),
                    hex("12 01 B0 00 FF 00"),
                    hex("12 01 8F 00 FF 00"),
                    hex("1A 00 0A 00 C0 00"),
                    hex("1A 00 3F 00 C0 00"),
                });
  const Disk& disk = host.driver.disk();
  CHECK(disk.blocks == 1ull << 40);
  CHECK(disk.block_length == 512);
  CHECK(disk.cdb16);
  CHECK(disk.thin);
  CHECK_FALSE(disk.write_protected);
  REQUIRE(disk.rod_limits.has_value());
  CHECK(disk.rod_limits->maximum_range_descriptors == 64);
}

TEST_CASE("a disk whose capacity fits READ CAPACITY(10) is not asked READ CAPACITY(16)") {
  test::Host host;
  host.target.blocks = 0xFFFFFFFF;
  host.driver.start();
  CHECK(host.target.sent[1].cdb == hex("12 01 00 00 FF 00"));
  CHECK(host.driver.disk().blocks == 0xFFFFFFFF);
  CHECK_FALSE(host.driver.disk().cdb16);
}

TEST_CASE("QERR that is not 0 is set to 0 with MODE SELECT") {
  test::Host host;
  host.target.control_page = hex("0F 00 00 00 8A 0A 00 02 00 00 00 00 00 00 00 00");
  host.driver.start();
  const initiator::Command& select = host.target.sent[7];
  CHECK(select.cdb == hex("15 11 00 00 10 00"));
  CHECK(select.data_out == hex("00 00 00 00 0A 0A 00 00 00 00 00 00 00 00 00 00"));
}

TEST_CASE("a disk without page 8Fh, or with a bad one, has no ODX, and the reason is kept") {
  test::Host host;
  SUBCASE("not listed") { host.target.pages = hex("00 00 00 03 00 80 83"); }
  SUBCASE("list not ascending") { host.target.pages = hex("00 00 00 04 00 8F 83 80"); }
  SUBCASE("another descriptor first") {
    host.target.third_party_page = hex("00 8F 00 24 00 01 00 20");
    host.target.third_party_page.resize(40);
  }
  CHECK(host.driver.start() == NtStatus::success);
  CHECK_FALSE(host.driver.disk().rod_limits.has_value());
  CHECK_FALSE(host.driver.disk().no_odx_reason.empty());
  const DataSetRange range{0, test::MiB};
  host.target.sent.clear();
  CHECK(host.driver.offload_read(std::span(&range, 1), 0).status == NtStatus::device_feature_not_supported);
  CHECK(host.driver.offload_write(zero_token(), 0, std::span(&range, 1)).status ==
        NtStatus::device_feature_not_supported);
  CHECK(host.target.sent.empty());
}

TEST_CASE("a unit attention at arrival is retried; write protection is seen") {
  test::Host host;
  host.target.write_protected = true;
  host.target.reply(test::check(6, 0x29, 0));
  CHECK(host.driver.start() == NtStatus::success);
  CHECK(host.driver.trace()[1].attempt == 1);
  CHECK(host.driver.disk().write_protected);
}

TEST_CASE("a disk that does not answer READ CAPACITY does not start") {
  test::Host host;
  host.target.reply(test::check(5, 0x25, 0));
  CHECK(host.driver.start() == NtStatus::no_such_device);
}
