// Memory goes back to the system while the loop runs, and may still be on its way when everything else has ended.
//
// Not tested, and why: how long the pauses are (the machine's business).
#include "target/housekeeping.h"

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>

#include "base/entropy.h"
#include "handlers/memory_pool.h"
#include "scsi/logical_unit.h"
#include "target/arrays.h"
#include "target/event_loop.h"

namespace {

constexpr std::string_view kConfig = "[[target]]\n[[target.lun]]\nstore = \"memory:1G\"\n";
constexpr std::uint64_t kMiB = 1 << 20;

struct World {
  explicit World(target::EventLoop& its_loop, base::Duration quick = std::chrono::microseconds(25))
      : loop(its_loop), housekeeping(loop, arrays, quick) {}

  /// Arenas that are empty.
  void leave_memory() {
    loop.turn([&] {
      auto& store = arrays.all().front()->luns().front().logical_unit->store();
      for (std::uint64_t at = 0; at < 16 * kMiB; at += kMiB)
        REQUIRE(store.write(at, std::vector<std::uint8_t>(kMiB, 1)));
      REQUIRE(store.unmap({0, 16 * kMiB}));
      while (arrays.memory().reclaim(1000)) continue;
      REQUIRE(arrays.memory().has_empty());
    });
  }

  /// One of which no part is freed yet, but for what a turn frees.
  void leave_tree() {
    auto& store = arrays.all().front()->luns().front().logical_unit->store();
    for (std::uint64_t at = 0; at < kTree; at += kExtent)
      REQUIRE(store.write(2 * at, std::vector<std::uint8_t>(kExtent, 1)));
    REQUIRE(store.unmap({0, 2 * kTree}));
  }

  static constexpr std::uint64_t kExtent = 8192;
  static constexpr std::uint64_t kTree = 64 * kMiB;
  target::EventLoop& loop;
  base::SeededEntropy entropy{7};
  base::TimerQueue timers;
  target::Arrays arrays{target::parse_config(kConfig, "a.toml"), loop.clock(), timers, entropy, loop};
  target::Housekeeping housekeeping;
};

}  // namespace

TEST_CASE("empty memory goes back to the system while the loop runs") {
  target::EventLoop loop(1);
  World world(loop);
  world.leave_memory();
  loop.at_end_of_any_turn([&] {
    if (!world.arrays.memory().has_empty()) loop.stop();
  });
  loop.run();
  CHECK_FALSE(world.arrays.memory().has_empty());
}

TEST_CASE("a tree is freed to its end, whether others have turns meanwhile or not") {
  for (bool others : {false, true}) {
    CAPTURE(others);
    target::EventLoop loop(1);
    World world(loop, base::Duration(-1));  // no step is quick
    auto used = [&] { return world.arrays.memory().budget().used(); };
    const std::uint64_t before = used();
    loop.turn([&] { world.leave_tree(); });
    std::uint64_t last = 0;
    int rested = 0;
    loop.at_end_of_any_turn([&] {
      rested += used() == last;
      last = used();
      if (last <= before) loop.stop();
    });
    std::function<void()> turn = [&] { loop.again(turn); };
    if (others) loop.turn([&] { turn(); });
    CHECK(used() > before + World::kTree / 2);
    loop.run();
    if (others) CHECK(rested > 0);
  }
}

TEST_CASE("a job of the housekeeping that a worker does when all else has gone needs nothing of it") {
  target::EventLoop loop(1);
  std::promise<void> go_on, behind;
  auto world = std::make_unique<World>(loop);
  loop.turn([&] { loop.long_work().post([&] { go_on.get_future().wait(); }, [] {}); });
  world->leave_memory();  // its job waits behind the other
  loop.turn([&] { loop.long_work().post([&] { behind.set_value(); }, [] {}); });
  const base::Ref<handlers::MemoryPool> pool(&world->arrays.memory());
  world.reset();                // as where odxd ends by an error: there are no turns any more
  CHECK_FALSE(pool->unique());  // the job keeps what it is about
  REQUIRE(pool->has_empty());
  go_on.set_value();
  behind.get_future().wait();
}
