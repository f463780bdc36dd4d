// Not tested, and why: 2^64 operations in one start.
#include "tokens/copy_operation.h"

#include <doctest/doctest.h>

using namespace tokens;

namespace {

constexpr CopyOperationKey kKey{.nexus = 1, .logical_unit = {0x60, 1}, .list_identifier = 0x2A};

CopyOperationKey key(std::uint32_t nexus, std::uint8_t lun, std::uint32_t list_identifier) {
  return {.nexus = nexus, .logical_unit = {0x60, lun}, .list_identifier = list_identifier};
}

void run(CopyOperations& operations, const CopyOperationKey& name, CopyOutcome outcome = {}) {
  auto guard = operations.begin(name, CopyCommand::populate_token);
  REQUIRE(guard);
  guard->finish(std::move(outcome));
}

}  // namespace

TEST_CASE("a list identifier in use is refused on the same nexus and logical unit only") {
  CopyOperations operations({});
  auto first = operations.begin(kKey, CopyCommand::populate_token);
  REQUIRE(first);
  CHECK_FALSE(operations.begin(kKey, CopyCommand::write_using_token));
  CHECK(operations.find(kKey)->command() == CopyCommand::populate_token);
  CHECK(operations.begin(key(2, 1, 0x2A), CopyCommand::populate_token));
  CHECK(operations.begin(key(1, 2, 0x2A), CopyCommand::populate_token));
  CHECK(operations.begin(key(1, 1, 0x2B), CopyCommand::populate_token));
}

TEST_CASE("an operation is in progress in the foreground until it is finished, then has its outcome") {
  CopyOperations operations({});
  auto guard = operations.begin(kKey, CopyCommand::write_using_token);
  REQUIRE(guard);
  CHECK(operations.find(kKey)->status() == CopyStatus::in_progress_foreground);
  guard->finish({.status = CopyStatus::completed_partial,
                 .transfer_count = 0x300,
                 .operation_counter = 1,
                 .completion_status = 2,
                 .sense = {0x70, 0}});
  const CopyOperation* operation = operations.find(kKey);
  CHECK(operation->status() == CopyStatus::completed_partial);
  CHECK(operation->outcome().transfer_count == 0x300);
  CHECK(operation->outcome().sense.size() == 2);
}

TEST_CASE("a finished operation's list identifier may be used again and its result is discarded") {
  CopyOperations operations({});
  run(operations, kKey, {.transfer_count = 7, .tokens = {CreatedToken{}}});
  auto again = operations.begin(kKey, CopyCommand::write_using_token);
  REQUIRE(again);
  CHECK(operations.find(kKey)->command() == CopyCommand::write_using_token);
  CHECK(operations.find(kKey)->outcome().tokens.empty());
  CHECK(operations.size() == 1);
}

TEST_CASE("an operation whose command was aborted is terminated, with TASK ABORTED and no sense") {
  CopyOperations operations({});
  {
    auto guard = operations.begin(kKey, CopyCommand::write_using_token);
  }
  CHECK(operations.find(kKey)->status() == CopyStatus::terminated);
  CHECK(operations.find(kKey)->outcome().completion_status == 0x40);
  CHECK(operations.find(kKey)->outcome().sense.empty());
}

TEST_CASE("delivered ROD token information is gone, the copy status stays") {
  CopyOperations operations({});
  run(operations, kKey, {.tokens = {CreatedToken{}}});
  CHECK(operations.find(kKey)->kept(CopyResultPart::rod_token_information));
  operations.discard(kKey, CopyResultPart::rod_token_information);
  REQUIRE(operations.find(kKey));
  CHECK_FALSE(operations.find(kKey)->kept(CopyResultPart::rod_token_information));
  CHECK(operations.find(kKey)->outcome().tokens.empty());
}

TEST_CASE("reading while an operation is processed discards nothing") {
  CopyOperations operations({});
  auto guard = operations.begin(kKey, CopyCommand::populate_token);
  operations.discard(kKey, CopyResultPart::rod_token_information);
  guard->finish({.tokens = {CreatedToken{}}});
  CHECK(operations.find(kKey)->kept(CopyResultPart::rod_token_information));
  CHECK_FALSE(operations.find(kKey)->outcome().tokens.empty());
}

TEST_CASE("an I_T nexus loss drops that nexus's results and lets operations go on unseen") {
  CopyOperations operations({});
  run(operations, kKey);
  run(operations, key(2, 1, 0x2A));
  auto running = operations.begin(key(1, 2, 5), CopyCommand::write_using_token);
  operations.nexus_lost(1);
  CHECK_FALSE(operations.find(kKey));
  CHECK_FALSE(operations.find(key(1, 2, 5)));
  CHECK(operations.find(key(2, 1, 0x2A)));
  running->finish({});
  CHECK_FALSE(operations.find(key(1, 2, 5)));
  CHECK(operations.size() == 1);
}

TEST_CASE("what a lost nexus leaves is gone at once, and its memory comes back step by step") {
  CopyOperations operations({.results = 100, .held_bytes = 100 * sizeof(CreatedToken)});
  for (std::uint32_t id = 0; id < 60; ++id) run(operations, key(1, 1, id), {.tokens = {CreatedToken{}}});
  auto running = operations.begin(key(1, 1, 99), CopyCommand::populate_token);
  run(operations, key(2, 1, 1));
  operations.nexus_lost(1);
  CHECK(operations.size() == 1);
  for (std::uint32_t id = 0; id < 60; ++id) CHECK_FALSE(operations.find(key(1, 1, id)));
  operations.logical_unit_reset({0x60, 2});  // of another
  CHECK(operations.free_lost(20));
  CHECK(operations.held_bytes() == 40 * sizeof(CreatedToken));
  // What is left takes no place of others.
  for (std::uint32_t id = 0; id < 98; ++id) run(operations, key(2, 1, id + 2), {.tokens = {CreatedToken{}}});
  CHECK(operations.size() == 99);
  CHECK(operations.find(key(2, 1, 1)));
  CHECK(operations.find(key(2, 1, 2))->kept(CopyResultPart::rod_token_information));
  running->finish({.tokens = {CreatedToken{}}});
  CHECK(operations.size() == 99);
  while (operations.free_lost(1)) continue;
  CHECK(operations.held_bytes() == 98 * sizeof(CreatedToken));
  CHECK(operations.size() == 99);
}

TEST_CASE("an operation that ends frees few of what a lost nexus left, and takes nothing else for it") {
  constexpr std::size_t kToken = sizeof(CreatedToken), kMost = 64;
  CopyOperations operations({.results = 1000, .held_bytes = 100 * kToken});
  for (std::uint32_t id = 0; id < 100; ++id) run(operations, key(1, 1, id), {.tokens = {CreatedToken{}}});
  operations.nexus_lost(1);
  run(operations, key(2, 1, 1), {.tokens = std::vector<CreatedToken>(90)});
  CHECK(operations.held_bytes() == (190 - kMost) * kToken);
  CHECK(operations.find(key(2, 1, 1))->kept(CopyResultPart::rod_token_information));
  run(operations, key(2, 1, 2));
  CHECK(operations.held_bytes() == 100 * kToken);
  CHECK(operations.find(key(2, 1, 1))->kept(CopyResultPart::rod_token_information));
}

TEST_CASE("a logical unit reset drops the results of that logical unit for every nexus") {
  CopyOperations operations({});
  run(operations, key(1, 1, 1));
  run(operations, key(2, 1, 1));
  run(operations, key(1, 2, 1));
  operations.logical_unit_reset({0x60, 1});
  CHECK_FALSE(operations.find(key(1, 1, 1)));
  CHECK_FALSE(operations.find(key(2, 1, 1)));
  CHECK(operations.find(key(1, 2, 1)));
}

TEST_CASE("what a reset logical unit leaves is gone at once, and its memory comes back step by step") {
  CopyOperations operations({.results = 100, .held_bytes = 100 * sizeof(CreatedToken)});
  for (std::uint32_t id = 0; id < 60; ++id) run(operations, key(id % 2, 1, id), {.tokens = {CreatedToken{}}});
  auto running = operations.begin(key(1, 1, 99), CopyCommand::populate_token);
  run(operations, key(1, 2, 1), {.tokens = {CreatedToken{}}});
  operations.logical_unit_reset({0x60, 1});
  CHECK(operations.size() == 1);
  CHECK(operations.held_bytes() == 61 * sizeof(CreatedToken));
  for (std::uint32_t id = 0; id < 60; ++id) CHECK_FALSE(operations.find(key(id % 2, 1, id)));
  // The same names may be used again meanwhile.
  run(operations, key(1, 1, 1), {.transfer_count = 7, .tokens = {CreatedToken{}}});
  CHECK(operations.free_lost(20));
  CHECK(operations.held_bytes() == 42 * sizeof(CreatedToken));
  running->finish({.tokens = {CreatedToken{}}});
  while (operations.free_lost(1)) continue;
  CHECK(operations.held_bytes() == 2 * sizeof(CreatedToken));
  CHECK(operations.size() == 2);
  REQUIRE(operations.find(key(1, 1, 1)));
  CHECK(operations.find(key(1, 1, 1))->outcome().transfer_count == 7);
  CHECK_FALSE(operations.find(key(1, 1, 99)));
}

TEST_CASE("beyond the limit the result that finished first goes, and none that is being processed") {
  CopyOperations operations({.results = 2});
  auto running = operations.begin(key(1, 1, 0), CopyCommand::populate_token);
  for (std::uint32_t id : {1u, 2u, 3u}) run(operations, key(1, 1, id));
  CHECK(operations.find(key(1, 1, 0)));
  CHECK_FALSE(operations.find(key(1, 1, 1)));
  CHECK(operations.find(key(1, 1, 2)));
  CHECK(operations.find(key(1, 1, 3)));
  CHECK(operations.size() == 3);
}

TEST_CASE("an operation that was one too many leaves a result, in place of an older one, and does not count") {
  CopyOperations operations({.operations = 1, .results = 2});
  run(operations, key(1, 1, 9));
  auto first = operations.begin(key(1, 1, 1), CopyCommand::write_using_token);
  operations.refused(key(1, 1, 9), CopyCommand::write_using_token, {.status = CopyStatus::completed_with_errors});
  REQUIRE(operations.find(key(1, 1, 9)));
  CHECK(operations.find(key(1, 1, 9))->status() == CopyStatus::completed_with_errors);
  CHECK(operations.in_progress() == 1);
  operations.refused(key(1, 1, 8), CopyCommand::write_using_token, {.status = CopyStatus::completed_with_errors});
  operations.refused(key(1, 1, 7), CopyCommand::write_using_token, {.status = CopyStatus::completed_with_errors});
  CHECK_FALSE(operations.find(key(1, 1, 9)));
  CHECK(operations.size() == 3);
}

TEST_CASE("operations being processed are limited, results are not counted among them") {
  CopyOperations operations({.operations = 2});
  run(operations, key(1, 1, 9));
  auto first = operations.begin(key(1, 1, 1), CopyCommand::populate_token);
  {
    auto second = operations.begin(key(1, 1, 2), CopyCommand::populate_token);
    CHECK(operations.begin(key(1, 1, 9), CopyCommand::populate_token).error() == CopyStartError::too_many_operations);
    CHECK(operations.find(key(1, 1, 9)));  // untouched
  }
  CHECK(operations.begin(key(1, 1, 9), CopyCommand::populate_token));
}
