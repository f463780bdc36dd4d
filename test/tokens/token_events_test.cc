// What a token manager tells of its tokens, and what it remembers of those that ended.
//
// Not tested, and why: words (test/scsi/journal_test.cc has them).
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "test/tokens/token_fixture.h"

using namespace tokens;
using namespace tokens_test;
using std::chrono::seconds;

namespace {

/// Writes down what it hears: "created 1", "expired 1".
struct Heard final : TokenObserver {
  explicit Heard(TokenManager& its_manager) : manager(its_manager) { manager.set_observer(this); }
  void note(const char* what, TokenId id) {
    told.push_back(std::string(what) + " " + std::to_string(manager.number(id)));
  }

  void created(TokenId id, const Rod&, const TokenUser&, base::Duration) override { note("created", id); }
  void used(TokenId id, const Rod&, const TokenUser&) override { note("used", id); }
  void ended(TokenId id, const Rod& rod, const TokenEnding& ending) override {
    CHECK(rod.size_bytes() == 1 << 20);  // its data is still there to be named
    last = ending;
    note("ended", id);
  }
  void forgotten(TokenId id) override { note("forgotten", id); }
  void sweep_changed() override { next_sweep = manager.next_sweep(); }

  TokenManager& manager;
  std::vector<std::string> told{};
  TokenEnding last{};
  base::TimePoint next_sweep = base::TimePoint::max();
};

using Told = std::vector<std::string>;

}  // namespace

TEST_CASE("tokens are told of when they are made, used, end and are forgotten") {
  TokenFixture f;
  Heard heard(f.manager);
  RodToken token = f.create(seconds(60));
  {
    auto use = f.manager.use(token);
  }
  f.clock.advance(seconds(60));
  f.manager.sweep();
  CHECK(heard.told == Told{"created 1", "used 1", "ended 1"});
  CHECK(f.manager.use(token).error() == TokenError::expired);
  f.clock.advance(seconds(1140));
  f.manager.sweep();
  CHECK(heard.told == Told{"created 1", "used 1", "ended 1", "forgotten 1"});
  CHECK_FALSE(f.manager.ending(id_of(token)).has_value());
}

TEST_CASE("a use that comes too late tells of the end before it fails") {
  TokenFixture f;
  Heard heard(f.manager);
  RodToken token = f.create(seconds(60));
  f.clock.advance(seconds(72));
  CHECK(f.manager.use(token).error() == TokenError::expired);
  CHECK(heard.told == Told{"created 1", "ended 1"});
  CHECK(heard.last.at == f.clock.now() - seconds(12));
}

TEST_CASE("what ended a token, when, and who named it last is remembered") {
  TokenFixture f;
  auto name = base::make_ref<const InitiatorName>("iqn.host");
  RodToken token = f.create(seconds(60));
  {
    auto use = f.manager.use(token, {CopyCommand::write_using_token, name});
  }
  f.clock.advance(seconds(61));
  for (bool swept : {false, true}) {
    if (swept) f.manager.sweep();
    TokenEnding ending = f.manager.ending(id_of(token)).value();
    CHECK(ending.state == TokenState::expired);
    CHECK(ending.cause == TokenEnd::inactivity);
    CHECK(ending.limit == seconds(60));
    CHECK(ending.at == f.clock.now() - seconds(1));
    CHECK(ending.last_user.command == CopyCommand::write_using_token);
    CHECK(ending.last_user.initiator->text() == "iqn.host");
  }
  RodToken old = f.create(seconds(599));
  f.clock.advance(seconds(300));
  {
    auto use = f.manager.use(old);
  }
  f.clock.advance(seconds(300));
  CHECK(f.manager.ending(id_of(old))->cause == TokenEnd::lifetime);
  CHECK(f.manager.ending(id_of(old))->limit == seconds(600));

  RodToken lost = f.create();
  CHECK_FALSE(f.manager.ending(id_of(lost)).has_value());
  f.manager.cancel_of({}, TokenEnd::source_shrank);
  CHECK(f.manager.ending(id_of(lost))->cause == TokenEnd::source_shrank);
  CHECK(f.manager.state(id_of(lost)) == TokenState::cancelled);
  RodToken gone = f.create();
  f.manager.expire(id_of(gone));
  CHECK(f.manager.use(gone).error() == TokenError::expired);
  CHECK(f.manager.ending(id_of(gone))->cause == TokenEnd::on_demand);
}

TEST_CASE("the next end is known exactly, while a token is used and after") {
  TokenFixture f;
  Heard heard(f.manager);
  base::TimePoint start = f.clock.now();
  RodToken token = f.create(seconds(60));
  CHECK(heard.next_sweep == start + seconds(60));
  {
    auto use = f.manager.use(token);
    CHECK(heard.next_sweep == start + seconds(600));  // its inactivity time stands still
    f.clock.advance(seconds(100));
  }
  CHECK(heard.next_sweep == start + seconds(160));
  f.manager.revoke(id_of(token));
  CHECK(heard.next_sweep == start + seconds(1200));  // when it is forgotten
  f.clock.advance(seconds(1100));
  f.manager.sweep();
  CHECK(heard.next_sweep == base::TimePoint::max());
}

TEST_CASE("tokens are numbered from 1, and a genuine one is known by its bytes") {
  TokenFixture f, other;
  RodToken first = f.create(), second = f.create();
  CHECK(f.manager.number(id_of(first)) == 1);
  CHECK(f.manager.number(id_of(second)) == 2);
  CHECK(f.manager.id_of(2) == id_of(second));
  CHECK(f.manager.number(TokenId{static_cast<std::uint64_t>(id_of(second)) + 1}) == 0);
  CHECK(f.manager.number(TokenId{0}) == 0);
  CHECK(f.manager.genuine(second) == id_of(second));
  second.extended.filler[0] ^= 1;
  CHECK_FALSE(f.manager.genuine(second).has_value());
}

TEST_CASE("the tokens of a lost logical unit are cancelled at once, however many, and told of a few at a time") {
  constexpr std::size_t kMany = 200;
  TokenFixture f({.tokens = kMany, .lifetime = seconds(600)});
  Heard heard(f.manager);
  const RodToken expired = f.create(seconds(1));
  f.clock.advance(seconds(2));
  std::vector<RodToken> all;
  for (std::size_t i = 1; i < kMany; ++i) all.push_back(f.create());  // sweeps the first
  const RodToken late = f.create(seconds(1));
  f.clock.advance(seconds(1));
  auto use = f.manager.use(all[150]);
  REQUIRE(use.has_value());
  const base::TimePoint lost = f.clock.now();
  f.manager.cancel_of({}, TokenEnd::source_removed);
  CHECK(f.manager.tokens() == kMany - TokenManager::kCancelledAtOnce);
  CHECK(heard.next_sweep == lost);

  f.clock.advance(seconds(1));
  CHECK(f.manager.state(id_of(expired)) == TokenState::expired);
  CHECK(f.manager.state(id_of(late)) == TokenState::expired);
  CHECK(f.manager.ending(id_of(late))->cause == TokenEnd::inactivity);
  for (const RodToken& token : all) {
    CHECK(f.manager.state(id_of(token)) == TokenState::cancelled);
    CHECK(f.manager.ending(id_of(token))->at == lost);
    CHECK(f.manager.ending(id_of(token))->cause == TokenEnd::source_removed);
    CHECK_FALSE(f.manager.find(id_of(token)).has_value());
  }
  CHECK(f.manager.for_each(kMany, [](const auto&) { FAIL("a cancelled token is visited"); }) == 0);
  // There is room for others, which are not cancelled.
  const RodToken other = f.create(seconds(300));
  CHECK(f.manager.state(id_of(other)) == TokenState::valid);
  CHECK(f.manager.use(all[190]).error() == TokenError::cancelled);
  use = f.manager.use(other);  // the end of the use of one that was cancelled

  std::size_t sweeps = 0;
  for (; f.manager.tokens() > 1; ++sweeps) f.manager.sweep(10);
  CHECK(sweeps > 10);
  CHECK(f.snapshots_alive == 1);
  CHECK(f.manager.tombstones() == kMany + 1);
  CHECK(std::ranges::count_if(heard.told, [](const auto& told) { return told.starts_with("ended"); }) == kMany + 1);
  CHECK(f.manager.state(id_of(other)) == TokenState::valid);
  CHECK(f.manager.for_each(kMany, [](const auto&) {}) == 1);
}
