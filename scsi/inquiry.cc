// INQUIRY (SPC-4 6.4): standard data, and the door to the VPD pages.
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/primary_bodies.h"
#include "scsi/vpd.h"

namespace scsi {
namespace {

struct InquiryCdb {
  std::uint8_t operation_code;
  std::uint8_t evpd;
  std::uint8_t page_code;
  base::be16 allocation_length;
  std::uint8_t control;
};
static_assert(sizeof(InquiryCdb) == 6 && offsetof(InquiryCdb, allocation_length) == 3);

constexpr std::uint8_t kEvpd = 0x01;

// PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE (SPC-4 table 175).
constexpr std::uint8_t kDirectAccess = 0x00;
constexpr std::uint8_t kNotConnected = 0x3F;   ///< 001b, 1Fh
constexpr std::uint8_t kNotCapable = 0x7F;     ///< 011b, 1Fh
constexpr std::uint8_t kNotAccessible = 0x20;  ///< PERIPHERAL QUALIFIER 001b

constexpr std::uint8_t kRmb = 0x80;
constexpr std::uint8_t kVersionSpc4 = 0x06;
constexpr std::uint8_t kHiSup = 0x10;
constexpr std::uint8_t kResponseDataFormat = 0x02;
constexpr unsigned kTpgsUnit = 0x10;  ///< bits 5-4
constexpr std::uint8_t k3Pc = 0x08;
constexpr std::uint8_t kMultiP = 0x10;
constexpr std::uint8_t kCmdQue = 0x02;

/// SPC-4 table 174, from its first byte to VENDOR SPECIFIC.
struct StandardInquiryHead {
  std::uint8_t peripheral = kDirectAccess;
  std::uint8_t rmb = 0;
  std::uint8_t version = kVersionSpc4;
  std::uint8_t response_data_format = kHiSup | kResponseDataFormat;
  std::uint8_t additional_length = 0;
  std::uint8_t tpgs_3pc_protect = 0;
  std::uint8_t enc_serv_multi_p = 0;
  std::uint8_t cmd_que = kCmdQue;
};
static_assert(sizeof(StandardInquiryHead) == 8);

constexpr std::size_t kStandardInquirySize = 96;
constexpr std::size_t kVersionDescriptorsAt = 58;
/// SPC-4 annex: SAM-5, iSCSI, SPC-4, SBC-3, no version claimed.
constexpr std::uint16_t kVersionDescriptors[] = {0x00A0, 0x0960, 0x0460, 0x04C0};

/// Through a target port that is unavailable, no disk is connected (SPC-4 5.15.2.4.5).
std::uint8_t qualifier(const CommandContext& context) {
  std::uint16_t port = context.server.target_port(context.task.nexus);
  return context.lu->target_port_groups().unavailable(port) ? kNotAccessible : kDirectAccess;
}

/// WINDOWS: LUN 0 answers as a place where a disk could be even when there is none; any other LUN is none.
std::uint8_t peripheral(const CommandContext& context) {
  if (context.lu) return qualifier(context);
  return context.task.lun == Lun{0} ? kNotConnected : kNotCapable;
}

std::vector<std::uint8_t> standard_data(const CommandContext& context) {
  static const LogicalUnitIdentity nobody{};
  const LogicalUnitIdentity& identity = context.lu ? context.lu->identity() : nobody;
  StandardInquiryHead head;
  head.peripheral = peripheral(context);
  if (context.lu && context.lu->config().removable) head.rmb = kRmb;
  head.additional_length = kStandardInquirySize - offsetof(StandardInquiryHead, additional_length) - 1;
  if (context.server.copy_manager().profile().third_party_copy()) head.tpgs_3pc_protect = k3Pc;
  if (context.lu) {
    auto changes = static_cast<unsigned>(context.lu->target_port_groups().changes());
    head.tpgs_3pc_protect |= static_cast<std::uint8_t>(changes * kTpgsUnit);
  }
  if (context.server.target_ports().size() > 1) head.enc_serv_multi_p = kMultiP;
  std::vector<std::uint8_t> out;
  out.reserve(kStandardInquirySize);
  base::ByteWriter writer(out);
  writer.layout(head);
  writer.ascii(identity.vendor, 8);
  writer.ascii(identity.product, 16);
  writer.ascii(identity.revision, 4);
  writer.zeros(kVersionDescriptorsAt - writer.size());
  for (std::uint16_t descriptor : kVersionDescriptors) writer.u16(descriptor);
  writer.zeros(kStandardInquirySize - writer.size());
  return out;
}

}  // namespace

std::uint64_t inquiry_length(const Task& task, const LogicalUnit*) {
  return base::load<InquiryCdb>(task.cdb).allocation_length;
}

std::expected<void, Sense> inquiry(CommandContext& context) {
  auto cdb = context.cdb_as<InquiryCdb>();
  bool evpd = cdb.evpd & kEvpd;
  if (!evpd && cdb.page_code == 0) {
    context.respond(standard_data(context));
    return {};
  }
  auto refuse = [&](std::string rule) {
    return std::unexpected(Sense::invalid_field_in_cdb(offsetof(InquiryCdb, page_code), {}, std::move(rule)));
  };
  if (!evpd) return refuse(fmt::format("EVPD is zero and PAGE CODE is {:02X}h", cdb.page_code));
  if (!context.lu) {
    return std::unexpected(
        Sense::illegal_request(AdditionalSense::logical_unit_not_supported, "no logical unit has this LUN"));
  }
  auto pages = vpd_pages(context.server);
  auto found = std::ranges::find(pages, cdb.page_code, &VpdPage::code);
  if (found == pages.end()) return refuse(fmt::format("no VPD page {:02X}h", cdb.page_code));
  auto page = found->page(context);
  page.front() |= qualifier(context);
  context.respond(std::move(page));
  return {};
}

}  // namespace scsi
