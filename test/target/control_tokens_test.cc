// The control interface without a socket, where there are many tokens: pages, and what is done in steps.
//
// Not tested, and why: how long a step takes (the machine's business).
#include "test/target/control_world.h"

#include <algorithm>
#include <iterator>

using namespace control_test;

TEST_CASE("control: tokens are listed with what is left of their life, and end as they are told") {
  World world;
  const std::string token = world.make_token();
  world.clock.advance(std::chrono::seconds(10));
  const json::object listed = world.get("/v1/tokens");
  REQUIRE(listed.at("tokens").get_array().size() == 1);
  const json::object& first = listed.at("tokens").at(0).get_object();
  CHECK(shown(first.at("id")) == token);
  CHECK(shown(first.at("source")) == "lun0");
  CHECK(first.at("age_s").to_number<double>() == 10.0);
  CHECK(first.at("ends_in_s").to_number<double>() == 50.0);
  CHECK(world.get("/v1/tokens?source=lun1").at("total").to_number<std::uint64_t>() == 0);
  const std::vector<std::pair<const char*, const char*>> ends{
      {"expire", "expired"}, {"revoke", "revoked"}, {"cancel", "cancelled"}, {"delete", "deleted"}};
  for (const auto& [verb, state] : ends) {
    const std::string path = "/v1/tokens/" + world.make_token();
    Response response = world.ask("POST", fmt::format("{}/{}", path, verb));
    CHECK(response.status == 200);
    CHECK(shown(json::parse(response.body).at("state")) == state);
    CHECK(world.get(path).at("token").is_null());
    CHECK(world.refusal("POST", path + "/revoke") == "409 id: a valid token");
  }
  CHECK(world.get("/v1/tokens").at("total").to_number<std::uint64_t>() == 1);
}

namespace {

/// Identifiers of a page.
std::vector<std::string> ids_of(const json::object& page) {
  std::vector<std::string> ids;
  for (const json::value& token : page.at("tokens").get_array()) ids.push_back(shown(token.at("id")));
  return ids;
}

std::vector<std::string> all_pages(World& world, const std::string& query) {
  std::vector<std::string> ids;
  for (std::string after; after != "null";) {
    const json::object page = world.get("/v1/tokens?" + query + (after.empty() ? "" : "&after=" + after));
    std::ranges::move(ids_of(page), std::back_inserter(ids));
    after = shown(page.at("next"));
  }
  return ids;
}

}  // namespace

TEST_CASE("control: tokens come page by page, and a page goes on behind a token that has gone") {
  World world;
  std::vector<std::string> all;
  for (int i = 0; i < 50; ++i) all.push_back(world.make_token());
  for (const char* limit : {"limit=1", "limit=7", "limit=50", "limit=1000", "source=lun0&limit=20", "array=lab"})
    CHECK_MESSAGE(all_pages(world, limit) == all, limit);
  CHECK(world.get("/v1/tokens?limit=50").at("next").is_null());
  json::object page = world.get("/v1/tokens?limit=20");
  CHECK(shown(page.at("next")) == all[19]);
  CHECK(page.at("total").to_number<std::size_t>() == 50);
  world.ask("POST", "/v1/tokens/" + all[19] + "/revoke");
  world.ask("POST", "/v1/tokens/" + all[25] + "/revoke");
  const std::string late = world.make_token();
  page = world.get("/v1/tokens?after=" + shown(page.at("next")));
  std::vector<std::string> rest(all.begin() + 20, all.end());
  std::erase(rest, all[25]);
  rest.push_back(late);
  CHECK(ids_of(page) == rest);
  CHECK(page.at("next").is_null());
  CHECK(page.at("total").to_number<std::size_t>() == 49);
  CHECK(ids_of(world.get("/v1/tokens?after=49")) == std::vector{all[49], late});  // by its number
  CHECK(world.get("/v1/tokens?source=lun1").at("next").is_null());
  world.clock.advance(std::chrono::hours(24));  // until nobody knows any of them
  CHECK(ids_of(world.get("/v1/tokens?after=" + all[30])).empty());
  const std::string behind = "400 after: a token that was made since odxd started";
  CHECK(world.refusal("GET", "/v1/tokens?after=0123456789abcdef") == behind);
  CHECK(world.refusal("GET", "/v1/tokens?after=0") == behind);
  CHECK(world.refusal("GET", "/v1/tokens?after=x").starts_with("400 after: a token's identifier"));
  CHECK(world.refusal("GET", "/v1/tokens?after=").starts_with("400 after: "));
}

TEST_CASE("control: a long page is written a few tokens at a time") {
  World world;
  std::vector<std::string> all;
  for (int i = 0; i < 500; ++i) all.push_back(world.make_token());
  Answer answer = world.dispatcher.answer(Request{.method = "GET", .target = "/v1/tokens"});
  REQUIRE(answer.begin);
  std::optional<Response> response;
  answer.begin([&](Response given) { response = std::move(given); });
  std::size_t turns = 0;
  for (; !response && world.executor.end_turn(); ++turns)
    if (turns == 3) CHECK(world.ask("POST", "/v1/tokens/" + all.back() + "/revoke").status == 200);
  REQUIRE(response);
  CHECK(turns >= 500 / 32);
  all.pop_back();
  const json::object page = json::parse(response->body).get_object();
  CHECK(ids_of(page) == all);
  CHECK(page.at("next").is_null());
}

TEST_CASE("control: pages go from one array to the next") {
  std::string text;
  for (const char* name : {"east", "west", "south"})
    text += fmt::format(
        "[[array]]\nname = \"{0}\"\nid = \"{0}\"\n[[target]]\narray = \"{0}\"\nname = "
        "\"iqn.2026-11.org.example:{0}\"\n[[target.lun]]\nname = \"lun of {0}\"\nstore = \"memory:1G\"\n",
        name);
  World world(text);
  std::vector<std::string> all;
  for (std::size_t array : {0u, 2u})  // none of the second
    for (int i = 0; i < 5; ++i) {
      auto rod = base::make_ref<const tokens::Rod>(tokens::RodType::point_in_time_default, handlers::SnapshotRef(),
                                                   tokens::RodSource{"of a lun", 512});
      auto token = world.arrays.all()[array]->copy_manager().tokens().create({.rod = rod});
      all.push_back(fmt::format("{:016x}", token->copy_manager_rod_token_identifier.value()));
    }
  for (const char* query : {"limit=1", "limit=3", "limit=5", "limit=10", "source=of%20a%20lun&limit=4"})
    CHECK_MESSAGE(all_pages(world, query) == all, query);
  CHECK(shown(world.get("/v1/tokens?limit=5").at("next")) == all[4]);
  CHECK(world.get("/v1/tokens?limit=5&array=east").at("next").is_null());
  CHECK(world.get("/v1/tokens?limit=5").at("total").to_number<std::size_t>() == 10);
  CHECK(all_pages(world, "array=south&limit=2") == std::vector(all.begin() + 5, all.end()));
  CHECK(world.refusal("GET", "/v1/tokens?array=west&after=" + all[0]) ==
        "400 after: a token that this array made since odxd started");
  CHECK(world.refusal("GET", "/v1/tokens?after=1").starts_with("400 after: a token's identifier"));
}

TEST_CASE("control: who keeps memory is counted in steps, and the tokens that keep most are told") {
  World world;
  world.write(0, 0xA1);
  for (int i = 0; i < 300; ++i) world.make_token();
  Answer answer = world.dispatcher.answer(Request{.method = "GET", .target = "/v1/memory/usage"});
  REQUIRE(answer.begin);
  std::optional<Response> response;
  answer.begin([&](Response given) { response = std::move(given); });
  CHECK_FALSE(response);
  world.executor.run_all();
  REQUIRE(response);
  const json::object usage = json::parse(response->body).get_object();
  CHECK(usage.at("token_count").to_number<std::size_t>() == 300);
  CHECK(usage.at("tokens").get_array().size() == target::StatusReporter::kMostTokens);
}

TEST_CASE("control: a reset is answered when the memory of all tokens is free, which takes turns") {
  World world;
  std::vector<std::string> all;
  for (int i = 0; i < 200; ++i) all.push_back(world.make_token());
  const std::uint64_t before = world.journal.last();
  Answer answer = world.dispatcher.answer(Request{.method = "POST", .target = "/v1/reset"});
  REQUIRE(answer.begin);
  std::optional<Response> response;
  answer.begin([&](Response given) { response = std::move(given); });
  const auto forgotten = [&] {
    return std::ranges::count(world.journal.since(before), scsi::EventKind::token_forgotten, &scsi::Event::kind);
  };
  while (world.executor.held() > 0 && !response && forgotten() == 0) world.executor.run();
  CHECK_FALSE(response);
  CHECK(forgotten() < 100);
  for (const std::string& id : all) CHECK(world.refusal("GET", "/v1/tokens/" + id).starts_with("404 "));
  auto last = forgotten();
  std::size_t turns = 0;
  for (; !response && world.executor.end_turn(); ++turns) {
    CHECK(forgotten() - last <= 32);
    last = forgotten();
  }
  REQUIRE(response);
  CHECK(response->status == 200);
  CHECK(turns >= 4);
  CHECK(forgotten() == 200);
}
