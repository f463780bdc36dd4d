#include "test/sim/simulation.h"

#include <fmt/format.h>

#include <algorithm>

#include "scsi/copy_identity.h"
#include "tokens/copy_operation.h"
#include "tokens/token_manager.h"

namespace sim {

namespace {

constexpr std::size_t kNexuses = 3;
constexpr std::size_t kEventsKept = 60;
constexpr std::size_t kInFlight = 24;
constexpr std::uint64_t kStepsBetweenComparisons = 64;
constexpr std::uint64_t kStepsBetweenLongComparisons = 1024;

Traits some_traits(std::mt19937_64& random) {
  using Completion = scsi::CopyDuration::Completion;
  Traits traits;
  traits.tight = random() % 3 == 0;
  traits.source_write_cancels = random() % 4 == 0;
  traits.background = random() % 3 != 0;
  if (random() % 3 != 0) {
    traits.copy_duration.completion = random() % 2 == 0 ? Completion::at_once : Completion::scheduled;
    traits.copy_duration.latency_us = random() % 3 * 50'000;
    traits.copy_duration.bytes_per_second = (1 + random() % 20) << 17;
  }
  if (random() % 3 == 0) traits.populate_duration.latency_us = 1 + random() % 100'000;
  return traits;
}

/// Where copies may be unseen while they run, how many there are is not known well enough for a limit that is reached.
Limits limits_of(const Traits& traits) {
  Limits limits;
  if (traits.background) limits.operations = 1000;
  return limits;
}

}  // namespace

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::read: return "READ";
    case Kind::write: return "WRITE";
    case Kind::unmap: return "UNMAP";
    case Kind::write_same: return "WRITE SAME";
    case Kind::compare_and_write: return "COMPARE AND WRITE";
    case Kind::populate_token: return "POPULATE TOKEN";
    case Kind::write_using_token: return "WRITE USING TOKEN";
    case Kind::receive_rod_token_information: return "RECEIVE ROD TOKEN INFORMATION";
    case Kind::receive_copy_status: return "RECEIVE COPY STATUS";
    case Kind::copy_operation_abort: return "COPY OPERATION ABORT";
    case Kind::persistent_reserve_out: return "PERSISTENT RESERVE OUT";
  }
  return "";
}

void Operation::completed(scsi::Task&) { simulation_.ended(*this); }

void Simulation::ended(Operation& operation) {
  try {
    settle(operation);
  } catch (const Disagreement& found) {
    if (!disagreement_) disagreement_ = found.what();
  }
}

Simulation::Simulation(RunOptions options, Report& report)
    : options_(options),
      report_(report),
      random_(options.seed),
      traits_(some_traits(random_)),
      world_(options.seed, limits_of(traits_), traits_),
      model_(limits_of(traits_), world_.clock) {
  for (std::size_t lun = 0; lun < world_.stores.size(); ++lun) {
    scsi::LogicalUnit& lu = world_.lu(lun);
    model_.logical_units.push_back({lu.config().name, lu.block_length(), lu.config().thin,
                                    Bytes(world_.stores[lun]->size_bytes()), scsi::creator_descriptor(lu)});
  }
  reservations_.resize(world_.stores.size());
  if (one_in(2)) {
    std::size_t a = pick(world_.stores.size()), b = pick(world_.stores.size());
    if (a != b) {
      model_.unreachable.insert({a, b});
      world_.copies.reachability().cut(model_.logical_units[a].name, model_.logical_units[b].name);
    }
  }
  for (std::size_t i = 0; i < kNexuses; ++i) {
    nexuses_.push_back({fmt::format("iqn.2025-01.example:host{}", i)});
    attach(i);
  }
}

void Simulation::attach(std::size_t nexus) {
  Nexus& it = nexuses_[nexus];
  it.id = world_.server.attach({it.initiator, {}, world_.server.config().target_name, 1});
  it.attached = true;
  for (std::size_t lun = 0; lun < model_.logical_units.size(); ++lun)
    model_.establish(nexus, lun, scsi::AdditionalSense::power_on_reset_or_bus_device_reset_occurred);
  note(fmt::format("nexus {} attached", nexus));
}

void Simulation::run() {
  for (std::uint64_t i = 0; i < options_.steps; ++i) {
    step();
    poll();
    if (disagreement_) throw Disagreement(*disagreement_);
    require(world_.failures.empty(), "a store failed, and no command said so");
    finish_leaving();
    if (i % kStepsBetweenComparisons == 0) compare_all();
    if (i % 8 == 0) compare_tokens();
    compare_rules();
    if (i % kStepsBetweenLongComparisons == 0) compare_everything();
  }
  check_end();
  report_.count("runs");
  report_.count("steps", options_.steps);
}

void Simulation::step() {
  if (full_ && one_in(30)) {
    world_.stores[*full_]->fault().set_full(false);
    note(fmt::format("LUN {} is no longer full", *full_));
    full_.reset();
  }
  if (one_in(20)) return change_rules();
  std::uint64_t what = pick(200);
  if (what < 140) return send_something();
  if (what < 186) return work_off(1 + pick(4));
  if (what < 192) return pass_time();
  if (what < 194) return manage();
  if (what < 197) return set_fault();
  if (what < 198) return end_token_early();
  if (one_in(4)) return lose_nexus();
  world_.copies.tokens().sweep(1 + pick(8));
  model_.forget_old_tokens();
}

/// Data-out that is still missing arrives, or held work goes on.
void Simulation::work_off(std::size_t at_most) {
  for (std::size_t i = 0; i < at_most; ++i) {
    std::vector<Operation*> hungry;
    std::ranges::copy_if(in_flight_, std::back_inserter(hungry), &Operation::waits_for_data);
    std::size_t held = world_.executor.held();
    if (hungry.size() + held == 0) return;
    std::size_t which = pick(hungry.size() + held);
    if (which < hungry.size()) {
      deliver(*hungry[which]);
    } else {
      world_.executor.step(which - hungry.size(), one_in(2));
      poll();
    }
  }
}

/// Time passes: a little, a lot, or up to, at or beyond a limit of a token.
void Simulation::pass_time() {
  base::Duration by(static_cast<base::Duration::rep>(pick(2'000'000)));
  const auto& tokens = model_.tokens();
  watched_token_.reset();
  if (one_in(4)) {
    by = std::chrono::seconds(pick(15));
  } else if (!tokens.empty() && one_in(4)) {
    TokenRef token = tokens[pick(tokens.size())];
    for (int tries = 0; tries < 8 && (!token->image || token->state(world_.clock.now()) != TokenEnd::none); ++tries)
      token = tokens[pick(tokens.size())];
    base::TimePoint limit = one_in(8) ? token->forgotten() : token->expires();
    if (token->image && limit > world_.clock.now()) {
      by = limit - world_.clock.now() + base::Duration(static_cast<base::Duration::rep>(pick(3)) - 1);
      watched_token_ = token;
      report_.count("moved next to a token's limit");
    }
  }
  advance(by);
  note(fmt::format("{} us pass, it is {}", by.count(), world_.clock.now().time_since_epoch().count()));
}

/// Whether there was one that is due by then.
bool Simulation::fire_next_timer(base::TimePoint until) {
  base::TimerQueue& timers = world_.copies.timers();
  auto next = timers.next();
  if (!next || *next > until) return false;
  if (*next > world_.clock.now()) world_.clock.advance(*next - world_.clock.now());
  timers.run_due(world_.clock.now());
  poll();
  return true;
}

void Simulation::advance(base::Duration by) {
  base::TimePoint until = world_.clock.now() + by;
  while (fire_next_timer(until)) {
  }
  world_.clock.advance(until - world_.clock.now());
}

void Simulation::set_fault() {
  using Call = handlers::FaultStore::Call;
  using Error = handlers::IoError::Kind;
  static constexpr std::pair<Call, const char*> kCalls[] = {{Call::read, "read"},
                                                            {Call::write, "write"},
                                                            {Call::unmap, "unmap"},
                                                            {Call::flush, "flush"},
                                                            {Call::capture, "capture"}};
  std::size_t lun = pick(world_.stores.size());
  handlers::FaultStore& store = world_.stores[lun]->fault();
  if (one_in(10)) {
    full_ = lun;
    store.set_full(true);
    report_.fault_set("full");
    return note(fmt::format("LUN {} is full", lun));
  }
  auto [call, name] = kCalls[pick(std::size(kCalls))];
  Error error = one_in(3) ? Error::unavailable : call == Call::read ? Error::medium_read : Error::medium_write;
  if (call == Call::capture) error = one_in(2) ? Error::no_space : Error::medium_read;
  if (call == Call::write && one_in(4)) error = Error::no_space;
  if (call == Call::write && one_in(4)) error = Error::snapshot_lost;
  std::uint64_t nth = 1 + pick(3);
  store.fail_nth(call, nth, {error, "told to fail"});
  report_.fault_set(name);
  note(fmt::format("{} {} of LUN {} will fail", name, nth, lun));
}

/// The administrator revokes a token, or the array cancels it.
void Simulation::end_token_early() {
  std::vector<TokenRef> known;
  std::ranges::copy_if(model_.tokens(), std::back_inserter(known),
                       [](const TokenRef& token) { return token->image.has_value(); });
  if (known.empty()) return;
  TokenRef token = known[pick(known.size())];
  tokens::TokenId id{token->image->copy_manager_rod_token_identifier.value()};
  bool revoke = one_in(2);
  resolve_vulnerable();
  if (revoke) {
    world_.copies.tokens().revoke(id);
  } else {
    world_.copies.tokens().cancel(id);
  }
  end_token(*token, revoke ? TokenEnd::revoked : TokenEnd::cancelled);
  watched_token_ = token;
  note(fmt::format("token {:X} {}", static_cast<std::uint64_t>(id), revoke ? "revoked" : "cancelled"));
}

void Simulation::finish_leaving() {
  for (std::size_t nexus = 0; nexus < nexuses_.size(); ++nexus) {
    Nexus& it = nexuses_[nexus];
    if (it.leaving && it.tasks_gone) {
      world_.server.detach(it.id);
      model_.nexus_lost(nexus);
      for (Operation* operation : in_flight_)
        if (operation->nexus == nexus && operation->background) operation->unseen = true;
      model_.forget_unit_attentions(nexus);
      it.leaving = it.attached = it.tasks_gone = false;
      note(fmt::format("nexus {} detached", nexus));
    } else if (!it.attached && one_in(20)) {
      attach(nexus);
    }
  }
}

/// What takes longer to compare, and only goes wrong where a store does.
void Simulation::compare_everything() {
  compare_token_data();
  for (std::size_t lun = 0; lun < model_.logical_units.size(); ++lun) check_holes(lun);
}

/// What is not mapped reads as zeros.
void Simulation::check_holes(std::size_t lun) {
  Bytes actual = world_.content(lun, {0, model_.logical_units[lun].bytes.size()});
  for (std::uint64_t at = 0; at < actual.size();) {
    auto run = world_.stores[lun]->bare().provisioning(at);
    require(run && run->length > 0, fmt::format("LUN {} has no provisioning status at byte {}", lun, at));
    std::uint64_t end = std::min<std::uint64_t>(actual.size(), at + run->length);
    auto first = actual.begin() + static_cast<std::ptrdiff_t>(at),
         last = actual.begin() + static_cast<std::ptrdiff_t>(end);
    require(run->mapped || std::count(first, last, std::uint8_t{0}) == last - first,
            fmt::format("LUN {} has data after byte {}, where it is said to be unmapped", lun, at));
    at = end;
  }
}

void Simulation::compare_all() {
  for (std::size_t lun = 0; lun < model_.logical_units.size(); ++lun) {
    LogicalUnitModel& lu = model_.logical_units[lun];
    Bytes actual = world_.content(lun, {0, lu.bytes.size()});
    std::uint64_t blocks = lu.capacity();
    for (std::uint64_t lba = 0; lba < blocks; ++lba) {
      bool in_doubt = std::ranges::any_of(in_flight_, [&](const Operation* operation) {
        return operation->lun == lun && operation->changes &&
               std::ranges::any_of(operation->ranges, [&](const Range& range) {
                 return lba >= range.lba && lba < range.lba + range.blocks;
               });
      });
      if (in_doubt) continue;
      auto at = static_cast<std::ptrdiff_t>(lba * lu.block_length);
      require(std::equal(actual.begin() + at, actual.begin() + at + lu.block_length, lu.bytes.begin() + at),
              fmt::format("LUN {} block {} is not what the model holds", lun, lba));
    }
    report_.count("blocks compared", blocks);
  }
}

void Simulation::check_end() {
  note("everything ends");
  auto delayed = [](const Operation* operation) { return operation->delay > base::Duration::zero(); };
  do {
    work_off(1);
  } while (std::ranges::any_of(in_flight_, &Operation::waits_for_data) || world_.executor.held() > 0 ||
           ((world_.copies.running_jobs() > 0 || std::ranges::any_of(in_flight_, delayed)) &&
            fire_next_timer(base::TimePoint::max())));
  poll();
  if (disagreement_) throw Disagreement(*disagreement_);
  finish_leaving();
  require(in_flight_.empty(), "a command never ended: " + (in_flight_.empty() ? "" : in_flight_.front()->text));
  for (const auto& function : functions_) require(function->done, function->text + " was never complete");
  compare_all();
  compare_everything();
  resolve_vulnerable();
  for (std::size_t i = 0; i < kInFlight; ++i) world_.copies.tokens().sweep();
  require(world_.copies.tokens().tokens() == model_.valid_tokens(),
          fmt::format("{} tokens are left, the model has {}", world_.copies.tokens().tokens(), model_.valid_tokens()));
  require(world_.copies.operations().size() == model_.results(),
          fmt::format("{} results are left, the model has {}", world_.copies.operations().size(), model_.results()));
}

void Simulation::note(std::string event) {
  events_.push_back(std::move(event));
  if (events_.size() > kEventsKept) events_.pop_front();
}

std::vector<std::string> Simulation::in_flight() const {
  std::vector<std::string> lines;
  for (const Operation* it : in_flight_)
    lines.push_back(it->text + (it->begun == 0 ? ", not begun" : "") + (it->background ? ", in the background" : "") +
                    (it->unseen ? ", unseen" : "") + (it->aborted || it->stopped ? ", stopped" : ""));
  return lines;
}

void Simulation::require(bool good, const std::string& what) const {
  if (!good) throw Disagreement(what);
}

}  // namespace sim
