// Not tested, and why: 2^63 tokens in one start, after which identifiers would wrap.
#include "tokens/token_manager.h"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <optional>
#include <vector>

#include "test/tokens/token_fixture.h"

using namespace tokens;
using namespace tokens_test;
using std::chrono::microseconds;
using std::chrono::seconds;

namespace {

constexpr microseconds kTick{1};

std::optional<TokenError> error(const std::expected<TokenUse, TokenError>& use) {
  return use ? std::nullopt : std::optional(use.error());
}

}  // namespace

TEST_CASE("a token is valid one microsecond before its inactivity timeout, and expired at it and after") {
  for (auto [offset, expected] : {std::pair{-kTick, TokenState::valid}, std::pair{microseconds(0), TokenState::expired},
                                  std::pair{kTick, TokenState::expired}}) {
    TokenFixture f;
    RodToken token = f.create(seconds(60));
    f.clock.advance(seconds(60) + offset);
    CHECK(f.manager.state(id_of(token)) == expected);
    CHECK(error(f.manager.use(token)) ==
          (expected == TokenState::valid ? std::nullopt : std::optional(TokenError::expired)));
  }
}

TEST_CASE("a token is valid one microsecond before its lifetime ends, however often it is used, and expired at it") {
  for (auto [offset, expected] : {std::pair{-kTick, TokenState::valid}, std::pair{microseconds(0), TokenState::expired},
                                  std::pair{kTick, TokenState::expired}}) {
    TokenFixture f({.lifetime = seconds(600)});
    RodToken token = f.create(seconds(60));
    for (int i = 0; i < 11; ++i) {
      f.clock.advance(seconds(50));
      REQUIRE(f.manager.use(token));
    }
    f.clock.advance(seconds(50) + offset);
    CHECK(f.manager.state(id_of(token)) == expected);
  }
}

TEST_CASE("the reason is remembered until one microsecond before twice the lifetime, then the token is unknown") {
  for (auto [offset, expected] :
       {std::pair{-kTick, TokenState::deleted}, std::pair{microseconds(0), TokenState::unknown},
        std::pair{kTick, TokenState::unknown}}) {
    for (bool swept : {false, true}) {
      TokenFixture f({.lifetime = seconds(600)});
      RodToken token = f.create();
      f.clock.advance(seconds(1));
      f.manager.delete_by_client(id_of(token));
      f.clock.advance(seconds(1199) + offset);
      if (swept) f.manager.sweep();
      CHECK(f.manager.state(id_of(token)) == expected);
      CHECK(error(f.manager.use(token)) ==
            (expected == TokenState::deleted ? TokenError::deleted : TokenError::unknown));
    }
  }
}

TEST_CASE("sweeping changes no answer: an expired token is expired, then unknown, swept or not") {
  for (bool swept : {false, true}) {
    TokenFixture f({.lifetime = seconds(600)});
    RodToken token = f.create(seconds(60));
    f.clock.advance(seconds(1200) - kTick);
    if (swept) f.manager.sweep();
    CHECK(error(f.manager.use(token)) == TokenError::expired);
    f.clock.advance(kTick);
    if (swept) f.manager.sweep();
    CHECK(error(f.manager.use(token)) == TokenError::unknown);
  }
}

TEST_CASE("inactivity time starts over at the end of the last command that names the token") {
  TokenFixture f;
  RodToken token = f.create(seconds(60));
  f.clock.advance(seconds(59));
  {
    auto use = f.manager.use(token);
    REQUIRE(use);
    f.clock.advance(seconds(120));  // a command that takes longer than the timeout
    CHECK(f.manager.state(id_of(token)) == TokenState::valid);
    auto second = f.manager.use(token);
    REQUIRE(second);
  }
  f.clock.advance(seconds(60) - kTick);
  CHECK(f.manager.state(id_of(token)) == TokenState::valid);
  f.clock.advance(kTick);
  CHECK(f.manager.state(id_of(token)) == TokenState::expired);
}

TEST_CASE("a command in progress does not extend the lifetime") {
  TokenFixture f({.lifetime = seconds(100)});
  RodToken token = f.create(seconds(60));
  f.clock.advance(seconds(50));
  auto use = f.manager.use(token);
  REQUIRE(use);
  f.clock.advance(seconds(50));
  CHECK(f.manager.state(id_of(token)) == TokenState::expired);
  CHECK(use->rod()->size_bytes() == 1 << 20);  // what it began it may finish
}

TEST_CASE("a refused token restarts nothing") {
  TokenFixture f;
  RodToken token = f.create(seconds(60));
  f.clock.advance(seconds(59));
  RodToken bad = token;
  bad.extended.filler[0] ^= 1;
  CHECK(error(f.manager.use(bad)) == TokenError::corrupt);
  f.clock.advance(seconds(1));
  CHECK(error(f.manager.use(token)) == TokenError::expired);
}

TEST_CASE("an inactivity timeout of zero means none: only the lifetime counts") {
  TokenFixture f({.lifetime = seconds(600)});
  RodToken token = f.create(seconds(0));
  f.clock.advance(seconds(600) - kTick);
  CHECK(f.manager.state(id_of(token)) == TokenState::valid);
  f.clock.advance(kTick);
  CHECK(f.manager.state(id_of(token)) == TokenState::expired);
}

TEST_CASE("each early end has its own error, and the first one stays") {
  TokenFixture f;
  RodToken deleted = f.create(), revoked = f.create(), cancelled = f.create(), expired = f.create(seconds(1));
  f.manager.delete_by_client(id_of(deleted));
  f.manager.revoke(id_of(revoked));
  f.manager.cancel(id_of(cancelled));
  f.clock.advance(seconds(1));
  for (const RodToken* token : {&deleted, &revoked, &cancelled, &expired}) {
    f.manager.delete_by_client(id_of(*token));
    f.manager.revoke(id_of(*token));
    f.manager.cancel(id_of(*token));
  }
  CHECK(error(f.manager.use(deleted)) == TokenError::deleted);
  CHECK(error(f.manager.use(revoked)) == TokenError::revoked);
  CHECK(error(f.manager.use(cancelled)) == TokenError::cancelled);
  CHECK(error(f.manager.use(expired)) == TokenError::expired);
}

TEST_CASE("ending a token while a command uses it keeps the data for that command only") {
  TokenFixture f;
  RodToken token = f.create();
  {
    auto use = f.manager.use(token);
    REQUIRE(use);
    f.manager.revoke(id_of(token));
    CHECK(error(f.manager.use(token)) == TokenError::revoked);
    CHECK(f.snapshots_alive == 1);
  }
  CHECK(f.snapshots_alive == 0);
  CHECK(error(f.manager.use(token)) == TokenError::revoked);
}

TEST_CASE("deleting a token frees its data at once") {
  TokenFixture f;
  RodToken token = f.create();
  CHECK(f.snapshots_alive == 1);
  f.manager.delete_by_client(id_of(token));
  CHECK(f.snapshots_alive == 0);
}

TEST_CASE("tokens up to the limit are made, one more is refused, and an end makes room") {
  TokenFixture f({.tokens = 3, .lifetime = seconds(600)});
  RodToken first = f.create();
  f.create();
  f.create();
  CHECK(f.try_create(seconds(60)).error() == TokenError::too_many_tokens);
  f.manager.delete_by_client(id_of(first));
  CHECK(f.try_create(seconds(60)));
  CHECK(f.try_create(seconds(60)).error() == TokenError::too_many_tokens);
  f.clock.advance(seconds(60));  // expired ones do not count
  CHECK(f.try_create(seconds(60)));
}

TEST_CASE("beyond the limit of tombstones the one that would be forgotten first is unknown") {
  TokenFixture f({.tombstones = 2, .lifetime = seconds(600)});
  RodToken a = f.create();
  f.clock.advance(kTick);
  RodToken b = f.create();
  f.clock.advance(kTick);
  RodToken c = f.create();
  for (const RodToken* token : {&c, &b, &a}) f.manager.delete_by_client(id_of(*token));
  CHECK(error(f.manager.use(a)) == TokenError::unknown);
  CHECK(error(f.manager.use(b)) == TokenError::deleted);
  CHECK(error(f.manager.use(c)) == TokenError::deleted);
}

TEST_CASE("sweeping frees the data of expired tokens and, later, their tombstones") {
  TokenFixture f({.lifetime = seconds(600)});
  for (int i = 0; i < 10; ++i) f.create(seconds(60));
  CHECK(f.manager.next_sweep() == f.clock.now() + seconds(60));
  f.clock.advance(seconds(60));
  f.manager.sweep(4);
  CHECK(f.snapshots_alive == 6);
  f.manager.sweep();
  CHECK(f.snapshots_alive == 0);
  CHECK(f.manager.tokens() == 0);
  CHECK(f.manager.tombstones() == 10);
  f.clock.advance(f.manager.next_sweep() - f.clock.now());
  f.manager.sweep();
  CHECK(f.manager.tombstones() == 0);
  CHECK(f.manager.next_sweep() == base::TimePoint::max());
}

TEST_CASE("the tokens of a logical unit are visited oldest first, as many as are asked for, and all are counted") {
  TokenFixture f({.tokens = 100, .lifetime = seconds(600)});
  std::vector<RodToken> all;
  for (int i = 0; i < 50; ++i) all.push_back(f.create());
  const std::array<std::uint8_t, 16> unit{};  // of the fixture's tokens
  std::vector<TokenId> seen;
  auto look = [&](std::size_t most) {
    seen.clear();
    return f.manager.for_each_of(unit, most, [&](const TokenManager::Description& token) { seen.push_back(token.id); });
  };
  CHECK(look(2) == 50);
  CHECK(seen == std::vector{id_of(all[0]), id_of(all[1])});
  CHECK(look(0) == 50);
  CHECK(seen.empty());
  CHECK(f.manager.for_each_of({1}, 100, [](const auto&) { FAIL("of another logical unit"); }) == 0);
  for (std::size_t gone : {0u, 7u, 49u}) f.manager.delete_by_client(id_of(all[gone]));
  CHECK(look(100) == 47);
  REQUIRE(seen.size() == 47);
  CHECK(seen.front() == id_of(all[1]));
  CHECK(seen[6] == id_of(all[8]));
  CHECK(seen.back() == id_of(all[48]));
  // Many that ended and are not swept yet: none is visited.
  f.clock.advance(seconds(60));
  CHECK(look(100) <= 47 - TokenManager::kSweptByCall);
  CHECK(seen.empty());
  CHECK(f.manager.tokens() == 47 - TokenManager::kSweptByCall);
  f.manager.sweep();
  CHECK(look(100) == 0);
  f.create();
  CHECK(look(100) == 1);
}

TEST_CASE("tokens of several sources are visited in the order of their creation, or those of one name") {
  TokenFixture f({.tokens = 100, .lifetime = seconds(600)});
  const RodSource sources[] = {{"a", 512, {1}}, {"b", 512, {2}}, {"b again", 512, {2}}};
  std::vector<TokenId> all, of_two;
  for (std::size_t i : {0, 1, 1, 2, 0, 2, 1, 0, 2, 2}) {
    all.push_back(id_of(*f.try_create(seconds(60), 512, sources[i])));
    if (i != 0) of_two.push_back(all.back());
  }
  std::vector<TokenId> seen;
  const TokenManager::Visit see = [&](const TokenManager::Description& token) { seen.push_back(token.id); };
  CHECK(f.manager.for_each(100, see) == 10);
  CHECK(seen == all);
  seen.clear();
  CHECK(f.manager.for_each(4, see) == 10);
  CHECK(seen == std::vector(all.begin(), all.begin() + 4));
  seen.clear();
  const std::string again = "b again", nobody = "c";
  CHECK(f.manager.page({.source = &again, .most = 2}, see) == all[5]);
  CHECK(f.manager.count(&again) == 4);
  CHECK(seen == std::vector{all[3], all[5]});
  seen.clear();
  CHECK(f.manager.for_each_of({2}, 100, see) == 7);  // one logical unit, whatever its names
  CHECK(seen == of_two);
  CHECK_FALSE(f.manager.page({.source = &nobody}, see).has_value());
  CHECK(f.manager.count(&nobody) == 0);

  f.manager.cancel_of({2}, [](const Rod& rod) { return rod.source().name == "b"; }, TokenEnd::source_shrank);
  CHECK(f.manager.for_each_of({2}, 0, see) == 4);
  f.manager.cancel_of({2}, TokenEnd::source_removed);
  CHECK(f.manager.for_each_of({2}, 0, see) == 0);
  CHECK(f.manager.for_each(0, see) == 3);
  CHECK(f.manager.tokens() == 3);
}

TEST_CASE("valid tokens are visited behind many that have ended and are not swept yet") {
  TokenFixture f({.tokens = 100, .lifetime = seconds(600)});
  for (int i = 0; i < 50; ++i) f.create(seconds(1));
  const RodToken valid = f.create(seconds(60));
  f.clock.advance(seconds(2));
  std::vector<TokenId> seen;
  CHECK(f.manager.for_each_of({}, 10, [&](const TokenManager::Description& token) { seen.push_back(token.id); }) == 1);
  CHECK(seen == std::vector{id_of(valid)});
  CHECK(f.manager.tokens() == 51 - TokenManager::kSweptByCall);
}

TEST_CASE("a token used again and again outlives its first due time in the sweeper") {
  TokenFixture f({.lifetime = seconds(600)});
  RodToken token = f.create(seconds(60));
  for (int i = 0; i < 10; ++i) {
    f.clock.advance(seconds(59));
    f.manager.sweep();
    REQUIRE(f.manager.use(token));
  }
  CHECK(f.manager.state(id_of(token)) == TokenState::valid);
}

TEST_CASE("a token swept while a command used it is freed when its inactivity time is over, not its lifetime") {
  TokenFixture f({.lifetime = seconds(600)});
  RodToken token = f.create(seconds(60));
  {
    auto use = f.manager.use(token);
    REQUIRE(use);
    f.clock.advance(seconds(60));
    f.manager.sweep();
    CHECK(f.manager.state(id_of(token)) == TokenState::valid);
  }
  f.clock.advance(seconds(60));
  f.manager.sweep();
  CHECK(f.snapshots_alive == 0);
}

TEST_CASE("a state is a function of its record and the time alone") {
  // Whatever the numbers: valid before expires(), the same reason until forgotten(), then unknown for good.
  CHECK(rc::check([](std::uint32_t life_s, std::uint32_t inactivity_s, std::uint32_t used_s, std::uint32_t at_s) {
    TokenRecord record{.created = base::TimePoint(seconds(1)),
                       .lifetime = seconds(1 + life_s % 1000),
                       .inactivity_timeout = seconds(inactivity_s % 1000),
                       .last_used = base::TimePoint(seconds(1 + used_s % 1000))};
    base::TimePoint at = base::TimePoint(seconds(1 + at_s % 3000));
    TokenState expected =
        at >= record.created + 2 * record.lifetime ? TokenState::unknown
        : at >= record.created + record.lifetime   ? TokenState::expired
        : record.inactivity_timeout != base::Duration::zero() && at >= record.last_used + record.inactivity_timeout
            ? TokenState::expired
            : TokenState::valid;
    RC_ASSERT(state_of(record, at) == expected);
    record.ended = TokenState::revoked;
    RC_ASSERT(state_of(record, at) == (expected == TokenState::unknown ? TokenState::unknown : TokenState::revoked));
  }));
}

TEST_CASE("random lives of tokens agree with a model that knows only events and times") {
  struct Model {
    RodToken token;
    base::TimePoint created, last_used;
    base::Duration inactivity;
    TokenState ended = TokenState::valid;

    TokenState at(base::TimePoint now) const {
      if (now >= created + 2 * seconds(600)) return TokenState::unknown;
      if (ended != TokenState::valid) return ended;
      return now >= created + seconds(600) || now >= last_used + inactivity ? TokenState::expired : TokenState::valid;
    }
  };
  CHECK(rc::check([](const std::vector<std::uint32_t>& steps) {
    TokenFixture f({.lifetime = seconds(600)});
    std::vector<Model> models;
    for (std::uint32_t step : steps) {
      std::uint32_t pick = step / 8;
      Model* model = models.empty() ? nullptr : &models[pick % models.size()];
      auto end = [&](TokenState reason, auto&& call) {
        if (!model) return;
        TokenState now = model->at(f.clock.now());
        if (now == TokenState::valid || now == TokenState::expired)
          model->ended = now == TokenState::valid ? reason : now;
        call(id_of(model->token));
      };
      switch (step % 8) {
        case 0: {
          auto inactivity = seconds(1 + pick % 300);
          models.push_back({f.create(inactivity), f.clock.now(), f.clock.now(), inactivity});
          break;
        }
        case 1: end(TokenState::deleted, [&](TokenId id) { f.manager.delete_by_client(id); }); break;
        case 2: end(TokenState::revoked, [&](TokenId id) { f.manager.revoke(id); }); break;
        case 3: end(TokenState::cancelled, [&](TokenId id) { f.manager.cancel(id); }); break;
        case 4: f.manager.sweep(pick % 4); break;
        case 5: f.clock.advance(seconds(pick % 200)); break;
        default:
          if (!model) break;
          TokenState expected = model->at(f.clock.now());
          RC_ASSERT(f.manager.use(model->token).has_value() == (expected == TokenState::valid));
          if (expected == TokenState::valid) model->last_used = f.clock.now();
      }
      for (const Model& each : models) RC_ASSERT(f.manager.state(id_of(each.token)) == each.at(f.clock.now()));
    }
  }));
}
