// What odxd says of itself when it is asked (SIGUSR1): its arrays, their tokens and copies, and what memory is held
// for. Thread: the loop's, which does nothing else while memory is walked: about a second for each 10 million extents.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"

namespace target {

class Arrays;

struct TokenReport {
  std::uint64_t id = 0;      ///< COPY MANAGER ROD TOKEN IDENTIFIER
  std::string source;        ///< the name of its logical unit
  std::string type;          ///< "point-in-time-default"
  std::uint64_t bytes = 0;   ///< NUMBER OF BYTES REPRESENTED
  std::uint64_t memory = 0;  ///< what neither a LUN nor a token listed before it keeps alive
  base::Duration left{};     ///< until it ends when nobody uses it
};

struct ArrayReport {
  std::string name, id;
  std::size_t copies = 0;   ///< operations being processed
  std::size_t results = 0;  ///< of copies that ended
  std::vector<TokenReport> tokens{};
};

struct StatusReport {
  std::uint64_t memory_used = 0, memory_limit = 0;
  std::uint64_t memory_of_tokens = 0;  ///< what only tokens keep alive
  std::vector<ArrayReport> arrays{};
};

StatusReport status_report(const Arrays& arrays, base::TimePoint now);

/// For people, several lines; long lists of tokens are cut.
std::string status_text(const StatusReport& report);
/// One JSON object, one line, with every token.
std::string status_json(const StatusReport& report);

}  // namespace target
