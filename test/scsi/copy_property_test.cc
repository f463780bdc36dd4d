// Not tested, and why: overlapping commands in flight (memory stores answer at once; copy_life_test holds some back).

// Random POPULATE TOKEN, WRITE USING TOKEN, WRITE, UNMAP and time on memory stores of both block lengths, against a
// model that keeps plain bytes and, for each token, the bytes it stands for.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <random>

#include "handlers/memory_store.h"
#include "scsi/copy_manager.h"
#include "test/scsi/copy_fixture.h"

using namespace test;

namespace {

constexpr std::uint64_t kBytes = 64 * 4096;
constexpr std::uint16_t kFirst = 20;
constexpr std::uint32_t kBlockLengths[] = {512, 512, 4096};
constexpr auto kTimeout = std::chrono::seconds(60);
constexpr auto kLifetime = std::chrono::seconds(300);

struct ModelToken {
  tokens::RodToken token;
  Bytes bytes;
  base::TimePoint created, last_used;
  bool deleted = false;

  bool usable(base::TimePoint now) const { return !deleted && now < last_used + kTimeout && now < created + kLifetime; }
};

class World {
 public:
  World() : device({.token_lifetime_s = 300}) {
    auto pool = handlers::MemoryPool::create();
    for (std::uint16_t i = 0; i < std::size(kBlockLengths); ++i) {
      scsi::LogicalUnitConfig config;
      config.name = "memory" + std::to_string(i);
      config.identity.naa = {0x60, 2, static_cast<std::uint8_t>(i)};
      config.block_length = kBlockLengths[i];
      device.server.add(
          scsi::Lun(static_cast<std::uint16_t>(kFirst + i)),
          std::make_shared<scsi::LogicalUnit>(config, std::make_unique<handlers::MemoryStore>(kBytes, pool)));
      model.emplace_back(kBytes);
    }
    device.nexus = device.attach("iqn.2025-01.example:random");
  }

  void step(std::uint64_t seed) {
    random.seed(seed);
    lun = static_cast<std::uint16_t>(pick(std::size(kBlockLengths)));
    block = kBlockLengths[lun];
    switch (pick(8)) {
      case 0:
      case 1: return write();
      case 2: return unmap();
      case 3:
      case 4: return populate();
      case 5: return device.clock.advance(std::chrono::seconds(pick(40)));
      default: return write_using();
    }
  }

  void check() {
    for (std::uint16_t i = 0; i < model.size(); ++i) {
      base::Segments out;
      REQUIRE(device.lu(static_cast<std::uint16_t>(kFirst + i)).store().read({0, kBytes}, out));
      RC_ASSERT(out.to_vector() == model[i]);
    }
  }

 private:
  std::uint64_t pick(std::uint64_t below) { return random() % below; }
  std::uint16_t number() const { return static_cast<std::uint16_t>(kFirst + lun); }
  std::uint8_t* at(std::uint64_t lba) { return model[lun].data() + lba * block; }

  Range range(std::uint64_t longest) {
    std::uint64_t capacity = kBytes / block;
    std::uint64_t lba = pick(capacity);
    return {lba, static_cast<std::uint32_t>(std::min(capacity - lba, pick(longest + 1)))};
  }
  /// Up to three ranges, which may overlap.
  Ranges ranges() {
    Ranges some;
    for (std::uint64_t i = 0, count = 1 + pick(3); i < count; ++i) some.push_back(range(kBytes / block / 4));
    return some;
  }
  static bool overlap(const Ranges& ranges) {
    for (std::size_t i = 0; i < ranges.size(); ++i)
      for (std::size_t j = 0; j < i; ++j)
        if (ranges[i].lba < ranges[j].lba + ranges[j].blocks && ranges[j].lba < ranges[i].lba + ranges[i].blocks &&
            ranges[i].blocks > 0 && ranges[j].blocks > 0)
          return true;
    return false;
  }

  void write() {
    Range where = range(8);
    Bytes data(where.blocks * block);
    for (std::uint8_t& byte : data) byte = static_cast<std::uint8_t>(random());
    Bytes cdb(16);
    cdb[0] = 0x8A;
    base::store(base::MutableBytes(cdb).subspan(2), base::be64(where.lba));
    base::store(base::MutableBytes(cdb).subspan(10), base::be32(where.blocks));
    RC_ASSERT(device.run(cdb, data, number()).good());
    std::ranges::copy(data, at(where.lba));
  }

  void unmap() {
    Range where = range(kBytes / block / 2);
    Bytes list(8 + 16);
    base::store(base::MutableBytes(list), base::be16(22));
    base::store(base::MutableBytes(list).subspan(2), base::be16(16));
    base::store(base::MutableBytes(list).subspan(8), base::be64(where.lba));
    base::store(base::MutableBytes(list).subspan(16), base::be32(where.blocks));
    RC_ASSERT(device.run(hex("42 00 00 00 00 00 00 00 18 00"), list, number()).good());
    std::fill_n(at(where.lba), where.blocks * block, std::uint8_t{0});
  }

  void populate() {
    Ranges from = ranges();
    ModelToken made{.created = device.clock.now(), .last_used = device.clock.now()};
    for (const Range& range : from) made.bytes.insert(made.bytes.end(), at(range.lba), at(range.lba + range.blocks));
    Command& command = device.populate(++list_identifier, from, {.timeout_s = 60}, number());
    RC_ASSERT(command.good() == !overlap(from));
    CopyResult result = device.result(list_identifier, number());
    if (!command.good()) return;
    RC_ASSERT(result.token.has_value() == !made.bytes.empty());
    RC_ASSERT(result.header.transfer_count == made.bytes.size() / block);
    if (!result.token) return;
    made.token = *result.token;
    tokens.push_back(std::move(made));
  }

  void write_using() {
    if (tokens.empty()) return;
    ModelToken& token = tokens[pick(tokens.size())];
    Ranges to = ranges();
    std::uint64_t offset = pick(3) == 0 ? pick(token.bytes.size() / block + 2) : 0;
    bool delete_token = pick(8) == 0;
    std::uint64_t wanted = 0;
    for (const Range& range : to) wanted += range.blocks * block;
    bool judged = !overlap(to);  // else the token is never looked at
    bool good = judged && token.usable(device.clock.now()) && offset * block < token.bytes.size() &&
                wanted <= token.bytes.size() - offset * block;
    Command& command = device.write_using(++list_identifier, token.token, to, offset, delete_token ? 2 : 0, number());
    RC_ASSERT(command.good() == good);
    CopyResult result = device.result(list_identifier, number());
    RC_ASSERT(result.header.copy_operation_status == (good ? 1 : 2));
    RC_ASSERT(result.header.transfer_count == (good ? wanted / block : 0));
    if (judged && token.usable(device.clock.now())) token.last_used = device.clock.now();
    if (!good) return;
    std::uint64_t from = offset * block;
    for (const Range& range : to) {
      std::copy_n(token.bytes.data() + from, range.blocks * block, at(range.lba));
      from += range.blocks * block;
    }
    token.deleted = delete_token;
  }

  CopyDevice device;
  std::vector<Bytes> model{};
  std::vector<ModelToken> tokens{};
  std::mt19937_64 random{};
  std::uint16_t lun = 0;
  std::uint64_t block = 512;
  std::uint32_t list_identifier = 0;
};

}  // namespace

TEST_CASE("random copies, writes, unmaps and time agree with a model of blocks and tokens") {
  CHECK(rc::check([](const std::vector<std::uint64_t>& seeds) {
    World world;
    for (std::uint64_t seed : seeds) {
      world.step(seed);
      world.check();
    }
  }));
}
