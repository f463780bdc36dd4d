// Sessions: who is logged in, and how a session is made to end.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>

#include "target/control/problem.h"
#include "target/control/resources.h"
#include "target/control/steered.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr std::uint64_t kHighestTsih = 65535;

constexpr Field kSessionFields[] = {
    {.name = "tsih", .kind = Kind::whole, .about = "the target session identifying handle (RFC 7143, 4.4.3)"},
    {.name = "initiator", .about = "the initiator's iSCSI name"},
    {.name = "target", .about = "the target's name; null: a discovery session", .nullable = true},
    {.name = "isid", .about = "the initiator's part of the session identifier, in hexadecimal"},
    {.name = "portal_group", .kind = Kind::whole, .about = "of the portal it came to"},
    {.name = "peers", .kind = Kind::texts, .about = "the other ends of its connections; none: it is being ended"},
    {.name = "commands", .kind = Kind::whole, .about = "under way"},
    {.name = "waiting_for_clock",
     .kind = Kind::whole,
     .about = "of the commands: nothing becomes of them before the array clock moves"},
};
constexpr Shape kSession{.name = "Session", .about = "An iSCSI session", .fields = kSessionFields};
constexpr Field kListFields[] = {
    {.name = "sessions", .kind = Kind::objects, .about = "all of them", .shape = &kSession}};
constexpr Shape kSessions{.name = "Sessions", .about = "", .fields = kListFields};
constexpr Field kLogoutFields[] = {{.name = "within_s",
                                    .kind = Kind::whole,
                                    .about = "after so many seconds it is dropped; 3",
                                    .required = false,
                                    .high = 3600}};
constexpr Shape kLogout{.name = "Logout", .about = "How a session is asked to end", .fields = kLogoutFields};

json::object session_document(const iscsi::SessionInfo& session) {
  json::object object{{"tsih", session.tsih},
                      {"initiator", session.initiator_name},
                      {"target", nullptr},
                      {"isid", hexadecimal(session.isid)},
                      {"portal_group", session.portal_group_tag},
                      {"peers", json::array(session.peers.begin(), session.peers.end())},
                      {"commands", session.commands},
                      {"waiting_for_clock", session.waiting_for_clock}};
  if (!session.target_name.empty()) object["target"] = session.target_name;
  return object;
}

std::uint16_t tsih_of(const Call& call) {
  return static_cast<std::uint16_t>(number_of(call.parameter(0), "tsih", kHighestTsih));
}

Answer list_sessions(Steered& steered, const Call&) {
  json::array items;
  for (const iscsi::SessionInfo& each : steered.sessions.list()) items.push_back(session_document(each));
  return document(list_of("sessions", std::move(items)));
}

Answer get_session(Steered& steered, const Call& call) {
  const auto all = steered.sessions.list();
  auto found = std::ranges::find(all, tsih_of(call), &iscsi::SessionInfo::tsih);
  if (found == all.end()) throw no_such("session", call.parameter(0));
  return document(session_document(*found));
}

Answer drop_session(Steered& steered, const Call& call) {
  if (!steered.sessions.drop(tsih_of(call), "dropped through the control interface"))
    throw no_such("session", call.parameter(0));
  return nothing_to_say();
}

Answer log_out_session(Steered& steered, const Call& call) {
  constexpr std::uint64_t kWithin = 3;
  const json::value* within = call.body.if_contains("within_s");
  const std::chrono::seconds grace(within ? within->to_number<std::uint64_t>() : kWithin);
  if (!steered.sessions.request_logout(tsih_of(call), grace)) throw no_such("session", call.parameter(0));
  return nothing_to_say();
}

constexpr Route kRoutes[] = {
    {.path = "/v1/sessions", .summary = "All sessions", .handle = list_sessions, .result = &kSessions},
    {.path = "/v1/sessions/{tsih}", .summary = "A session", .handle = get_session, .result = &kSession},
    {.method = Method::remove,
     .path = "/v1/sessions/{tsih}",
     .summary = "Drop a session: its connections are closed, its tasks aborted",
     .handle = drop_session,
     .success = 204},
    {.method = Method::post,
     .path = "/v1/sessions/{tsih}/logout",
     .summary = "Ask a session to log out (Async Message, RFC 7143, 11.9)",
     .handle = log_out_session,
     .body = &kLogout,
     .body_optional = true,
     .success = 204},
};

}  // namespace

std::span<const Route> session_routes() { return kRoutes; }

}  // namespace target::control
