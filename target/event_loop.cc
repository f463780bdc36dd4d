#include "target/event_loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "target/worker_pool.h"

namespace target {

namespace asio = boost::asio;
using Callback = std::move_only_function<void()>;

constexpr int kNice = 10;  // of those who do long work
constexpr base::Duration kLongestWait = std::chrono::hours(24);

/// The loop that has its turn in this thread.
thread_local EventLoop* turn_of_this_thread = nullptr;

/// What threads leave for one loop, and the descriptor that wakes it. The asio context itself takes no locks, and so
/// must not be told anything by other threads.
class Calls {
 public:
  explicit Calls(asio::io_context& io) : descriptor_(io, ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  /// Thread: any.
  void add(Callback call) {
    bool first = false;
    {
      std::lock_guard lock(mutex_);
      first = waiting_.empty();
      waiting_.push_back(std::move(call));
    }
    const std::uint64_t one = 1;
    // Not under the lock, so it may come after what it tells of was taken: then the loop wakes for nothing.
    if (first && ::write(descriptor_.native_handle(), &one, sizeof one) < 0)
      throw std::system_error(errno, std::generic_category(), "waking an event loop");
  }

  /// Makes all of them, in order.
  void make() {
    std::uint64_t count = 0;
    [[maybe_unused]] auto nothing = ::read(descriptor_.native_handle(), &count, sizeof count);
    {
      std::lock_guard lock(mutex_);
      taken_.swap(waiting_);
    }
    for (Callback& call : taken_) {
      call();
      call = nullptr;
    }
    taken_.clear();
  }

  /// Calls `arrived` once something waits; in a handler of the loop, outside turns.
  template <typename Arrived>
  void wait(Arrived arrived) {
    descriptor_.async_wait(asio::posix::descriptor_base::wait_read, [arrived](const boost::system::error_code& error) {
      if (!error) arrived();
    });
  }

 private:
  asio::posix::stream_descriptor descriptor_;
  std::mutex mutex_;
  std::vector<Callback> waiting_;
  std::vector<Callback> taken_;  ///< empty but for a moment; keeps its memory
};

/// Work on its way to a worker and back.
struct Posted {
  Callback work{}, done{};
};

/// A signal that is asked for again and again.
struct RepeatedSignal {
  RepeatedSignal(asio::io_context& io, int signal, std::function<void()> its_callback)
      : signals(io, signal), callback(std::move(its_callback)) {}

  void wait(EventLoop& loop) {
    signals.async_wait([this, &loop](const boost::system::error_code& error, int) {
      if (error) return;
      loop.turn(callback);
      wait(loop);
    });
  }

  asio::signal_set signals;
  std::function<void()> callback;
};

/// What the loops have in common. All but the mutex is touched in turns only.
struct Turns {
  std::mutex mutex;
  EventLoop* whose = nullptr;
  std::vector<std::function<void()>> at_end_of_any;
};

struct EventLoop::Impl {
  Impl(EventLoop& loop_in, unsigned workers, unsigned long_workers)
      : loop(loop_in), turns_of_all(std::make_shared<Turns>()), first(this) {
    loops.push_back(this);
    pool.emplace(kMostWorkers, workers);
    long_pool.emplace(long_workers, long_workers, kNice);
    wait_for_calls();
  }
  Impl(EventLoop& loop_in, Impl& the_first) : loop(loop_in), turns_of_all(the_first.turns_of_all), first(&the_first) {
    first->loops.push_back(this);
    wait_for_calls();
  }

  /// Of the first; called in a turn of any.
  void post(WorkerPool& to, const void* owner, Callback work, Callback done) {
    ++posted;
    if (spare.empty()) spare.push_back(std::make_unique<Posted>());
    std::unique_ptr<Posted> both = std::move(spare.back());
    spare.pop_back();
    both->work = std::move(work);
    both->done = std::move(done);
    auto do_work = [&work = both->work] {
      work();
      work = nullptr;
    };
    to.post(owner, std::move(do_work), [this, both = std::move(both)]() mutable {
      calls.add([this, both = std::move(both)]() mutable {
        both->done();
        both->done = nullptr;
        spare.push_back(std::move(both));
        --posted;
      });
    });
  }

  void wait_for_calls() {
    calls.wait([this] {
      wait_for_calls();
      loop.turn([this] { calls.make(); });
    });
  }

  /// Between these two handlers is everything that is ready by now.
  void look() {
    asio::post(io, [this] { asio::post(io, [this, before = turns] { looked(before); }); });
  }

  void looked(std::uint64_t before) {
    if (turns == before || turns - turns_at_step >= kTurnsBeforeStep) {
      Callback step = std::move(steps.front());
      steps.pop_front();
      loop.turn(step);
      turns_at_step = turns;
    }
    looking = !steps.empty();
    if (looking) look();
  }

  /// Asked once for each of many steps, when it is left for later.
  bool needs_rest() {
    const std::uint64_t now = turns - empty_turns;
    const bool others = now != turns_at_rest + 1;
    turns_at_rest = now;
    if (!others && ++steps_without_rest < kStepsWithoutRest) return false;
    steps_without_rest = 0;
    return true;
  }

  /// Later than now, so that it is not in the turn of a timer that asks for it.
  void after_rest(Callback work) { timers.at(clock.now() + base::Duration(1), std::move(work)); }

  void arm_timer() {
    auto next = timers.next();
    if (next == armed) return;
    armed = next;
    if (!next) {
      timer.cancel();
      return;
    }
    // Asio counts nanoseconds, which end after 292 years; a timer that comes early finds nothing due and is set again.
    timer.expires_after(std::clamp(*next - clock.now(), base::Duration(0), kLongestWait));
    timer.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      loop.turn([this] {
        armed.reset();
        timers.run_due(clock.now());
      });
    });
  }

  /// In another loop's turn: whether that left a timer here which would come too late.
  bool sleeps_too_long() const {
    auto next = timers.next();
    return next && (!armed || *next < *armed);
  }

  EventLoop& loop;
  const std::shared_ptr<Turns> turns_of_all;
  Impl* const first;
  std::vector<Impl*> loops;  // of the first: all, itself included; the same while they run
  base::SteadyClock clock;
  std::vector<std::function<void()>> end_of_turn;
  std::vector<std::function<void()>> after_turn;
  bool again_posted = false;

  asio::io_context io{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE};
  Calls calls{io};
  asio::steady_timer timer{io};
  base::TimerQueue timers;     // what callbacks hold may be sockets: they go before the context
  std::deque<Callback> steps;  // that give way
  bool looking = false;        // for what they give way to
  std::uint64_t turns = 0;
  std::uint64_t turns_at_step = 0;
  std::uint64_t empty_turns = 0;    // of these, made by again()
  std::uint64_t turns_at_rest = 0;  // others, when needs_rest() was asked last
  int steps_without_rest = 0;
  std::optional<base::TimePoint> armed;
  // Only made for the loop that is asked for: asio tells all contexts that have one, in whatever thread.
  std::optional<asio::signal_set> signals;
  std::vector<std::unique_ptr<RepeatedSignal>> repeated_signals;

  std::vector<Posted> asides;        // of this turn
  std::vector<Posted> asides_going;  // empty but for a moment; keeps its memory
  struct Aside final : base::Executor {
    explicit Aside(Turns& its_turns) : turns(its_turns) {}
    void post(Callback work, Callback done) override {
      turns.whose->impl_->asides.push_back({std::move(work), std::move(done)});
    }
    Turns& turns;
  } aside{*turns_of_all};

  std::size_t posted = 0;  // work whose `done` has not run yet
  std::vector<std::unique_ptr<Posted>> spare;
  std::optional<WorkerPool> pool, long_pool;  // of the first
  struct LongWork final : base::Executor {
    explicit LongWork(Impl& its_impl) : impl(its_impl) {}
    void post(Callback work, Callback done) override {
      impl.post(*impl.long_pool, nullptr, std::move(work), std::move(done));
    }
    Impl& impl;
  } long_work{*this};
};

EventLoop::EventLoop(unsigned workers, unsigned long_workers)
    : impl_(std::make_unique<Impl>(*this, workers, long_workers)) {}
EventLoop::EventLoop(EventLoop& first) : impl_(std::make_unique<Impl>(*this, *first.impl_)) {}

EventLoop::~EventLoop() {
  impl_->pool.reset();
  impl_->long_pool.reset();
  std::erase(impl_->first->loops, impl_.get());
}

void EventLoop::run() {
  auto work = asio::make_work_guard(impl_->io);
  turn([] {});
  impl_->io.run();
}

void EventLoop::stop() {
  if (turn_of_this_thread == this) return impl_->io.stop();
  call([this] { impl_->io.stop(); });
}

void EventLoop::call(Callback work) { impl_->calls.add(std::move(work)); }

const base::Clock& EventLoop::clock() const { return impl_->clock; }
base::TimerQueue& EventLoop::timers() { return impl_->timers; }
asio::io_context& EventLoop::io() { return impl_->io; }

void EventLoop::post(Callback work, Callback done) { post_of(nullptr, std::move(work), std::move(done)); }

void EventLoop::post_of(const void* owner, Callback work, Callback done) {
  impl_->first->post(*impl_->first->pool, owner, std::move(work), std::move(done));
}

base::Executor& EventLoop::long_work() { return impl_->first->long_work; }

base::Executor* EventLoop::aside() { return impl_->first->loops.size() > 1 ? &impl_->aside : nullptr; }

void EventLoop::soon(Callback call_soon) {
  Impl* const impl = impl_->first;
  ++impl->posted;
  auto run = [impl, call_soon = std::move(call_soon)]() mutable {
    call_soon();
    --impl->posted;
  };
  if (!impl->loop.has_turn()) return impl->loop.call(std::move(run));
  asio::post(impl->io, [impl, run = std::move(run)]() mutable { impl->loop.turn(run); });
}

void EventLoop::later(Callback step) {
  EventLoop& first = impl_->first->loop;
  auto begin = [&first, step = std::move(step)]() mutable { first.give_way(std::move(step)); };
  if (!first.has_turn()) return first.call(std::move(begin));
  if (!first.impl_->needs_rest()) return begin();
  first.impl_->after_rest([&first, begin = std::move(begin)]() mutable {
    ++first.impl_->empty_turns;  // the timer's
    begin();
  });
}

void EventLoop::finish_posted_work() {
  impl_->io.restart();
  auto work = asio::make_work_guard(impl_->io);
  while (impl_->posted > 0) impl_->io.run_one();
}

void EventLoop::at_end_of_turn(std::function<void()> callback) { impl_->end_of_turn.push_back(std::move(callback)); }

void EventLoop::after_turn(std::function<void()> callback) { impl_->after_turn.push_back(std::move(callback)); }

void EventLoop::at_end_of_any_turn(std::function<void()> callback) {
  impl_->turns_of_all->at_end_of_any.push_back(std::move(callback));
}

void EventLoop::again() {
  if (std::exchange(impl_->again_posted, true)) return;
  if (!has_turn()) return call([this] { impl_->again_posted = false; });
  asio::post(impl_->io, [this] {
    turn([this] {
      impl_->again_posted = false;
      ++impl_->empty_turns;
    });
  });
}

void EventLoop::again(Callback work) {
  if (!has_turn()) return call(std::move(work));
  if (impl_->needs_rest()) return impl_->after_rest(std::move(work));
  asio::post(impl_->io, [this, work = std::move(work)]() mutable { turn(work); });
}

std::uint64_t EventLoop::turns_of_others() const {
  std::uint64_t sum = 0;
  for (const Impl* each : impl_->first->loops) sum += each->turns - each->empty_turns;
  return sum;
}

bool EventLoop::has_turn() const { return impl_->turns_of_all->whose == this; }

void EventLoop::in_turn(Callback work) {
  if (has_turn()) return work();
  call(std::move(work));
}

void EventLoop::take_turn() {
  Turns& turns = *impl_->turns_of_all;
  if (impl_->first->loops.size() > 1) turns.mutex.lock();
  turns.whose = turn_of_this_thread = this;
}

void EventLoop::leave_turn() {
  Turns& turns = *impl_->turns_of_all;
  turns.whose = turn_of_this_thread = nullptr;
  if (impl_->first->loops.size() > 1) turns.mutex.unlock();
}

void EventLoop::give_way(Callback step) {
  impl_->steps.push_back(std::move(step));
  if (!std::exchange(impl_->looking, true)) impl_->look();
}

/// Output and what else callbacks at the end of a turn bring forth may be more work to be done aside.
void EventLoop::settle() {
  do {
    do_asides();
    end_turn();
  } while (!impl_->asides.empty());
}

void EventLoop::do_asides() {
  std::vector<Posted>& going = impl_->asides_going;
  while (!impl_->asides.empty()) {
    going.swap(impl_->asides);
    outside_turn([&going] {
      for (Posted& each : going) each.work();
    });
    for (Posted& each : going) each.done();
    going.clear();
  }
}

void EventLoop::end_turn() {
  ++impl_->turns;
  for (auto& callback : impl_->end_of_turn) callback();
  for (auto& callback : impl_->turns_of_all->at_end_of_any) callback();
  impl_->arm_timer();
  for (Impl* other : impl_->first->loops)
    if (other != impl_.get() && other->sleeps_too_long()) other->loop.again();
}

void EventLoop::turn_is_over() {
  for (auto& callback : impl_->after_turn) callback();
}

void EventLoop::on_signal(std::function<void(int)> callback) {
  impl_->signals.emplace(impl_->io);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) impl_->signals->add(signal);
  impl_->signals->async_wait(
      [this, callback = std::move(callback)](const boost::system::error_code& error, int signal) {
        if (error) return;
        impl_->signals->clear();  // back to the default action: the next signal ends the process
        turn([&] { callback(signal); });
      });
}

void EventLoop::on_each_signal(int signal, std::function<void()> callback) {
  auto& added =
      impl_->repeated_signals.emplace_back(std::make_unique<RepeatedSignal>(impl_->io, signal, std::move(callback)));
  added->wait(*this);
}

}  // namespace target
