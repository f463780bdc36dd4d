// Rules as documents: every form is read and written again, and what is wrong is said with the rule and the key.
//
// Not tested, and why: what rules do (test/scsi/rule_actions_test.cc).
#include "target/rule_document.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cmath>
#include <string>

#include "target/config.h"
#include "target/config_rules.h"

namespace {

namespace json = boost::json;
using target::rule_document;
using target::rule_from;

/// What is wrong with a document.
std::string error_of(const std::string& text) {
  try {
    (void)rule_from(json::parse(text));
    return "nothing";
  } catch (const target::RuleError& error) {
    return error.what();
  }
}

/// `text` in the notation of JSON with ' for ".
std::string quoted(std::string text) {
  for (char& each : text)
    if (each == '\'') each = '"';
  return text;
}

}  // namespace

TEST_CASE("every action and every key of a match is read, and written as it was read") {
  const char* const actions[] = {
      R"({"type":"nothing"})",
      R"({"type":"status","status":"BUSY"})",
      R"({"type":"status","status":"TASK SET FULL","when":"after"})",
      R"({"type":"status","status":"22h"})",
      R"({"type":"sense","sense":"05/23/07"})",
      R"({"type":"sense","sense":"0A/0D/04","information":16,"when":"after"})",
      R"({"type":"delay","ms":4100})",
      R"({"type":"delay","ms":1.5E0,"when":"after","clock":"wire"})",
      R"({"type":"truncate","bytes":512})",
      R"({"type":"short_copy","blocks":16})",
      R"({"type":"short_copy","blocks":0,"count":false})",
      R"({"type":"wrong_result","transfer_count":99,"copy_status":17,"segments_processed":1,"descriptors_length":512})",
      R"({"type":"wrong_data","data":"zeros"})",
      R"({"type":"wrong_data","data":"inverted"})",
      R"({"type":"wrong_data","data":"not_written"})",
      R"({"type":"edit_data","at":6,"put":"0024"})",
      R"({"type":"edit_data","at":4,"cut":0,"put":"8000FE"})",
      R"({"type":"edit_data","at":4,"cut":36})",
      R"({"type":"edit_data","at":4,"cut":36,"move_to":65536})",
      R"({"type":"drop_command"})",
      R"({"type":"drop_response"})",
      R"({"type":"drop_connection","at":"command"})",
      R"({"type":"drop_connection","at":"data_out","nth":2})",
      R"({"type":"reset_connection","at":"after_response"})",
      R"({"type":"digest_error","of":"header"})",
      R"({"type":"digest_error","of":"received_data","nth":3})",
      R"({"type":"expire_token"})",
      R"({"type":"revoke_token","token":17})",
      R"({"type":"cancel_token","when":"after"})",
      R"({"type":"delete_token"})",
      R"({"type":"corrupt_token"})",
      R"({"type":"unreachable","a":"one","b":"two"})",
      R"({"type":"unreachable","a":"one","b":"two","refusal":"remote-token-usage-not-supported","when":"after"})",
      R"({"type":"reachable","a":"one","b":"two"})",
      R"({"type":"odx_off"})",
      R"({"type":"odx_on","when":"after"})",
      R"({"type":"fill_pool"})",
      R"({"type":"free_pool"})",
      R"({"type":"async_message","event":"logout_request","seconds":5})",
      R"({"type":"async_message","event":"drop_connection"})",
      R"({"type":"async_message","event":"drop_session"})",
  };
  for (std::string action : actions) {
    std::string text = R"({"action":)" + action + "}";
    CHECK(json::serialize(rule_document(rule_from(json::parse(text)))) == text);
  }
  const std::string full =
      R"({"name":"all","match":{"initiator":"iqn.2026-11.*","target":"iqn.2026-11.org.example:disks","lun":"source",)"
      R"x("command":["READ (10)","83h/1Fh","11h","WRITE USING TOKEN"],"page":143,"lba":[0,2047],"token":17,)x"
      R"("when_state":"on","nth":3,)"
      R"("every_nth":2,"count":5,"probability":5E-1,"seed":7},"action":{"type":"nothing"},"set_state":"off"})";
  CHECK(json::serialize(rule_document(rule_from(json::parse(full)))) == full);
}

TEST_CASE("a delay is what was written, to the nearest microsecond") {
  for (const char* ms : {"1.001E0", "2.9E-1", "4.10000700000001E3", "5.79E-1"}) {
    const scsi::Rule rule = rule_from(json::parse(fmt::format(R"({{"action":{{"type":"delay","ms":{}}}}})", ms)));
    CHECK(std::get<scsi::action::Delay>(rule.action).time.count() == std::llround(std::stod(ms) * 1000));
  }
}

TEST_CASE("what stands in a list of rules is read again") {
  scsi::RuleSet rules;
  rules.add(rule_from(json::parse(R"({"name":"a","match":{"lun":3},"action":{"type":"drop_response"}})")));
  json::object listed = rule_document(rules.list().front());
  CHECK(json::serialize(listed) ==
        R"({"id":1,"origin":"control","name":"a","match":{"lun":"3"},"action":{"type":"drop_response"},)"
        R"("matches":0,"hits":0,"spent":false})");
  CHECK(rule_from(listed).same_as(rules.list().front().rule));
}

TEST_CASE("what is wrong is said with the rule, the key, the value and what was expected") {
  struct Row {
    const char* document;
    const char* error;
  };
  const Row rows[] = {
      {"7", "a rule is a table with an action"},
      {"{}", "rule: action is missing; expected a table with a type"},
      {"{'name':'a','action':'drop_response'}", "rule 'a': action is 'drop_response'; expected a table with a type"},
      {"{'name':'a','aktion':1}",
       "rule 'a': aktion is not a key here; expected name, match, action, set_state, id, "
       "origin, matches, hits, spent"},
      {"{'action':{'type':'drop_response','when':'after'}}", "rule: action.when is not a key here; expected type"},
      {"{'match':{'nth':0},'action':{'type':'nothing'}}",
       "rule: match.nth is 0; expected a whole number from 1 to 9223372036854775807"},
      {"{'match':{'nth':1.5},'action':{'type':'nothing'}}",
       "rule: match.nth is 1.5E0; expected a whole number from 1 to 9223372036854775807"},
      {"{'match':{'probability':1.5},'action':{'type':'nothing'}}",
       "rule: match.probability is 1.5E0; expected a number from 0 to 1"},
      {"{'match':{'lba':[5,4]},'action':{'type':'nothing'}}",
       "rule: match.lba is [5,4]; expected the first and the last address such as [0, 2047]"},
      {"{'match':{'lba':[-1,4]},'action':{'type':'nothing'}}",
       "rule: match.lba is [-1,4]; expected the first and the last address such as [0, 2047]"},
      {"{'match':{'command':[]},'action':{'type':'nothing'}}",
       "rule: match.command is []; expected a command by its name ('WRITE USING TOKEN', 'READ (10)', 'READ' for all "
       "its lengths) or its operation code and service action ('2Ah', '83h/11h'), or several"},
      {"{'action':{'type':'status','status':'CHECK CONDITION'}}",
       "rule: action.status is 'CHECK CONDITION'; expected a status such as 'BUSY' or '08h'; CHECK CONDITION has an "
       "action 'sense'"},
      {"{'action':{'type':'sense','sense':'05/23'}}",
       "rule: action.sense is '05/23'; expected sense key, code and qualifier in hexadecimal such as '05/23/07'"},
      {"{'action':{'type':'sense','sense':'15/23/00'}}",
       "rule: action.sense is '15/23/00'; expected sense key, code and qualifier in hexadecimal such as '05/23/07'"},
      {"{'action':{'type':'delay'}}", "rule: action.ms is missing; expected milliseconds such as 4100"},
      {"{'action':{'type':'delay','ms':1,'when':'now'}}",
       "rule: action.when is 'now'; expected one of 'before', 'after'"},
      {"{'action':{'type':'wrong_result'}}",
       "rule: action.transfer_count is missing; expected one of the fields of the result"},
      {"{'action':{'type':'edit_data','at':4}}",
       "rule: action.put is missing; expected up to 4096 bytes in hexadecimal such as '8000 0004'; or cut, alone or "
       "with move_to"},
      {"{'action':{'type':'edit_data','put':'8'}}",
       "rule: action.put is '8'; expected up to 4096 bytes in hexadecimal such as '8000 0004'; or cut, alone or with "
       "move_to"},
      {"{'action':{'type':'edit_data','put':'80 g0'}}",
       "rule: action.put is '80 g0'; expected up to 4096 bytes in hexadecimal such as '8000 0004'; or cut, alone or "
       "with move_to"},
      {"{'action':{'type':'edit_data','put':'80','move_to':8}}",
       "rule: action.put is '80'; expected up to 4096 bytes in hexadecimal such as '8000 0004'; or cut, alone or with "
       "move_to"},
      {"{'action':{'type':'edit_data','cut':0,'move_to':8}}",
       "rule: action.cut is 0; expected a whole number from 1 to 9223372036854775807"},
      {"{'match':{'page':256},'action':{'type':'nothing'}}",
       "rule: match.page is 256; expected a whole number from 0 to 255"},
      {"{'action':{'type':'truncate'}}",
       "rule: action.bytes is missing; expected a whole number from 0 to 9223372036854775807"},
  };
  for (const Row& row : rows) CHECK(error_of(quoted(row.document)) == quoted(row.error));
  CHECK(error_of(quoted("{'match':{'command':'WRTE'},'action':{'type':'nothing'}}"))
            .starts_with(quoted("rule: match.command is 'WRTE'; expected a command")));
  CHECK(error_of(quoted("{'name':'a','action':{'type':'explode'}}"))
            .starts_with(quoted("rule 'a': action.type is 'explode'; expected one of 'nothing', 'status', ")));
  CHECK(error_of(quoted("{'action':{'ms':3}}")).starts_with("rule: action.type is missing; expected one of "));
}

TEST_CASE("rules of a configuration file are the same documents, with the place of what is wrong") {
  const std::string head = "[[target]]\n[[target.lun]]\nstore = \"memory:64M\"\n";
  auto config = target::parse_config(head + R"(
[[rule]]
name = "the third write finds its token expired"
match = { command = "WRITE USING TOKEN", nth = 3 }
action = { type = "expire_token" }

[[rule]]
set_state = "slow"
[rule.match]
lun = 0
probability = 0.25
[rule.action]
type = "delay"
ms = 4100
)",
                                     "array.toml");
  REQUIRE(config.rules.size() == 2);
  CHECK(config.rules[0].from_file);
  CHECK(json::serialize(rule_document(config.rules[0])) ==
        R"({"name":"the third write finds its token expired","match":{"command":"WRITE USING TOKEN","nth":3},)"
        R"("action":{"type":"expire_token"}})");
  CHECK(
      json::serialize(rule_document(config.rules[1])) ==
      R"({"match":{"lun":"0","probability":2.5E-1,"seed":0},"action":{"type":"delay","ms":4100},"set_state":"slow"})");
  auto refused = [&](const std::string& text) {
    try {
      (void)target::parse_config(head + text, "array.toml");
      return std::string("nothing");
    } catch (const target::ConfigError& error) {
      return std::string(error.what());
    }
  };
  CHECK(refused("rule = 3\n").find("rule") != std::string::npos);
  CHECK(refused("\n[[rule]]\nname = \"x\"\naction = { type = \"truncate\", bytes = -1 }\n") ==
        "array.toml:5:1: rule \"x\": action.bytes is -1; expected a whole number from 0 to 9223372036854775807");
  CHECK(refused("[[rule]]\naction = { type = \"delay\", ms = 2026-11-26 }\n")
            .ends_with("rule: action.ms is null; expected a number from 0 to 31622400000"));
}
