// Everything a scenario plays with: the time, the arrays, and the one thing that happens next.
//
// Owns the clock all of them go by, and the arrays. Time stands still except in advance() and while a command of a host
// waits (step()); the clocks of arrays that are reached over the network are moved along. Thread: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/array_clock.h"
#include "base/entropy.h"
#include "base/executor.h"
#include "base/timer_queue.h"
#include "handlers/backing_store.h"
#include "scenario/config_table.h"
#include "scenario/lua_state.h"
#include "scenario/timeline.h"
#include "scsi/journal.h"

namespace scenario {

class World;
class Host;
class Way;

/// A request that the array's control interface refused.
class Refused : public ScriptError {
 public:
  /// `problem` says why (docs/control.md).
  Refused(unsigned status, const json::value& problem);
  unsigned status() const { return status_; }  ///< HTTP's

 private:
  unsigned status_;
};

/// An odxd: in this process without its sockets, or one that is reached over the network.
class ArrayProcess {
 public:
  /// `name` is what the timeline calls it.
  ArrayProcess(World& world, std::string name) : world_(world), name_(std::move(name)) {}
  virtual ~ArrayProcess() = default;
  ArrayProcess(const ArrayProcess&) = delete;
  ArrayProcess& operator=(const ArrayProcess&) = delete;

  const std::string& name() const { return name_; }

  /// Its configuration from the next start on, as scripts write it. Throws ScriptError.
  virtual void configure(const json::value& wanted) = 0;
  virtual void start() = 0;
  /// Its sessions end, its tasks are aborted, its tokens forgotten.
  virtual void stop() = 0;

  /// A request to its control interface (docs/control.md), and the document that comes back; null when there is none.
  /// Throws Refused, or ScriptError when it is stopped.
  virtual json::value control(const std::string& method, const std::string& target, const json::value& body = {}) = 0;

  /// How a host reaches one of its logical units.
  virtual std::unique_ptr<Way> way(Host& host, const std::string& target, std::uint16_t lun) = 0;

  /// What its logical units hold now, by name; and the same put back, where names and sizes fit.
  using Content = std::map<std::string, handlers::SnapshotRef>;
  virtual Content capture() = 0;
  virtual void restore(const Content& content) = 0;

  // Of one whose time is not the world's own.

  /// When something is due in it; nothing: never, or its clock runs by itself.
  virtual std::optional<base::TimePoint> next_due() { return std::nullopt; }
  /// Moves its clock on.
  virtual void advance_to(base::TimePoint) {}
  /// Where its clock is, when it runs by itself.
  virtual std::optional<base::TimePoint> shown() { return std::nullopt; }
  /// Does what was left to do at this time, and tells the world of events.
  virtual void settle() {}
  /// Waits for its next event, for so long of real time at most.
  virtual void wait_for_event(std::chrono::milliseconds) {}
  /// Whether the commands of the scenario's hosts that it has wait for its clock alone.
  virtual bool at_rest() { return true; }

 protected:
  World& world_;
  std::string name_;
};

class World final : private base::Executor {
 public:
  explicit World(std::uint64_t seed, LiveOptions live = {});
  ~World() override;

  const base::Clock& clock() const { return clock_; }
  base::ArrayClock& array_clock() { return clock_; }
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

  /// Starts one, of a configuration as scripts write it. Throws ScriptError, ScriptSkip.
  ArrayProcess& add_array(const json::value& config, const FileAccess& access);
  const std::vector<std::unique_ptr<ArrayProcess>>& arrays() const { return arrays_; }

  /// Moves on by so much; what is due meanwhile happens at its time.
  void advance(base::Duration by);
  /// Does the next thing that is due: the script's, work that was posted, or the next timer, to whose time the clock
  /// moves. False: nothing is left to do.
  bool step();
  /// Does what is due now.
  void settle();

  bool live() const { return !live_.control.empty(); }
  /// Moves on to where clocks of arrays are that run by themselves.
  void follow_clocks();
  bool arrays_at_rest() const;

  /// Events behind that number, as docs/journal.md has them; "time_us" since the start of the scenario.
  std::vector<json::object> events(std::uint64_t since) const;
  std::uint64_t last_event() const;
  /// An event of an array elsewhere.
  void record(json::object event);

  /// Calls `what` at that time: not from a timer, but from whichever step() or advance() comes to it.
  void at(base::TimePoint when, std::function<void()> what);

 private:
  void post(std::move_only_function<void()> work, std::move_only_function<void()> done) override;
  bool run_one();
  bool advance_to_next(base::TimePoint limit);
  void tell(base::Duration at, std::string_view kind, std::string_view array, std::string_view reason);

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
  LiveOptions live_;
  std::vector<json::object> recorded_;
  std::vector<std::unique_ptr<ArrayProcess>> arrays_;
};

}  // namespace scenario
