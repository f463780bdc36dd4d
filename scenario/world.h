// Everything a scenario plays with: the time, the arrays, and the one thing that happens next.
//
// Owns the clock all of them go by, and the arrays of each odxd the script started, without its sockets. Time stands
// still except in advance() and while a command of a host waits (step()). Thread: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/array_clock.h"
#include "base/entropy.h"
#include "base/executor.h"
#include "base/timer_queue.h"
#include "handlers/backing_store.h"
#include "scenario/timeline.h"
#include "scsi/journal.h"
#include "target/arrays.h"

namespace scenario {

class World;

/// One odxd, without its sockets: it is started, stopped, and started again with what its logical units held.
class ArrayProcess {
 public:
  /// `name` is what the timeline calls it.
  ArrayProcess(World& world, std::string name, target::Config config);
  ~ArrayProcess();

  const std::string& name() const { return name_; }
  const target::Config& config() const { return config_; }
  bool running() const { return arrays_ != nullptr; }
  /// Counts starts: what was attached before another start is attached no more.
  unsigned starts() const { return starts_; }
  /// Throws ScriptError when it is stopped.
  target::Arrays& arrays();

  /// Throws target::StoreError. Logical units in memory hold what they held when it was stopped.
  void start();
  /// Its sessions end, its tasks are aborted, its tokens forgotten.
  void stop();
  /// From the next start on.
  void set_config(target::Config config) { config_ = std::move(config); }

  /// What its logical units hold now, by name; and the same put back, where names and sizes fit.
  using Content = std::map<std::string, handlers::SnapshotRef>;
  Content capture();
  void restore(const Content& content);

 private:
  World& world_;
  std::string name_;
  target::Config config_;
  std::unique_ptr<target::Arrays> arrays_;
  unsigned starts_ = 0;
  bool stopping_ = false;
  Content kept_;
};

class World final : private base::Executor {
 public:
  explicit World(std::uint64_t seed);
  ~World() override;

  const base::Clock& clock() const { return clock_; }
  base::TimerQueue& timers() { return clock_.timers(); }
  /// Of all arrays.
  scsi::Journal& journal() { return journal_; }
  base::Entropy& entropy() { return entropy_; }
  base::Executor& executor() { return *this; }
  Timeline& timeline() { return timeline_; }
  /// Since the start of the scenario.
  base::Duration elapsed() const { return base::ArrayClock::since_start(clock_.now()); }
  /// The time of the clock so long after the start.
  static base::TimePoint time_at(base::Duration elapsed) { return base::ArrayClock::kStart + elapsed; }

  /// Numbers commands, as they are sent.
  std::uint64_t next_sequence() { return ++sequence_; }

  ArrayProcess& add_array(std::string name, target::Config config);
  const std::vector<std::unique_ptr<ArrayProcess>>& arrays() const { return arrays_; }

  /// Moves on by so much; what is due meanwhile happens at its time.
  void advance(base::Duration by);
  /// Does the next thing that is due: the script's, work that was posted, or the next timer, to whose time the clock
  /// moves. False: nothing is left to do.
  bool step();
  /// Does what is due now.
  void settle();

  /// Waits until nothing of the nexus runs any more.
  void abort_all(scsi::DeviceServer& server, scsi::NexusId nexus);

  /// Calls `what` at that time: not from a timer, but from whichever step() or advance() comes to it.
  void at(base::TimePoint when, std::function<void()> what);

 private:
  void post(std::move_only_function<void()> work, std::move_only_function<void()> done) override;
  bool run_one();
  void tell(const scsi::Event& event);

  struct Job {
    std::move_only_function<void()> work;
    std::move_only_function<void()> done;
  };

  base::VirtualClock wire_;  // nothing moves it
  base::ArrayClock clock_;
  base::SeededEntropy entropy_;
  scsi::Journal journal_;
  Timeline timeline_;
  std::shared_ptr<void> watching_;  ///< the journal
  std::uint64_t sequence_ = 0;
  std::deque<std::function<void()>> due_;
  std::deque<Job> posted_;
  std::vector<std::unique_ptr<ArrayProcess>> arrays_;
};

}  // namespace scenario
