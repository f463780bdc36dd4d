// Memory goes back to the system while the loop runs, and may still be on its way when everything else has ended.
//
// Not tested, and why: the pauses (the machine's business).
#include "target/housekeeping.h"

#include <doctest/doctest.h>

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
  explicit World(target::EventLoop& its_loop) : loop(its_loop) {}

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

  target::EventLoop& loop;
  base::SeededEntropy entropy{7};
  base::TimerQueue timers;
  target::Arrays arrays{target::parse_config(kConfig, "a.toml"), loop.clock(), timers, entropy, loop};
  target::Housekeeping housekeeping{loop, arrays};
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
