// The control interface without a socket: routes, what they judge, what they do to the arrays, and authorisation.
//
// Not tested, and why: HTTP itself, its limits and the Unix socket (control_test.py); sessions, which need an initiator
// (the same); that the answers are as the OpenAPI document says (the same, with a validator of its own).
#include "test/target/control_world.h"

#include <set>

using namespace control_test;

TEST_CASE("control: each route has a path, a summary and a handler of its own, and shapes are told apart by name") {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  std::map<std::string_view, const target::control::Shape*> shapes;
  for (const Route& route : target::control::routes()) {
    CHECK(seen.insert({method_name(route.method), route.path}).second);
    CHECK(!route.summary.empty());
    CHECK((route.handle != nullptr));
    CHECK((route.method != target::control::Method::get || route.body == nullptr));
    for (const auto* shape : {route.body, route.result})
      if (shape && !shape->name.empty()) CHECK(shapes.try_emplace(shape->name, shape).first->second == shape);
  }
}

TEST_CASE("control: the OpenAPI document has every route, and every reference leads somewhere") {
  const json::object document = target::control::openapi_document(target::control::routes());
  const json::object& paths = document.at("paths").get_object();
  std::size_t operations = 0;
  for (const auto& [path, methods] : paths) operations += methods.get_object().size();
  CHECK(operations == target::control::routes().size());
  const std::string text = json::serialize(document);
  const json::object& schemas = document.at("components").at("schemas").get_object();
  const std::string_view prefix = "#/components/schemas/";
  for (std::size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at + 1)) {
    const std::size_t begin = at + prefix.size();
    CHECK(schemas.contains(text.substr(begin, text.find('"', begin) - begin)));
  }
}

TEST_CASE("control: what there is not is 404, another method 405 with Allow") {
  World world;
  CHECK(world.refusal("GET", "/page") == "404 resource: one that there is");
  CHECK(world.refusal("GET", "/v1/arrays/") == "404 resource: one that there is");
  CHECK(world.refusal("GET", "/v1/arrays/none") == "404 array: one that there is");
  CHECK(world.refusal("GET", "/v1/targets/none/luns") == "404 target: one that there is");
  CHECK(world.refusal("GET", luns_path("/7")) == "404 LUN: one that there is");
  CHECK(world.refusal("GET", luns_path("/x")) == "400 number: a whole number from 0 to 16383");
  CHECK(world.refusal("GET", luns_path("/16384")) == "400 number: a whole number from 0 to 16383");
  CHECK(world.refusal("GET", "/v1/tokens/1") == "404 token: one that there is");
  CHECK(world.refusal("GET", "/v1/tokens/-1").starts_with("400 id: a token's identifier"));
  CHECK(world.refusal("GET", "/v1/tokens/0123456789abcdef0").starts_with("400 id: a token's identifier"));
  CHECK(world.refusal("GET", "/v1/arrays/%zz") == "400 {array}: two hexadecimal digits, not 00, behind each %");
  CHECK(world.refusal("GET", "/v1/tokens/%A3") == "400 {id}: UTF-8");
  CHECK(world.refusal("GET", "/v1/tokens?array=%C3%28") == "400 the query: UTF-8");
  CHECK(world.refusal("GET", "/v1/\xA3") == "400 the target: printable ASCII characters (RFC 3986)");
  Response response = world.ask("PUT", luns_path("/0"));
  CHECK(response.status == 405);
  CHECK(response.headers == decltype(response.headers){{"Allow", "GET, HEAD, PATCH, DELETE"}});
  CHECK(world.ask("HEAD", "/healthz").status == 200);
}

TEST_CASE("control: what an error repeats is UTF-8, whatever came and wherever it is cut") {
  CHECK(as_utf8("a\u00e9\u20ac\U0001F600") == "a\u00e9\u20ac\U0001F600");
  CHECK(as_utf8("\xC0\x80 \xED\xA0\x80 \xF4\x90\x80\x80 \xE2\x82") == "?? ??? ???? ??");
  World world;
  const std::string name = std::string(199, 'a') + "\u00e9\u00e9";  // byte 200 is inside a character
  CHECK(world.refusal("POST", "/v1/snapshots", fmt::format(R"({{"name": "{}"}})", name)) ==
        "422 name: text of a length from 1 to 64");
}

TEST_CASE("control: a body that is not as its shape says is refused with the key, the rule and the value") {
  World world;
  CHECK(world.refusal("POST", "/v1/snapshots", "{") == "400 the body: a JSON document (RFC 8259)");
  CHECK(world.refusal("POST", "/v1/snapshots", "[]") == "422 the body: an object");
  CHECK(world.refusal("POST", "/v1/snapshots", "{}") == "422 name: text of a length from 1 to 64");
  CHECK(world.refusal("POST", "/v1/snapshots", R"({"name": 5})") == "422 name: text of a length from 1 to 64");
  CHECK(world.refusal("POST", "/v1/snapshots", R"({"name": "a", "b": 1})") == "422 b: one of name");
  CHECK(world.refusal("GET", "/v1/snapshots", R"({"name": "a"})") == "400 the body: none");
  CHECK(world.ask({.method = "POST", .target = "/v1/snapshots", .content_type = "text/plain", .body = "{}"}).status ==
        415);
  CHECK(world.refusal("PATCH", luns_path("/0"), R"({"size": "many"})") ==
        "422 size: a size in bytes, or text such as \"64G\", from 1 to 4611686018427387904");
  for (const char* size : {"-512", "18446744073709551104", "4611686018427388416", "\"4097P\""})
    CHECK_MESSAGE(
        world.refusal("PATCH", luns_path("/0"), fmt::format(R"({{"size": {}}})", size)).starts_with("422 size"), size);
  CHECK(world.refusal("PATCH", luns_path("/0"), R"({"access": [{"group": 1, "state": "odd"}]})")
            .starts_with("422 access[0].state: one of \"active/optimized\""));
  CHECK(world.refusal("GET", "/v1/tokens?limit=0") == "400 limit: a whole number from 1 to 1000");
  CHECK(world.refusal("GET", "/v1/tokens?limit=1001") == "400 limit: a whole number from 1 to 1000");
  CHECK(world.refusal("GET", "/v1/tokens?limit=1&limit=2") == "400 limit: it once");
  CHECK(world.refusal("GET", "/v1/tokens?colour=red") == "400 colour: one of array, source, limit, after");
  CHECK(world.refusal("GET", "/v1/luns?a") == "400 a: no query");
  const std::string secret = "a-secret-that-nobody-may-see";
  Response response =
      world.ask("POST", "/v1/targets",
                R"({"name": "iqn.2026-11.org.example:t", "chap": {"name": "", "secret": ")" + secret + "\"}}");
  CHECK(response.status == 422);
  CHECK(!response.body.contains(secret));
}

TEST_CASE("control: the bearer token is asked for, but by what tells nothing") {
  World world;
  const std::string token = "0123456789abcdef";
  auto status = [&](const std::string& path, const std::string& authorization) {
    auto refused =
        world.dispatcher.turned_away({.method = "GET", .target = path, .authorization = authorization}, token);
    return refused ? refused->status : 200;
  };
  CHECK(status("/v1/luns", "Bearer " + token) == 200);
  CHECK(status("/v1/luns", "bearer " + token) == 200);
  CHECK(status("/healthz", "") == 200);
  CHECK(status("/readyz?x", "") == 200);
  CHECK(status("/openapi.json", "") == 200);
  for (const char* wrong : {"", "Bearer", "Bearer ", "Basic 0123456789abcdef", "Bearer 0123456789abcdeF",
                            "Bearer 0123456789abcde", "Bearer 0123456789abcdef0"})
    CHECK(status("/v1/luns", wrong) == 401);
  CHECK(status("/metrics", "") == 401);
  CHECK(status("/healthz/../v1/luns", "") == 401);
  CHECK(!world.dispatcher.turned_away({.method = "GET", .target = "/v1/luns"}, "").has_value());
}

TEST_CASE("control: where no token is asked for, a browser steers for nobody else's page") {
  World world;
  auto status = [&](const std::string& host, const std::string& origin, const std::string& token = {}) {
    auto refused = world.dispatcher.turned_away(
        {.method = "POST", .target = "/v1/reset", .authorization = "Bearer t", .host = host, .origin = origin}, token);
    return refused ? refused->status : 200;
  };
  for (const char* host : {"", "odxd", "localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080"})
    CHECK_MESSAGE(status(host, "") == 200, host);
  for (const char* host : {"a.example", "a.example:8080", "127.0.0.1.example", "a.example.", "localhost.:8080"})
    CHECK_MESSAGE(status(host, "") == 403, host);
  CHECK(status("localhost:8080", "http://localhost:8080") == 200);
  for (const char* origin :
       {"null", "http://localhost", "http://localhost:80801", "https://localhost:8080", "http://b"})
    CHECK_MESSAGE(status("localhost:8080", origin) == 403, origin);
  CHECK(status("a.example", "http://b.example", "t") == 200);  // a browser does not know the token
}

TEST_CASE("control: LUNs are added by the rules of the configuration, changed and removed") {
  World world;
  CHECK(world.ask("POST", luns_path(), R"({"store": "memory:2M", "block_size": 4096, "serial": "S1"})").status == 201);
  CHECK(world.lun(2).block_length() == 4096);
  CHECK(world.lun(2).config().name == "lun2");
  CHECK(world.refusal("POST", luns_path(), R"({"store": "memory:2M", "block_size": 520})") ==
        "422 block_size: 512 or 4096");
  CHECK(world.refusal("POST", luns_path(), R"({"store": "disk"})").starts_with("422 store: a store such as"));
  CHECK(world.refusal("POST", luns_path(), R"({"store": "memory:2M", "serial": "S1"})") ==
        "409 serial: a serial that no other LUN has");
  CHECK(world.refusal("POST", luns_path(), R"({"store": "memory:2M", "name": "lun0"})") ==
        "409 name: a name that no LUN has");
  CHECK(world.refusal("POST", luns_path(), R"({"store": "memory:2M", "number": 0})").starts_with("409 "));
  CHECK(world.refusal("POST", luns_path(), R"({"store": "file:/nowhere/x"})").starts_with("409 store: "));
  CHECK(world.refusal("POST", luns_path(), R"({"store": "memory:2M", "access": [{"group": 1}]})")
            .starts_with("422 alua"));
  CHECK(world.ask("PATCH", luns_path("/2"), R"({"size": "8K", "read_only": true})").status == 200);
  CHECK(world.lun(2).size_bytes() == 8192);
  CHECK(world.lun(2).read_only());
  CHECK(world.refusal("PATCH", luns_path("/2"), R"({"size": 100, "read_only": false})").starts_with("409 "));
  CHECK(world.lun(2).read_only());
  CHECK(world.refusal("PATCH", luns_path("/2"), R"({"access": []})") ==
        "409 access: a target with alua implicit or both");
  CHECK(world.ask("DELETE", luns_path("/2")).status == 204);
  CHECK(world.refusal("GET", luns_path("/2")) == "404 LUN: one that there is");
}

TEST_CASE("control: every key of a LUN that is asked for means what it means in odxd.toml") {
  World world;
  REQUIRE(world
              .ask("POST", "/v1/targets",
                   R"({"name": "iqn.2026-11.org.example:two", "alua": "both", "luns": [{"store": "memory:1G",
                        "number": 3, "name": "all", "block_size": 512, "physical_block_exponent": 3, "read_only": true,
                        "removable": true, "provisioning": "thin", "self_encrypting": true, "soft_threshold": "1M",
                        "allowed_initiators": ["iqn.2026-11.org.example:host"], "serial": "S", "naa":
                        "naa.60000000000000000000000000000001", "access": [{"group": 1, "state": "standby",
                        "preferred": true}]}]})")
              .status == 201);
  const auto lun = world.arrays.find_lun("iqn.2026-11.org.example:two", 3);
  REQUIRE(lun.lun);
  const scsi::LogicalUnitConfig& config = lun.lun->logical_unit->config();
  CHECK(config.name == "all");
  CHECK(config.blocks_per_physical_exponent == 3);
  CHECK(config.read_only);
  CHECK(config.removable);
  CHECK(config.thin);
  CHECK(config.self_encrypting);
  CHECK(config.soft_threshold_bytes == 1 << 20);
  CHECK(config.allowed_initiators == std::vector<std::string>{"iqn.2026-11.org.example:host"});
  CHECK(config.identity.serial == "S");
  CHECK(config.identity.naa.back() == 1);
  CHECK(config.target_port_groups.find(1)->state == scsi::AccessState::standby);
  CHECK(config.target_port_groups.find(1)->preferred);
  CHECK(target::control::kNewLunShape.fields.size() == 14);  // a new one belongs into this test
  const std::string path = "/v1/targets/iqn.2026-11.org.example:two/luns/3";
  CHECK(world.ask("PATCH", path, R"({"access": []})").status == 200);
  CHECK(config.target_port_groups.find(1)->state == scsi::AccessState::active_optimized);
  CHECK(world.refusal("PATCH", path, R"({"access": [{"group": 2}]})") ==
        "422 access.group: a portal group of the target");
}

TEST_CASE("control: targets come and go, and what cannot be leaves nothing behind") {
  World world;
  const std::string two = "/v1/targets/iqn.2026-11.org.example:two";
  CHECK(world.ask("POST", "/v1/targets", R"({"name": "IQN.2026-11.org.example:two", "alias": "a"})").status == 201);
  CHECK(shown(world.get(two).at("alias")) == "a");
  CHECK(world.ask("PATCH", two, R"({"allowed_initiators": ["iqn.2026-11.org.example:host"]})").status == 200);
  CHECK(shown(world.get(two).at("alias")) == "a");
  CHECK(world.get(two).at("allowed_initiators").get_array().size() == 1);
  CHECK(world.ask("PATCH", two, R"({"allowed_initiators": []})").status == 200);
  CHECK(world.get(two).at("allowed_initiators").get_array().empty());
  CHECK(world.refusal("PATCH", two, R"({"allowed_initiators": ["host"]})").starts_with("422 allowed_initiators"));
  CHECK(world.refusal("POST", "/v1/targets", R"({"name": "iqn.2026-11.org.example:two"})") ==
        "409 name: a name that no target has");
  CHECK(world.refusal("POST", "/v1/targets", R"({"name": "two"})").starts_with("422 name: an iSCSI name"));
  CHECK(world.refusal("POST", "/v1/targets", R"({"name": "iqn.2026-11.org.example:three", "portal_groups": [2]})")
            .starts_with("422 "));
  CHECK(world.refusal("POST", "/v1/targets",
                      R"({"name": "iqn.2026-11.org.example:three", "luns": [{"store": "memory:1M", "name": "x"},
                          {"store": "memory:1M", "name": "lun0"}]})") == "409 name: a name that no LUN has");
  CHECK(world.refusal("POST", "/v1/targets",
                      R"({"name": "iqn.2026-11.org.example:three", "luns": [{"store": "memory:1M"},
                          {"store": "memory:1M", "name": "target2-lun0"}]})") == "409 name: a name that no LUN has");
  Response secrets = world.ask("POST", "/v1/targets",
                               R"({"name": "iqn.2026-11.org.example:three", "chap": {"name": "host", "secret":
                                   "the-same-secret", "mutual": {"name": "array", "secret": "the-same-secret"}}})");
  CHECK(secrets.status == 422);
  CHECK(!secrets.body.contains("the-same-secret"));
  CHECK(world.refusal("GET", "/v1/targets/iqn.2026-11.org.example:three") == "404 target: one that there is");
  CHECK(world.ask("DELETE", two).status == 204);
  CHECK(world.refusal("GET", two) == "404 target: one that there is");
}

TEST_CASE("control: pairs are cut and mended") {
  World world;
  CHECK(world.refusal("POST", "/v1/reachability/cut", R"({"a": "lun0", "b": "lun9"})") == "422 b: one of lun0, lun1");
  CHECK(world.ask("POST", "/v1/reachability/cut", R"({"a": "lun0", "b": "lun1"})").status == 200);
  CHECK(world
            .ask("POST", "/v1/reachability/cut",
                 R"({"a": "lun1", "b": "lun0", "refusal": "remote-token-usage-not-supported"})")
            .status == 200);
  const auto& reachability = world.arrays.all().front()->copy_manager().reachability();
  REQUIRE(reachability.cuts().size() == 1);
  CHECK(reachability.cuts().front().refusal == scsi::UnreachableRefusal::remote_token_usage_not_supported);
  CHECK(world.ask("POST", "/v1/reachability/mend", R"({"a": "lun0", "b": "lun1"})").status == 200);
  CHECK(reachability.cuts().empty());
  CHECK(world.refusal("POST", "/v1/reachability/mend", R"({"a": "lun0", "b": "lun1"})") ==
        "409 a: a pair that is unreachable");
  CHECK(world.ask("PUT", "/v1/reachability", R"({"unreachable": [{"a": "lun0", "b": "lun0"}]})").status == 200);
  CHECK(world.get("/v1/reachability").at("unreachable").get_array().size() == 1);
}

TEST_CASE("control: a snapshot gives back data, size and nothing else, and tokens are unknown afterwards") {
  World world;
  world.write(0, 0xA1);
  CHECK(world.ask("POST", "/v1/snapshots", R"({"name": "before"})").status == 201);
  CHECK(world.refusal("POST", "/v1/snapshots", R"({"name": "before"})").starts_with("409 "));
  world.write(0, 0xB2);
  const std::string token = world.make_token();
  CHECK(world.ask("PATCH", luns_path("/1"), R"({"size": "4K"})").status == 200);
  CHECK(world.ask("POST", "/v1/snapshots/before/restore").status == 200);
  CHECK(world.read(0) == 0xA1);
  CHECK(world.lun(1).size_bytes() == 1 << 20);
  CHECK(world.refusal("GET", "/v1/tokens/" + token) == "404 token: one that there is");
  world.write(0, 0xC3);
  CHECK(world.ask("POST", "/v1/snapshots/before/restore").status == 200);
  CHECK(world.read(0) == 0xA1);
  CHECK(world.ask("DELETE", luns_path("/1")).status == 204);
  CHECK(world.refusal("POST", "/v1/snapshots/before/restore").starts_with("409 "));
  CHECK(world.ask("DELETE", "/v1/snapshots/before").status == 204);
  CHECK(world.refusal("DELETE", "/v1/snapshots/before") == "404 snapshot: one that there is");
}

TEST_CASE("control: a snapshot is not put back into another disk of the same serial") {
  handlers::TemporaryFolder folder;
  const std::string naa = "\"naa\": \"6024f4400000000000000000000000ff\", \"number\": 2";
  World world;
  auto put = [&](const std::string& store, unsigned block_size) {
    const std::string lun = fmt::format(R"({{"store": "{}", "block_size": {}, {}}})", store, block_size, naa);
    return world.ask("POST", luns_path(), lun).status == 201;
  };
  REQUIRE(put("memory:1M", 512));
  world.write(2, 0xA1);
  CHECK(world.ask("POST", "/v1/snapshots", R"({"name": "before"})").status == 201);
  const std::string file = folder.file("disk");
  for (const auto& [store, block_size] :
       {std::pair{std::string("memory:1M"), 4096u}, {"file:" + file + ",size=1M", 512u}}) {
    CHECK(world.ask("DELETE", luns_path("/2")).status == 204);
    REQUIRE(put(store, block_size));
    world.write(2, 0xB2);
    CHECK(world.refusal("POST", "/v1/snapshots/before/restore").starts_with("409 "));
    CHECK(world.read(2) == 0xB2);
  }
  CHECK(world.ask("DELETE", luns_path("/2")).status == 204);
  REQUIRE(put("memory:2M", 512));
  CHECK(world.ask("POST", "/v1/snapshots/before/restore").status == 200);
  CHECK(world.read(2) == 0xA1);
  CHECK(world.lun(2).size_bytes() == 1 << 20);
}

TEST_CASE("control: reset puts back the configuration, empties memory and forgets tokens") {
  World world;
  world.write(0, 0xA1);
  const std::string token = world.make_token();
  const auto naa = world.lun(0).identity().naa;
  CHECK(world.ask("DELETE", luns_path("/1")).status == 204);
  CHECK(world.ask("POST", luns_path(), R"({"store": "memory:2M", "number": 1, "block_size": 4096})").status == 201);
  CHECK(world.ask("POST", "/v1/targets", R"({"name": "iqn.2026-11.org.example:two"})").status == 201);
  CHECK(world.ask("PATCH", luns_path("/0"), R"({"size": "1M", "read_only": true})").status == 200);
  CHECK(world.ask("POST", "/v1/reachability/cut", R"({"a": "lun0", "b": "lun1"})").status == 200);
  CHECK(world.ask("POST", "/v1/reset").status == 200);
  CHECK(world.read(0) == 0);
  CHECK(world.lun(0).identity().naa == naa);
  CHECK(world.lun(0).size_bytes() == 1u << 30);
  CHECK(!world.lun(0).read_only());
  CHECK(world.lun(1).block_length() == 512);
  CHECK(world.arrays.directory().targets.size() == 1);
  CHECK(world.arrays.all().front()->copy_manager().reachability().cuts().empty());
  CHECK(world.refusal("GET", "/v1/tokens/" + token) == "404 token: one that there is");
}

TEST_CASE("control: a second reset finds nothing to change") {
  World world;
  auto changes = [&] { return json::parse(world.ask("POST", "/v1/reset").body).at("changes").get_array().size(); };
  CHECK(world.ask("DELETE", luns_path("/1")).status == 204);
  CHECK(changes() == 1);
  const auto naa = world.lun(1).identity().naa;
  CHECK(changes() == 0);
  CHECK(world.lun(1).identity().naa == naa);
}

TEST_CASE("control: a reset says all that was not as at the start") {
  World world(kConfig + "[[rule]]\naction = { type = \"nothing\" }\n");
  auto changes = [&] {
    std::vector<std::string> lines;
    const json::value answer = json::parse(world.ask("POST", "/v1/reset").body);
    for (const json::value& line : answer.at("changes").get_array()) lines.push_back(shown(line));
    return lines;
  };
  world.write(0, 0xA1);
  world.make_token();
  CHECK(world.ask("POST", "/v1/rules", R"({"action": {"type": "nothing"}})").status == 201);
  CHECK(world.ask("PUT", "/v1/rules/state", R"({"state": "late"})").status == 200);
  CHECK(world.ask("POST", "/v1/reachability/cut", R"({"a": "lun0", "b": "lun1"})").status == 200);
  CHECK(world.ask("PATCH", luns_path("/0"), R"({"read_only": true})").status == 200);
  world.arrays.all().front()->copy_manager().offer_third_party_copy(false);
  world.arrays.rules().fill_pool(true);
  CHECK(changes() ==
        std::vector<std::string>{fmt::format("LUN 0 of {} is empty", kOne), "tokens that are unknown now: 1",
                                 "the state of rules is \"initial\"", "rules that are removed: 1",
                                 "the memory that rules had taken is free", "third-party copy is offered again by lab",
                                 fmt::format("LUN 0 of {} is writable", kOne), "what is unreachable is what it was"});
  CHECK(changes().empty());
}

TEST_CASE("control: reset puts back access states, whoever changed them") {
  World world(
      fmt::format("id = \"lab\"\n[[target]]\nname = \"{}\"\nalua = \"both\"\n[[target.lun]]\nstore = "
                  "\"memory:1M\"\n",
                  kOne));
  scsi::TargetPortGroups& groups = world.lun(0).target_port_groups();
  groups.set_state(1, scsi::AccessState::standby, scsi::AccessChangedBy::set_target_port_groups);
  CHECK(world.ask("POST", "/v1/reset").status == 200);
  CHECK(groups.find(1)->state == scsi::AccessState::active_optimized);
}

TEST_CASE("control: reset undoes what rules did to the arrays") {
  World world;
  scsi::CopyManager& manager = world.arrays.all().front()->copy_manager();
  const handlers::MemoryBudget& budget = world.arrays.memory().budget();
  manager.offer_third_party_copy(false);
  world.arrays.rules().fill_pool(true);
  CHECK(budget.used() == budget.limit());
  CHECK(world.ask("POST", "/v1/reset").status == 200);
  CHECK(manager.profile().odx);
  CHECK(budget.used() < budget.limit());
}

TEST_CASE("control: a reset that cannot be changes nothing") {
  handlers::TemporaryFolder folder;
  World world(kConfig + fmt::format("[[target.lun]]\nstore = \"file:{},size=1M\"\n", folder.file("disk")));
  const std::string token = world.make_token();
  world.write(0, 0xA1);
  CHECK(world.ask("POST", "/v1/rules", R"({"action": {"type": "nothing"}})").status == 201);
  CHECK(world.ask("POST", luns_path(), R"({"store": "memory:2M"})").status == 201);
  CHECK(world.ask("PATCH", luns_path("/2"), R"({"size": "2M"})").status == 200);
  CHECK(world.refusal("POST", "/v1/reset").starts_with("409 "));  // a file does not shrink
  world.executor.run_all();
  CHECK(world.read(0) == 0xA1);
  CHECK(world.ask("GET", "/v1/tokens/" + token).status == 200);
  CHECK(world.get("/v1/rules").at("rules").get_array().size() == 1);
  CHECK(world.get(luns_path()).at("luns").get_array().size() == 4);
}

TEST_CASE("control: the array clock is stopped, moved, and moved to what is due") {
  World world;
  CHECK(shown(world.get("/v1/clock").at("mode")) == "real");
  CHECK(world.refusal("PUT", "/v1/clock", R"({"mode": "scaled"})") == "422 factor: a number from 0.001 to 100000");
  CHECK(world.refusal("PUT", "/v1/clock", R"({"mode": "scaled", "factor": 0})").starts_with("422 factor"));
  CHECK(world.refusal("PUT", "/v1/clock", R"({"mode": "manual", "factor": 2})").starts_with("422 factor"));
  CHECK(world.ask("PUT", "/v1/clock", R"({"mode": "scaled", "factor": 2.5})").status == 200);
  CHECK(world.get("/v1/clock").at("factor").to_number<double>() == 2.5);
  CHECK(world.ask("PUT", "/v1/clock", R"({"mode": "manual"})").status == 200);
  CHECK(world.refusal("POST", "/v1/clock/advance", "{}").starts_with("422 duration_s: either"));
  CHECK(world.refusal("POST", "/v1/clock/advance", R"({"duration_s": 1, "to": "next"})").starts_with("422 duration_s"));
  CHECK(world.refusal("POST", "/v1/clock/advance", R"({"duration_s": -1})").starts_with("422 duration_s"));
  CHECK(world.refusal("POST", "/v1/clock/advance", R"({"to": "next"})").starts_with("409 to"));
  const std::string token = world.make_token();
  const json::object moved = json::parse(world.ask("POST", "/v1/clock/advance", R"({"to": "next"})").body).get_object();
  CHECK(moved.at("advanced_s").to_number<double>() == 60.0);
  CHECK(shown(world.get("/v1/tokens/" + token).at("state")) == "expired");
  CHECK(world.ask("POST", "/v1/clock/advance", R"({"duration_s": 7200})").status == 200);
  CHECK(world.refusal("GET", "/v1/tokens/" + token) == "404 token: one that there is");
}

TEST_CASE("control: events are told from a number on, by kind, and those that are to come waited for") {
  World world;
  world.make_token();
  world.ask("POST", "/v1/reachability/cut", R"({"a": "lun0", "b": "lun1"})");
  const json::object all = world.get("/v1/events");
  const std::uint64_t last = all.at("last").to_number<std::uint64_t>();
  CHECK(all.at("events").get_array().size() == last);
  CHECK(all.at("next").to_number<std::uint64_t>() == last);
  const json::object cuts = world.get("/v1/events?kind=reachability,clock&since=0");
  REQUIRE(cuts.at("events").get_array().size() == 1);
  CHECK(shown(cuts.at("events").at(0).at("kind")) == "reachability");
  CHECK(world.get("/v1/events?since=0&limit=1").at("next").to_number<std::uint64_t>() == 1);
  CHECK(world.get(fmt::format("/v1/events?since={}", last)).at("events").get_array().empty());
  CHECK(world.refusal("GET", "/v1/events?kind=party").starts_with("400 kind: "));
  CHECK(world.refusal("GET", "/v1/events?limit=1001") == "400 limit: a whole number from 1 to 1000");
  Answer waiting = world.dispatcher.answer({.method = "GET", .target = "/v1/events?wait_s=60&kind=token_created"});
  std::optional<Response> response;
  waiting.begin([&](Response given) { response = std::move(given); });
  world.ask("POST", "/v1/reachability/mend", R"({"a": "lun0", "b": "lun1"})");
  CHECK(!response);
  world.make_token();
  REQUIRE(response);
  CHECK(shown(json::parse(response->body).at("events").at(0).at("kind")) == "token_created");
  CHECK(world.loop.timers().size() == 0);
  CHECK(world.ask("DELETE", "/v1/events").status == 204);
  CHECK(world.get("/v1/events?since=0").at("lost").to_number<std::uint64_t>() > last);
}

TEST_CASE("control: events that are looked for among many are found, and no turn looks at many") {
  World world;
  auto add = [&](scsi::EventKind kind, int count) {
    for (int i = 0; i < count; ++i) world.journal.record({.kind = kind});
  };
  auto numbers = [](const json::object& list) {
    std::vector<std::uint64_t> all;
    for (const json::value& event : list.at("events").get_array())
      all.push_back(event.at("sequence").to_number<std::uint64_t>());
    return all;
  };
  using Numbers = std::vector<std::uint64_t>;
  const std::uint64_t first = world.journal.last();
  add(scsi::EventKind::clock, 1);
  add(scsi::EventKind::login, 1500);
  add(scsi::EventKind::clock, 1);
  add(scsi::EventKind::login, 1500);
  const std::uint64_t last = world.journal.last();
  for (const char* since : {"", "&since=0"}) {
    CAPTURE(since);
    const std::string path = fmt::format("/v1/events?kind=clock{}", since);
    Answer answer = world.dispatcher.answer({.method = "GET", .target = path});
    REQUIRE(answer.begin);
    std::optional<Response> response;
    answer.begin([&](Response given) { response = std::move(given); });
    int steps = 0;
    for (; !response; ++steps) world.executor.end_turn();
    CHECK(steps >= 2);
    const json::object list = json::parse(response->body).get_object();
    CHECK(numbers(list) == Numbers{first + 1, first + 1502});
    CHECK(list.at("next").to_number<std::uint64_t>() == last);
  }
  CHECK(numbers(world.get("/v1/events?kind=clock&limit=1")) == Numbers{first + 1502});
  const json::object one = world.get("/v1/events?kind=clock&since=0&limit=1");
  CHECK(numbers(one) == Numbers{first + 1});
  CHECK(one.at("next").to_number<std::uint64_t>() == first + 1);
  CHECK(world.get(fmt::format("/v1/events?since={}", last + 7)).at("next").to_number<std::uint64_t>() == last);
}

TEST_CASE("control: what is looked for and not there is waited for, and who goes is not answered") {
  World world;
  for (int i = 0; i < 2500; ++i) world.journal.record({.kind = scsi::EventKind::login});
  auto ask = [&] {
    return world.dispatcher.answer({.method = "GET", .target = "/v1/events?wait_s=60&since=0&kind=clock"});
  };
  std::optional<Response> response;
  auto keep = [&](Response given) { response = std::move(given); };
  Answer gone = ask();
  gone.begin(keep);
  gone.wait.reset();
  world.executor.run_all();
  CHECK(world.loop.timers().size() == 0);
  Answer waiting = ask();
  waiting.begin(keep);
  CHECK(world.loop.timers().size() == 0);
  world.executor.run_all();
  CHECK(world.loop.timers().size() == 1);
  // More than a step of what is not wanted, then one that is.
  for (int i = 0; i < 2500; ++i) world.journal.record({.kind = scsi::EventKind::login});
  CHECK(!response);
  world.journal.record({.kind = scsi::EventKind::clock});
  REQUIRE(response);
  const json::object list = json::parse(response->body).get_object();
  CHECK(list.at("events").get_array().size() == 1);
  CHECK(list.at("next").to_number<std::uint64_t>() == world.journal.last());
  CHECK(world.loop.timers().size() == 0);
}

TEST_CASE("control: who waits for an event and goes leaves nothing behind") {
  World world;
  Answer waiting = world.dispatcher.answer({.method = "GET", .target = "/v1/events?wait_s=60"});
  bool answered = false;
  waiting.begin([&](const Response&) { answered = true; });
  CHECK(world.loop.timers().size() == 1);
  waiting.wait.reset();
  CHECK(world.loop.timers().size() == 0);
  world.make_token();
  CHECK(!answered);
}

TEST_CASE("control: a stream has what was asked for, its numbers, and what was lost of it") {
  World world;
  auto stream = [&](const std::string& path, const std::string& last_event = {}) {
    return world.dispatcher.answer({.method = "GET", .target = path, .last_event_id = last_event}).feed;
  };
  world.make_token();
  auto feed = stream("/v1/events/stream?kind=token_created");
  CHECK(feed->take().empty());
  int woken = 0;
  feed->on_more([&] { ++woken; });
  world.ask("POST", "/v1/reachability/cut", R"({"a": "lun0", "b": "lun1"})");
  CHECK(woken == 0);
  world.make_token();
  CHECK(woken == 1);
  const std::string text = feed->take();
  CHECK(text.starts_with("id: "));
  CHECK(text.contains("\nevent: token_created\ndata: {\"sequence\":"));
  CHECK(text.ends_with("}\n\n"));
  CHECK(feed->take().empty());
  CHECK(stream("/v1/events/stream?since=0")->take().starts_with("id: 1\n"));
  CHECK(stream("/v1/events/stream", "1")->take().starts_with("id: 2\n"));
  for (std::size_t i = 0; i < scsi::Journal::kDefaultEvents + 10; ++i) world.journal.record({});
  // What is looked for among many: a comment for each thousand that is not wanted.
  auto rare = stream("/v1/events/stream?since=0&kind=clock");
  CHECK(rare->take().starts_with("event: lost\n"));
  int comments = 0;
  for (std::string said = rare->take(); !said.empty(); said = rare->take(), ++comments) CHECK(said == ":\n\n");
  CHECK(comments >= 2);
  CHECK(stream("/v1/events/stream?since=1")->take().starts_with("event: lost\ndata: {\"lost\":"));
}

TEST_CASE("control: rules are added, told with what they counted, and removed") {
  World world;
  const std::string rule =
      R"({"name": "no", "match": {"command": "WRITE USING TOKEN"}, "action": {"type": "nothing"}})";
  CHECK(world.ask("POST", "/v1/rules", rule).status == 201);
  const json::object listed = world.get("/v1/rules");
  REQUIRE(listed.at("rules").get_array().size() == 1);
  const json::object told = listed.at("rules").at(0).get_object();
  CHECK(told.at("hits").to_number<std::uint64_t>() == 0);
  const std::string path = "/v1/rules/" + json::serialize(told.at("id"));
  CHECK(shown(world.get(path)) == shown(told));
  CHECK(world.ask("POST", "/v1/rules", json::serialize(told)).status == 201);  // what is told can be asked for
  CHECK(world.refusal("POST", "/v1/rules", R"({"match": {"nth": 0}})").starts_with("422 "));
  CHECK(world.refusal("POST", "/v1/rules", R"({"action": {"type": "explode"}})").starts_with("422 rule"));
  CHECK(world.ask("PUT", "/v1/rules/state", R"({"state": "late"})").status == 200);
  CHECK(shown(world.get("/v1/rules").at("state")) == "late");
  CHECK(world.ask("POST", "/v1/rules/start-over").status == 200);
  CHECK(shown(world.get("/v1/rules").at("state")) == "initial");
  CHECK(world.ask("DELETE", path).status == 204);
  CHECK(world.refusal("DELETE", path) == "404 rule: one that there is");
  CHECK(world.ask("POST", "/v1/reset").status == 200);
  CHECK(world.get("/v1/rules").at("rules").get_array().empty());
}

TEST_CASE("control: explain answers, and without a journal says so") {
  World world;
  CHECK(!world.get("/v1/explain").at("text").get_string().empty());
  world.arrays.set_journal(nullptr);
  CHECK(world.refusal("GET", "/v1/events").starts_with("409 journal.events"));
  CHECK(world.refusal("GET", "/v1/explain").starts_with("409 journal.events"));
}

TEST_CASE("control: ready and not ready") {
  World world;
  CHECK(world.refusal("GET", "/readyz") == "503 : ");
  world.steered.ready = true;
  CHECK(world.ask("GET", "/readyz").status == 200);
}

TEST_CASE("control: metrics name what people look for") {
  World world;
  const std::string text = world.ask("GET", "/metrics").body;
  for (const char* line :
       {"odx_sessions 0\n", "odx_tokens{array=\"lab\"} 0\n", "odx_lun_size_bytes{lun=\"lun1\"} 1048576\n",
        "# TYPE odx_bytes_total counter\n", "odx_memory_used_bytes "})
    CHECK_MESSAGE(text.contains(line), line);
}
