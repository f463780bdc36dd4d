// The control interface in front of arrays that have no sockets: what its tests have in common.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <set>

#include "base/array_clock.h"
#include "handlers/memory_pool.h"
#include "scsi/copy_manager.h"
#include "scsi/journal.h"
#include "scsi/logical_unit.h"
#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/route.h"
#include "target/control/steered.h"
#include "target/event_loop.h"
#include "test/handlers/store_kinds.h"
#include "test/scsi/device_fixture.h"
#include "tokens/token_manager.h"

namespace control_test {

namespace json = boost::json;
using target::control::Answer;
using target::control::as_utf8;
using target::control::Request;
using target::control::Response;
using target::control::Route;

constexpr const char* kOne = "iqn.2026-11.org.example:one";
inline const std::string kConfig = fmt::format(
    "id = \"lab\"\n[[target]]\nname = \"{}\"\n[[target.lun]]\nstore = \"memory:1G\"\n[[target.lun]]\nstore = "
    "\"memory:1M\"\n",
    kOne);

struct World {
  explicit World(const std::string& text = kConfig)
      : started(target::parse_config(text, "a.toml")),
        arrays(started, clock, clock.timers(), entropy, executor),
        sessions(started.limits),
        snapshots(arrays, clock, executor),
        reporter(arrays, clock, executor) {
    arrays.set_journal(&journal);
    for (const auto& array : arrays.all())
      for (const auto& lun : array->luns()) steered.luns_at_start.insert(lun.logical_unit->identity().naa);
  }

  Response ask(Request request) {
    if (!request.body.empty() && request.content_type.empty()) request.content_type = "application/json";
    Answer answer = dispatcher.answer(request);
    if (!answer.begin) return answer.response;
    std::optional<Response> response;
    answer.begin([&](Response given) { response = std::move(given); });
    executor.run_all();
    REQUIRE(response);
    return std::move(*response);
  }
  Response ask(const std::string& method, const std::string& path, const std::string& body = {}) {
    return ask(Request{.method = method, .target = path, .body = body});
  }
  json::object get(const std::string& path) {
    Response response = ask("GET", path);
    CHECK_MESSAGE(response.status == 200, response.body);
    return json::parse(response.body).get_object();
  }
  /// "STATUS NAME: RULE".
  std::string refusal(const std::string& method, const std::string& path, const std::string& body = {}) {
    Response response = ask(method, path, body);
    if (response.status < 400) return fmt::format("{}", response.status);
    CHECK(response.content_type == "application/problem+json");
    const json::object problem = json::parse(response.body).get_object();
    CHECK(problem.at("status").to_number<unsigned>() == response.status);
    CHECK(!problem.at("detail").get_string().empty());
    return fmt::format("{} {}: {}", response.status, problem.at("name").get_string().c_str(),
                       problem.at("rule").get_string().c_str());
  }
  scsi::LogicalUnit& lun(std::uint16_t number) { return *arrays.find_lun(kOne, number).lun->logical_unit; }
  void write(std::uint16_t number, std::uint8_t value) {
    const std::vector<std::uint8_t> block(4096, value);
    REQUIRE(lun(number).store().write(8192, block));
  }
  std::uint8_t read(std::uint16_t number) {
    base::Segments out;
    REQUIRE(lun(number).store().read({8192, 1}, out));
    std::uint8_t byte = 0;
    out.copy_to(0, {&byte, 1});
    return byte;
  }
  tokens::TokenManager& tokens() { return arrays.all().front()->copy_manager().tokens(); }
  std::string make_token() {
    scsi::LogicalUnit& unit = lun(0);
    const handlers::ByteRange range{0, 4096};
    auto data = unit.store().capture({&range, 1});
    auto rod =
        base::make_ref<const tokens::Rod>(tokens::RodType::point_in_time_default, *data,
                                          tokens::RodSource{unit.config().name, 512, unit.identity().naa, {range}});
    auto token = tokens().create({.rod = rod, .inactivity_timeout = std::chrono::seconds(60)});
    return fmt::format("{:016x}", token->copy_manager_rod_token_identifier.value());
  }

  base::VirtualClock wire;
  base::ArrayClock clock{wire};
  target::EventLoop loop{1};
  scsi::Journal journal{clock};
  base::SeededEntropy entropy{7};
  test::HeldExecutor executor;
  target::Config started;
  target::Arrays arrays;
  iscsi::SessionRegistry sessions;
  target::Snapshots snapshots;
  target::StatusReporter reporter;
  target::control::Steered steered{
      arrays, sessions, snapshots, reporter, clock, loop, executor, started, {{1, "127.0.0.1:3260"}}};
  target::control::Dispatcher dispatcher{target::control::routes(), steered};
};

/// Text as it is, else as JSON writes it.
inline std::string shown(const json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : json::serialize(value);
}

inline std::string luns_path(const std::string& rest = {}) { return fmt::format("/v1/targets/{}/luns{}", kOne, rest); }

}  // namespace control_test
