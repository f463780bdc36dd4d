// Fuzzes the control interface behind HTTP: an input is a few requests, a line each ("POST /v1/rules {...}"), before
// which lines may stand that are fields of its head ("Authorization: Bearer secret"). Whatever comes is answered: with
// a document as the table of routes says, which is what /openapi.json tells, or refused with one that says why. A
// refusal (4xx) leaves everything as it was; a request without its token is not carried out; a rule that was taken is
// told so that it can be taken again; and however the array was changed, its disks answer a READ afterwards.
//
// Not here, and why: HTTP and its limits, which is Beast's parser on a socket (control_test.py); routes of sessions
// that there are, which need an initiator (the same); stores in files, since nothing here may create or grow one.
//
// What is looked at or refused changes nothing, so that the array is made again only after what did change it.
#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <vector>

#include "base/array_clock.h"
#include "base/log.h"
#include "scsi/copy_manager.h"
#include "scsi/journal.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/route.h"
#include "target/control/steered.h"
#include "target/event_loop.h"
#include "test/scsi/copy_fixture.h"

namespace {

namespace json = boost::json;
using namespace target::control;

constexpr std::size_t kMostRequests = 6;
constexpr std::string_view kToken = "secret";  // asked for where a request has the field Authorization
constexpr const char* kTarget = "iqn.2026-11.org.example:one";
constexpr std::uint32_t kList = 1, kCopy = 2, kResultBytes = 805;
constexpr const char* kConfig =
    "id = \"lab\"\n[copy]\nrate = \"1K\"\n[[target]]\nname = \"iqn.2026-11.org.example:one\"\nalua = \"implicit\"\n"
    "[[target.lun]]\nstore = \"memory:1G\"\n[[target.lun]]\nstore = \"memory:1M\"\n"
    "[[rule]]\nname = \"of the file\"\naction = { type = \"nothing\" }\n";

void require(bool good) {
  if (!good) std::abort();
}

/// An I_T nexus of a host, which keeps its target from going.
struct Host {
  Host(std::shared_ptr<const iscsi::TargetNode> its, test::HeldExecutor& workers)
      : node(std::move(its)),
        server(*node->device_server),
        executor(workers),
        nexus(server.attach({"iqn.2026-11.org.example:host", {}, node->name, 1})) {}
  ~Host() {
    bool over = false;
    server.abort_all(nexus, [&over] { over = true; });
    executor.run_all();
    require(over);
    server.detach(nexus);
  }

  /// Sends a command and lets workers run; it may be under way still.
  const test::Command& send(const test::Bytes& cdb, std::uint16_t lun, test::Bytes data_out = {}) {
    test::Command& command = commands.emplace_back();
    command.task.nexus = nexus;
    command.task.lun = scsi::Lun{lun};
    command.task.tag = static_cast<std::uint32_t>(commands.size());
    command.task.observer = &command;
    std::ranges::copy(cdb, command.task.cdb.begin());
    server.admit(command.task);
    if (!command.done() && command.task.has_data_out()) {
      data_out.resize(command.task.data_out_length);
      command.task.data_out = data_out;
      server.execute(command.task);
    }
    executor.run_all();
    return command;
  }

  /// Sends it again while there are unit attention conditions.
  const test::Command& send_until_heard(const test::Bytes& cdb, std::uint16_t lun) {
    constexpr int kMostConditions = 16;
    for (int i = 0;; ++i) {
      const test::Command& command = send(cdb, lun);
      require(command.completions == 1 && i < kMostConditions);
      if (command.sense().key != scsi::SenseKey::unit_attention) return command;
    }
  }

  std::shared_ptr<const iscsi::TargetNode> node;
  scsi::DeviceServer& server;
  test::HeldExecutor& executor;
  scsi::NexusId nexus;
  std::deque<test::Command> commands{};
};

/// One target with two disks in memory, two tokens, and a copy that is under way.
struct World {
  World() {
    arrays.set_journal(&journal);
    for (const auto& lun : arrays.all().front()->luns()) steered.luns_at_start.insert(lun.logical_unit->identity().naa);
    host = std::make_unique<Host>(arrays.directory().find(kTarget), executor);
    for (std::uint16_t lun : {0, 1}) host->send_until_heard(test::Bytes(6, 0), lun);
    const test::Bytes list = test::populate_list({{0, 64}});
    for (std::uint32_t identifier : {kList + 2, kList})
      host->send(test::out_cdb(0x10, identifier, list.size()), 0, list);
    const auto token = test::CopyResult(host->send(test::in_cdb(0x07, kList, kResultBytes), 0).data()).token.value();
    const test::Bytes copy = test::write_list(token, {{64, 64}});
    require(!host->send(test::out_cdb(0x11, kCopy, copy.size()), 1, copy).done());
  }

  static const target::Config& config() {
    static const target::Config kParsed = target::parse_config(kConfig, "fuzz.toml");
    return kParsed;
  }

  base::VirtualClock wire;
  base::ArrayClock clock{wire};
  scsi::Journal journal{clock};
  base::SeededEntropy entropy{7};
  test::HeldExecutor executor;
  target::Arrays arrays{config(), clock, clock.timers(), entropy, executor};
  iscsi::SessionRegistry sessions{config().limits};
  target::Snapshots snapshots{arrays, clock, executor};
  target::EventLoop loop{0};  // its timers hold who waits for events of the journal, and so go first
  target::StatusReporter reporter{arrays, clock, executor};
  Steered steered{arrays, sessions, snapshots, reporter, clock, loop, executor, config(), {{1, "127.0.0.1:3260"}},
                  true};
  Dispatcher dispatcher{routes(), steered};
  std::unique_ptr<Host> host;
  bool changed = false;
  std::string shown{};  ///< everything(), as long as nothing has changed
};

/// The world of this input: that of the one before when nothing happened to it.
World& the_world() {
  static auto& kept = *new std::unique_ptr<World>;  // never destroyed: what it uses may be gone by then
  if (!kept || kept->changed) {
    kept.reset();
    kept = std::make_unique<World>();
  }
  return *kept;
}

/// The response, when it is one that comes at once or when workers have run.
std::optional<Response> response_of(World& world, Answer answer) {
  if (answer.feed) {
    (void)answer.feed->take();
    return std::nullopt;
  }
  if (!answer.begin) return std::move(answer.response);
  auto response = std::make_shared<std::optional<Response>>();
  answer.begin([response](Response given) { *response = std::move(given); });
  world.executor.run_all();
  if (!*response) world.changed = true;  // it waits for an event
  return std::move(*response);
}

/// All that a request may change, but the journal.
const std::string& everything(World& world) {
  static const std::vector<const Route*> kLists = [] {
    std::vector<const Route*> lists;
    for (const Route& route : routes())
      for (std::string_view path : {"/v1/targets", "/v1/luns", "/v1/tokens", "/v1/rules", "/v1/reachability",
                                    "/v1/snapshots", "/v1/clock", "/v1/operations"})
        if (route.method == Method::get && route.path == path) lists.push_back(&route);
    return lists;
  }();
  if (world.changed || world.shown.empty()) {
    world.shown.clear();
    for (const Route* route : kLists) world.shown += route->handle(world.steered, {}).response.body;
  }
  return world.shown;
}

bool is_memory(const json::value& store) {
  return store.is_string() && std::string_view(store.get_string()).starts_with("memory:");
}

/// Whether a store that is no memory may be asked for.
bool names_a_file(const json::value& value) {
  if (const auto* array = value.if_array()) return std::ranges::any_of(*array, names_a_file);
  if (const auto* object = value.if_object())
    return std::ranges::any_of(*object, [](const auto& each) {
      return each.key() == "store" ? !is_memory(each.value()) : names_a_file(each.value());
    });
  return false;
}

/// The route that a request which is answered must have taken.
const Route* route_of(const Request& request) {
  const std::string_view path = std::string_view(request.target).substr(0, request.target.find('?'));
  auto is_one = [](auto segment, auto part) {
    const std::string_view pattern(segment);
    return pattern.starts_with('{') || pattern == std::string_view(part);
  };
  const Route* found = nullptr;
  for (const Route& route : routes())
    if (request.method == method_name(route.method) &&
        std::ranges::equal(route.path | std::views::split('/'), path | std::views::split('/'), is_one))
      found = &route;
  return found;
}

void check_refusal(const Response& response) {
  require(response.content_type == "application/problem+json" && response.status != 500 && response.status != 503);
  const json::object problem = json::parse(response.body).get_object();
  require(problem.at("status").to_number<unsigned>() == response.status);
  require(!problem.at("detail").get_string().empty() && problem.at("title").get_string() != "Error");
}

/// A rule is told with all that it matches by; and as it is told it is taken, and told the same.
void check_rule_again(World& world, const Request& request, const Response& response) {
  json::object rule = json::parse(response.body).get_object();
  const json::object asked = json::parse(request.body).get_object();
  if (const json::value* match = asked.if_contains("match"))
    for (const auto& [key, value] : match->get_object())
      require(rule["match"].get_object().contains(key) || key == "seed" || value == "");
  auto again = response_of(world, world.dispatcher.answer({.method = "POST",
                                                           .target = "/v1/rules",
                                                           .content_type = "application/json",
                                                           .body = json::serialize(rule)}));
  require(again && again->status == 201);
  json::object taken = json::parse(again->body).get_object();
  taken["id"] = rule.at("id");
  require(taken == rule);
}

void check_answer(World& world, const Request& request, const Response& response) {
  if (response.status >= 400) return check_refusal(response);
  const Route* route = route_of(request);
  if (!route) return require(request.method == "HEAD");
  require(response.status == route->success && response.content_type.empty() == (response.status == 204));
  require(response.status != 204 || response.body.empty());
  if (route->result) judge(*route->result, json::parse(response.body));  // throws, and so ends here, when it is not so
  if (route->path == "/v1/rules" && route->method == Method::post) check_rule_again(world, request, response);
}

bool has_token(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  return authorization.size() > kScheme.size() &&
         std::ranges::equal(authorization.substr(0, kScheme.size()), kScheme, {},
                            [](unsigned char each) { return std::tolower(each); }) &&
         authorization.substr(kScheme.size()) == kToken;
}

/// `over_tcp`: a token is asked for.
void one(World& world, const Request& request, bool over_tcp) {
  const bool must_not = over_tcp && !has_token(request.authorization);
  if (auto refusal = world.dispatcher.turned_away(request, over_tcp ? std::string(kToken) : "")) {
    require(refusal->status == (over_tcp ? 401 : 403) && (!over_tcp || must_not));
    return check_refusal(*refusal);
  }
  boost::system::error_code error;
  if (const json::value body = json::parse(request.body, error); !error && names_a_file(body)) return;
  const bool looks = request.method == "GET" || request.method == "HEAD";
  const std::string before = looks ? "" : everything(world);
  const auto response = response_of(world, world.dispatcher.answer(request));
  if (!response) return require(!must_not);
  if (must_not && response->status < 400) {
    const Route* route = route_of(request);
    require(route ? route->open_to_all : request.method == "HEAD");
  }
  if (!looks && (response->status < 400 || response->status >= 500)) world.changed = true;
  check_answer(world, request, *response);
  if (!looks && !world.changed) {
    world.shown.clear();
    require(everything(world) == before);
  }
}

const test::Bytes& read_one_block() {
  static const test::Bytes kCdb{0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  return kCdb;
}

/// A READ of each disk is answered, whatever was made of it; and after a reset, by its data.
void check_disks(World& world) {
  world.steered.arrays.rules().clear();
  for (const auto& node : std::vector(world.arrays.directory().targets)) {
    Host host(node, world.executor);
    for (const auto& [lun, unit] : host.server.logical_units()) {
      const test::Command& read = host.send_until_heard(read_one_block(), static_cast<std::uint16_t>(lun));
      if (read.good()) {
        require(read.data().size() == unit->config().block_length);
      } else {
        require(read.status() == scsi::Status::check_condition);
        require(read.sense().key == scsi::SenseKey::not_ready || read.sense().key == scsi::SenseKey::illegal_request);
      }
    }
  }
  const auto reset = response_of(world, world.dispatcher.answer({.method = "POST", .target = "/v1/reset"}));
  require(reset.has_value());
  if (reset->status == 409) return;  // a LUN of the start that cannot be as it was
  require(reset->status == 200);
  Host host(world.arrays.directory().find(kTarget), world.executor);
  for (std::uint16_t lun : {0, 1}) require(host.send_until_heard(read_one_block(), lun).data() == test::Bytes(512, 0));
}

/// Whether the line is a field of the next request's head.
bool take_field(std::string_view line, Request& next, bool& over_tcp) {
  const std::pair<std::string_view, std::string Request::*> kFields[] = {
      {"Authorization: ", &Request::authorization},
      {"Host: ", &Request::host},
      {"Origin: ", &Request::origin},
      {"Content-Type: ", &Request::content_type},
      {"Last-Event-ID: ", &Request::last_event_id},
  };
  for (const auto& [name, member] : kFields) {
    if (!line.starts_with(name)) continue;
    next.*member = line.substr(name.size());
    over_tcp = over_tcp || member == &Request::authorization;
    return true;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::log::set_level(base::log::Level::off);
  World& world = the_world();
  Request next;
  bool over_tcp = false;
  std::size_t requests = 0;
  for (auto text : std::string_view(reinterpret_cast<const char*>(data), size) | std::views::split('\n')) {
    const std::string_view line(text);
    if (take_field(line, next, over_tcp)) continue;
    const std::size_t method = line.find(' ');
    if (method == std::string_view::npos) continue;
    const std::size_t target = std::min(line.find(' ', method + 1), line.size());
    next.method = line.substr(0, method);
    next.target = line.substr(method + 1, target - method - 1);
    if (target < line.size()) next.body = line.substr(target + 1);
    if (!next.body.empty() && next.content_type.empty()) next.content_type = "application/json";
    one(world, std::exchange(next, {}), std::exchange(over_tcp, false));
    if (++requests == kMostRequests) break;
  }
  if (world.changed) check_disks(world);
  return 0;
}
