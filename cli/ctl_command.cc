#include "cli/ctl_command.h"

namespace cli {
namespace {

using Argument = CtlArgument;
using enum CtlArgument::Kind;
using enum CtlArgument::Place;

constexpr Argument kArray[] = {{.name = "array", .about = "an array's id or name"}};
constexpr Argument kProfile[] = {{.name = "profile", .about = "a profile's name"}};
constexpr Argument kTarget[] = {{.name = "target", .about = "a target's iSCSI name"}};
constexpr Argument kLun[] = {{.name = "target", .about = "a target's iSCSI name"},
                             {.name = "number", .about = "the logical unit number"}};
constexpr Argument kSession[] = {{.name = "tsih", .about = "the session's handle (odx ctl sessions ls)"}};
constexpr Argument kToken[] = {{.name = "id", .about = "the token's identifier (odx ctl tokens ls)"}};
constexpr Argument kOperation[] = {{.name = "id", .about = "the operation's number (odx ctl operations ls)"}};
constexpr Argument kSnapshot[] = {{.name = "snapshot", .about = "the snapshot's name"}};

constexpr Argument kNewTarget[] = {
    {.name = "name", .place = body, .about = "an iSCSI name that no target has"},
    {.name = "array", .place = body, .about = "whose target it is", .required = false},
    {.name = "alias", .place = body, .about = "text that hosts show", .required = false},
    {.name = "allowed_initiators", .place = body, .kind = texts, .about = "who may log in", .required = false},
    {.name = "portal_groups", .place = body, .kind = numbers, .about = "where it is offered", .required = false},
    {.name = "alua", .place = body, .about = "none, implicit, explicit or both", .required = false},
};
constexpr Argument kTargetChange[] = {
    {.name = "target", .about = "a target's iSCSI name"},
    {.name = "alias", .place = body, .about = "text that hosts show", .required = false},
    {.name = "allowed_initiators", .place = body, .kind = texts, .about = "who may log in", .required = false},
};
constexpr Argument kTargetRemoval[] = {
    {.name = "target", .about = "a target's iSCSI name"},
    {.name = "grace_s",
     .place = query,
     .kind = number,
     .about = "how long sessions may take to log out",
     .required = false},
};
constexpr Argument kNewLun[] = {
    {.name = "target", .about = "a target's iSCSI name"},
    {.name = "store", .place = body, .about = "memory:SIZE or file:PATH[,ro][,size=SIZE]"},
    {.name = "number", .place = body, .kind = number, .about = "one that the target has not", .required = false},
    {.name = "name", .place = body, .about = "unique in the process", .required = false},
    {.name = "block_size", .place = body, .kind = number, .about = "512 or 4096", .required = false},
    {.name = "provisioning", .place = body, .about = "thin or thick", .required = false},
    {.name = "read_only", .place = body, .kind = flag, .about = "true or false", .required = false},
    {.name = "removable", .place = body, .kind = flag, .about = "true or false", .required = false},
    {.name = "serial", .place = body, .about = "VPD page 80h", .required = false},
    {.name = "naa", .place = body, .about = "VPD page 83h", .required = false},
};
constexpr Argument kLunChange[] = {
    {.name = "target", .about = "a target's iSCSI name"},
    {.name = "number", .about = "the logical unit number"},
    {.name = "size", .place = body, .kind = size, .about = "the capacity it is to have", .required = false},
    {.name = "read_only", .place = body, .kind = flag, .about = "true or false", .required = false},
    {.name = "access",
     .place = body,
     .kind = pair,
     .about = "GROUP=STATE, perhaps with ,preferred behind it; others are active/optimized",
     .required = false},
};
constexpr Argument kLogout[] = {
    {.name = "tsih", .about = "the session's handle (odx ctl sessions ls)"},
    {.name = "within_s", .place = body, .kind = number, .about = "then it is dropped", .required = false},
};
constexpr Argument kTokenQuery[] = {
    {.name = "array", .place = query, .about = "only those of this array", .required = false},
    {.name = "source", .place = query, .about = "only those of the LUN of this name", .required = false},
    {.name = "limit", .place = query, .kind = number, .about = "at most so many; without, all", .required = false},
    {.name = "after", .place = query, .about = "only those made after this one", .required = false},
};
constexpr Argument kCut[] = {
    {.name = "a", .place = body, .about = "the name of a LUN or an array"},
    {.name = "b", .place = body, .about = "the name of another"},
    {.name = "refusal", .place = body, .about = "what copies are refused with", .required = false},
};
constexpr Argument kMend[] = {
    {.name = "a", .place = body, .about = "the name of a LUN or an array"},
    {.name = "b", .place = body, .about = "the name of another"},
};
constexpr Argument kMatrix[] = {
    {.name = "unreachable",
     .place = body,
     .kind = pair,
     .about = "A=B; these pairs and no others are unreachable",
     .required = false},
};
constexpr Argument kClockMode[] = {
    {.name = "mode", .place = body, .about = "real, manual or scaled"},
    {.name = "factor", .place = body, .kind = number, .about = "of scaled", .required = false},
};
constexpr Argument kClockStep[] = {
    {.name = "duration_s", .place = body, .kind = number, .about = "seconds", .required = false},
    {.name = "to", .place = body, .about = "next: to what is due", .required = false},
};
constexpr Argument kEventQuery[] = {
    {.name = "kind", .place = query, .about = "only these kinds, with commas between", .required = false},
    {.name = "initiator", .place = query, .about = "only those of this iSCSI name", .required = false},
    {.name = "logical_unit", .place = query, .about = "only those of the LUN of this name", .required = false},
    {.name = "since", .place = query, .kind = number, .about = "only those behind this number", .required = false},
    {.name = "limit", .place = query, .kind = number, .about = "at most so many, of 1000 in a list", .required = false},
    {.name = "wait_s", .place = query, .kind = number, .about = "wait for the first", .required = false},
};
constexpr Argument kExplainQuery[] = {
    {.name = "initiator", .place = query, .about = "whose copies: its iSCSI name", .required = false},
    {.name = "target", .place = query, .about = "through this target", .required = false},
    {.name = "lun", .place = query, .kind = number, .about = "its LUN of this number", .required = false},
    {.name = "logical_unit", .place = query, .about = "the LUN of this name", .required = false},
};
constexpr Argument kRule[] = {{.name = "id", .about = "the rule's number (odx ctl rules ls)"}};
constexpr Argument kNewRule[] = {
    {.name = "rule", .place = body, .kind = CtlArgument::Kind::document, .about = "JSON (docs/faults.md), or @FILE"}};
constexpr Argument kRuleState[] = {{.name = "state", .place = body, .about = "a name"}};
constexpr Argument kNewSnapshot[] = {{.name = "name", .place = body, .about = "a name that no snapshot has"}};

constexpr std::string_view kEventColumns = "sequence time_us kind reason";
constexpr std::uint64_t kTokensOfAPage = 1000;
constexpr std::string_view kLunColumns = "target number name size_bytes read_only store";

constexpr CtlCommand kCommands[] = {
    {"", "status", "GET", "/v1/status", "odxd in a few numbers"},
    {"", "health", "GET", "/healthz", "Whether it lives"},
    {"", "ready", "GET", "/readyz", "Whether logins are served"},
    {"", "metrics", "GET", "/metrics", "Prometheus' text"},
    {"", "openapi", "GET", "/openapi.json", "The interface's own description"},
    {"", "reset", "POST", "/v1/reset", "Back to the start: configuration, empty memory, no tokens"},
    {"", "explain", "GET", "/v1/explain", "Why copies were not offloaded", kExplainQuery, "text"},
    {"clock", "show", "GET", "/v1/clock", "How the array clock runs, and what it shows"},
    {"clock", "set", "PUT", "/v1/clock", "Have it run otherwise", kClockMode},
    {"clock", "advance", "POST", "/v1/clock/advance", "Move it on; what is due happens", kClockStep},
    {"events", "", "GET", "/v1/events", "The last events of the journal, or those that come", kEventQuery, "events",
     kEventColumns, "/v1/events/stream"},
    {"events", "clear", "DELETE", "/v1/events", "Forget them"},
    {"memory", "show", "GET", "/v1/memory", "How much LUNs in memory, tokens and snapshots hold"},
    {"memory", "usage", "GET", "/v1/memory/usage", "Who holds it: the tokens that keep most", {}, "tokens"},
    {"arrays", "ls", "GET", "/v1/arrays", "All arrays", {}, "arrays", "id name luns tokens operations results odx"},
    {"arrays", "show", "GET", "/v1/arrays/{array}", "One array", kArray},
    {"arrays", "profile", "GET", "/v1/arrays/{array}/profile", "Whose limits it has", kArray},
    {"profiles", "ls", "GET", "/v1/profiles", "The ready-made profiles", {}, "profiles"},
    {"profiles", "show", "GET", "/v1/profiles/{profile}", "The limits of one", kProfile},
    {"targets", "ls", "GET", "/v1/targets", "All targets", {}, "targets", "name array luns sessions chap alua"},
    {"targets", "show", "GET", "/v1/targets/{target}", "One target", kTarget},
    {"targets", "add", "POST", "/v1/targets", "Add a target", kNewTarget},
    {"targets", "set", "PATCH", "/v1/targets/{target}", "Change who may log in, and the alias", kTargetChange},
    {"targets", "rm", "DELETE", "/v1/targets/{target}", "Remove a target with its LUNs", kTargetRemoval},
    {"luns", "ls", "GET", "/v1/luns", "The LUNs of all targets", {}, "luns", kLunColumns},
    {"luns", "of", "GET", "/v1/targets/{target}/luns", "The LUNs of a target", kTarget, "luns", kLunColumns},
    {"luns", "show", "GET", "/v1/targets/{target}/luns/{number}", "One LUN", kLun},
    {"luns", "add", "POST", "/v1/targets/{target}/luns", "Add a LUN", kNewLun},
    {"luns", "set", "PATCH", "/v1/targets/{target}/luns/{number}", "Change size, protection or access states",
     kLunChange},
    {"luns", "rm", "DELETE", "/v1/targets/{target}/luns/{number}", "Remove a LUN", kLun},
    {"sessions", "ls", "GET", "/v1/sessions", "All sessions", {}, "sessions"},
    {"sessions", "show", "GET", "/v1/sessions/{tsih}", "One session", kSession},
    {"sessions", "drop", "DELETE", "/v1/sessions/{tsih}", "Close its connections and abort its tasks", kSession},
    {"sessions", "logout", "POST", "/v1/sessions/{tsih}/logout", "Ask it to log out", kLogout},
    {"tokens", "ls", "GET", "/v1/tokens", "Valid tokens", kTokenQuery, "tokens",
     "id number source type bytes age_s ends_in_s in_use", "", kTokensOfAPage},
    {"tokens", "show", "GET", "/v1/tokens/{id}", "One token, also one that ended", kToken},
    {"tokens", "expire", "POST", "/v1/tokens/{id}/expire", "Its time is over (05/23/07)", kToken},
    {"tokens", "revoke", "POST", "/v1/tokens/{id}/revoke", "Revoke it (05/23/06)", kToken},
    {"tokens", "cancel", "POST", "/v1/tokens/{id}/cancel", "Its data could not be kept (05/23/08)", kToken},
    {"tokens", "delete", "POST", "/v1/tokens/{id}/delete", "As a host does with DEL_TKN (05/23/09)", kToken},
    {"operations", "ls", "GET", "/v1/operations", "Copy operations in progress", {}, "operations"},
    {"operations", "show", "GET", "/v1/operations/{id}", "One copy operation", kOperation},
    {"operations", "abort", "POST", "/v1/operations/{id}/abort", "Stop it (0A/2F/02)", kOperation},
    {"reachability", "show", "GET", "/v1/reachability", "Pairs between which no data moves", {}, "unreachable"},
    {"reachability", "set", "PUT", "/v1/reachability", "Replace all of them", kMatrix, "unreachable"},
    {"reachability", "cut", "POST", "/v1/reachability/cut", "Make a pair unreachable", kCut, "unreachable"},
    {"reachability", "mend", "POST", "/v1/reachability/mend", "Make it reachable again", kMend, "unreachable"},
    {"rules",
     "ls",
     "GET",
     "/v1/rules",
     "All rules, and what each has counted",
     {},
     "rules",
     "id name matches hits spent origin"},
    {"rules", "show", "GET", "/v1/rules/{id}", "One rule", kRule},
    {"rules", "add", "POST", "/v1/rules", "Add a rule behind the others", kNewRule},
    {"rules", "rm", "DELETE", "/v1/rules/{id}", "Remove a rule", kRule},
    {"rules", "clear", "DELETE", "/v1/rules", "Remove all rules"},
    {"rules", "state", "PUT", "/v1/rules/state", "Set the state that rules share", kRuleState},
    {"rules", "start-over", "POST", "/v1/rules/start-over", "All count from the start, in the first state"},
    {"snapshots", "ls", "GET", "/v1/snapshots", "All snapshots", {}, "snapshots", "name age_s"},
    {"snapshots", "show", "GET", "/v1/snapshots/{snapshot}", "What is in one", kSnapshot},
    {"snapshots", "take", "POST", "/v1/snapshots", "Of every LUN in memory, all of one moment", kNewSnapshot},
    {"snapshots", "restore", "POST", "/v1/snapshots/{snapshot}/restore", "Go back to one", kSnapshot},
    {"snapshots", "rm", "DELETE", "/v1/snapshots/{snapshot}", "Let go of one", kSnapshot},
};

constexpr CtlGroup kGroups[] = {
    {"clock", "The time that tokens, copies and delays go by"},
    {"events", "What happened, with reasons"},
    {"memory", "Memory of LUNs in memory, tokens and snapshots"},
    {"arrays", "Arrays and their limits"},
    {"profiles", "Ready-made profiles"},
    {"targets", "Targets that come and go"},
    {"luns", "LUNs that come, go and change"},
    {"sessions", "Who is logged in"},
    {"tokens", "ROD tokens and their end"},
    {"operations", "Copies in progress"},
    {"reachability", "Pairs between which no data moves"},
    {"rules", "Failures on demand"},
    {"snapshots", "The disks of all arrays at one moment, and the way back"},
};

}  // namespace

std::span<const CtlCommand> ctl_commands() { return kCommands; }
std::span<const CtlGroup> ctl_groups() { return kGroups; }

}  // namespace cli
