// [[rule]] of the configuration: the documents of target/rule_document.h, written as TOML. Thread: the one that starts
// the program, and the loop's.
#pragma once

#include <vector>

#include "scsi/rules.h"

namespace target {

class TableReader;

/// What `document` says of rules, in its order. Throws ConfigError.
std::vector<scsi::Rule> read_rules(const TableReader& document);

}  // namespace target
