// MODE SENSE and MODE SELECT (SPC-4 6.11 to 6.14): headers, block descriptors, and the walk over pages.
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <limits>

#include "scsi/logical_unit.h"
#include "scsi/mode_pages.h"
#include "scsi/primary_bodies.h"
#include "scsi/unit_settings.h"

namespace scsi {
namespace {

/// MODE SENSE(6) and MODE SELECT(6).
struct Mode6Cdb {
  std::uint8_t operation_code;
  std::uint8_t flags;
  std::uint8_t pc_page_code;
  std::uint8_t subpage_code;
  std::uint8_t length;
  std::uint8_t control;
};
static_assert(sizeof(Mode6Cdb) == 6);

/// MODE SENSE(10) and MODE SELECT(10).
struct Mode10Cdb {
  std::uint8_t operation_code;
  std::uint8_t flags;
  std::uint8_t pc_page_code;
  std::uint8_t subpage_code;
  std::array<std::uint8_t, 3> reserved;
  base::be16 length;
  std::uint8_t control;
};
static_assert(sizeof(Mode10Cdb) == 10 && offsetof(Mode10Cdb, length) == 7);
static_assert(offsetof(Mode6Cdb, subpage_code) == offsetof(Mode10Cdb, subpage_code));

constexpr std::uint8_t kDbd = 0x08;
constexpr std::uint8_t kLlbaa = 0x10;
constexpr std::uint8_t kPf = 0x10;
constexpr std::uint8_t kPfBit = 4;
constexpr std::uint8_t kSp = 0x01;
constexpr std::uint8_t kSpBit = 0;
constexpr std::uint8_t kPageCodeHighBit = 5;
constexpr std::uint8_t kPcHighBit = 7;
constexpr std::uint8_t kPcUnit = 0x40;  ///< PC is bits 7-6

constexpr std::uint8_t kAllPages = 0x3F;
constexpr std::uint8_t kAllSubpages = 0xFF;

// DEVICE-SPECIFIC PARAMETER (SBC-3 6.5.1).
constexpr std::uint8_t kWp = 0x80;
constexpr std::uint8_t kDpofua = 0x10;
constexpr std::uint8_t kLongLba = 0x01;

/// SPC-4 7.5.5.
struct ModeParameterHeader6 {
  std::uint8_t mode_data_length;
  std::uint8_t medium_type;
  std::uint8_t device_specific_parameter;
  std::uint8_t block_descriptor_length;
};
struct ModeParameterHeader10 {
  base::be16 mode_data_length;
  std::uint8_t medium_type;
  std::uint8_t device_specific_parameter;
  std::uint8_t long_lba;
  std::uint8_t reserved;
  base::be16 block_descriptor_length;
};
static_assert(sizeof(ModeParameterHeader6) == 4 && sizeof(ModeParameterHeader10) == 8);

/// SBC-3 6.5.2.2 and 6.5.2.3.
struct ShortBlockDescriptor {
  base::be32 number_of_logical_blocks;
  std::uint8_t reserved;
  base::be24 logical_block_length;
};
struct LongBlockDescriptor {
  base::be64 number_of_logical_blocks;
  base::be32 reserved;
  base::be32 logical_block_length;
};
static_assert(sizeof(ShortBlockDescriptor) == 8 && sizeof(LongBlockDescriptor) == 16);

void write_block_descriptor(base::ByteWriter& writer, const LogicalUnit& lu, bool long_lba) {
  std::uint64_t blocks = lu.capacity().value;
  if (long_lba) {
    writer.layout(LongBlockDescriptor{blocks, 0, lu.block_length()});
    return;
  }
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  writer.layout(ShortBlockDescriptor{static_cast<std::uint32_t>(std::min(blocks, kMost)), 0, lu.block_length()});
}

std::uint8_t device_specific_parameter(const LogicalUnit& lu) {
  bool protected_ = lu.read_only() || lu.mode_pages().software_write_protect();
  return kDpofua | (protected_ ? kWp : 0);
}

struct SenseRequest {
  PageControl control;
  ModePageName page;  ///< or all of them, and their subpages
  bool block_descriptor;

  bool asks_for(ModePageName name) const {
    return (page.code == kAllPages || page.code == name.code) &&
           (page.subpage == kAllSubpages || page.subpage == name.subpage);
  }
  bool long_lba;
};

/// The rules both forms of MODE SENSE share.
std::expected<SenseRequest, Sense> judge_mode_sense(const LogicalUnit& lu, const Mode6Cdb& cdb) {
  SenseRequest request{static_cast<PageControl>(cdb.pc_page_code / kPcUnit),
                       {static_cast<std::uint8_t>(cdb.pc_page_code & kModePageCodeMask), cdb.subpage_code},
                       !(cdb.flags & kDbd),
                       (cdb.flags & kLlbaa) != 0};
  auto pages = lu.mode_pages().pages();
  auto code_is = [&](const ModePages::Page& page) { return page.name.code == request.page.code; };
  if (request.page.code != kAllPages && std::ranges::none_of(pages, code_is)) {
    return std::unexpected(Sense::invalid_field_in_cdb(offsetof(Mode6Cdb, pc_page_code), kPageCodeHighBit,
                                                       fmt::format("no mode page {:02X}h", request.page.code)));
  }
  // All pages come with no subpages or with all of them (SPC-4 6.11.1).
  bool one_subpage = request.page.subpage != 0 && request.page.subpage != kAllSubpages;
  if (one_subpage && !lu.mode_pages().find(request.page)) {
    return std::unexpected(Sense::invalid_field_in_cdb(
        offsetof(Mode6Cdb, subpage_code), {},
        fmt::format("mode page {:02X}h has no subpage {:02X}h", request.page.code, request.page.subpage)));
  }
  if (request.control == PageControl::saved && !lu.settings_changes().can_keep()) {
    return std::unexpected(Sense::illegal_request(AdditionalSense::saving_parameters_not_supported,
                                                  "PAGE CONTROL asks for saved values",
                                                  FieldPointer::cdb(offsetof(Mode6Cdb, pc_page_code), kPcHighBit)));
  }
  return request;
}

void write_pages(base::ByteWriter& writer, const LogicalUnit& lu, const SenseRequest& request) {
  for (const ModePages::Page& page : lu.mode_pages().pages()) {
    if (request.asks_for(page.name)) writer.bytes(page.values(request.control));
  }
}

/// The parts of a parameter list header that MODE SELECT looks at.
struct SelectHeader {
  std::size_t size;
  std::size_t block_descriptor_length;
  std::size_t block_descriptor_length_at;  ///< offset, for the field pointer
  bool long_lba;
};

std::unexpected<Sense> list_too_short(std::size_t size) {
  return std::unexpected(Sense::illegal_request(AdditionalSense::parameter_list_length_error,
                                                fmt::format("the mode parameter list is cut at {} bytes", size)));
}

template <typename Layout>
std::expected<SelectHeader, Sense> read_select_header(base::Bytes list) {
  if (list.size() < sizeof(Layout)) return list_too_short(list.size());
  auto header = base::load<Layout>(list);
  SelectHeader read{sizeof(Layout), header.block_descriptor_length, offsetof(Layout, block_descriptor_length), false};
  if constexpr (std::is_same_v<Layout, ModeParameterHeader10>) read.long_lba = header.long_lba & kLongLba;
  return read;
}

/// A block descriptor may only repeat what is: neither capacity nor block length can be changed. Zero, and for the
/// short form all ones, mean "as it is" (SBC-3 6.5.2).
template <typename Layout>
std::expected<void, Sense> check_block_descriptor(const LogicalUnit& lu, base::Bytes list, std::size_t at) {
  auto descriptor = base::load<Layout>(list.subspan(at));
  std::uint64_t blocks = descriptor.number_of_logical_blocks;
  constexpr std::uint64_t kMostShort = std::numeric_limits<std::uint32_t>::max();
  bool same = blocks == 0 || blocks == lu.capacity().value ||
              (std::is_same_v<Layout, ShortBlockDescriptor> && blocks == kMostShort) ||
              blocks == std::numeric_limits<std::uint64_t>::max();
  if (!same) {
    return std::unexpected(Sense::invalid_field_in_list(at + offsetof(Layout, number_of_logical_blocks), {},
                                                        fmt::format("the capacity cannot become {} blocks", blocks)));
  }
  std::uint32_t length = descriptor.logical_block_length;
  if (length == 0 || length == lu.block_length()) return {};
  return std::unexpected(Sense::invalid_field_in_list(at + offsetof(Layout, logical_block_length), {},
                                                      fmt::format("the block length cannot become {}", length)));
}

std::expected<void, Sense> check_block_descriptors(const LogicalUnit& lu, base::Bytes list,
                                                   const SelectHeader& header) {
  std::size_t size = header.long_lba ? sizeof(LongBlockDescriptor) : sizeof(ShortBlockDescriptor);
  if (header.block_descriptor_length == 0) return {};
  if (header.block_descriptor_length != size) {
    return std::unexpected(
        Sense::invalid_field_in_list(header.block_descriptor_length_at, {},
                                     fmt::format("BLOCK DESCRIPTOR LENGTH is {}", header.block_descriptor_length)));
  }
  if (list.size() < header.size + size) return list_too_short(list.size());
  return header.long_lba ? check_block_descriptor<LongBlockDescriptor>(lu, list, header.size)
                         : check_block_descriptor<ShortBlockDescriptor>(lu, list, header.size);
}

/// The length of the mode page at the front of `list`, with its header; nothing where it is cut.
std::optional<std::size_t> page_size(base::Bytes list) {
  base::ByteReader reader(list);
  const bool has_subpage = reader.remaining() > 0 && (list.front() & kModePageSpf);
  const std::size_t fields = has_subpage ? reader.layout<ModeSubpageHeader>().page_length.value()
                                         : reader.layout<ModePageHeader>().page_length;
  reader.skip(fields);
  if (!reader.ok()) return {};
  return reader.position();
}

/// `pages` with all pages of the list set, from `at` on.
std::expected<void, Sense> select_pages(ModePages& pages, base::Bytes list, std::size_t at) {
  while (at < list.size()) {
    base::Bytes rest = list.subspan(at);
    auto size = page_size(rest);
    if (!size) return list_too_short(list.size());
    if (auto good = pages.select(rest.first(*size), at); !good) return good;
    at += *size;
  }
  return {};
}

template <typename Header>
std::expected<void, Sense> mode_select(CommandContext& context) {
  auto cdb = context.cdb_as<Mode6Cdb>();
  if (!(cdb.flags & kPf)) {
    return std::unexpected(Sense::invalid_field_in_cdb(offsetof(Mode6Cdb, flags), kPfBit,
                                                       "PF is zero: no vendor specific mode parameters"));
  }
  const bool save = cdb.flags & kSp;
  if (save && !context.lu->settings_changes().can_keep()) {
    return std::unexpected(
        Sense::invalid_field_in_cdb(offsetof(Mode6Cdb, flags), kSpBit, "SP is one, and there is no place to save to"));
  }
  if (context.task.data_out_length == 0 && !save) return {};  // SPC-4 6.12: not an error, nothing changes
  auto list = context.parameter_list();
  if (!list) return std::unexpected(list.error());
  std::size_t at = 0;
  if (!list->empty()) {
    auto header = read_select_header<Header>(*list);
    if (!header) return std::unexpected(header.error());
    if (auto good = check_block_descriptors(*context.lu, *list, *header); !good) return good;
    at = header->size + header->block_descriptor_length;
  }
  change_settings(context, AdditionalSense::mode_parameters_changed,
                  [list = std::vector<std::uint8_t>(list->begin(), list->end()), at,
                   save](UnitSettings& settings) -> std::expected<bool, Sense> {
                    ModePages pages = settings.mode_pages;
                    if (auto good = select_pages(pages, list, at); !good) return std::unexpected(good.error());
                    if (save) pages.save();
                    const bool changed = !pages.same_values(settings.mode_pages);
                    settings.mode_pages = std::move(pages);
                    return changed;
                  });
  return {};
}

}  // namespace

std::uint64_t mode_6_length(const Task& task, const LogicalUnit*) { return base::load<Mode6Cdb>(task.cdb).length; }
std::uint64_t mode_10_length(const Task& task, const LogicalUnit*) { return base::load<Mode10Cdb>(task.cdb).length; }

std::expected<void, Sense> mode_sense_6(CommandContext& context) {
  auto request = judge_mode_sense(*context.lu, context.cdb_as<Mode6Cdb>());
  if (!request) return std::unexpected(request.error());
  std::vector<std::uint8_t> out;
  {
    base::ByteWriter writer(out);
    auto length = writer.length8();
    writer.u8(0);
    writer.u8(device_specific_parameter(*context.lu));
    writer.u8(request->block_descriptor ? sizeof(ShortBlockDescriptor) : 0);
    if (request->block_descriptor) write_block_descriptor(writer, *context.lu, false);
    write_pages(writer, *context.lu, *request);
  }
  context.respond(std::move(out));
  return {};
}

std::expected<void, Sense> mode_sense_10(CommandContext& context) {
  auto request = judge_mode_sense(*context.lu, context.cdb_as<Mode6Cdb>());
  if (!request) return std::unexpected(request.error());
  std::size_t descriptor = request->long_lba ? sizeof(LongBlockDescriptor) : sizeof(ShortBlockDescriptor);
  bool long_lba = request->long_lba && request->block_descriptor;
  std::vector<std::uint8_t> out;
  {
    base::ByteWriter writer(out);
    auto length = writer.length16();
    writer.u8(0);
    writer.u8(device_specific_parameter(*context.lu));
    writer.u8(long_lba ? kLongLba : 0);
    writer.u8(0);
    writer.u16(request->block_descriptor ? static_cast<std::uint16_t>(descriptor) : 0);
    if (request->block_descriptor) write_block_descriptor(writer, *context.lu, request->long_lba);
    write_pages(writer, *context.lu, *request);
  }
  context.respond(std::move(out));
  return {};
}

std::expected<void, Sense> mode_select_6(CommandContext& context) { return mode_select<ModeParameterHeader6>(context); }
std::expected<void, Sense> mode_select_10(CommandContext& context) {
  return mode_select<ModeParameterHeader10>(context);
}

}  // namespace scsi
