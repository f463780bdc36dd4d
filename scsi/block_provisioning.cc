#include "scsi/block_provisioning.h"

#include <fmt/format.h>

#include <algorithm>

#include "scsi/block_cdb.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/io_error_sense.h"
#include "scsi/work_queue.h"

namespace scsi {
namespace {

using handlers::BackingStore;
using handlers::ByteRange;
using handlers::IoResult;
using handlers::ProvisioningRun;
using Outcome = std::expected<void, Sense>;

constexpr std::size_t kMaximumStatusDescriptors = 512;

bool unmaps(const BlockCdb& cdb) { return (cdb.flags & BlockFlags::kUnmap) != 0; }

/// NDOB is bit 0 of WRITE SAME (16); the 10-byte form has none, its usage mask keeps the bit 0.
bool no_data_out_buffer(const BlockCdb& cdb) { return (cdb.flags & BlockFlags::kNoDataOutBuffer) != 0; }

/// The range of a command whose count 0 means up to the end of the medium.
BlockCdb up_to_the_end(const LogicalUnit& lu, BlockCdb cdb) {
  if (cdb.count.value == 0) cdb.count = base::BlockCount(lu.capacity().value - cdb.lba.value);
  return cdb;
}

}  // namespace

// ---- WRITE SAME -----------------------------------------------------------------------------------------------

std::uint64_t write_same_length(const Task& task, const LogicalUnit* lu) {
  return no_data_out_buffer(parse_block_cdb(task.cdb)) ? 0 : lu->block_length();
}

Outcome check_write_same(const CommandContext& context) {
  const LogicalUnit& lu = *context.lu;
  BlockCdb cdb = parse_block_cdb(context.cdb());
  if (auto good = check_blocks(lu, cdb); !good) return good;
  if (unmaps(cdb) && !lu.config().thin) {
    return std::unexpected(Sense::invalid_field_in_cdb(offsetof(BlockCdb10, flags), BlockFlags::kUnmapBit,
                                                       "UNMAP needs a thin logical unit"));
  }
  cdb = up_to_the_end(lu, cdb);
  const std::uint64_t limit = context.server.copy_manager().profile().maximum_write_same_bytes / lu.block_length();
  if (limit != 0 && cdb.count.value > limit) {
    return std::unexpected(Sense::invalid_field_in_cdb(
        cdb.count_offset, {},
        fmt::format("{} blocks exceed the MAXIMUM WRITE SAME LENGTH of {}", cdb.count.value, limit)));
  }
  const std::uint64_t length = write_same_length(context.task, &lu);
  const std::uint64_t expected = context.task.expected_data_length.value_or(length);
  if (length != 0 && expected != length) return std::unexpected(wrong_data_out_length(expected, length));
  return {};
}

Outcome write_same(CommandContext& context) {
  const LogicalUnit& lu = *context.lu;
  const BlockCdb cdb = up_to_the_end(lu, parse_block_cdb(context.cdb()));
  Task* task = &context.task;
  if (task->data_out.size() < task->data_out_length)
    return std::unexpected(wrong_data_out_length(task->data_out.size(), task->data_out_length));
  const ByteRange range = byte_range(lu, cdb);
  if (range.length == 0) return {};
  // Zeros on a thin logical unit take no space, asked for or not: with LBPRZ 1 a device server may deallocate a block
  // of zeros on its own (SBC-3, autonomous LBA transitions).
  const bool zeros = base::all_zeros(task->data_out.first(task->data_out_length));
  const bool deallocate = lu.config().thin && (zeros || unmaps(cdb));
  const std::uint32_t block_length = lu.block_length();
  context.start(Access::exclusive, range, [task, range, deallocate, block_length]() -> Outcome {
    BackingStore& store = task->logical_unit->store();
    if (deallocate) return io_outcome(store.unmap(range));
    if (task->data_out_length != 0) return io_outcome(store.write_same(range, task->data_out.first(block_length)));
    return io_outcome(store.write_same(range, std::vector<std::uint8_t>(block_length)));
  });
  return {};
}

// ---- UNMAP ----------------------------------------------------------------------------------------------------

namespace {

constexpr std::size_t kFirstDescriptor = sizeof(UnmapHeader);

std::size_t descriptor_offset(std::size_t index) { return kFirstDescriptor + index * sizeof(UnmapBlockDescriptor); }

/// The whole descriptors of a list: those its header counts and those that came.
std::size_t descriptor_count(base::Bytes list) {
  std::size_t length = base::load<UnmapHeader>(list).block_descriptor_data_length;
  return std::min(length, list.size() - kFirstDescriptor) / sizeof(UnmapBlockDescriptor);
}

Sense no_room_for_header(std::uint64_t length) {
  return Sense::illegal_request(AdditionalSense::parameter_list_length_error,
                                fmt::format("PARAMETER LIST LENGTH {} ends inside the header", length));
}

Outcome check_descriptor_count(std::size_t count, std::uint32_t limit) {
  if (count <= limit) return {};
  return std::unexpected(Sense::invalid_field_in_list(
      offsetof(UnmapHeader, block_descriptor_data_length), {},
      fmt::format("{} descriptors exceed the MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT of {}", count, limit)));
}

/// The byte ranges of the descriptors that unmap anything, all of them good.
std::expected<std::vector<ByteRange>, Sense> unmapped_ranges(const LogicalUnit& lu, base::Bytes list,
                                                             std::uint32_t maximum_blocks) {
  std::vector<ByteRange> ranges;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < descriptor_count(list); ++i) {
    auto descriptor = base::load<UnmapBlockDescriptor>(list.subspan(descriptor_offset(i)));
    base::Lba lba(descriptor.logical_block_address);
    base::BlockCount count(descriptor.number_of_logical_blocks);
    if (!lu.contains(lba, count)) return std::unexpected(lba_out_of_range(lu, lba, count));
    total += count.value;
    if (total > maximum_blocks) {
      return std::unexpected(Sense::invalid_field_in_list(
          descriptor_offset(i) + offsetof(UnmapBlockDescriptor, number_of_logical_blocks), {},
          fmt::format("{} blocks exceed the MAXIMUM UNMAP LBA COUNT of {}", total, maximum_blocks)));
    }
    if (count.value != 0) ranges.push_back(lu.bytes(lba, count));
  }
  return ranges;
}

}  // namespace

std::uint64_t unmap_length(const Task& task, const LogicalUnit*) {
  return base::load<UnmapCdb>(task.cdb).parameter_list_length;
}

Outcome check_unmap(const CommandContext& context) {
  const std::uint64_t length = unmap_length(context.task, context.lu);
  if (length != 0 && length < kFirstDescriptor) return std::unexpected(no_room_for_header(length));
  return {};
}

Outcome unmap(CommandContext& context) {
  auto parameters = context.parameter_list();
  if (!parameters) return std::unexpected(std::move(parameters.error()));
  const base::Bytes list = *parameters;
  if (list.empty()) return {};
  const DeviceProfile& profile = context.server.copy_manager().profile();
  if (auto good = check_descriptor_count(descriptor_count(list), profile.maximum_unmap_descriptors); !good) return good;
  auto ranges = unmapped_ranges(*context.lu, list, profile.maximum_unmap_lba_count);
  if (!ranges) return std::unexpected(std::move(ranges.error()));
  if (ranges->empty()) return {};
  const ByteRange whole = hull(*ranges);
  context.start(Access::exclusive, whole, [&store = context.lu->store(), ranges = *std::move(ranges)]() -> Outcome {
    for (const ByteRange& range : ranges)
      if (auto unmapped = store.unmap(range); !unmapped) return io_outcome(unmapped);
    return {};
  });
  return {};
}

// ---- GET LBA STATUS -------------------------------------------------------------------------------------------

namespace {

/// Provisioning in whole blocks of a store that knows bytes.
class BlockProvisioning {
 public:
  BlockProvisioning(BackingStore& store, std::uint32_t block_length) : store_(store), block_length_(block_length) {}

  /// The run of whole blocks at `offset`, at least one; it may stop short of the next change when it took many
  /// questions to the store.
  IoResult<ProvisioningRun> run(std::uint64_t offset) {
    ProvisioningRun run;
    do {
      auto next = at(offset + run.length);
      if (!next) return next;
      if (run.length != 0 && next->mapped != run.mapped) break;
      run.mapped = next->mapped;
      run.length += next->length;
    } while (offset + run.length < end() && !tired());
    return run;
  }

  /// Whether the store was asked often enough for one command.
  bool tired() const { return questions_ > kMaximumQuestions; }

 private:
  static constexpr std::size_t kMaximumQuestions = 4096;

  std::uint64_t end() const { return store_.size_bytes() / block_length_ * block_length_; }

  /// One or more whole blocks of the same status at `offset`: a block with a mapped byte is mapped.
  IoResult<ProvisioningRun> at(std::uint64_t offset) {
    std::uint64_t unmapped = 0;
    while (unmapped < block_length_) {
      ++questions_;
      auto next = store_.provisioning(offset + unmapped);
      if (!next) return next;
      if (next->mapped) {
        std::uint64_t length = unmapped == 0 ? round_up(next->length) : block_length_;
        return ProvisioningRun{std::min(length, end() - offset), true};
      }
      unmapped += next->length;
    }
    return ProvisioningRun{std::min(unmapped / block_length_ * block_length_, end() - offset), false};
  }

  std::uint64_t round_up(std::uint64_t length) const {
    return (length + block_length_ - 1) / block_length_ * block_length_;
  }

  BackingStore& store_;
  std::uint64_t block_length_;
  std::size_t questions_ = 0;
};

using Descriptors = std::vector<LbaStatusDescriptor>;

/// Appends descriptors for a run: more than one when its length does not fit in 32 bits.
void append_status(Descriptors& descriptors, std::size_t limit, base::Lba lba, std::uint64_t blocks, bool mapped) {
  const std::uint8_t status = mapped ? LbaStatusDescriptor::kMapped : LbaStatusDescriptor::kDeallocated;
  while (blocks != 0 && descriptors.size() < limit) {
    auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks, 0xFFFFFFFF));
    descriptors.push_back({lba.value, count, status, {}});
    lba = lba + base::BlockCount(count);
    blocks -= count;
  }
}

IoResult<Descriptors> thin_status(BackingStore& store, std::uint32_t block_length, base::Lba start, std::size_t limit) {
  const std::uint64_t capacity = store.size_bytes() / block_length;
  BlockProvisioning provisioning(store, block_length);
  Descriptors descriptors;
  for (std::uint64_t lba = start.value; lba < capacity && descriptors.size() < limit && !provisioning.tired();) {
    auto run = provisioning.run(lba * block_length);
    if (!run) return std::unexpected(run.error());
    append_status(descriptors, limit, base::Lba(lba), run->length / block_length, run->mapped);
    lba += run->length / block_length;
  }
  return descriptors;
}

std::vector<std::uint8_t> lba_status_data(const Descriptors& descriptors) {
  std::vector<std::uint8_t> data;
  {
    base::ByteWriter out(data);
    auto length = out.length32();
    out.zeros(sizeof(LbaStatusHeader) - sizeof(LbaStatusHeader::parameter_data_length));
    for (const LbaStatusDescriptor& descriptor : descriptors) out.layout(descriptor);
  }
  return data;
}

}  // namespace

Outcome get_lba_status(CommandContext& context) {
  const LogicalUnit& lu = *context.lu;
  const auto cdb = context.cdb_as<ServiceActionIn16Cdb>();
  const base::Lba start(cdb.logical_block_address);
  if (!lu.contains(start, base::BlockCount(1)))
    return std::unexpected(lba_out_of_range(lu, start, base::BlockCount(1)));
  const std::uint64_t shortest = sizeof(LbaStatusHeader) + sizeof(LbaStatusDescriptor);
  const std::uint64_t room = std::max<std::uint64_t>(cdb.allocation_length, shortest) - sizeof(LbaStatusHeader);
  const std::size_t limit = std::min<std::uint64_t>(room / sizeof(LbaStatusDescriptor), kMaximumStatusDescriptors);
  const base::BlockCount rest(lu.capacity().value - start.value);
  if (!lu.config().thin) {
    Descriptors descriptors;
    append_status(descriptors, limit, start, rest.value, true);
    context.respond(lba_status_data(descriptors));
    return {};
  }
  context.start(Access::shared, lu.bytes(start, rest), [task = &context.task, start, limit]() -> Outcome {
    const LogicalUnit& thin = *task->logical_unit;
    auto descriptors = thin_status(thin.store(), thin.block_length(), start, limit);
    if (!descriptors) return std::unexpected(io_error_sense(descriptors.error()));
    task->data_in.append(lba_status_data(*descriptors));
    return {};
  });
  return {};
}

}  // namespace scsi
