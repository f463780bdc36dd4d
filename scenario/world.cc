#include "scenario/world.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "scenario/control_client.h"
#include "scenario/host.h"
#include "scenario/in_process_array.h"
#include "scenario/live_array.h"
#include "target/journal_document.h"

namespace scenario {
namespace {

constexpr std::size_t kKeptEvents = 100'000;

}  // namespace

Refused::Refused(unsigned status, const json::value& problem)
    : ScriptError(problem_text(status, problem)), status_(status) {}

World::World(std::uint64_t seed, LiveOptions live)
    : clock_(wire_, {base::ClockMode::Kind::manual}),
      entropy_(seed),
      journal_(clock_, kKeptEvents),
      watching_(journal_.subscribe([this](const scsi::Event& event) {
        tell(event.time - base::ArrayClock::kStart, scsi::name_of(event.kind), event.array, event.reason);
      })),
      live_(std::move(live)) {}

/// What went well stands in the lines of the hosts.
void World::tell(base::Duration at, std::string_view kind, std::string_view array, std::string_view reason) {
  using scsi::EventKind;
  for (EventKind each : {EventKind::command, EventKind::login, EventKind::logout})
    if (kind == scsi::name_of(each)) return;
  timeline_.add(at, array.empty() ? "array" : std::string(array), fmt::format("{}: {}", kind, reason));
}

void World::record(json::object event) {
  auto text = [&](std::string_view key) {
    const json::value* value = event.if_contains(key);
    return value && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
  };
  const base::Duration at(event.at("time_us").to_number<std::int64_t>());
  tell(at, text("kind"), text("array"), text("reason"));
  recorded_.push_back(std::move(event));
}

std::vector<json::object> World::events(std::uint64_t since) const {
  std::vector<json::object> found;
  for (const scsi::Event& event : journal_.since(since)) found.push_back(target::event_document(event));
  for (const json::object& event : recorded_)
    if (event.at("sequence").to_number<std::uint64_t>() > since) found.push_back(event);
  return found;
}

std::uint64_t World::last_event() const {
  return recorded_.empty() ? journal_.last() : recorded_.back().at("sequence").to_number<std::uint64_t>();
}

World::~World() {
  due_.clear();  // the script is gone
  // A job may refer to what the arrays own, and the arrays to timers.
  while (!posted_.empty()) run_one();
  arrays_.clear();
}

ArrayProcess& World::add_array(const json::value& config, const FileAccess& access) {
  const auto number = static_cast<unsigned>(arrays_.size() + 1);
  std::unique_ptr<ArrayProcess> made;
  if (config.is_null() && (!live() || live_.control == kOwnOdxd))
    throw ScriptSkip("t:array() without a configuration is an odxd that runs: odx scenario run --live URL");
  if (live())
    made = std::make_unique<LiveArray>(*this, number, live_, access);
  else
    made = std::make_unique<InProcessArray>(*this, number, access);
  made->configure(config);
  made->start();
  arrays_.push_back(std::move(made));
  return *arrays_.back();
}

void World::post(std::move_only_function<void()> work, std::move_only_function<void()> done) {
  posted_.push_back({std::move(work), std::move(done)});
}

void World::at(base::TimePoint when, std::function<void()> what) {
  timers().at(when, [this, what = std::move(what)]() mutable { due_.push_back(std::move(what)); });
}

bool World::run_one() {
  if (!due_.empty()) {
    auto what = std::move(due_.front());
    due_.pop_front();
    what();
    return true;
  }
  if (posted_.empty()) return false;
  Job job = std::move(posted_.front());
  posted_.pop_front();
  job.work();
  job.done();
  return true;
}

/// Moves on to the next thing that is due, in an array elsewhere too, and does all that is due then. Where nothing is
/// at or before `limit`: to `limit`, unless that is forever.
bool World::advance_to_next(base::TimePoint limit) {
  std::optional<base::TimePoint> next = clock_.timers().next();
  for (const auto& array : arrays_)
    if (auto due = array->next_due(); due && (!next || *due < *next)) next = due;
  const bool found = next && *next <= limit;
  if (!found && limit == base::TimePoint::max()) return false;
  const base::TimePoint to = std::max(found ? *next : limit, clock_.now());
  for (const auto& array : arrays_) array->advance_to(to);
  clock_.advance_to_next(to);
  follow_clocks();
  return found;
}

void World::follow_clocks() {
  for (const auto& array : arrays_)
    if (auto shown = array->shown(); shown && *shown > clock_.now()) clock_.advance(*shown - clock_.now());
}

bool World::step() { return run_one() || advance_to_next(base::TimePoint::max()); }

bool World::arrays_at_rest() const {
  return std::ranges::all_of(arrays_, [](const auto& array) { return array->at_rest(); });
}

void World::settle() {
  while (run_one() || clock_.advance_to_next(clock_.now())) {
  }
  for (const auto& array : arrays_) array->settle();
  follow_clocks();
}

void World::advance(base::Duration by) {
  const base::TimePoint until = clock_.now() + by;
  while (run_one() || advance_to_next(until)) {
  }
  settle();
}

}  // namespace scenario
