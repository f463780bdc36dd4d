// Bytes of data that the commands of all sessions have under way: from the command's admission until its answer has
// been taken by the socket. What one session may have stands in Limits; this is what all of them together may have, so
// that many clients that do not read, or do not send what they announced, cannot fill the memory.
//
// When all is taken, a session still has its share, so that those who hold much keep nobody else out: of the limit
// divided among the sessions there are, up to twice the limit; of the limit divided among the sessions there may be,
// always. So what is let in stays below three times the limit, not counting the second half of commands larger than
// half of it. Thread: the loop's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "target/iscsi/node.h"

namespace iscsi {

class DataInFlight {
 public:
  explicit DataInFlight(const Limits& limits) : limits_(limits) {}

  std::uint64_t total() const { return total_; }

  /// What one session or connection has of it.
  class Share {
   public:
    explicit Share(DataInFlight& all) : all_(all) {}
    ~Share() { set(0); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    std::uint64_t bytes() const { return bytes_; }
    void set(std::uint64_t bytes) {
      all_.total_ += bytes - bytes_;
      bytes_ = bytes;
    }
    void add(std::uint64_t bytes) { set(bytes_ + bytes); }
    void remove(std::uint64_t bytes) { set(bytes_ - bytes); }

   private:
    DataInFlight& all_;
    std::uint64_t bytes_ = 0;
  };

  /// Whether one of `sessions` sessions, that has `own` bytes under way, may have `more`. A command of more than half
  /// of all there is counts as half: it would never be served.
  bool admits(std::uint64_t own, std::uint64_t more, std::size_t sessions) const {
    std::uint64_t limit = limits_.max_data_in_flight;
    more = std::min(more, limit / 2);
    return total_ + more <= limit || (total_ + more <= 2 * limit && own + more <= limit / sessions) ||
           own + more <= limit / limits_.max_sessions;
  }

 private:
  const Limits& limits_;
  std::uint64_t total_ = 0;
};

}  // namespace iscsi
