// Third-party copy in the plugin: who is offered it, and how far it reaches.
//
// Not tested, and why: what each copy command answers (test/scsi); that LIO lets one initiator in (test/vm).
#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "test/handlers/store_kinds.h"
#include "test/scsi/extended_copy_lists.h"
#include "test/tcmu/plugin_fixture.h"

using namespace test;
using handlers::TemporaryFolder;

namespace {

const std::string kOwner = ";initiator=iqn.1991-05.com.microsoft:host1";
const std::string kOther = ";initiator=iqn.1991-05.com.microsoft:host2";
constexpr std::uint32_t kListIdentifier = 0;  // as every Windows host begins

bool lists_8fh(FakeDevice& device) {
  Outcome pages = device.execute(inquiry_page(0x00), Bytes(255));
  auto end = pages.data.begin() + 4 + pages.data[3];
  return std::find(pages.data.begin() + 4, end, 0x8F) != end;
}

Outcome populate(FakeDevice& device, const Ranges& ranges) {
  Bytes list = populate_list(ranges);
  return device.execute(out_cdb(0x10, kListIdentifier, list.size()), list);
}

std::optional<tokens::RodToken> receive_token(FakeDevice& device) {
  Outcome outcome = device.execute(in_cdb(0x07, kListIdentifier, 1024), Bytes(1024));
  CHECK(outcome.text() == "status 0");
  outcome.data.resize(base::load<base::be32>(outcome.data).value() + 4u);
  return CopyResult(outcome.data).token;
}

Outcome write_using(FakeDevice& device, const tokens::RodToken& token, const Ranges& ranges) {
  Bytes list = write_list(token, ranges);
  return device.execute(out_cdb(0x11, kListIdentifier, list.size()), list);
}

/// What LIO makes of a serial number of two digits.
std::array<std::uint8_t, 16> naa_of(const std::string& digits) {
  std::array<std::uint8_t, 16> naa{};
  std::ranges::copy(hex("6001405" + digits + std::string(23, '0')), naa.begin());
  return naa;
}

tokens::RodToken token_of(FakeDevice& device, const Ranges& ranges) {
  REQUIRE(populate(device, ranges).text() == "status 0");
  auto token = receive_token(device);
  REQUIRE(token);
  return *token;
}

}  // namespace

TEST_SUITE("tcmu copies") {
  TEST_CASE("without a word on who owns the backstore there is no third-party copy") {
    FakeDevice device("odx/memory", kMiB);
    make_ready(device);
    CHECK((device.execute(inquiry(96), Bytes(96)).data[5] & 0x08) == 0);
    CHECK_FALSE(lists_8fh(device));
    CHECK(device.execute(inquiry_page(0x8F), Bytes(255)).text() == "05/24/00");
    CHECK(populate(device, {{0, 8}}).text() == "05/20/00");
    CHECK(device.execute(in_cdb(0x07, 0, 1024), Bytes(1024)).text() == "05/20/00");
    CHECK(device.execute(hex("83000000000000000000000000000000")).text() == "05/20/00");
  }

  TEST_CASE("what one initiator owns is copied between its backstores") {
    FakeDevice source("odx/memory" + kOwner, kMiB), destination("odx/memory" + kOwner, kMiB);
    make_ready(source);
    make_ready(destination);
    CHECK((source.execute(inquiry(96), Bytes(96)).data[5] & 0x08) == 0x08);
    CHECK(lists_8fh(source));
    const Bytes data = patterned(64 * 512, 3);
    write_blocks(source, 100, data);
    tokens::RodToken token = token_of(source, {{100, 64}});
    CHECK(write_using(destination, token, {{7, 64}}).text() == "status 0");
    CHECK(read_blocks(destination, 7, 64) == data);
  }

  TEST_CASE("the token has the designator that hosts see") {
    FakeDevice device("odx/memory" + kOwner, kMiB, "abc123");
    make_ready(device);
    tokens::RodToken token = token_of(device, {{0, 8}});
    base::Bytes bytes = base::bytes_of(token);
    const Bytes naa = hex("6001405ABC1230000000000000000000");
    CHECK(std::search(bytes.begin(), bytes.end(), naa.begin(), naa.end()) != bytes.end());
  }

  TEST_CASE("a token means nothing in another group, nor to another owner") {
    FakeDevice source("odx/memory" + kOwner, kMiB);
    make_ready(source);
    tokens::RodToken token = token_of(source, {{0, 8}});
    for (const std::string& options : {kOwner + ";group=other", kOther}) {
      CAPTURE(options);
      FakeDevice destination("odx/memory" + options, kMiB);
      make_ready(destination);
      CHECK(write_using(destination, token, {{0, 8}}).text() == "05/23/02");
    }
  }

  TEST_CASE("EXTENDED COPY finds the backstores of the group, and no others") {
    FakeDevice source("odx/memory" + kOwner, kMiB, "51"), destination("odx/memory" + kOwner, kMiB, "52");
    FakeDevice other("odx/memory" + kOther, kMiB, "53");
    for (FakeDevice* each : {&source, &destination, &other}) make_ready(*each);
    const Bytes data = patterned(8 * 512, 6);
    write_blocks(source, 0, data);
    auto copy_to = [&](const std::string& serial) {
      CopyList list{.cscds = {naa_cscd(naa_of("51")), naa_cscd(naa_of(serial))},
                    .segments = {blocks_segment(8, 0, 16)}};
      scsi::ExtendedCopyCdb cdb{};
      cdb.operation_code = 0x83;
      cdb.parameter_list_length = static_cast<std::uint32_t>(list.bytes().size());
      return source.execute(as_list(cdb), list.bytes());
    };
    CHECK(copy_to("52").text() == "status 0");
    CHECK(read_blocks(destination, 16, 8) == data);
    CHECK(copy_to("53").text() == "0A/0D/02");
    CHECK(read_blocks(other, 16, 8) == Bytes(8 * 512));
  }

  TEST_CASE("a copy between files is made by workers and answered") {
    TemporaryFolder folder;
    FakeDevice source("odx/file:" + folder.file("a") + kOwner, kMiB);
    FakeDevice destination("odx/file:" + folder.file("b") + kOwner, kMiB);
    make_ready(source);
    make_ready(destination);
    const Bytes data = patterned(64 * 512, 5);
    write_blocks(source, 0, data);
    CHECK(write_using(destination, token_of(source, {{0, 64}}), {{64, 64}}).text() == "status 0");
    CHECK(read_blocks(destination, 64, 64) == data);
  }

  TEST_CASE("tokens of a backstore that is removed are cancelled") {
    FakeDevice destination("odx/memory" + kOwner, kMiB);
    make_ready(destination);
    auto source = std::make_unique<FakeDevice>("odx/memory" + kOwner, kMiB);
    make_ready(*source);
    tokens::RodToken token = token_of(*source, {{0, 8}});
    source.reset();
    CHECK(write_using(destination, token, {{0, 8}}).text() == "05/23/08");
  }

  TEST_CASE("two backstores of a group are not one by their serial numbers") {
    // Only the hexadecimal digits count.
    FakeDevice first("odx/memory" + kOwner, kMiB, "lun-1"), second("odx/memory" + kOwner, kMiB, "1");
    make_ready(first);
    make_ready(second);
    write_blocks(first, 0, patterned(512, 1));
    write_blocks(second, 0, patterned(512, 2));
    CHECK(write_using(first, token_of(second, {{0, 1}}), {{1, 1}}).text() == "status 0");
    CHECK(read_blocks(first, 1, 1) == patterned(512, 2));
    CHECK(write_using(second, token_of(first, {{0, 1}}), {{1, 1}}).text() == "status 0");
    CHECK(read_blocks(second, 1, 1) == patterned(512, 1));
  }

  TEST_CASE("nothing is left of a group without a backstore") {
    tokens::RodToken token;
    {
      FakeDevice first("odx/memory" + kOwner, kMiB, "5eed5eed");
      make_ready(first);
      token = token_of(first, {{0, 8}});
    }
    FakeDevice again("odx/memory" + kOwner, kMiB, "5eed5eed");
    make_ready(again);
    CHECK(write_using(again, token, {{0, 8}}).text() == "05/23/04");
  }
}
