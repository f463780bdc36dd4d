// The threads that do what may block: all of it, in order, nobody held up, and no more awake than needed.
//
// Not tested, and why: how many threads are awake while several have work (the machine's business).
#include "target/worker_pool.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <latch>
#include <memory>
#include <utility>
#include <vector>

using target::WorkerPool;

TEST_CASE("jobs begin in the order they were posted in, and all are done before the pool is gone") {
  std::vector<int> done;
  {
    WorkerPool pool(1);
    for (int i = 0; i < 100; ++i) pool.post([&done, i] { done.push_back(i); });
  }
  REQUIRE(done.size() == 100);
  for (int i = 0; i < 100; ++i) CHECK(done[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("a job that waits holds up no other while there is a thread left") {
  WorkerPool pool(3);
  std::latch first(1), second(1), over(3);
  // Each waits for one that was posted after it.
  pool.post([&] {
    first.wait();
    over.count_down();
  });
  pool.post([&] {
    second.wait();
    first.count_down();
    over.count_down();
  });
  pool.post([&] {
    second.count_down();
    over.count_down();
  });
  over.wait();
}

TEST_CASE("jobs that come while a thread is busy wake nobody") {
  WorkerPool pool(1);
  std::latch started(1), go_on(1), over(100);
  pool.post([&] {
    started.count_down();
    go_on.wait();
  });
  started.wait();
  const auto before = pool.wakes();
  CHECK(before <= 1);
  for (int i = 0; i < 100; ++i) pool.post([&] { over.count_down(); });
  CHECK(pool.wakes() == before);
  go_on.count_down();
  over.wait();
  CHECK(pool.wakes() == before);
}

TEST_CASE("what a job holds is gone when the next one begins on its thread") {
  WorkerPool pool(1);
  auto held = std::make_shared<int>(7);
  std::weak_ptr<int> watched = held;
  std::latch over(1);
  bool gone = false;
  pool.post([held = std::move(held)] {});
  pool.post([&] {
    gone = watched.expired();
    over.count_down();
  });
  over.wait();
  CHECK(gone);
}

TEST_CASE("what is posted while a thread tells of its job is its next, and wakes nobody") {
  WorkerPool pool(4);
  for (int i = 0; i < 100; ++i) {
    std::uint64_t before = 0, after = 0;
    std::latch over(1);
    bool done = false;
    auto tell = [&] {
      before = pool.wakes();
      pool.post([&] { over.count_down(); });
      after = pool.wakes();
      CHECK(done);
    };
    pool.post([&] { done = true; }, tell);
    over.wait();
    CHECK(after == before);
  }
}

TEST_CASE("a thread that has much to tell holds up no other, once there is more than it can do next") {
  WorkerPool pool(3);
  std::latch second(1), over(2);
  auto tell = [&] {
    pool.post([&] {
      second.wait();
      over.count_down();
    });
    pool.post([&] {
      second.count_down();
      over.count_down();
    });
  };
  pool.post([] {}, tell);
  over.wait();
}
