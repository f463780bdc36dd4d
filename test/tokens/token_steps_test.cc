// What is done with very many tokens a few at a time: pages of a list, all of them forgotten, some of a source
// cancelled; and the index that says which token follows which.
//
// Not tested, and why: how long a step takes (scripts/bench tokens).
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "test/tokens/token_fixture.h"
#include "tokens/token_index.h"

using namespace tokens;
using namespace tokens_test;
using std::chrono::seconds;

namespace {

struct Forgotten final : TokenObserver {
  explicit Forgotten(TokenManager& its_manager) : manager(its_manager) { manager.set_observer(this); }
  void created(TokenId, const Rod&, const TokenUser&, base::Duration) override {}
  void used(TokenId, const Rod&, const TokenUser&) override {}
  void ended(TokenId id, const Rod&, const TokenEnding&) override { ended_ids.push_back(id); }
  void forgotten(TokenId id) override { ids.push_back(id); }
  void sweep_changed() override {}

  TokenManager& manager;
  std::vector<TokenId> ids{}, ended_ids{};
};

struct Reader {
  TokenManager& manager;
  const std::string* source = nullptr;
  std::vector<TokenId> seen{};
  TokenId after{};
  bool more = true;

  /// Reads a page; returns how many it had.
  std::size_t page(std::size_t most) {
    const std::size_t before = seen.size();
    auto next = manager.page({source, after, most}, [&](const auto& token) { seen.push_back(token.id); });
    more = next.has_value();
    if (next) after = *next;
    return seen.size() - before;
  }
  void read(std::size_t most) {
    while (more) page(most);
  }
};

constexpr std::size_t kMany = 3 * TokenManager::kMostPassedBy;

RodSource source_of(const std::string& name, std::uint8_t unit = 1) { return {name, 512, {unit}}; }

}  // namespace

TEST_CASE("the index says which number follows, in and out of blocks, whatever has gone") {
  std::mt19937_64 random(20261127);
  TokenIndex index;
  std::set<std::uint64_t> model;
  CHECK(index.empty());
  CHECK(index.next(0) == 0);
  std::uint64_t number = 0;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 3 != 0 || model.empty()) {
      number += random() % 50 == 0 ? random() % 10'000 + 1 : 1;
      index.add(number);
      model.insert(number);
    } else {
      auto gone = model.lower_bound(random() % number);
      if (gone == model.end()) gone = model.begin();
      index.remove(*gone);
      model.erase(gone);
    }
    const std::uint64_t from = random() % (number + 2);
    auto expected = model.upper_bound(from);
    REQUIRE(index.next(from) == (expected == model.end() ? 0 : *expected));
  }
  std::vector<std::uint64_t> all;
  for (std::uint64_t at = index.next(0); at != 0; at = index.next(at)) all.push_back(at);
  CHECK(std::ranges::equal(all, model));
  for (std::uint64_t each : all) index.remove(each);
  CHECK(index.empty());
}

TEST_CASE("pages show each token once that is valid all the while, though others come and go in between") {
  TokenFixture f({.tokens = 1000, .lifetime = seconds(600)});
  std::vector<TokenId> all;
  for (int i = 0; i < 100; ++i) all.push_back(id_of(f.create()));
  for (std::size_t size : {1, 7, 100, 1000}) {
    Reader reader{f.manager};
    reader.read(size);
    CHECK(reader.seen == all);
  }
  Reader reader{f.manager};
  CHECK(reader.page(10) == 10);
  CHECK(reader.after == all[9]);
  f.manager.revoke(all[9]);  // the place stays when its token has gone
  f.manager.revoke(all[3]);
  f.manager.revoke(all[50]);
  const TokenId late = id_of(f.create());
  CHECK(reader.page(10) == 10);
  f.clock.advance(seconds(10));
  reader.read(10);
  std::vector<TokenId> expected = all;
  std::erase(expected, all[50]);
  expected.push_back(late);
  CHECK(reader.seen == expected);
  CHECK(f.manager.count() == 98);
  // Behind the last, and where all have ended, there is nothing.
  Reader behind{.manager = f.manager, .after = late};
  CHECK(behind.page(10) == 0);
  CHECK_FALSE(behind.more);
  Reader exact{f.manager};
  CHECK(exact.page(98) == 98);
  CHECK_FALSE(exact.more);
  for (TokenId id : all) f.manager.revoke(id);
  f.manager.revoke(late);
  Reader none{f.manager};
  CHECK(none.page(10) == 0);
  CHECK_FALSE(none.more);
}

TEST_CASE("a page of one source goes from one of its tokens to the next, and looks at few others to find its place") {
  TokenFixture f({.tokens = 2 * kMany, .lifetime = seconds(600)});
  const std::string name = "wanted";
  std::vector<TokenId> wanted;
  for (std::size_t i = 0; i < kMany; ++i) {
    f.try_create(seconds(60), 512, source_of("other", 2));
    if (i % (kMany / 4) == 0) wanted.push_back(id_of(*f.try_create(seconds(60), 512, source_of(name))));
  }
  Reader reader{f.manager, &name};
  CHECK(reader.page(1) == 1);
  CHECK(reader.page(10) == 3);  // however many stand between
  CHECK(reader.seen == wanted);
  CHECK_FALSE(reader.more);
  CHECK(f.manager.count(&name) == 4);
  // From one that has gone the next is looked for, and not among all at once.
  f.manager.revoke(wanted[1]);
  Reader again{.manager = f.manager, .source = &name, .after = wanted[1]};
  CHECK(again.page(10) == 2);
  Reader far{.manager = f.manager, .source = &name, .after = wanted[3]};
  f.manager.revoke(wanted[3]);
  const TokenId last = id_of(*f.try_create(seconds(60), 512, source_of(name)));
  std::size_t pages = 0;
  for (; far.more && far.seen.empty(); ++pages) far.page(10);
  CHECK(far.seen == std::vector{last});
  CHECK(pages <= 1 + kMany / 4 / TokenManager::kMostPassedBy + 1);
  // Several of one name, as where a logical unit was removed and made again.
  const TokenId twin = id_of(*f.try_create(seconds(60), 512, source_of(name, 3)));
  Reader both{f.manager, &name};
  both.read(1);
  CHECK(both.seen == std::vector{wanted[0], wanted[2], last, twin});
  const std::string nobody = "nobody";
  Reader none{f.manager, &nobody};
  CHECK(none.page(10) == 0);
  CHECK_FALSE(none.more);
}

TEST_CASE("a page passes by a limited number of tokens that have ended and are not swept") {
  TokenFixture f({.tokens = 2 * kMany, .lifetime = seconds(600)});
  for (std::size_t i = 0; i < kMany; ++i) f.create(seconds(1));
  const TokenId valid = id_of(f.create(seconds(60)));
  f.clock.advance(seconds(2));
  Reader reader{f.manager};
  std::size_t pages = 0;
  for (; reader.more; ++pages) reader.page(1);
  CHECK(reader.seen == std::vector{valid});
  CHECK(pages >= (kMany - 10 * TokenManager::kSweptByCall) / (TokenManager::kMostPassedBy + 1));
  CHECK(pages <= 5);
}

TEST_CASE("all tokens are forgotten at once, and their memory comes back step by step") {
  TokenFixture f({.tokens = 1000, .lifetime = seconds(600)});
  Forgotten heard(f.manager);
  std::vector<RodToken> all;
  std::vector<TokenId> valid;
  for (int i = 0; i < 100; ++i) all.push_back(f.create());
  auto use = f.manager.use(all[50]);
  for (int i = 0; i < 20; ++i) f.manager.revoke(id_of(all[static_cast<std::size_t>(i)]));
  for (int i = 20; i < 100; ++i) valid.push_back(id_of(all[static_cast<std::size_t>(i)]));
  f.manager.cancel_of({}, [](const Rod&) { return false; }, TokenEnd::source_shrank);
  f.manager.forget_all();
  CHECK(f.snapshots_alive == 80);
  CHECK(heard.ids.empty());
  CHECK(f.manager.tokens() == 0);
  CHECK(f.manager.tombstones() == 0);
  CHECK(f.manager.count() == 0);
  CHECK(f.manager.next_sweep() == base::TimePoint::max());
  for (const RodToken& token : all) {
    CHECK(f.manager.use(token).error() == TokenError::unknown);
    CHECK(f.manager.state(id_of(token)) == TokenState::unknown);
    CHECK_FALSE(f.manager.ending(id_of(token)).has_value());
  }
  const RodToken later = f.create();  // others live on
  use = f.manager.use(later);         // the end of a use of one that is forgotten
  Reader reader{.manager = f.manager, .after = id_of(all[70])};
  CHECK(reader.page(10) == 1);

  std::size_t steps = 0, most = 0;
  for (bool more = true; more; ++steps) {
    const std::size_t before = heard.ids.size();
    more = f.manager.free_forgotten(8);
    most = std::max(most, heard.ids.size() - before);
  }
  CHECK(most <= 8);
  CHECK(steps >= 10);
  CHECK(heard.ids == valid);
  CHECK(f.snapshots_alive == 1);
  CHECK_FALSE(f.manager.free_forgotten(1));
  CHECK(f.manager.state(id_of(later)) == TokenState::valid);
}

TEST_CASE("what is forgotten twice in a row is freed one after the other") {
  TokenFixture f({.tokens = 1000, .lifetime = seconds(600)});
  Forgotten heard(f.manager);
  std::vector<TokenId> all;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10; ++i) all.push_back(id_of(f.create()));
    f.manager.forget_all();
    f.manager.free_forgotten(3);
  }
  while (f.manager.free_forgotten(1)) continue;
  CHECK(heard.ids == all);
  CHECK(f.snapshots_alive == 0);
}

TEST_CASE("tokens that a condition cancels are cancelled at once, however many, and looked at a few at a time") {
  constexpr std::size_t kTokens = 4 * TokenManager::kLooksForOne * TokenManager::kCancelledAtOnce;
  TokenFixture f({.tokens = 2 * kTokens, .lifetime = seconds(600)});
  Forgotten heard(f.manager);
  const RodToken expired = *f.try_create(seconds(1), 1024, source_of("lun"));
  std::vector<RodToken> lost, kept;
  for (std::size_t i = 0; i < kTokens; ++i) {
    auto& list = i % 2 == 0 ? lost : kept;
    list.push_back(*f.try_create(seconds(60), i % 2 == 0 ? 1024 : 512, source_of("lun")));
  }
  const RodToken other = *f.try_create(seconds(60), 1024, source_of("other", 2));
  f.clock.advance(seconds(1));
  const base::TimePoint when = f.clock.now();
  const auto large = [](const Rod& rod) { return rod.size_bytes() > 512; };
  f.manager.cancel_of({1}, large, TokenEnd::source_shrank);
  CHECK(heard.ended_ids.size() <= TokenManager::kCancelledAtOnce);
  CHECK(f.manager.tokens() > kTokens - TokenManager::kCancelledAtOnce);
  CHECK(f.manager.next_sweep() == when);
  const RodToken later = *f.try_create(seconds(60), 1024, source_of("lun"));
  f.clock.advance(seconds(1));
  for (const RodToken& token : lost) {
    CHECK(f.manager.state(id_of(token)) == TokenState::cancelled);
    CHECK(f.manager.ending(id_of(token))->at == when);
    CHECK(f.manager.ending(id_of(token))->cause == TokenEnd::source_shrank);
    CHECK_FALSE(f.manager.find(id_of(token)).has_value());
  }
  for (const RodToken& token : {kept.front(), kept.back(), other, later})
    CHECK(f.manager.state(id_of(token)) == TokenState::valid);
  CHECK(f.manager.state(id_of(expired)) == TokenState::expired);
  CHECK(f.manager.use(lost.back()).error() == TokenError::cancelled);
  f.manager.revoke(id_of(kept[kept.size() / 2]));  // one that is looked at later

  std::size_t sweeps = 0, most = 0;
  for (; f.manager.tokens() > kept.size() + 1; ++sweeps) {
    const std::size_t before = heard.ended_ids.size();
    f.manager.sweep(10);
    most = std::max(most, heard.ended_ids.size() - before);
  }
  CHECK(most <= 10);
  CHECK(sweeps > 10);
  CHECK(f.manager.state(id_of(later)) == TokenState::valid);
  CHECK(f.manager.count() == kept.size() + 1);  // one revoked, and two others
  for (int i = 0; i < 1000 && f.manager.next_sweep() == when; ++i) f.manager.sweep(10);
  CHECK(f.manager.next_sweep() > f.clock.now());
}

TEST_CASE("a second condition, or the loss of the whole source, finds what a first one has left") {
  constexpr std::size_t kTokens = 2 * TokenManager::kLooksForOne * TokenManager::kCancelledAtOnce;
  TokenFixture f({.tokens = 2 * kTokens, .lifetime = seconds(600)});
  std::vector<RodToken> all;
  for (std::size_t i = 0; i < kTokens; ++i)
    all.push_back(*f.try_create(seconds(60), 512 * (i % 3 + 1), source_of("lun")));
  const auto larger_than = [](std::uint64_t size) {
    return [size](const Rod& rod) { return rod.size_bytes() > size; };
  };
  const base::TimePoint first = f.clock.now();
  f.manager.cancel_of({1}, larger_than(1024), TokenEnd::source_shrank);
  f.clock.advance(seconds(1));
  f.manager.cancel_of({1}, larger_than(512), TokenEnd::source_shrank);
  f.clock.advance(seconds(1));
  static_assert(kTokens % 3 == 1);
  CHECK(f.manager.state(id_of(all[kTokens - 1])) == TokenState::valid);  // far from being looked at, all of them
  CHECK(f.manager.state(id_of(all[kTokens - 2])) == TokenState::cancelled);
  CHECK(f.manager.state(id_of(all[kTokens - 3])) == TokenState::cancelled);
  SUBCASE("both conditions") {
    while (f.manager.next_sweep() <= f.clock.now()) f.manager.sweep(16);
    for (const RodToken& token : all) {
      const std::uint64_t size = token.number_of_bytes_represented.value();
      const TokenState state = f.manager.state(id_of(token));
      CHECK(state == (size > 512 ? TokenState::cancelled : TokenState::valid));
      if (state == TokenState::cancelled)
        CHECK(f.manager.ending(id_of(token))->at == (size > 1024 ? first : first + seconds(1)));
    }
  }
  SUBCASE("the whole source") {
    f.manager.cancel_of({1}, TokenEnd::source_removed);
    for (const RodToken& token : all) CHECK(f.manager.state(id_of(token)) == TokenState::cancelled);
    while (f.manager.next_sweep() <= f.clock.now()) f.manager.sweep(16);
    CHECK(f.manager.tokens() == 0);
    std::size_t shrank = 0;
    for (const RodToken& token : all) shrank += f.manager.ending(id_of(token))->cause == TokenEnd::source_shrank;
    CHECK(shrank == static_cast<std::size_t>(std::ranges::count_if(
                        all, [](const RodToken& token) { return token.number_of_bytes_represented.value() > 512; })));
  }
  SUBCASE("all forgotten") {
    f.manager.forget_all();
    while (f.manager.free_forgotten(100)) continue;
    CHECK(f.snapshots_alive == 0);
    CHECK(f.manager.next_sweep() == base::TimePoint::max());
  }
}
