// What a logical unit has done since it was made, or since LOG SELECT reset the counters. Log pages 02h, 03h and 05h
// (SPC-4 7.3.6) tell it. Thread: the loop's.
#pragma once

#include <cstdint>

namespace scsi {

/// Which counters a command is for.
enum class Counted : std::uint8_t { nothing, read, write, verify };

struct ErrorCounters {
  std::uint64_t bytes = 0;        ///< of commands that were good
  std::uint64_t uncorrected = 0;  ///< commands that ended with MEDIUM ERROR or HARDWARE ERROR
  bool operator==(const ErrorCounters&) const = default;
};

struct UnitStatistics {
  ErrorCounters write{};
  ErrorCounters read{};
  ErrorCounters verify{};
  bool operator==(const UnitStatistics&) const = default;

  /// Not for Counted::nothing.
  ErrorCounters& of(Counted counted) {
    if (counted == Counted::read) return read;
    return counted == Counted::write ? write : verify;
  }
};

}  // namespace scsi
