#include "test/sim/report.h"

#include <fmt/format.h>

#include <cstdio>

namespace sim {

std::uint64_t Report::operations() const {
  std::uint64_t sum = 0;
  for (const auto& [operation, outcomes] : operations_)
    for (const auto& [outcome, count] : outcomes) sum += count;
  return sum;
}

void Report::print() const {
  fmt::print("{:32}{:>8}{:>8}{:>9}{:>9}  refused or failed with\n", "operation", "sent", "good", "aborted", "other");
  for (const auto& [operation, outcomes] : operations_) {
    std::uint64_t sent = 0, good = 0, aborted = 0;
    std::string others;
    for (const auto& [outcome, count] : outcomes) {
      sent += count;
      if (outcome == "good") {
        good += count;
      } else if (outcome == "aborted") {
        aborted += count;
      } else {
        others += fmt::format("{}{} {}", others.empty() ? "" : ", ", outcome, count);
      }
    }
    fmt::print("{:32}{:8}{:8}{:9}{:9}  {}\n", operation, sent, good, aborted, sent - good - aborted, others);
  }
  auto line = [](const char* title, const std::map<std::string, std::uint64_t>& counts) {
    std::string text;
    for (const auto& [what, count] : counts) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", what, count);
    fmt::print("{}: {}\n", title, text);
  };
  line("faults set", faults_set_);
  line("store calls that failed", calls_failed_);
  line("also", counts_);
}

}  // namespace sim
