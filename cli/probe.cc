#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <boost/json.hpp>
#include <memory>

#include "cli/exit_code.h"
#include "cli/sub_commands.h"
#include "cli/vpd_json.h"
#include "host/scsi_layouts.h"

namespace cli {

namespace json = boost::json;

namespace {

constexpr std::uint16_t kLargestPage = 0x1000;
constexpr std::uint8_t kEvpd = 0x01;

/// The data of an INQUIRY, empty when it failed.
std::vector<std::uint8_t> inquiry(host::ClassDriver& driver, bool evpd, std::uint8_t page) {
  host::InquiryCdb cdb;
  cdb.evpd = evpd ? kEvpd : 0;
  cdb.page_code = page;
  cdb.allocation_length = kLargestPage;
  base::Bytes bytes = base::bytes_of(cdb);
  initiator::Result result = driver.query({bytes.begin(), bytes.end()}, kLargestPage);
  return result.good() ? std::move(result.data_in) : std::vector<std::uint8_t>{};
}

json::object capacity_json(host::ClassDriver& driver) {
  const host::Disk& disk = driver.disk();
  json::object capacity{{"bytes", disk.bytes()}, {"blocks", disk.blocks}, {"block_length", disk.block_length}};
  host::ReadCapacity16Cdb cdb;
  cdb.allocation_length = sizeof(host::ReadCapacity16Data);
  base::Bytes bytes = base::bytes_of(cdb);
  initiator::Result result = driver.query({bytes.begin(), bytes.end()}, sizeof(host::ReadCapacity16Data));
  base::ByteReader reader(result.data_in);
  const auto data = reader.layout<host::ReadCapacity16Data>();
  if (result.good() && reader.ok()) {
    constexpr std::uint8_t kPhysicalExponentMask = 0x0F;
    constexpr std::uint16_t kLbpme = 0x8000;
    std::uint64_t physical = disk.block_length;
    for (int i = data.exponents & kPhysicalExponentMask; i > 0; --i) physical *= 2;
    capacity["physical_block_length"] = physical;
    capacity["thin"] = (data.provisioning_and_lowest_aligned_lba & kLbpme) != 0;
  }
  capacity["write_protected"] = disk.write_protected;
  return capacity;
}

std::string blocks_text(std::uint64_t blocks, std::uint32_t block_length) {
  constexpr std::uint64_t kMiB = 1 << 20;
  const std::uint64_t bytes = blocks * block_length;
  return bytes % kMiB == 0 ? fmt::format("{} MiB", bytes / kMiB) : fmt::format("{} bytes", bytes);
}

/// What Windows will do with the disk, in words.
std::string verdict(const host::Disk& disk) {
  if (!disk.rod_limits)
    return "Windows copies by READ and WRITE; offload requests end with STATUS_DEVICE_FEATURE_NOT_SUPPORTED (C0000463)";
  constexpr std::uint64_t kDefaultStep = 64ull << 20, kLargestStep = 256ull << 20;
  const host::RodLimits& limits = *disk.rod_limits;
  const std::uint64_t optimal = limits.optimal_transfer_blocks, maximum = limits.maximum_token_transfer_blocks;
  const std::uint64_t token = optimal == 0 ? maximum : maximum == 0 ? optimal : std::min(optimal, maximum);
  std::uint64_t step =
      optimal == 0 ? kDefaultStep / disk.block_length : std::min(optimal, kLargestStep / disk.block_length);
  if (maximum != 0) step = std::min(step, maximum);
  constexpr std::uint16_t kLargestRanges = 64;
  const unsigned ranges = limits.maximum_range_descriptors == 0
                              ? kLargestRanges
                              : std::min(limits.maximum_range_descriptors, kLargestRanges);
  return fmt::format(
      "Windows offloads copies: tokens of {}, written in steps of {}, at most {} ranges per command; a token unused "
      "for {} "
      "expires",
      token == 0 ? "any size" : "up to " + blocks_text(token, disk.block_length), blocks_text(step, disk.block_length),
      ranges,
      limits.default_inactivity_timeout_s == 0 ? "a time that is not reported"
                                               : fmt::format("{} s", limits.default_inactivity_timeout_s));
}

json::array warnings(const host::Disk& disk) {
  json::array list;
  if (!disk.rod_limits) return list;
  const host::RodLimits& limits = *disk.rod_limits;
  constexpr std::uint16_t kLargestRangesForHck = 0x0400;
  if (limits.maximum_token_transfer_blocks != 0 &&
      limits.optimal_transfer_blocks > limits.maximum_token_transfer_blocks)
    list.push_back("OPTIMAL TRANSFER COUNT is above MAXIMUM TOKEN TRANSFER SIZE; checked builds of Windows assert");
  if (limits.maximum_range_descriptors > kLargestRangesForHck)
    list.push_back("MAXIMUM RANGE DESCRIPTORS above 0400h is reported to fail the hardware certification kit");
  if (!disk.pages.block_limits) list.push_back("VPD page B0h is missing; certification requires it");
  return list;
}

void add_pages(host::ClassDriver& driver, json::object& body) {
  std::vector<std::uint8_t> page = inquiry(driver, true, 0x00);
  body["vpd_pages"] = page_list_json(page);
  auto listed = [&page](std::uint8_t code) {
    base::Bytes codes = base::Bytes(page).subspan(std::min(page.size(), sizeof(host::VpdHeader)));
    return std::ranges::find(codes, code) != codes.end();
  };
  if (listed(0x80)) body["identity"].get_object()["serial"] = serial_text(inquiry(driver, true, 0x80));
  if (listed(0x83)) body["designators"] = designators_json(inquiry(driver, true, 0x83));
  if (listed(0xB0)) body["block_limits"] = block_limits_json(inquiry(driver, true, 0xB0));
  if (listed(0xB1)) body["characteristics"] = characteristics_json(inquiry(driver, true, 0xB1));
  if (listed(0xB2)) body["provisioning"] = provisioning_json(inquiry(driver, true, 0xB2));
  if (listed(0x8F)) body["third_party_copy"] = third_party_copy_json(inquiry(driver, true, 0x8F));
}

Report probe(const CommonOptions& common, const std::string& url) {
  HostSide host(common);
  auto disk = host.open(url);
  if (!disk) return disk.error();
  host.begin_operation();
  host::ClassDriver& driver = *(*disk)->driver;
  Report report;
  report.show_commands = common.show_commands;
  json::object& body = report.body;
  body = {{"program", "odx probe"}, {"ok", true}, {"disk", (*disk)->url}};
  body["identity"] = standard_inquiry_json(inquiry(driver, false, 0));
  body["capacity"] = capacity_json(driver);
  add_pages(driver, body);
  const host::Disk& found = driver.disk();
  json::object windows{{"odx", found.rod_limits.has_value()},
                       {"reason", found.no_odx_reason},
                       {"verdict", verdict(found)},
                       {"thin", found.thin}};
  if (json::array list = warnings(found); !list.empty()) windows["warnings"] = list;
  body["windows"] = std::move(windows);
  host.finish(report);
  return report;
}

}  // namespace

void add_probe(CLI::App& app, const CommonOptions& common, Run& run) {
  auto url = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("probe", "Show what a disk offers, and what Windows would make of it");
  command->add_option("url", *url, "iscsi://[user[%password]@]host[:port]/target-name/lun")->required();
  command->callback([url, &common, &run] { run = [url, &common] { return probe(common, *url); }; });
}

}  // namespace cli
