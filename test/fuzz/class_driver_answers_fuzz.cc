// Fuzzes what a target answers: discovery, then an offload read, an offload write and a plain read, each command
// answered with bytes of the input. Whatever comes, the driver ends, reads no byte that is not there, and never reports
// more copied than was asked for.
#include <algorithm>
#include <cstdlib>

#include "base/clock.h"
#include "host/class_driver.h"

namespace {

using namespace host;

void require(bool good) {
  if (!good) std::abort();
}

/// Each answer: how it ended, lengths of sense and data, whether the data begins with the answer a good target gives,
/// and the bytes. Without input left, no connection is left either.
class AnsweringTarget final : public initiator::Initiator {
 public:
  AnsweringTarget(base::Bytes script, base::VirtualClock& clock) : script_(script), clock_(clock) {}

  initiator::Result execute(const initiator::Command& command) override {
    // An endless loop of the driver would end here.
    constexpr unsigned kMostCommands = 20000;
    require(++commands_ < kMostCommands);
    initiator::Result result;
    const std::uint8_t how = script_.u8();
    if (!script_.ok()) {
      result.transport = initiator::Transport::connection_lost;
      return result;
    }
    constexpr std::uint8_t kStatuses[] = {0x00, 0x02, 0x00, 0x02, 0x08, 0x18, 0x28, 0x40};
    result.status = kStatuses[how & 7];
    if ((how & 0x38) == 0x38) result.transport = static_cast<initiator::Transport>(how >> 6);
    clock_.advance(std::chrono::milliseconds((how & 0x40) != 0 ? 900 : 1));
    const std::size_t sense_length = (how & 1) != 0 ? script_.u8() : 0;
    // Not bounded by what was asked for: whether a target keeps to that is its affair.
    std::size_t data_length = command.data_in_length != 0 ? script_.u16() : 0;
    result.sense = take(sense_length);
    result.data_in = take(data_length);
    if ((how & 0x10) != 0 && command.data_in_length > result.data_in.size())
      result.data_in.resize(command.data_in_length);
    if ((how & 0x80) != 0) result.residual = initiator::Result::Residual::underflow;
    return result;
  }
  initiator::WireCounters wire() const override { return {}; }

 private:
  std::vector<std::uint8_t> take(std::size_t length) {
    const base::Bytes bytes = script_.take_up_to(length);
    return {bytes.begin(), bytes.end()};
  }

  base::ByteReader script_;
  base::VirtualClock& clock_;
  unsigned commands_ = 0;
};

std::vector<DataSetRange> some_ranges(base::ByteReader& header, std::uint32_t block) {
  std::vector<DataSetRange> ranges;
  const std::size_t count = header.u8() % 100;
  for (std::size_t i = 0; i < count; ++i)
    ranges.push_back({i * 1024 * std::uint64_t{block}, (1 + i % 7) * std::uint64_t{block}});
  return ranges;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kHeader = 4;
  if (size < kHeader) return 0;
  base::ByteReader header(base::Bytes(data, kHeader));
  base::VirtualClock clock;
  AnsweringTarget target(base::Bytes(data + kHeader, size - kHeader), clock);
  ListIdentifiers list_identifiers;
  ClassDriver driver(target, clock, list_identifiers, {});
  const NtStatus started = driver.start();
  const Disk& disk = driver.disk();
  if (started != NtStatus::success) return 0;
  require(disk.block_length != 0);

  const std::vector<DataSetRange> ranges = some_ranges(header, disk.block_length);
  std::uint64_t asked = 0;
  for (const DataSetRange& range : ranges) asked += range.length;
  const OffloadReadResult read = driver.offload_read(ranges, header.u8());
  require(read.length_protected <= asked);
  require((read.length_protected != 0) == (read.status == NtStatus::success));
  const OffloadWriteResult write =
      driver.offload_write(read.token, header.u8() * std::uint64_t{disk.block_length}, ranges);
  require(write.length_copied <= asked && write.length_copied % disk.block_length == 0);
  require((write.length_copied != 0) == (write.status == NtStatus::success));
  require(!write.range_truncated || write.length_copied < asked);

  constexpr std::uint32_t kLargestBlock = 1 << 20;
  if (disk.block_length <= kLargestBlock) {
    std::vector<std::uint8_t> block(disk.block_length);
    if (driver.read(0, block) == NtStatus::success) driver.write(0, block);
  }
  return 0;
}
