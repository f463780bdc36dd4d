// Not tested, and why: the sub-commands themselves (test/cli/odx_test.py runs them); the exact columns of the text.
#include "cli/report.h"

#include <doctest/doctest.h>

#include <boost/json.hpp>

#include "cli/vpd_json.h"
#include "test/host/scripted_target.h"

using test::hex;
namespace json = boost::json;

namespace {

host::TraceEntry refused_write() {
  host::TraceEntry entry;
  entry.cdb = hex("83 11 00 00 00 00 00 00 00 2B 00 00 02 28 00 00");
  entry.data_out_length = 552;
  entry.status = 0x02;
  entry.sense = hex("F0 00 0A 00 00 03 00 0A 00 00 00 00 0D 04 00 00 00 00");
  entry.duration = std::chrono::microseconds(1234);
  entry.nt_status = host::NtStatus::success;
  return entry;
}

/// 8Fh of an array with 16 ranges, 600/60 s, 256 MiB and 64 MiB, point-in-time tokens in and out, zero tokens in.
test::Octets third_party_copy_page() {
  test::Octets page =
      hex("00 8F 01 78 00 00 00 20 00 00 00 00 00 00 00 10 00 00 02 58 00 00 00 3C 00 00 00 00 00 08 00 00"
          "00 00 00 00 00 02 00 00 00 01 00 10 0F 83 05 00 01 10 11 1C 84 06 00 03 04 05 07 08 00 04 00 1C"
          "00 00 00 00 00 10 00 10 00 00 20 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 08 00 04"
          "02 02 E4 00 00 0C 00 08 00 04 F8 00 FF FF 00 00 01 06 00 5C 00 00 00 00 00 00 00 00 00 00 00 00"
          "00 00 00 01 FF FF FF FF 00 00 02 58 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 30"
          "00 00 00 2C 00 00 00 80 00 00 00 00 10 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 04 00 00 00"
          "00 00 00 00 04 00 00 00 00 00 00 00 00 00 00 00 01 08 00 84 00 00 00 80 00 80 00 00 03 00 00 00");
  page.resize(0x118);
  for (std::uint8_t byte : hex("FF FF 00 01 02 00 00 00")) page.push_back(byte);
  page.resize(0x158);
  for (std::uint8_t byte : hex("80 01 00 20 00 00 01 00 00 00 01 00 00 00 00 00 09 00 00 00")) page.push_back(byte);
  page.resize(0x17C);
  return page;
}

std::string content(const json::array& descriptors, std::size_t index) {
  return std::string(descriptors.at(index).at("content").at("text").get_string());
}

}  // namespace

TEST_CASE("a command in JSON has its CDB, sense in T10's words, NTSTATUS and microseconds") {
  json::object command = cli::to_json(refused_write(), "1", "operation");
  CHECK(command["name"] == "WRITE USING TOKEN");
  CHECK(command["cdb"] == "83 11 00 00 00 00 00 00 00 2B 00 00 02 28 00 00");
  CHECK(command["status"] == "CHECK CONDITION");
  CHECK(command["sense"].at("key") == 10);
  CHECK(command["sense"].at("asc") == 13);
  CHECK(command["sense"].at("ascq") == 4);
  CHECK(command["sense"].at("information") == 0x300);
  CHECK(std::string(command["sense"].at("text").get_string()).find("COPY ABORTED") != std::string::npos);
  CHECK(command["nt_status"].at("value") == "0x00000000");
  CHECK(command["microseconds"] == 1234);
}

TEST_CASE("a command that got no answer says so, with null for its sense") {
  host::TraceEntry entry = refused_write();
  entry.sense.clear();
  entry.transport = initiator::Transport::timed_out;
  entry.transport_reason = "no answer in 1000 ms";
  json::object command = cli::to_json(entry, "1", "operation");
  CHECK(command["status"] == "(timed out)");
  CHECK(command["sense"].is_null());
  CHECK(command["reason"] == "no answer in 1000 ms");
}

TEST_CASE("the JSON document parses back to what was reported") {
  cli::Report report;
  report.body = {
      {"program", "odx copy"}, {"quoted", "a \"b\"\n"}, {"empty", json::array()}, {"bytes", 18446744073709551615u}};
  report.body["commands"] = json::array{cli::to_json(refused_write(), "1", "operation")};
  report.body["wire"] = json::object{{"sent_bytes", 1}, {"received_bytes", 2}};
  CHECK(json::parse(cli::render_json(report)) == json::value(report.body));
}

TEST_CASE("text has sizes with units, sections, and the commands only when asked for") {
  cli::Report report;
  report.body = {{"copied_bytes", 1536}, {"reason", ""}, {"wire", json::object{{"sent_bytes", 7}}}};
  report.body["nt_status"] = cli::to_json(host::NtStatus::invalid_token);
  report.body["commands"] = json::array{cli::to_json(refused_write(), "1", "operation")};
  std::string text = cli::render_text(report);
  CHECK(text.find("copied bytes  1536 (1.5 KiB)") != std::string::npos);
  CHECK(text.find("STATUS_INVALID_TOKEN (0xC0000465)") != std::string::npos);
  CHECK(text.find("\nwire\n  sent bytes  7\n") != std::string::npos);
  CHECK(text.find("reason") == std::string::npos);
  CHECK(text.find("WRITE USING TOKEN") == std::string::npos);
  report.show_commands = true;
  CHECK(cli::render_text(report).find("WRITE USING TOKEN") != std::string::npos);
}

TEST_CASE("VPD 8Fh: every descriptor is shown with its fields") {
  json::array descriptors = cli::third_party_copy_json(third_party_copy_page());
  REQUIRE(descriptors.size() == 8);
  CHECK(descriptors[0].at("name") == "Block Device ROD Limits");
  const json::value& limits = descriptors[0].at("content").at("fields");
  CHECK(limits.at("maximum_range_descriptors") == 16);
  CHECK(limits.at("maximum_inactivity_timeout_s") == 600);
  CHECK(limits.at("default_inactivity_timeout_s") == 60);
  CHECK(limits.at("maximum_token_transfer_blocks") == 0x80000);
  CHECK(limits.at("optimal_transfer_blocks") == 0x20000);
  CHECK(content(descriptors, 1) == "commands 83h: 00h 01h 10h 11h 1Ch; 84h: 00h 03h 04h 05h 07h 08h");
  CHECK(content(descriptors, 3) == "codes 02h E4h");
  CHECK(descriptors[5].at("content").at("fields").at("maximum_block_rod_bytes") == 0x10000000);
  CHECK(content(descriptors, 6) == "rod types 00800000h in out; FFFF0001h in");
  CHECK(descriptors[7].at("content").at("fields").at("total_concurrent_copies") == 256);
}

TEST_CASE("pages that end early are shown as far as they go") {
  test::Octets page = third_party_copy_page();
  for (std::size_t length = 0; length < page.size(); ++length) {
    cli::third_party_copy_json(base::Bytes(page).first(length));
    cli::designators_json(base::Bytes(page).first(length));
    cli::standard_inquiry_json(base::Bytes(page).first(length));
    cli::page_list_json(base::Bytes(page).first(length));
    cli::block_limits_json(base::Bytes(page).first(length));
    cli::provisioning_json(base::Bytes(page).first(length));
    cli::characteristics_json(base::Bytes(page).first(length));
    cli::serial_text(base::Bytes(page).first(length));
  }
}

TEST_CASE("VPD 83h: binary designators in hex, names as text without their padding") {
  json::array designators =
      cli::designators_json(hex("00 83 00 24 01 03 00 10 60 24 F4 40 00 00 00 00 00 00 00 00 00 00 00 01"
                                "53 A8 00 0C 69 71 6E 2E 61 3A 62 00 00 00 00 00"));
  REQUIRE(designators.size() == 2);
  CHECK(designators[0].at("of") == "logical unit");
  CHECK(designators[0].at("type") == "NAA");
  CHECK(designators[0].at("designator") == "6024F440000000000000000000000001");
  CHECK(designators[1].at("of") == "target device");
  CHECK(designators[1].at("type") == "name");
  CHECK(designators[1].at("designator") == "iqn.a:b");
}

TEST_CASE("bytes as rows: equal ones become one star, the last row is shown") {
  test::Octets bytes(100, 0);
  bytes[0] = 1;
  const json::array rows = cli::hex_rows(bytes);
  REQUIRE(rows.size() == 4);
  CHECK(rows[0].at("offset") == "0000");
  CHECK(rows[0].at("bytes") == "01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
  CHECK(rows[1].at("offset") == "0010");
  CHECK(rows[2].at("offset") == "*");
  CHECK(rows[3].at("offset") == "0060");
  CHECK(rows[3].at("bytes") == "00 00 00 00");
  CHECK(cli::hex_rows({}).empty());
}
