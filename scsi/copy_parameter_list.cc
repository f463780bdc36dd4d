#include "scsi/copy_parameter_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "scsi/copy_layouts.h"
#include "scsi/logical_unit.h"

namespace scsi {

namespace {

using Descriptors = std::vector<BlockDeviceRangeDescriptor>;

Sense invalid_field(std::size_t byte, std::string rule) {
  return Sense::invalid_field_in_list(byte, {}, std::move(rule));
}

std::optional<Sense> too_short(base::Bytes list, std::size_t fixed_part) {
  if (list.size() >= fixed_part) return {};
  return Sense::illegal_request(
      AdditionalSense::parameter_list_length_error,
      fmt::format("PARAMETER LIST LENGTH {} is less than the list's first {} bytes", list.size(), fixed_part));
}

/// The list's data length must reach over one range descriptor at least, and end where the descriptors do: both lengths
/// count up to the same byte (SBC-4 5.59 demands it of WRITE USING TOKEN, the layout of 5.12 implies it). A descriptor
/// length below 16 is named as such later.
std::optional<Sense> wrong_data_length(std::uint16_t data_length, std::uint16_t range_descriptor_length,
                                       std::size_t fixed_part) {
  std::size_t before_descriptors = fixed_part - sizeof(base::be16);
  std::size_t least = before_descriptors + sizeof(BlockDeviceRangeDescriptor);
  if (data_length < least) return invalid_field(0, fmt::format("data length {} is less than {}", data_length, least));
  std::size_t expected = before_descriptors + range_descriptor_length;
  if (data_length == expected || range_descriptor_length < sizeof(BlockDeviceRangeDescriptor)) return {};
  return invalid_field(0, fmt::format("data length {} is not the range descriptors' length plus {} ({})", data_length,
                                      before_descriptors, expected));
}

std::optional<Sense> cannot_be_immediate(std::uint8_t flags, std::size_t byte, const DeviceProfile& profile) {
  if ((flags & kImmed) == 0 || profile.background) return {};
  return Sense::invalid_field_in_list(byte, kImmedBit, "IMMED is one; background copies are not supported");
}

/// The complete descriptors there are. `length_field` is where BLOCK DEVICE RANGE DESCRIPTOR LENGTH stands, right
/// before them.
std::expected<Descriptors, Sense> read_descriptors(base::Bytes list, std::size_t length_field, std::uint16_t length,
                                                   const DeviceProfile& profile) {
  if (length < sizeof(BlockDeviceRangeDescriptor))
    return std::unexpected(
        invalid_field(length_field, fmt::format("BLOCK DEVICE RANGE DESCRIPTOR LENGTH {} is less than 16", length)));
  std::size_t start = length_field + sizeof(base::be16);
  std::size_t end = std::min(list.size(), start + length);
  base::ByteReader reader(list.first(end).subspan(start));
  Descriptors descriptors;
  while (reader.remaining() >= sizeof(BlockDeviceRangeDescriptor))
    descriptors.push_back(reader.layout<BlockDeviceRangeDescriptor>());
  if (profile.maximum_range_descriptors != 0 && descriptors.size() > profile.maximum_range_descriptors)
    return std::unexpected(Sense::illegal_request(AdditionalSense::too_many_segment_descriptors,
                                                  fmt::format("{} range descriptors, MAXIMUM RANGE DESCRIPTORS is {}",
                                                              descriptors.size(), profile.maximum_range_descriptors),
                                                  FieldPointer::list(length_field)));
  return descriptors;
}

std::size_t descriptor_at(std::size_t first, std::size_t index) {
  return first + index * sizeof(BlockDeviceRangeDescriptor);
}

/// Of two descriptors that share an address, the one that stands later in the list.
std::optional<std::size_t> overlapping(const Descriptors& descriptors) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < descriptors.size(); ++i)
    if (descriptors[i].number_of_logical_blocks != 0) order.push_back(i);
  std::ranges::sort(order, {}, [&](std::size_t i) { return descriptors[i].logical_block_address.value(); });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const auto& before = descriptors[order[i - 1]];
    if (descriptors[order[i]].logical_block_address - before.logical_block_address < before.number_of_logical_blocks)
      return std::max(order[i - 1], order[i]);
  }
  return {};
}

/// WINDOWS: a convention of its own; T10 has no code for it.
std::optional<Sense> misaligned(const Descriptors& descriptors, std::size_t first, const LogicalUnit& lu,
                                const DeviceProfile& profile) {
  std::uint64_t alignment = profile.offload_alignment_bytes / lu.block_length();
  if (alignment <= 1) return {};
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    std::uint64_t lba = descriptors[i].logical_block_address, blocks = descriptors[i].number_of_logical_blocks;
    if (lba % alignment == 0 && blocks % alignment == 0) continue;
    return Sense::illegal_request(
        AdditionalSense::alignment_violation,
        fmt::format("LBA {} count {}, ranges are aligned to {} blocks", lba, blocks, alignment),
        FieldPointer::list(descriptor_at(first, i)));
  }
  return {};
}

/// `first` is the offset of the first descriptor in the list.
std::expected<CopyRanges, Sense> check_ranges(const Descriptors& descriptors, std::size_t first, const LogicalUnit& lu,
                                              const DeviceProfile& profile) {
  std::uint64_t limit = profile.maximum_token_transfer_bytes / lu.block_length();
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    std::uint64_t blocks = descriptors[i].number_of_logical_blocks;
    if (limit != 0 && blocks > limit)
      return std::unexpected(invalid_field(
          descriptor_at(first, i) + offsetof(BlockDeviceRangeDescriptor, number_of_logical_blocks),
          fmt::format("NUMBER OF LOGICAL BLOCKS {}, MAXIMUM BYTES IN BLOCK ROD holds {}", blocks, limit)));
    sum += blocks;
  }
  if (limit != 0 && sum > limit)
    return std::unexpected(Sense::illegal_request(
        AdditionalSense::invalid_field_in_parameter_list,
        fmt::format("the ranges sum up to {} blocks, MAXIMUM TOKEN TRANSFER SIZE is {}", sum, limit)));
  if (auto index = overlapping(descriptors))
    return std::unexpected(
        invalid_field(descriptor_at(first, *index),
                      fmt::format("LBA {} is in two ranges", descriptors[*index].logical_block_address.value())));

  if (auto sense = misaligned(descriptors, first, lu, profile)) return std::unexpected(std::move(*sense));

  CopyRanges ranges;
  for (const BlockDeviceRangeDescriptor& descriptor : descriptors) {
    base::Lba lba{descriptor.logical_block_address};
    base::BlockCount count{descriptor.number_of_logical_blocks};
    if (count.value == 0) continue;
    if (!lu.contains(lba, count)) {
      Sense sense = Sense::illegal_request(
          AdditionalSense::logical_block_address_out_of_range,
          fmt::format("LBA {} count {}, the capacity is {} blocks", lba.value, count.value, lu.capacity().value));
      sense.information = std::max(lba.value, lu.capacity().value);
      return std::unexpected(std::move(sense));
    }
    ranges.ranges.push_back(lu.bytes(lba, count));
    ranges.total_bytes += ranges.ranges.back().length;
  }
  return ranges;
}

std::expected<CopyRanges, Sense> parse_ranges(base::Bytes list, std::size_t length_field, std::uint16_t length,
                                              const LogicalUnit& lu, const DeviceProfile& profile) {
  auto descriptors = read_descriptors(list, length_field, length, profile);
  if (!descriptors) return std::unexpected(std::move(descriptors.error()));
  return check_ranges(*descriptors, length_field + sizeof(base::be16), lu, profile);
}

}  // namespace

std::expected<PopulateTokenRequest, Sense> parse_populate_token(base::Bytes list, const LogicalUnit& lu,
                                                                const DeviceProfile& profile) {
  using List = PopulateTokenList;
  if (auto sense = too_short(list, sizeof(List))) return std::unexpected(std::move(*sense));
  auto header = base::load<List>(list);
  if (auto sense = wrong_data_length(header.populate_token_data_length, header.range_descriptor_length, sizeof(List)))
    return std::unexpected(std::move(*sense));
  if (auto sense = cannot_be_immediate(header.flags, offsetof(List, flags), profile))
    return std::unexpected(std::move(*sense));

  PopulateTokenRequest request{.immediate = (header.flags & kImmed) != 0, .rod_type = profile.populate_token_type};
  if (header.flags & kRtv) {
    const tokens::RodTypeSupport* type = tokens::find_rod_type(profile.rod_types, header.rod_type);
    if (!type || !type->token_out || !type->point_in_time)
      return std::unexpected(invalid_field(
          offsetof(List, rod_type),
          fmt::format("ROD TYPE {:08X}h is not a supported point in time type", header.rod_type.value())));
    request.rod_type = type->type;
  }
  request.inactivity_timeout_s =
      header.inactivity_timeout_s == 0 ? profile.default_inactivity_timeout_s : header.inactivity_timeout_s.value();
  if (profile.maximum_inactivity_timeout_s != 0 && header.inactivity_timeout_s > profile.maximum_inactivity_timeout_s)
    return std::unexpected(
        invalid_field(offsetof(List, inactivity_timeout_s),
                      fmt::format("INACTIVITY TIMEOUT {} s, the maximum is {} s", header.inactivity_timeout_s.value(),
                                  profile.maximum_inactivity_timeout_s)));

  auto ranges =
      parse_ranges(list, offsetof(List, range_descriptor_length), header.range_descriptor_length, lu, profile);
  if (!ranges) return std::unexpected(std::move(ranges.error()));
  request.ranges = std::move(*ranges);
  return request;
}

std::expected<WriteUsingTokenRequest, Sense> parse_write_using_token(base::Bytes list, const LogicalUnit& lu,
                                                                     const DeviceProfile& profile) {
  using List = WriteUsingTokenList;
  if (auto sense = too_short(list, sizeof(List))) return std::unexpected(std::move(*sense));
  auto header = base::load<List>(list);
  if (auto sense =
          wrong_data_length(header.write_using_token_data_length, header.range_descriptor_length, sizeof(List)))
    return std::unexpected(std::move(*sense));
  if (auto sense = cannot_be_immediate(header.flags, offsetof(List, flags), profile))
    return std::unexpected(std::move(*sense));

  auto ranges =
      parse_ranges(list, offsetof(List, range_descriptor_length), header.range_descriptor_length, lu, profile);
  if (!ranges) return std::unexpected(std::move(ranges.error()));
  return WriteUsingTokenRequest{.immediate = (header.flags & kImmed) != 0,
                                .delete_token = (header.flags & kDelTkn) != 0,
                                .offset_into_rod_blocks = header.offset_into_rod,
                                .token = header.rod_token,
                                .ranges = std::move(*ranges)};
}

}  // namespace scsi
