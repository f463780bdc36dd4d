#include "scsi/block_cdb.h"

#include <fmt/format.h>

#include <algorithm>

#include "scsi/copy_manager.h"
#include "scsi/device_server.h"

namespace scsi {
namespace {

constexpr std::uint8_t kGroupCode = 0xE0;
constexpr std::uint8_t kGroup6 = 0x00;
constexpr std::uint8_t kGroup16 = 0x80;
constexpr std::uint8_t kGroup12 = 0xA0;
constexpr std::uint8_t kCompareAndWriteCode = 0x89;
constexpr std::uint8_t kWriteAtomic16Code = 0x9C;
constexpr std::uint64_t kLength6OfZero = 256;

template <typename Layout>
BlockCdb numbers_of(base::Bytes cdb) {
  auto layout = base::load<Layout>(cdb);
  return {base::Lba(layout.logical_block_address), base::BlockCount(layout.transfer_length), layout.flags,
          offsetof(Layout, transfer_length)};
}

Sense protection_refused(const BlockCdb& cdb) {
  return Sense::invalid_field_in_cdb(
      offsetof(BlockCdb10, flags), BlockFlags::kProtectBit,
      fmt::format("RDPROTECT, WRPROTECT and VRPROTECT must be 0 without protection information: byte 1 is {:02X}h",
                  cdb.flags));
}

Sense transfer_too_long(const BlockCdb& cdb, std::uint64_t limit_bytes, std::uint32_t block_length) {
  return Sense::invalid_field_in_cdb(cdb.count_offset, {},
                                     fmt::format("{} blocks exceed the MAXIMUM TRANSFER LENGTH of {} blocks",
                                                 cdb.count.value, limit_bytes / block_length));
}

}  // namespace

BlockCdb parse_block_cdb(base::Bytes cdb) {
  switch (cdb[0] & kGroupCode) {
    case kGroup6: {
      auto layout = base::load<BlockCdb6>(cdb);
      std::uint64_t count = layout.transfer_length == 0 ? kLength6OfZero : layout.transfer_length;
      return {base::Lba(layout.logical_block_address & kLba6Mask), base::BlockCount(count), 0,
              offsetof(BlockCdb6, transfer_length)};
    }
    case kGroup12: return numbers_of<BlockCdb12>(cdb);
    case kGroup16:
      if (cdb[0] == kCompareAndWriteCode) {
        auto layout = base::load<CompareAndWriteCdb>(cdb);
        return {base::Lba(layout.logical_block_address), base::BlockCount(layout.number_of_logical_blocks),
                layout.flags, offsetof(CompareAndWriteCdb, number_of_logical_blocks)};
      }
      if (cdb[0] == kWriteAtomic16Code) return numbers_of<WriteAtomic16Cdb>(cdb);
      return numbers_of<BlockCdb16>(cdb);
    default: return numbers_of<BlockCdb10>(cdb);
  }
}

std::expected<void, Sense> check_blocks(const LogicalUnit& lu, const BlockCdb& cdb) {
  if ((cdb.flags & BlockFlags::kProtect) != 0) [[unlikely]]
    return std::unexpected(protection_refused(cdb));
  if (!lu.contains(cdb.lba, cdb.count)) [[unlikely]]
    return std::unexpected(lba_out_of_range(lu, cdb.lba, cdb.count));
  return {};
}

std::expected<void, Sense> check_transfer(const CommandContext& context, const BlockCdb& cdb) {
  if (auto good = check_blocks(*context.lu, cdb); !good) [[unlikely]]
    return good;
  const DeviceProfile& profile = context.server.copy_manager().profile();
  std::uint64_t limit = profile.largest_transfer_bytes;
  if (profile.maximum_transfer_bytes != 0) limit = std::min(limit, profile.maximum_transfer_bytes);
  if (byte_range(*context.lu, cdb).length > limit) [[unlikely]]
    return std::unexpected(transfer_too_long(cdb, limit, context.lu->block_length()));
  return {};
}

Sense lba_out_of_range(const LogicalUnit& lu, base::Lba lba, base::BlockCount count) {
  std::uint64_t capacity = lu.capacity().value;
  Sense sense = Sense::illegal_request(
      AdditionalSense::logical_block_address_out_of_range,
      fmt::format("LBA {} + {} blocks exceed the capacity of {} blocks", lba.value, count.value, capacity));
  sense.information = std::max(lba.value, capacity);
  return sense;
}

Sense wrong_data_out_length(std::uint64_t length, std::uint64_t expected) {
  return Sense::illegal_request(
      AdditionalSense::invalid_field_in_command_information_unit,
      fmt::format("the data-out of {} bytes is not the {} bytes the CDB asks for", length, expected));
}

}  // namespace scsi
