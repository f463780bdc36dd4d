#include "scenario/world.h"

#include <fmt/format.h>

#include <utility>

#include "scenario/lua_state.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"

namespace scenario {
namespace {

constexpr std::size_t kKeptEvents = 100'000;

void must(const handlers::IoResult<void>& result, const std::string& what) {
  if (!result) throw ScriptError(fmt::format("{}: {}", what, result.error().reason));
}

}  // namespace

ArrayProcess::ArrayProcess(World& world, std::string name, target::Config config)
    : world_(world), name_(std::move(name)), config_(std::move(config)) {}

ArrayProcess::~ArrayProcess() = default;

target::Arrays& ArrayProcess::arrays() {
  if (!arrays_) throw ScriptError(fmt::format("{} is stopped", name_));
  return *arrays_;
}

void ArrayProcess::start() {
  if (arrays_) throw ScriptError(fmt::format("{} is running", name_));
  arrays_ =
      std::make_unique<target::Arrays>(config_, world_.clock(), world_.timers(), world_.entropy(), world_.executor());
  arrays_->set_journal(&world_.journal());
  ++starts_;
  restore(kept_);
  kept_.clear();
  world_.timeline().add(world_.elapsed(), name_, starts_ == 1 ? "starts" : "starts again");
}

void ArrayProcess::stop() {
  target::Arrays& ending = arrays();
  if (std::exchange(stopping_, true)) throw ScriptError(fmt::format("{} is being stopped", name_));
  world_.timeline().add(world_.elapsed(), name_, "stops");
  for (const auto& node : ending.directory().targets) {
    scsi::DeviceServer& server = *node->device_server;
    while (!server.nexuses().empty()) {
      const scsi::NexusId nexus = server.nexuses().begin()->first;
      world_.abort_all(server, nexus);
      server.detach(nexus);
    }
  }
  ending.stop_copies();
  world_.settle();
  for (const std::string& failure : ending.flush()) throw ScriptError(failure);
  kept_ = capture();
  arrays_.reset();
  stopping_ = false;
}

ArrayProcess::Content ArrayProcess::capture() {
  Content content;
  for (const auto& array : arrays().all()) {
    for (const target::Array::ExportedLun& lun : array->luns()) {
      handlers::BackingStore& store = lun.logical_unit->store();
      if (store.may_block()) continue;  // a file keeps its own
      const handlers::ByteRange all{0, store.size_bytes()};
      auto captured = store.capture(std::span(&all, 1));
      if (!captured) throw ScriptError(fmt::format("{}: {}", lun.config.name, captured.error().reason));
      content[lun.config.name] = *captured;
    }
  }
  return content;
}

void ArrayProcess::restore(const Content& content) {
  for (const auto& array : arrays().all()) {
    for (const target::Array::ExportedLun& lun : array->luns()) {
      auto held = content.find(lun.config.name);
      if (held == content.end()) continue;
      handlers::BackingStore& store = lun.logical_unit->store();
      const std::uint64_t length = std::min(store.size_bytes(), held->second->size_bytes());
      must(store.clone(*held->second, {0, length}, 0, nullptr), lun.config.name);
    }
  }
}

World::World(std::uint64_t seed)
    : clock_(wire_, {base::ClockMode::Kind::manual}),
      entropy_(seed),
      journal_(clock_, kKeptEvents),
      watching_(journal_.subscribe([this](const scsi::Event& event) { tell(event); })) {}

/// What went well stands in the lines of the hosts.
void World::tell(const scsi::Event& event) {
  using scsi::EventKind;
  if (event.kind == EventKind::command || event.kind == EventKind::login || event.kind == EventKind::logout) return;
  const std::string who = event.array.empty() ? "array" : event.array;
  timeline_.add(event.time - base::ArrayClock::kStart, who,
                fmt::format("{}: {}", scsi::name_of(event.kind), event.reason));
}

World::~World() {
  due_.clear();  // the script is gone
  // A job may refer to what the arrays own, and the arrays to timers.
  while (!posted_.empty()) run_one();
  arrays_.clear();
}

ArrayProcess& World::add_array(std::string name, target::Config config) {
  arrays_.push_back(std::make_unique<ArrayProcess>(*this, std::move(name), std::move(config)));
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

bool World::step() { return run_one() || clock_.advance_to_next(); }

void World::settle() {
  while (run_one() || clock_.advance_to_next(clock_.now())) {
  }
  for (const auto& array : arrays_)
    while (array->running() && array->arrays().reclaim()) {
    }
}

void World::abort_all(scsi::DeviceServer& server, scsi::NexusId nexus) {
  auto done = std::make_shared<bool>(false);
  server.abort_all(nexus, [done] { *done = true; });
  while (!*done && step()) {
  }
}

void World::advance(base::Duration by) {
  const base::TimePoint until = clock_.now() + by;
  while (run_one() || clock_.advance_to_next(until)) {
  }
  settle();
}

}  // namespace scenario
