// Property: whatever connections commands come on, and however their arrival is interleaved, each connection's PDUs in
// their own order, the array is what it would be had the commands come one after the other in CmdSN order, and each is
// answered on its own connection.
//
// Not tested, and why: writes whose data comes later write blocks of their own, since only their admission is ordered.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <deque>
#include <map>
#include <random>

#include "test/iscsi/several_peers.h"

using namespace test;

namespace {

constexpr std::uint32_t kBlocks = 16;       // of the model
constexpr std::uint32_t kOwnBlocks = 1024;  // where writes with R2T have a block each

class Interleaving {
 public:
  explicit Interleaving(std::uint64_t seed)
      : random_(seed), array_(options(random_() % 2 != 0)), peers_(array_, 2 + random_() % 3, first_cmd_sn()) {
    peers_.clear_attentions();
    queues_.resize(peers_.size());
  }

  void run() {
    for (std::uint32_t i = 0; i < 40; ++i) compose(i);
    while (!over()) step();
    CHECK(open_ == 0);
    CHECK(array_.sessions.list().at(0).commands == 0);
    base::Bytes stored = array_.device.stores[0]->bytes();
    for (auto& [block, seed] : model_) CHECK(std::ranges::equal(stored.subspan(block * 512, 512), pattern(512, seed)));
  }

 private:
  static DeviceOptions options(bool blocking) {
    DeviceOptions each;
    each.blocking = blocking;
    return each;
  }
  std::uint32_t first_cmd_sn() {
    switch (random_() % 3) {
      case 0: return 0xFFFFFFF0;
      case 1: return 0x7FFFFFF0;
      default: return static_cast<std::uint32_t>(random_());
    }
  }

  /// The next command in the order, for some connection, and what the model makes of it.
  void compose(std::uint32_t index) {
    std::size_t at = random_() % peers_.size();
    std::uint32_t block = static_cast<std::uint32_t>(random_() % kBlocks);
    auto seed = static_cast<std::uint8_t>(index + 1);
    iscsi::ScsiCommandBhs bhs;
    ByteVector data;
    switch (random_() % 4) {
      case 0:
        bhs = peers_.command(at, read10(block, 1), 0xC0, 512);
        expected_[peers_.task_tag] = model_.contains(block) ? pattern(512, model_[block]) : ByteVector(512);
        break;
      case 1:
        block = kOwnBlocks + index;
        bhs = peers_.command(at, write10(block, 1), 0xA0, 512);
        later_[peers_.task_tag] = pattern(512, seed);
        model_[block] = seed;
        break;
      default:
        bhs = peers_.command(at, write10(block, 1), 0xA0, 512);
        data = pattern(512, seed);
        model_[block] = seed;
    }
    connection_of_[peers_.task_tag] = at;
    ++open_;
    queues_[at].push_back(peers_[at].encode(iscsi::header_as<iscsi::Bhs>(bhs), data));
  }

  bool over() {
    bool sent = std::ranges::all_of(queues_, [](const auto& each) { return each.empty(); });
    return sent && asked_.empty() && array_.device.executor.held() == 0;
  }

  void step() {
    std::size_t at = random_() % peers_.size();
    if (random_() % 3 == 0 && array_.device.executor.held() > 0)
      array_.device.executor.run(random_() % array_.device.executor.held());
    if (random_() % 2 == 0 && !queues_[at].empty()) {
      peers_[at].feed(queues_[at].front());
      queues_[at].pop_front();
    } else if (!asked_.empty()) {
      auto r2t = asked_.begin() + static_cast<std::ptrdiff_t>(random_() % asked_.size());
      std::uint32_t itt = r2t->initiator_task_tag;
      peers_[connection_of_[itt]].send_data_out(itt, r2t->target_transfer_tag, 0, 0, later_[itt], true);
      asked_.erase(r2t);
    }
    for (at = 0; at < peers_.size(); ++at) look(at);
  }

  void look(std::size_t at) {
    for (const Answer& answer : peers_[at].answers()) {
      std::uint32_t itt = answer.bhs.initiator_task_tag;
      CHECK(connection_of_.at(itt) == at);
      if (answer.code() == iscsi::Opcode::r2t) {
        asked_.push_back(answer.as<iscsi::R2tBhs>());
        continue;
      }
      --open_;
      if (expected_.contains(itt)) {
        CHECK(answer.line() == fmt::format("DataIn F S itt={} sn=0 offset=0 len=512", itt));
        CHECK(answer.data == expected_[itt]);
      } else {
        CHECK(answer.line() == fmt::format("Response 00 itt={}", itt));
      }
    }
  }

  std::mt19937_64 random_;
  Array array_;
  SeveralPeers peers_;
  std::vector<std::deque<ByteVector>> queues_;          // what each connection is still to send
  std::map<std::uint32_t, std::uint8_t> model_;         // pattern of each block
  std::map<std::uint32_t, std::size_t> connection_of_;  // by task tag
  std::map<std::uint32_t, ByteVector> expected_;        // data of a read
  std::map<std::uint32_t, ByteVector> later_;           // data of a write with R2T
  std::vector<iscsi::R2tBhs> asked_;
  std::uint32_t open_ = 0;
};

}  // namespace

TEST_SUITE("iscsi connection order") {
  TEST_CASE("Any interleaving of connections is served as one stream in CmdSN order") {
    constexpr std::uint64_t kSeed = 4720;
    MESSAGE("seeds from ", kSeed);
    for (std::uint64_t seed = kSeed; seed < kSeed + 200; ++seed) {
      CAPTURE(seed);
      Interleaving(seed).run();
    }
  }
}
