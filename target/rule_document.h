// Rules as JSON documents: one form for the configuration file ([[rule]]), the control interface and scenarios.
// docs/faults.md has every key. Thread: any.
#pragma once

#include <stdexcept>
#include <string>

#include "scsi/rules.h"

namespace boost::json {
class object;
class value;
}  // namespace boost::json

namespace target {

/// A document that is no rule. what() names the rule and the key: "rule \"third write\": match.nth is 0; expected a
/// whole number from 1 to ...".
class RuleError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Strict: every key is known, every value of its kind. Throws RuleError. The rule has no number yet; "id", "matches",
/// "hits" and "spent", which rule_document() writes, are taken and not looked at.
scsi::Rule rule_from(const boost::json::value& document);

/// What rule_from() makes the same rule of.
boost::json::object rule_document(const scsi::Rule& rule);
/// The same with its number, "origin" ("file" or "control") and what it has counted.
boost::json::object rule_document(const scsi::RuleSet::Listed& listed);

}  // namespace target
