// Fuzzes what another array answers when the data of its token is fetched: login, the search for the logical unit, its
// limits, and the reading of pieces, each command answered with bytes of the input. Whatever comes, the copy ends, and
// gets no byte that is not there, nor more or less than it asked for.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <numeric>

#include "base/clock.h"
#include "base/log.h"
#include "scsi/copy_layouts.h"
#include "target/peers/remote_rods.h"

namespace {

void require(bool good) {
  if (!good) std::abort();
}

constexpr peers::Naa kCreator{0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/// How a command is answered: the status in bits 0 to 2, with sense data when bit 0 is one; and these.
enum How : std::uint8_t {
  kGoodData = 0x08,      ///< to RECEIVE COPY DATA: as many bytes as were asked for are held
  kStops = 0x10,         ///< the copy is stopped meanwhile
  kNotDelivered = 0x20,  ///< bits 6 and 7: what happened to the connection
  kSlow = 0x40,
};

class AnsweringArray final : public peers::Link {
 public:
  AnsweringArray(base::ByteReader& script, base::VirtualClock& clock, std::atomic<bool>& stopped)
      : script_(script), clock_(clock), stopped_(stopped) {}

  initiator::Result execute(int, const initiator::Command& command) override {
    using initiator::Transport;
    if (command.stop()) return {.transport = Transport::aborted};
    const std::uint8_t how = script_.u8();
    if (!script_.ok()) return {.transport = Transport::connection_lost};
    clock_.advance(std::chrono::milliseconds(how & kSlow ? 1500 : 1));
    if (how & kStops) stopped_ = true;
    if (how & kNotDelivered) return {.transport = static_cast<Transport>(1 + (how >> 6) % 3)};
    constexpr std::uint8_t kStatuses[] = {0x00, 0x02, 0x00, 0x02, 0x08, 0x18, 0x28, 0x40};
    initiator::Result result{.status = kStatuses[how & 7]};
    if (how & 1) result.sense = take(script_.u8());
    if (how & kGoodData && result.good() && command.cdb[0] == 0x84 && command.cdb[1] == 0x06)
      result.data_in = held_data(command.data_in_length);
    else if (command.data_in_length != 0)
      result.data_in = take(script_.u16());
    return result;
  }

 private:
  static std::vector<std::uint8_t> held_data(std::uint32_t room) {
    constexpr std::uint32_t kAround = 4 + sizeof(scsi::CopyStatusHeader) + 252 + 4;  // with the longest sense data
    std::vector<std::uint8_t> data;
    base::ByteWriter writer(data);
    writer.u32(0);
    scsi::CopyStatusHeader header{};
    header.copy_operation_status = 1;
    writer.layout(header);
    writer.u32(room - kAround);
    writer.zeros(room - kAround);
    return data;
  }

  std::vector<std::uint8_t> take(std::size_t length) {
    const base::Bytes bytes = script_.take_up_to(length);
    return {bytes.begin(), bytes.end()};
  }

  base::ByteReader& script_;
  base::VirtualClock& clock_;
  std::atomic<bool>& stopped_;
};

void use(const handlers::Snapshot& snapshot, std::uint64_t size, std::uint64_t offset) {
  require(snapshot.size_bytes() == size);
  for (std::uint64_t at : {std::uint64_t{0}, offset}) {
    base::Segments out;
    const std::uint64_t length = std::min<std::uint64_t>(size - at, 600'000);
    if (snapshot.read({at, length}, out)) require(out.size() == length);
    // Looked at, so that the sanitizer sees where it lies.
    const auto bytes = out.to_vector();
    (void)std::accumulate(bytes.begin(), bytes.end(), 0u);
    if (auto run = snapshot.provisioning(at)) require(run->length > 0 && run->length <= size - at);
  }
}

}  // namespace

/// The first four bytes: the block length, as a power of two; the length of the ROD in blocks, two of them; where to
/// read. Then the answers: how, the length of the sense data and they, the length of the data (two bytes) and they.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::log::set_level(base::log::Level::off);
  base::ByteReader script(base::Bytes(data, size));
  base::VirtualClock clock;
  std::atomic<bool> stopped{false};
  tokens::RodToken token{};
  std::ranges::copy(kCreator, token.creator_logical_unit_descriptor.designator.begin());
  token.block_device.logical_block_length = std::uint32_t{1} << script.u8() % 20;
  const std::uint64_t length = std::uint64_t{script.u16()} * token.block_device.logical_block_length;
  token.number_of_bytes_represented = length;
  const std::uint64_t offset = script.u8() * length / 256;
  const peers::Connect connect = [&](const target::PeerConfig&, const peers::Stop&) {
    return std::make_unique<AnsweringArray>(script, clock, stopped);
  };
  peers::RemoteRods rods({{.portal = {"192.0.2.1", 3260}}, {.portal = {"192.0.2.2", 3260}}}, connect, clock);
  // What is known of a peer needs no answers: the copies are counted.
  for (unsigned copies = 0; copies < 8 && script.remaining() > 0; ++copies) {
    stopped = false;
    if (auto snapshot = rods.open(token, stopped)) use(**snapshot, length, offset);
    clock.advance(std::chrono::seconds(1));
  }
  return 0;
}
