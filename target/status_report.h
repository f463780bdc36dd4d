// What odxd says of itself when it is asked (SIGUSR1, /v1/memory/usage): its arrays, their tokens and copies, and what
// memory is held for. There may be a million tokens and many million extents: they are walked in steps, between which
// others are served. Thread: the loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"

namespace target {

class Arrays;

struct TokenReport {
  std::uint64_t id = 0;      ///< COPY MANAGER ROD TOKEN IDENTIFIER
  std::string source;        ///< the name of its logical unit
  std::string type;          ///< "point-in-time-default"
  std::uint64_t bytes = 0;   ///< NUMBER OF BYTES REPRESENTED
  std::uint64_t memory = 0;  ///< what neither a LUN nor a token made before it keeps alive
  base::Duration left{};     ///< until it ends when nobody uses it
};

struct ArrayReport {
  std::string name, id;
  std::size_t copies = 0;       ///< operations being processed
  std::size_t results = 0;      ///< of copies that ended
  std::size_t token_count = 0;  ///< those that were counted
  std::vector<TokenReport>
      tokens{};  ///< those that keep most, StatusReporter::kMostTokens; in the order they were made
};

/// LUNs, and tokens that were made, as it began; without tokens that ended before they were counted. What was written
/// or unmapped meanwhile may be counted as it was, as it is, or not at all.
struct StatusReport {
  std::uint64_t memory_used = 0, memory_limit = 0;
  std::uint64_t memory_of_tokens = 0;  ///< what only tokens keep alive
  std::vector<ArrayReport> arrays{};
};

class StatusReporter {
 public:
  static constexpr std::size_t kMostTokens = 100;  ///< told of each array

  /// All outlive it, and it outlives the executor's turns.
  StatusReporter(const Arrays& arrays, const base::Clock& array_clock, base::Executor& executor);
  ~StatusReporter();

  using Done = std::move_only_function<void(const StatusReport&)>;
  /// Makes a report that begins now, or when the one that is being made is done: two at once there are not. Calls
  /// `done` then; from inside, where there is little to count.
  void report(Done done);

 private:
  class Walk;
  void begin();
  void step();
  void end();

  const Arrays& arrays_;
  const base::Clock& clock_;
  base::Executor& executor_;
  std::shared_ptr<Walk> walk_;  ///< null: none is under way
  std::vector<Done> of_this_walk_;
  std::vector<Done> of_the_next_;
};

/// For people, several lines.
std::string status_text(const StatusReport& report);
/// One JSON object, one line.
std::string status_json(const StatusReport& report);

}  // namespace target
