#include "scenario/live_array.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <csignal>
#include <fstream>
#include <utility>

#include "base/array_clock.h"
#include "host/scsi_layouts.h"
#include "scenario/arguments.h"

namespace scenario {
namespace {

constexpr double kMicroseconds = 1e6;

std::int64_t microseconds(const json::value& seconds) {
  return std::llround(seconds.to_number<double>() * kMicroseconds);
}

[[noreturn]] void not_live(const std::string& what) { throw ScriptSkip("live: " + what); }

std::string target_path(const std::string& name) { return "/v1/targets/" + percent_encoded(name); }

}  // namespace

LiveArray::LiveArray(World& world, unsigned number, const LiveOptions& options, FileAccess access)
    : ArrayProcess(world, fmt::format("array {}", number)),
      number_(number),
      options_(options),
      access_(std::move(access)) {}

LiveArray::~LiveArray() {
  if (!own()) hand_back();
  if (!process_) return;
  ::kill(process_->id, SIGKILL);
  process_->wait();
}

/// Each thing by itself: what is gone already, or an odxd that is, keeps nothing else from it.
void LiveArray::hand_back() noexcept {
  auto attempt = [this](const std::string& method, const std::string& target, const json::value& body = {}) {
    try {
      ask(method, target, body);
    } catch (const std::exception&) {
    }
  };
  if (!client_) return;
  for (std::int64_t rule : rules_) attempt("DELETE", fmt::format("/v1/rules/{}", rule));
  if (reachability_) attempt("PUT", "/v1/reachability", *reachability_);
  for (const std::string& target : targets_) attempt("DELETE", target_path(target) + "?grace_s=0");
  if (clock_mode_) attempt("PUT", "/v1/clock", *clock_mode_);
}

void LiveArray::configure(const json::value& wanted) {
  wanted_ = wanted;
  if (own()) configuration_ = odxd_toml(wanted, access_, number_);
}

void LiveArray::start() {
  if (client_) throw ScriptError(fmt::format("{} is running", name_));
  if (own())
    start_own();
  else
    take_over();
  origin_us_ = microseconds(ask("GET", "/v1/clock").at("now_s")) - world_.elapsed().count();
  last_event_ = ask("GET", "/v1/events?limit=1").at("last").to_number<std::uint64_t>();
  world_.timeline().add(world_.elapsed(), name_, own() ? "starts" : "is there");
}

void LiveArray::start_own() {
  const std::string path = folder_.path() + "/odxd.toml";
  std::ofstream file(path);
  file << configuration_;
  file.close();
  if (!file) throw ScriptError(fmt::format("{} cannot be written", path));
  std::vector<std::string> words{"--config", path,     "--control",   folder_.control_url(),
                                 "--clock",  "manual", "--log-level", "error"};
  const bool portals = wanted_.is_object() && wanted_.get_object().contains("portal");
  if (!portals) words.insert(words.end(), {"--portal", "127.0.0.1:0"});
  const StartedOdxd started = start_odxd(options_.odxd.empty() ? find_odxd() : options_.odxd, words, "odx scenario");
  process_ = started.process;
  if (!started.announced.ready) throw ScriptError(fmt::format("{}: odxd did not start", name_));
}

void LiveArray::take_over() {
  const json::value clock = ask("GET", "/v1/clock");
  driven_ = clock.at("mode") == "manual";
  if (wanted_.is_null()) return;
  if (!driven_) {
    clock_mode_ = json::object{{"mode", clock.at("mode")}};
    if (clock.at("mode") == "scaled") (*clock_mode_)["factor"] = clock.at("factor");
    ask("PUT", "/v1/clock", json::object{{"mode", "manual"}});
    driven_ = true;
  }
  add_targets();
}

/// What a control interface can do of a configuration.
void LiveArray::add_targets() {
  config_from(wanted_, access_, number_);  // judges it
  const json::object document = document_of(wanted_);
  for (const auto& field : document)
    if (field.key() != "target" && field.key() != "unreachable")
      not_live(fmt::format("{} is of the configuration that odxd started with; --live odxd starts one for it",
                           std::string_view(field.key())));
  for (const json::value& each : document.at("target").get_array()) {
    json::object target = each.get_object();
    if (!target.contains("name"))
      target["name"] = fmt::format("iqn.2026-11.org.odx:scenario-{}-{}", ::getpid(), targets_.size() + 1);
    if (json::value* luns = target.if_contains("lun")) {
      json::value moved = std::move(*luns);
      target.erase("lun");
      target["luns"] = std::move(moved);
    }
    ask("POST", "/v1/targets", target);
    targets_.push_back(json::value_to<std::string>(target.at("name")));
  }
  if (const json::value* pairs = document.if_contains("unreachable"))
    control("PUT", "/v1/reachability", json::object{{"unreachable", *pairs}});
}

void LiveArray::stop() { not_live("the disks of an odxd in memory end with it"); }
ArrayProcess::Content LiveArray::capture() { not_live("what disks hold is not taken over the network"); }
void LiveArray::restore(const Content&) { not_live("what disks hold is not put back over the network"); }

ControlClient& LiveArray::client() {
  if (int status = 0; process_ && process_->ended(status)) {
    process_.reset();
    throw ScriptError(fmt::format("{}: its odxd ended with {}", name_, exit_code_of(status)));
  }
  // odxd closes a connection that is idle for half a minute.
  constexpr std::chrono::seconds kFresh{20};
  const auto now = std::chrono::steady_clock::now();
  if (now - std::exchange(asked_, now) > kFresh || !client_)
    client_.emplace(own() ? folder_.control_url() : options_.control, own() ? std::string() : options_.token);
  return *client_;
}

json::value LiveArray::ask(const std::string& method, const std::string& target, const json::value& body) {
  const ControlClient::Reply reply = client().request(method, target, body.is_null() ? nullptr : &body);
  if (!reply.good()) throw Refused(reply.status, reply.body());
  return reply.body();
}

/// Remembers what is to be put back, and tells only of the LUNs that are the script's.
json::value LiveArray::control(const std::string& method, const std::string& target, const json::value& body) {
  if (method == "PUT" && target == "/v1/reachability" && !reachability_) reachability_ = ask("GET", target);
  json::value answer = ask(method, target, body);
  if (method == "POST" && target == "/v1/rules") rules_.insert(answer.at("id").to_number<std::int64_t>());
  if (method == "GET" && target == "/v1/luns" && !targets_.empty()) {
    json::array mine;
    for (json::value& lun : answer.at("luns").as_array())
      if (std::ranges::find(targets_, json::value_to<std::string>(lun.at("target"))) != targets_.end())
        mine.push_back(std::move(lun));
    answer.as_object()["luns"] = std::move(mine);
  }
  return answer;
}

base::TimePoint LiveArray::world_time(const json::value& clock, double more_seconds) const {
  const std::int64_t shown = microseconds(clock.at("now_s")) + std::llround(more_seconds * kMicroseconds);
  return World::time_at(base::Duration(shown - origin_us_));
}

std::optional<base::TimePoint> LiveArray::next_due() {
  if (!driven_) return std::nullopt;
  const json::value clock = ask("GET", "/v1/clock");
  const json::value& next = clock.at("next_in_s");
  if (next.is_null()) return std::nullopt;
  return world_time(clock, next.to_number<double>());
}

void LiveArray::advance_to(base::TimePoint to) {
  const base::Duration by = std::max(to - world_.clock().now(), base::Duration{});
  const double seconds = std::chrono::duration<double>(by).count();
  ask("POST", "/v1/clock/advance", json::object{{"duration_s", seconds}});
}

std::optional<base::TimePoint> LiveArray::shown() {
  if (driven_) return std::nullopt;
  return world_time(ask("GET", "/v1/clock"));
}

void LiveArray::settle() {
  for (auto due = next_due(); due && *due <= world_.clock().now(); due = next_due()) advance_to(world_.clock().now());
  for (bool more = true; more;) {
    const json::value page = ask("GET", fmt::format("/v1/events?since={}&limit=1000", last_event_));
    last_event_ = page.at("next").to_number<std::uint64_t>();
    more = last_event_ < page.at("last").to_number<std::uint64_t>();
    for (const json::value& each : page.at("events").get_array()) {
      json::object event = each.get_object();
      const json::value* initiator = event.if_contains("initiator");
      if (initiator && *initiator == LiveWay::kObserver) continue;
      event["time_us"] = event.at("time_us").to_number<std::int64_t>() - origin_us_;
      world_.record(std::move(event));
    }
  }
}

void LiveArray::wait_for_event(std::chrono::milliseconds most) {
  constexpr std::int64_t kLongest = 10;  // seconds, below what the client has patience for
  const std::int64_t seconds = std::clamp<std::int64_t>(most.count() / 1000, 1, kLongest);
  ask("GET", fmt::format("/v1/events?since={}&limit=1&wait_s={}", last_event_, seconds));
}

bool LiveArray::at_rest() {
  const json::value document = ask("GET", "/v1/sessions");
  return std::ranges::all_of(document.at("sessions").get_array(), [this](const json::value& session) {
    return session.at("commands") == session.at("waiting_for_clock") ||
           !initiators_.contains(json::value_to<std::string>(session.at("initiator")));
  });
}

std::unique_ptr<Way> LiveArray::way(Host& host, const std::string& target, std::uint16_t lun) {
  initiators_.insert({host.iscsi_name(), LiveWay::kObserver});
  json::array groups = ask("GET", target_path(target)).at("portal_groups").as_array();
  std::ranges::sort(groups, {}, [](const json::value& group) { return group.to_number<unsigned>(); });
  const json::value urls = ask("GET", fmt::format("{}/luns/{}", target_path(target), lun)).at("urls");
  std::string url;
  for (std::size_t i = 0; i < std::min(groups.size(), urls.get_array().size()); ++i)
    if (groups[i].to_number<unsigned>() == host.portal_group()) url = json::value_to<std::string>(urls.at(i));
  return std::make_unique<LiveWay>(world_, host, *this, url, target, lun);
}

/// Why there is no session, or nothing.
std::optional<std::string> LiveWay::connect(std::shared_ptr<initiator::IscsiSession>& session,
                                            const std::string& name) {
  constexpr std::chrono::milliseconds kLoginTimeout{5000};
  if (session) return std::nullopt;
  if (url_.empty()) return "login refused, 0203h: not in this portal group";
  initiator::IscsiSession::Options options{.initiator_name = name, .login_timeout = kLoginTimeout};
  options.chap = host_.chap();
  options.pace = {&world_.clock(), [this, &session] { when_quiet(*session); }};
  auto opened = initiator::IscsiSession::open(url_ + "?header_digest=crc32c", std::move(options));
  if (!opened) return opened.error();
  session = *opened;
  return std::nullopt;
}

/// Time passes when it is the array's wish that nothing comes, however slow the machine is: odxd has taken the command,
/// then it works at none any more but for waiting for its clock, and what it sent until then has come. Two answers to a
/// NOP-Out say the first and the last. A command that is not with odxd then was lost, and has its time-out to wait for.
void LiveWay::when_quiet(initiator::IscsiSession& session) {
  constexpr unsigned kLooks = 15;  // 30 ms: no more often is a clock looked at that runs by itself
  if (array_.runs_by_itself()) {
    if (++looks_ % kLooks == 0) world_.follow_clocks();
    return;
  }
  if (silence_ == Silence::unknown) {
    session.ping();
    silence_ = Silence::taken;
  }
  if (!session.ping_answered()) return;
  if (silence_ == Silence::at_rest) {
    silence_ = Silence::taken;
    world_.step();
  } else if (world_.arrays_at_rest()) {
    session.ping();
    silence_ = Silence::at_rest;
  }
}

initiator::Result LiveWay::execute(const initiator::Command& command) {
  initiator::Result result;
  if (auto refused = connect(session_, host_.iscsi_name())) {
    result.transport = initiator::Transport::connection_lost;
    result.reason = *refused;
    return result;
  }
  return execute(*session_, command);
}

initiator::Result LiveWay::execute(initiator::IscsiSession& session, const initiator::Command& command) {
  silence_ = Silence::unknown;
  // So that time does not pass beyond it.
  const auto limit = world_.timers().at(world_.clock().now() + command.timeout, [] {});
  initiator::Result result = session.execute(lun_, command);
  world_.timers().cancel(limit);
  return result;
}

bool LiveWay::reset() {
  if (auto refused = connect(session_, host_.iscsi_name())) throw ScriptError(*refused);
  return session_->reset_logical_unit(lun_);
}

std::vector<std::uint8_t> LiveWay::content(std::uint64_t offset, std::uint64_t length) {
  constexpr int kAttempts = 5;  // unit attention conditions of a new session
  if (auto refused = connect(observer_, kObserver)) throw ScriptError("the content cannot be read: " + *refused);
  const json::value lun = array_.control("GET", fmt::format("{}/luns/{}", target_path(target_), lun_), {});
  const auto block = lun.at("block_size").to_number<std::uint64_t>();
  const std::uint64_t first = offset / block, end = (offset + length + block - 1) / block;
  if (offset + length > lun.at("size_bytes").to_number<std::uint64_t>())
    throw ScriptError(fmt::format("{} bytes from {} on are beyond the disk", length, offset));
  host::Cdb16 cdb{host::kRead16};
  cdb.lba = first;
  cdb.blocks = static_cast<std::uint32_t>(end - first);
  const base::Bytes bytes = base::bytes_of(cdb);
  initiator::Command read{{bytes.begin(), bytes.end()}};
  read.data_in_length = static_cast<std::uint32_t>((end - first) * block);
  initiator::Result result;
  for (int attempt = 0; attempt < kAttempts && (attempt == 0 || !result.good()); ++attempt)
    result = execute(*observer_, read);
  if (!result.good() || result.data_in.size() != read.data_in_length)
    throw ScriptError(fmt::format("the content at {} cannot be read: {}", offset, outcome_text(result)));
  const auto begin = result.data_in.begin() + static_cast<std::ptrdiff_t>(offset - first * block);
  return {begin, begin + static_cast<std::ptrdiff_t>(length)};
}

}  // namespace scenario
