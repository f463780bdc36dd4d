#include "scsi/block_io.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>

#include "scsi/block_cdb.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/io_error_sense.h"

namespace scsi {
namespace {

using handlers::BackingStore;
using handlers::ByteRange;
using handlers::IoResult;
using Outcome = std::expected<void, Sense>;

/// Compared and verified data is looked at in pieces of this many bytes, so that it never is in memory as a whole.
constexpr std::uint64_t kPiece = 1 << 20;

Durability durability_of(const BlockCdb& cdb) { return cdb.fua() ? Durability::flushed : Durability::cached; }

BackingStore& store_of(const Task& task) { return task.logical_unit->store(); }

Outcome flush(BackingStore& store) { return io_outcome(store.flush()); }

/// The bytes of data-out that are written: whole blocks, as many as came.
std::expected<std::uint64_t, Sense> written_bytes(const CommandContext& context, const BlockCdb& cdb) {
  std::uint64_t wanted = byte_range(*context.lu, cdb).length;
  std::uint64_t length = std::min<std::uint64_t>(wanted, context.task.data_out_size());
  if (length % context.lu->block_length() != 0) [[unlikely]]
    return std::unexpected(wrong_data_out_length(length, wanted));
  return length;
}

Outcome write_range(const Task& task, ByteRange range) {
  assert(!task.loan || task.loan_length == range.length);
  if (task.loan) return io_outcome(store_of(task).write_lent(range.offset, *task.loan));
  return io_outcome(store_of(task).write(range.offset, task.data_out.first(range.length)));
}

Outcome read_range(Task& task, ByteRange range) {
  if (auto read = store_of(task).read(range, task.data_in); !read) [[unlikely]] {
    task.data_in.clear();
    return std::unexpected(io_error_sense(read.error()));
  }
  return {};
}

bool write_range_at_once(Task& task, ByteRange range) {
  return !task.loan && store_of(task).write_at_once(range.offset, task.data_out.first(range.length));
}

bool read_range_at_once(Task& task, ByteRange range) { return store_of(task).read_at_once(range, task.data_in); }

/// The offset of the first byte of `data` that differs from the store's bytes from `offset` on.
IoResult<std::optional<std::uint64_t>> first_difference(BackingStore& store, std::uint64_t offset, base::Bytes data) {
  base::Segments piece;
  for (std::uint64_t at = 0; at < data.size();) {
    piece.clear();
    std::uint64_t length = std::min<std::uint64_t>(kPiece, data.size() - at);
    if (auto read = store.read({offset + at, length}, piece); !read) return std::unexpected(read.error());
    for (const base::Segment& part : piece.parts()) {
      const base::Bytes expected = data.subspan(at, part.bytes.size());
      if (std::memcmp(part.bytes.data(), expected.data(), expected.size()) != 0)
        return at + static_cast<std::uint64_t>(std::ranges::mismatch(part.bytes, expected).in1 - part.bytes.begin());
      at += expected.size();
    }
  }
  return std::nullopt;
}

Sense miscompare(std::uint64_t offset) {
  return {SenseKey::miscompare,
          AdditionalSense::miscompare_during_verify_operation,
          {},
          {},
          fmt::format("byte {} of the Data-Out Buffer differs from the medium", offset)};
}

/// Compares the range with `data`, repeated as often as it takes.
Outcome compare(BackingStore& store, ByteRange range, base::Bytes data) {
  for (std::uint64_t at = 0; at < range.length; at += data.size()) {
    auto expected = data.first(std::min<std::uint64_t>(data.size(), range.length - at));
    auto difference = first_difference(store, range.offset + at, expected);
    if (!difference) return std::unexpected(io_error_sense(difference.error()));
    if (*difference) return std::unexpected(miscompare(**difference));
  }
  return {};
}

/// Reads everything mapped in the range: a block that is not mapped verifies without error (SBC-3, VERIFY).
Outcome read_through(BackingStore& store, ByteRange range) {
  base::Segments piece;
  for (std::uint64_t at = range.offset; at < range.end();) {
    auto run = store.provisioning(at);
    if (!run) return std::unexpected(io_error_sense(run.error()));
    std::uint64_t length = std::min(run->length, range.end() - at);
    if (run->mapped) {
      piece.clear();
      length = std::min(length, kPiece);
      if (auto read = store.read({at, length}, piece); !read) return std::unexpected(io_error_sense(read.error()));
    }
    at += length;
  }
  return {};
}

/// One block over and over, a piece of it at most, so that comparing it with many blocks reads few times.
std::vector<std::uint8_t> repeated(base::Bytes block, std::uint64_t length) {
  std::vector<std::uint8_t> blocks;
  blocks.reserve(std::min(length, kPiece));
  while (blocks.size() < std::min(length, kPiece)) blocks.insert(blocks.end(), block.begin(), block.end());
  return blocks;
}

Sense short_data_out(const Task& task) { return wrong_data_out_length(task.data_out.size(), task.data_out_length); }

}  // namespace

// ---- READ -----------------------------------------------------------------------------------------------------

std::uint64_t read_length(const Task& task, const LogicalUnit* lu) {
  return byte_range(*lu, parse_block_cdb(task.cdb)).length;
}

Outcome read_blocks(CommandContext& context) {
  const BlockCdb cdb = parse_block_cdb(context.cdb());
  if (auto good = check_transfer(context, cdb); !good) [[unlikely]]
    return good;
  ByteRange range = byte_range(*context.lu, cdb);
  Task* task = &context.task;
  if (const std::uint64_t room = task->data_in_room.value_or(range.length); room < range.length) [[unlikely]] {
    const std::uint64_t block = context.lu->block_length();
    const std::uint64_t read = std::min(range.length, (room + block - 1) / block * block);
    task->data_in_unread = range.length - read;
    range.length = read;
  }
  if (range.length == 0) return {};
  // What a FUA read returns is on the medium (SBC-3, caches): what was read cannot change before the flush.
  context.start(
      Access::shared, range, [task, range] { return read_range(*task, range); }, {}, durability_of(cdb),
      read_range_at_once);
  return {};
}

// ---- WRITE, WRITE AND VERIFY ----------------------------------------------------------------------------------

std::uint64_t write_length(const Task& task, const LogicalUnit* lu) { return read_length(task, lu); }

Outcome check_write(const CommandContext& context) { return check_transfer(context, parse_block_cdb(context.cdb())); }

Outcome write_blocks(CommandContext& context) {
  const BlockCdb cdb = parse_block_cdb(context.cdb());
  auto length = written_bytes(context, cdb);
  if (!length) [[unlikely]]
    return std::unexpected(length.error());
  if (*length == 0) return {};
  const ByteRange range{byte_range(*context.lu, cdb).offset, *length};
  Task* task = &context.task;
  context.start(
      Access::exclusive, range, [task, range] { return write_range(*task, range); }, {}, durability_of(cdb),
      write_range_at_once);
  return {};
}

Outcome write_and_verify(CommandContext& context) {
  const BlockCdb cdb = parse_block_cdb(context.cdb());
  auto length = written_bytes(context, cdb);
  if (!length) return std::unexpected(length.error());
  if (*length == 0) return {};
  const ByteRange range{byte_range(*context.lu, cdb).offset, *length};
  const bool comparing = cdb.byte_check() == BlockFlags::kByteCheckEach;
  context.start(Access::exclusive, range, [task = &context.task, range, comparing]() -> Outcome {
    if (auto written = write_range(*task, range); !written) return written;
    if (auto flushed = flush(store_of(*task)); !flushed) return flushed;
    if (comparing) return compare(store_of(*task), range, task->data_out.first(range.length));
    return read_through(store_of(*task), range);
  });
  return {};
}

// ---- ORWRITE --------------------------------------------------------------------------------------------------

namespace {

/// What the range holds, or'ed with as many bytes of `data`, piece by piece.
Outcome or_range(BackingStore& store, ByteRange range, base::Bytes data) {
  base::Segments read;
  std::vector<std::uint8_t> merged;
  for (std::uint64_t at = 0; at < range.length; at += merged.size()) {
    const std::uint64_t length = std::min(kPiece, range.length - at);
    read.clear();
    if (auto good = store.read({range.offset + at, length}, read); !good)
      return std::unexpected(io_error_sense(good.error()));
    merged.assign(data.begin() + static_cast<std::ptrdiff_t>(at),
                  data.begin() + static_cast<std::ptrdiff_t>(at + length));
    auto out = merged.begin();
    for (const base::Segment& part : read.parts())
      for (std::uint8_t byte : part.bytes) *out++ |= byte;
    if (auto written = store.write(range.offset + at, merged); !written)
      return std::unexpected(io_error_sense(written.error()));
  }
  return {};
}

}  // namespace

Outcome or_write(CommandContext& context) {
  const BlockCdb cdb = parse_block_cdb(context.cdb());
  auto length = written_bytes(context, cdb);
  if (!length) return std::unexpected(length.error());
  if (*length == 0) return {};
  const ByteRange range{byte_range(*context.lu, cdb).offset, *length};
  Task* task = &context.task;
  context.start(
      Access::exclusive, range,
      [task, range] { return or_range(store_of(*task), range, task->data_out.first(range.length)); }, {},
      durability_of(cdb));
  return {};
}

// ---- WRITE ATOMIC ---------------------------------------------------------------------------------------------

AtomicWriteLimits atomic_write_limits(const LogicalUnit& lu, const DeviceProfile& profile) {
  if (lu.store().may_block()) return {};
  std::uint64_t bytes = profile.maximum_atomic_bytes;
  if (profile.maximum_transfer_bytes != 0) bytes = std::min(bytes, profile.maximum_transfer_bytes);
  const std::uint64_t physical = std::uint64_t{1} << lu.config().blocks_per_physical_exponent;
  constexpr std::uint64_t kLongest = std::numeric_limits<std::uint16_t>::max();
  return {std::min(bytes / lu.block_length(), kLongest) / physical * physical, physical};
}

namespace {

/// The fields of WRITE ATOMIC (16) against VPD page B0h (SBC-4).
Outcome check_atomic_limits(const WriteAtomic16Cdb& cdb, const AtomicWriteLimits& limits) {
  auto refuse = [](std::size_t byte, std::string rule) {
    return std::unexpected(Sense::invalid_field_in_cdb(byte, {}, std::move(rule)));
  };
  const std::uint64_t lba = cdb.logical_block_address;
  const std::uint64_t boundary = cdb.atomic_boundary;
  const std::uint64_t length = cdb.transfer_length;
  if (lba % limits.granularity != 0) {
    return refuse(offsetof(WriteAtomic16Cdb, logical_block_address),
                  fmt::format("LBA {} is no multiple of the ATOMIC ALIGNMENT of {}", lba, limits.granularity));
  }
  if (boundary > limits.most || boundary % limits.granularity != 0) {
    return refuse(
        offsetof(WriteAtomic16Cdb, atomic_boundary),
        fmt::format("ATOMIC BOUNDARY {}; at most {}, in multiples of {}", boundary, limits.most, limits.granularity));
  }
  if (length > limits.most || length % limits.granularity != 0) {
    return refuse(offsetof(WriteAtomic16Cdb, transfer_length),
                  fmt::format("{} blocks; at most {}, in multiples of {}", length, limits.most, limits.granularity));
  }
  return {};
}

}  // namespace

Outcome check_write_atomic(const CommandContext& context) {
  const BlockCdb cdb = parse_block_cdb(context.cdb());
  if (auto good = check_transfer(context, cdb); !good) return good;
  const AtomicWriteLimits limits = atomic_write_limits(*context.lu, context.server.copy_manager().profile());
  if (auto good = check_atomic_limits(context.cdb_as<WriteAtomic16Cdb>(), limits); !good) return good;
  const std::uint64_t length = byte_range(*context.lu, cdb).length;
  const std::uint64_t expected = context.task.expected_data_length.value_or(length);
  if (expected < length) return std::unexpected(wrong_data_out_length(expected, length));
  return {};
}

namespace {

/// What was there comes back when the store had no room for all of the data.
Outcome write_all_or_nothing(BackingStore& store, ByteRange range, base::Bytes data) {
  auto before = store.capture({&range, 1});
  if (!before) return std::unexpected(io_error_sense(before.error()));
  auto written = store.write(range.offset, data);
  if (written) return {};
  if (auto restored = store.clone(**before, {0, range.length}, range.offset, nullptr); !restored)
    return std::unexpected(io_error_sense(restored.error()));
  return std::unexpected(io_error_sense(written.error()));
}

}  // namespace

Outcome write_atomic(CommandContext& context) {
  const BlockCdb cdb = parse_block_cdb(context.cdb());
  const ByteRange range = byte_range(*context.lu, cdb);
  Task* task = &context.task;
  if (task->data_out.size() < range.length) return std::unexpected(short_data_out(*task));
  if (range.length == 0) return {};
  context.start(
      Access::exclusive, range,
      [task, range] { return write_all_or_nothing(store_of(*task), range, task->data_out.first(range.length)); }, {},
      durability_of(cdb));
  return {};
}

// ---- VERIFY ---------------------------------------------------------------------------------------------------

std::uint64_t verify_length(const Task& task, const LogicalUnit* lu) {
  const BlockCdb cdb = parse_block_cdb(task.cdb);
  switch (cdb.byte_check()) {
    case BlockFlags::kByteCheckEach: return byte_range(*lu, cdb).length;
    case BlockFlags::kByteCheckOneBlock: return cdb.count.value == 0 ? 0 : lu->block_length();
    default: return 0;
  }
}

Outcome check_verify(const CommandContext& context) {
  const BlockCdb cdb = parse_block_cdb(context.cdb());
  switch (cdb.byte_check()) {
    case BlockFlags::kByteCheckNone: return check_blocks(*context.lu, cdb);
    // Little data may be compared with a whole medium: everybody else would wait for it.
    case BlockFlags::kByteCheckOneBlock:
    case BlockFlags::kByteCheckEach: return check_transfer(context, cdb);
    default:
      return std::unexpected(Sense::invalid_field_in_cdb(offsetof(BlockCdb10, flags), BlockFlags::kByteCheckBit,
                                                         "BYTCHK 10b is reserved"));
  }
}

Outcome verify_blocks(CommandContext& context) {
  const BlockCdb cdb = parse_block_cdb(context.cdb());
  const ByteRange range = byte_range(*context.lu, cdb);
  Task* task = &context.task;
  if (task->data_out.size() < task->data_out_length) return std::unexpected(short_data_out(*task));
  if (range.length == 0) return {};
  const std::uint8_t byte_check = cdb.byte_check();
  context.start(Access::shared, range, [task, range, byte_check]() -> Outcome {
    BackingStore& store = store_of(*task);
    if (auto flushed = flush(store); !flushed) return flushed;
    const base::Bytes data = task->data_out.first(task->data_out_length);
    switch (byte_check) {
      case BlockFlags::kByteCheckEach: return compare(store, range, data);
      case BlockFlags::kByteCheckOneBlock: return compare(store, range, repeated(data, range.length));
      default: return read_through(store, range);
    }
  });
  return {};
}

// ---- COMPARE AND WRITE ----------------------------------------------------------------------------------------

std::uint64_t compare_and_write_length(const Task& task, const LogicalUnit* lu) {
  return 2 * byte_range(*lu, parse_block_cdb(task.cdb)).length;
}

namespace {

Outcome check_compare_and_write_limit(const CommandContext& context, const BlockCdb& cdb) {
  const std::uint64_t limit = context.server.copy_manager().profile().maximum_compare_and_write_blocks;
  // The one byte of NUMBER OF LOGICAL BLOCKS has wrapped when more data is announced than it can ask for: libiscsi
  // sends 0 for 256 blocks and wants them refused.
  const std::uint64_t pair = 2 * context.lu->block_length();
  const std::uint64_t announced = context.task.expected_data_length.value_or(0) / pair;
  const std::uint64_t blocks = std::max(cdb.count.value, announced);
  if (blocks <= limit) return {};
  return std::unexpected(Sense::invalid_field_in_cdb(
      cdb.count_offset, {}, fmt::format("{} blocks exceed the MAXIMUM COMPARE AND WRITE LENGTH of {}", blocks, limit)));
}

}  // namespace

Outcome check_compare_and_write(const CommandContext& context) {
  const BlockCdb cdb = parse_block_cdb(context.cdb());
  if (auto good = check_compare_and_write_limit(context, cdb); !good) return good;
  if (auto good = check_blocks(*context.lu, cdb); !good) return good;
  const std::uint64_t length = 2 * byte_range(*context.lu, cdb).length;
  const std::uint64_t expected = context.task.expected_data_length.value_or(length);
  if (length != 0 && expected != length) return std::unexpected(wrong_data_out_length(expected, length));
  return {};
}

Outcome compare_and_write(CommandContext& context) {
  const ByteRange range = byte_range(*context.lu, parse_block_cdb(context.cdb()));
  Task* task = &context.task;
  if (range.length == 0) return {};
  if (task->data_out.size() < 2 * range.length) return std::unexpected(short_data_out(*task));
  auto work = [task, range]() -> Outcome {
    BackingStore& store = store_of(*task);
    auto difference = first_difference(store, range.offset, task->data_out.first(range.length));
    if (!difference) return std::unexpected(io_error_sense(difference.error()));
    if (*difference) {
      Sense sense = miscompare(**difference);
      sense.information = **difference;
      return std::unexpected(std::move(sense));
    }
    return io_outcome(store.write(range.offset, task->data_out.subspan(range.length, range.length)));
  };
  context.start(Access::exclusive, range, work, {}, durability_of(parse_block_cdb(context.cdb())));
  return {};
}

// ---- SYNCHRONIZE CACHE, PRE-FETCH -----------------------------------------------------------------------------

Outcome synchronize_cache(CommandContext& context) {
  const BlockCdb cdb = parse_block_cdb(context.cdb());
  if (auto good = check_blocks(*context.lu, cdb); !good) return good;
  ByteRange range = byte_range(*context.lu, cdb);
  if (cdb.count.value == 0) range.length = context.lu->capacity().value * context.lu->block_length() - range.offset;
  // Sharing the range is enough: earlier writes to it come first, and reads go on.
  context.start(
      Access::shared, range, [] { return Outcome{}; }, {}, Durability::flushed, [](Task&, ByteRange) { return true; });
  return {};
}

Outcome pre_fetch(CommandContext& context) { return check_blocks(*context.lu, parse_block_cdb(context.cdb())); }

}  // namespace scsi
