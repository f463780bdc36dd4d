// The threads that do what may block: all of it, in order, nobody held up, and no more awake than needed.
//
// Not tested, and why: how many threads are awake while several have work (the machine's business).
#include "target/worker_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <latch>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

using target::WorkerPool;

TEST_CASE("jobs begin in the order they were posted in, and all are done before the pool is gone") {
  std::vector<int> done;
  {
    WorkerPool pool(1, 1);
    for (int i = 0; i < 100; ++i) pool.post(nullptr, [&done, i] { done.push_back(i); });
  }
  REQUIRE(done.size() == 100);
  for (int i = 0; i < 100; ++i) CHECK(done[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("a job that waits holds up no other while there is a thread left") {
  WorkerPool pool(3, 3);
  std::latch first(1), second(1), over(3);
  // Each waits for one that was posted after it.
  pool.post(nullptr, [&] {
    first.wait();
    over.count_down();
  });
  pool.post(nullptr, [&] {
    second.wait();
    first.count_down();
    over.count_down();
  });
  pool.post(nullptr, [&] {
    second.count_down();
    over.count_down();
  });
  over.wait();
}

TEST_CASE("jobs that come while a thread is busy wake nobody") {
  WorkerPool pool(1, 1);
  std::latch started(1), go_on(1), over(100);
  pool.post(nullptr, [&] {
    started.count_down();
    go_on.wait();
  });
  started.wait();
  const auto before = pool.wakes();
  CHECK(before <= 1);
  for (int i = 0; i < 100; ++i) pool.post(nullptr, [&] { over.count_down(); });
  CHECK(pool.wakes() == before);
  go_on.count_down();
  over.wait();
  CHECK(pool.wakes() == before);
}

TEST_CASE("what a job holds is gone when the next one begins on its thread") {
  WorkerPool pool(1, 1);
  auto held = std::make_shared<int>(7);
  std::weak_ptr<int> watched = held;
  std::latch over(1);
  bool gone = false;
  pool.post(nullptr, [held = std::move(held)] {});
  pool.post(nullptr, [&] {
    gone = watched.expired();
    over.count_down();
  });
  over.wait();
  CHECK(gone);
}

TEST_CASE("what is posted while a thread tells of its job is its next, and wakes nobody") {
  WorkerPool pool(4, 4);
  for (int i = 0; i < 100; ++i) {
    std::uint64_t before = 0, after = 0;
    std::latch over(1);
    bool done = false;
    auto tell = [&] {
      before = pool.wakes();
      pool.post(nullptr, [&] { over.count_down(); });
      after = pool.wakes();
      CHECK(done);
    };
    pool.post(nullptr, [&] { done = true; }, tell);
    over.wait();
    CHECK(after == before);
  }
}

TEST_CASE("a thread that has much to tell holds up no other, once there is more than it can do next") {
  WorkerPool pool(3, 3);
  std::latch second(1), over(2);
  auto tell = [&] {
    pool.post(nullptr, [&] {
      second.wait();
      over.count_down();
    });
    pool.post(nullptr, [&] {
      second.count_down();
      over.count_down();
    });
  };
  pool.post(nullptr, [] {}, tell);
  over.wait();
}

TEST_CASE("an owner whose jobs hang keeps nobody else's from their turn, and loses none") {
  constexpr int kJobs = 12;
  int hung_owner = 0, other_owner = 0;
  std::latch begun(2), go_on(1);
  std::vector<int> order;
  std::mutex mutex;
  {
    WorkerPool pool(8, 2);
    for (int i = 0; i < kJobs; ++i)
      pool.post(&hung_owner, [&, i] {
        {
          std::lock_guard lock(mutex);
          order.push_back(i);
        }
        if (i < 2) begun.count_down();
        go_on.wait();
      });
    begun.wait();
    std::latch over(kJobs + 1);
    for (int i = 0; i < kJobs; ++i) pool.post(&other_owner, [&] { over.count_down(); });
    pool.post(nullptr, [&] { over.count_down(); });
    over.wait();
    {
      std::lock_guard lock(mutex);
      CHECK(order.size() == 2);
    }
    // Two for each owner that had any.
    CHECK(pool.threads() <= 6);
    go_on.count_down();
  }
  CHECK(order.size() == kJobs);
}

TEST_CASE("there are threads for one owner, more as there is work at a time, and no more than allowed") {
  WorkerPool pool(4, 2);
  CHECK(pool.threads() == 2);
  std::latch go_on(1), over(8);
  std::array<int, 6> owners{};
  auto hang = [&](std::size_t owner, std::latch* begun = nullptr) {
    pool.post(&owners.at(owner), [&, begun] {
      if (begun) begun->count_down();
      go_on.wait();
      over.count_down();
    });
  };
  for (std::size_t i = 0; i < 4; ++i) {
    std::latch begun(1);
    hang(i, &begun);
    begun.wait();
    CHECK(pool.threads() == std::max<std::size_t>(2, i + 1));
  }
  for (std::size_t i = 2; i < 6; ++i) hang(i);
  CHECK(pool.threads() == 4);
  go_on.count_down();
  over.wait();
  CHECK(pool.threads() == 4);
}
