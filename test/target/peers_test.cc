// Fetching the data of tokens that another array made, from an array that is scripted here.
//
// Not tested, and why: libiscsi and a real array at the other end (the system tests, which run two odxd); what WRITE
// USING TOKEN makes of a refusal (scsi's tests).
#include "target/peers/remote_rods.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/clock.h"
#include "scsi/copy_layouts.h"
#include "scsi/device_server.h"
#include "scsi/extended_copy_layouts.h"
#include "scsi/sense.h"

namespace {

using handlers::IoError;
using initiator::Command;
using initiator::Result;
using initiator::Transport;
using peers::Naa;
using tokens::RodToken;
using tokens::TokenError;
using Data = std::vector<std::uint8_t>;

constexpr Naa kCreator{0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr std::uint64_t kKiB = 1024, kMiB = 1 << 20;

Result check_condition(scsi::SenseKey key, std::uint16_t code) {
  return {.status = 0x02, .sense = scsi::encode_fixed({key, static_cast<scsi::AdditionalSense>(code)})};
}

/// The other array: one logical unit with the creator's designator behind LUN 3, and one ROD.
struct ScriptedArray {
  Data rod;
  std::uint32_t block = 512;
  std::uint32_t held_data_limit = 1 << 20;
  std::uint32_t maximum_inline_data = 4096;
  std::uint8_t held_granularity_log2 = 0;
  int lun = 3;
  std::optional<std::uint16_t> copy_refused{};  ///< sense code EXTENDED COPY ends with
  unsigned unit_attentions = 0;
  bool reachable = true;
  int lost_at_copy = -1;  ///< the connection breaks at the EXTENDED COPY of this number
  std::uint32_t held_short_by = 0;
  base::VirtualClock* silent = nullptr;  ///< no command is answered, however long it waits

  unsigned logins = 0;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> copies{};  ///< first block and blocks
  Data last_list{};
  Data held{};
  unsigned searches = 0;

  Result execute(int to, const Command& command) {
    if (command.stop && command.stop()) return {.transport = Transport::aborted, .reason = "given up"};
    if (!reachable) return {.transport = Transport::connection_lost, .reason = "the connection broke"};
    for (; silent; silent->advance(std::chrono::milliseconds(100)))
      if (command.stop()) return {.transport = Transport::aborted, .reason = "given up"};
    if (unit_attentions > 0) {
      --unit_attentions;
      return check_condition(scsi::SenseKey::unit_attention, 0x2900);
    }
    switch (command.cdb[0]) {
      case 0xA0: return report_luns();
      case 0x12: return identify(to);
      case 0x83: return copy(to, command);
      case 0x84: return command.cdb[1] == 0x03 ? parameters() : held_data();
      default: return check_condition(scsi::SenseKey::illegal_request, 0x2000);
    }
  }

 private:
  Result report_luns() {
    ++searches;
    Data data(8);
    for (int each : {0, lun}) {
      auto field = scsi::encode_lun(scsi::Lun{static_cast<std::uint16_t>(each)});
      data.insert(data.end(), field.begin(), field.end());
    }
    base::store(base::MutableBytes(data), base::be32(16));
    return {.data_in = data};
  }

  Result identify(int to) const {
    Data data{0, 0x83, 0, 32, 0x02, 0x01, 0, 8, 'O', 'D', 'X', ' ', ' ', ' ', ' ', ' ', 0x01, 0x03, 0, 16};
    data.insert(data.end(), kCreator.begin(), kCreator.end());
    if (to != lun) data.back() ^= 1;
    return {.data_in = data};
  }

  Result parameters() const {
    Data data;
    base::ByteWriter writer(data);
    writer.u32(40);
    writer.zeros(12);
    writer.u32(0);  // MAXIMUM SEGMENT LENGTH
    writer.u32(maximum_inline_data);
    writer.u32(held_data_limit);
    writer.zeros(9);
    writer.u8(9);
    writer.u8(0);
    writer.u8(held_granularity_log2);
    writer.zeros(4);
    return {.data_in = data};
  }

  Result copy(int to, const Command& command) {
    CHECK(to == lun);
    if (lost_at_copy == static_cast<int>(copies.size()))
      return {.transport = Transport::connection_lost, .reason = "the connection broke"};
    if (copy_refused) return check_condition(scsi::SenseKey::illegal_request, *copy_refused);
    last_list = command.data_out;
    auto segment = base::load<scsi::BlockToBlockSegment>(
        base::Bytes(last_list).subspan(sizeof(scsi::ExtendedCopyLid4Header) + sizeof(scsi::RodCscdDescriptor)));
    std::uint64_t first = segment.source_lba;
    std::uint32_t blocks = segment.number_of_blocks;
    copies.emplace_back(first, blocks);
    if ((first + blocks) * block > rod.size()) return check_condition(scsi::SenseKey::copy_aborted, 0x2100);
    held.assign(rod.begin() + static_cast<std::ptrdiff_t>(first * block),
                rod.begin() + static_cast<std::ptrdiff_t>((first + blocks) * block));
    CHECK(held.size() <= held_data_limit);
    return {};
  }

  Result held_data() const {
    Data data;
    base::ByteWriter writer(data);
    scsi::CopyStatusHeader header{};
    header.copy_operation_status = 0x01;
    header.sense_data_field_length = 4;
    writer.u32(0);
    writer.layout(header);
    writer.zeros(4);
    writer.u32(static_cast<std::uint32_t>(held.size() - held_short_by));
    writer.bytes(base::Bytes(held).first(held.size() - held_short_by));
    return {.data_in = data};
  }
};

class ScriptedLink final : public peers::Link {
 public:
  explicit ScriptedLink(ScriptedArray& array) : array_(array) {}
  Result execute(int lun, const Command& command) override { return array_.execute(lun, command); }

 private:
  ScriptedArray& array_;
};

/// Data without zero bytes.
Data noise(std::size_t size) {
  Data data(size);
  std::uint32_t state = 1;
  for (std::uint8_t& byte : data) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<std::uint8_t>((state >> 24) | 1);
  }
  return data;
}

struct World {
  explicit World(std::size_t size, std::uint32_t block = 512) {
    array.rod = noise(size);
    array.block = block;
    token.rod_type = static_cast<std::uint32_t>(tokens::RodType::point_in_time_default);
    token.rod_token_length = tokens::kRodTokenLength;
    std::ranges::copy(kCreator, token.creator_logical_unit_descriptor.designator.begin());
    token.number_of_bytes_represented = size;
    token.block_device.logical_block_length = block;
    token.extended.mac.fill(0x5A);
  }

  ScriptedArray array;
  base::VirtualClock clock;
  RodToken token{};
  std::atomic<bool> stopped{false};
  bool stopped_at_login = false;
  peers::RemoteRods rods{{{.portal = {"192.0.2.1", 3260}, .target_name = "iqn.2026-11.org.example:peer"}},
                         [this](const target::PeerConfig&,
                                const peers::Stop&) -> std::expected<std::unique_ptr<peers::Link>, std::string> {
                           ++array.logins;
                           stopped = std::exchange(stopped_at_login, false);
                           if (stopped) return std::unexpected("no answer");
                           if (!array.reachable) return std::unexpected("the connection was refused");
                           return std::make_unique<ScriptedLink>(array);
                         },
                         clock};

  auto open() { return rods.open(token, stopped); }
  handlers::SnapshotRef snapshot() {
    auto opened = open();
    REQUIRE(opened);
    return *opened;
  }
  scsi::RemoteRods::Refusal refusal() {
    auto opened = open();
    REQUIRE_FALSE(opened);
    return opened.error();
  }
};

Data read(const handlers::Snapshot& snapshot, std::uint64_t offset, std::uint64_t length) {
  base::Segments out;
  auto result = snapshot.read({offset, length}, out);
  REQUIRE(result);
  return out.to_vector();
}

Data part(const Data& data, std::uint64_t offset, std::uint64_t length) {
  auto begin = data.begin() + static_cast<std::ptrdiff_t>(offset);
  return {begin, begin + static_cast<std::ptrdiff_t>(length)};
}

}  // namespace

TEST_CASE("the data of a token is fetched from the logical unit that has its creator's designator") {
  World world(3 * kMiB);
  auto snapshot = world.snapshot();
  CHECK(snapshot->may_block());
  CHECK(snapshot->size_bytes() == 3 * kMiB);
  CHECK(read(*snapshot, 0, 3 * kMiB) == world.array.rod);
  CHECK(read(*snapshot, kMiB + 1, 777) == part(world.array.rod, kMiB + 1, 777));
  CHECK(world.array.logins == 1);
  CHECK(world.array.searches == 1);
}

TEST_CASE("pieces grow while a reader goes on, up to what the peer holds") {
  World world(3 * kMiB);
  auto snapshot = world.snapshot();
  world.array.copies.clear();
  read(*snapshot, 0, 3 * kMiB);
  std::vector<std::uint32_t> blocks;
  for (auto [first, count] : world.array.copies) blocks.push_back(count);
  CHECK(blocks == std::vector<std::uint32_t>{512, 1024, 2048, 2048, 512});
}

TEST_CASE("EXTENDED COPY has the token inline, a ROD CSCD descriptor and a segment that holds its data") {
  World world(kMiB);
  auto snapshot = world.snapshot();
  read(*snapshot, 4096, 512);
  Data list = world.array.last_list;
  REQUIRE(list.size() == 48 + 32 + 28 + 512);
  CHECK(part(list, 0, 24) == Data{1, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0, 0, 0, 0, 0, 0, 2});
  CHECK(part(list, 42, 6) == Data{0, 32, 0, 28, 2, 0});
  Data rod(32);
  rod[0] = 0xFE;
  rod[4] = rod[5] = 0xFF;
  rod[30] = 2;
  CHECK(part(list, 48, 32) == rod);
  CHECK(part(list, 80, 28) ==
        Data{0x0D, 0x01, 0, 0x18, 0, 0, 0xC0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0});
  auto token = base::bytes_of(world.token);
  CHECK(part(list, 108, 512) == Data(token.begin(), token.end()));
}

TEST_CASE("runs of zeros are holes") {
  World world(kMiB);
  std::fill_n(world.array.rod.begin() + 16 * kKiB, 40 * kKiB, std::uint8_t{0});
  std::fill_n(world.array.rod.begin() + 100 * kKiB, 4095, std::uint8_t{0});
  auto snapshot = world.snapshot();
  auto run = [&](std::uint64_t offset) {
    auto found = snapshot->provisioning(offset);
    REQUIRE(found);
    return std::pair(found->length, found->mapped);
  };
  CHECK(run(0) == std::pair(16 * kKiB, true));
  CHECK(run(16 * kKiB) == std::pair(40 * kKiB, false));
  CHECK(run(20 * kKiB + 512) == std::pair(36 * kKiB - 512, false));
  CHECK(run(56 * kKiB) == std::pair(200 * kKiB, true));  // to the end of the piece
}

TEST_CASE("blocks of the source larger than what is asked for, and granularities, are read whole") {
  World world(64 * kKiB, 4096);
  world.array.held_granularity_log2 = 14;
  world.array.held_data_limit = 40'000;
  auto snapshot = world.snapshot();
  CHECK(read(*snapshot, 4096 + 512, 61 * kKiB - 4096) == part(world.array.rod, 4096 + 512, 61 * kKiB - 4096));
  for (auto [first, blocks] : world.array.copies) {
    CHECK(first % 4 == 0);
    CHECK(blocks <= 8);
  }
}

TEST_CASE("what the peer says of the token is what is said of it") {
  constexpr std::pair<std::uint16_t, TokenError> kErrors[] = {
      {0x2301, TokenError::unsupported_type}, {0x2302, TokenError::remote_not_supported},
      {0x2304, TokenError::unknown},          {0x2305, TokenError::corrupt},
      {0x2306, TokenError::revoked},          {0x2307, TokenError::expired},
      {0x2308, TokenError::cancelled},        {0x2309, TokenError::deleted},
      {0x230A, TokenError::invalid_length},   {0x2300, TokenError::unknown}};
  for (auto [code, error] : kErrors) {
    CAPTURE(code);
    World world(kMiB);
    world.array.copy_refused = code;
    CHECK(world.refusal().token == error);
  }
}

TEST_CASE("a token that ended while it is read has lost its data") {
  World world(kMiB);
  auto snapshot = world.snapshot();
  world.array.copy_refused = 0x2307;
  base::Segments out;
  auto result = snapshot->read({0, 512}, out);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == IoError::Kind::snapshot_lost);
}

TEST_CASE("a creator that no peer has is not known, and is not looked for again at once") {
  World world(kMiB);
  world.token.creator_logical_unit_descriptor.designator[15] ^= 2;
  auto refusal = world.refusal();
  CHECK_FALSE(refusal.token);
  CHECK_FALSE(refusal.creator_known);
  CHECK_FALSE(world.refusal().creator_known);
  CHECK(world.array.searches == 1);
  world.clock.advance(std::chrono::seconds(1));
  CHECK_FALSE(world.refusal().creator_known);
  CHECK(world.array.searches == 2);
}

TEST_CASE("a peer that cannot be reached may have the creator, and is left alone for a second") {
  World world(kMiB);
  world.array.reachable = false;
  auto refusal = world.refusal();
  CHECK_FALSE(refusal.token);
  CHECK(refusal.creator_known);
  CHECK(refusal.reason == "peer 192.0.2.1:3260 iqn.2026-11.org.example:peer: the connection was refused");
  world.array.reachable = true;
  world.refusal();
  CHECK(world.array.logins == 1);
  world.clock.advance(std::chrono::seconds(1));
  CHECK(world.open());
  CHECK(world.array.logins == 2);
}

TEST_CASE("a connection that breaks is an error of the copy, and the next copy logs in again") {
  World world(kMiB);
  auto snapshot = world.snapshot();
  world.array.lost_at_copy = static_cast<int>(world.array.copies.size());
  base::Segments out;
  auto result = snapshot->read({0, 512}, out);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == IoError::Kind::unreachable);
  world.array.lost_at_copy = -1;
  world.array.lun = 7;  // the peer came back with another map
  world.clock.advance(std::chrono::seconds(1));
  CHECK(read(*world.snapshot(), 0, kMiB) == world.array.rod);
  CHECK(world.array.logins == 2);
}

TEST_CASE("unit attentions of the peer are taken, not passed on") {
  World world(kMiB);
  world.array.unit_attentions = 2;
  CHECK(read(*world.snapshot(), 0, 512) == part(world.array.rod, 0, 512));
}

TEST_CASE("a copy that is stopped asks for nothing more, and the peer is as good as before") {
  World world(kMiB);
  auto snapshot = world.snapshot();
  std::size_t copies = world.array.copies.size();
  world.stopped = true;
  base::Segments out;
  CHECK_FALSE(snapshot->read({0, 512}, out));
  CHECK(world.array.copies.size() == copies);
  world.stopped = false;
  CHECK(world.open());
}

TEST_CASE("a copy that is stopped while it logs in leaves the peer to the next one") {
  World world(kMiB);
  world.stopped_at_login = true;
  CHECK(world.refusal().reason == "given up");
  world.stopped = false;
  CHECK(world.open());
  CHECK(world.array.logins == 2);
}

TEST_CASE("a peer that does not answer in its time is given up and left alone") {
  World world(kMiB);
  auto snapshot = world.snapshot();
  world.array.silent = &world.clock;
  base::Segments out;
  auto result = snapshot->read({0, 512}, out);
  REQUIRE_FALSE(result);
  CHECK(result.error().reason.ends_with("no answer in 3 s"));
  world.array.silent = nullptr;
  CHECK(world.refusal().reason.ends_with("no answer in 3 s"));
  CHECK(world.array.logins == 1);
}

TEST_CASE("held data that is short, no room for a token, and no room to hold are errors") {
  World short_by(kMiB);
  short_by.array.held_short_by = 1;
  CHECK(short_by.refusal().reason.contains("511 of 512 bytes are held"));
  World no_inline(kMiB);
  no_inline.array.maximum_inline_data = 511;
  CHECK(no_inline.refusal().reason.contains("takes no token"));
  World no_room(64 * kKiB, 4096);
  no_room.array.held_data_limit = 4095;
  CHECK(no_room.refusal().reason.contains("holds less than a block"));
}

TEST_CASE("a token whose sizes cannot be true is asked nothing about") {
  for (std::uint32_t block : {0u, 513u, 1u << 20}) {
    World world(kMiB);
    world.token.block_device.logical_block_length = block;
    CHECK(world.refusal().token == TokenError::corrupt);
    CHECK(world.array.logins == 0);
  }
  World world(kMiB);
  world.token.number_of_bytes_represented = 1000;
  CHECK(world.refusal().token == TokenError::corrupt);
}
