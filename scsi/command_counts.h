// How often each command ended with each status. Counting costs an addition and allocates nothing. Thread: the loop's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "scsi/command_table.h"
#include "scsi/status.h"

namespace scsi {

class CommandCounts {
 public:
  /// `row` is one of command_table(), or null: a CDB whose operation code or service action has none.
  void count(const CommandDescriptor* row, Status status) {
    ++counts_[row ? static_cast<std::size_t>(row - rows_.data()) : rows_.size()][slot(status)];
  }

  /// Calls visit(row, status, count) for all that is not 0, in the order of the table, the null row last. `status` is
  /// nothing for all that the standard does not name.
  template <typename Visit>
  void for_each(Visit visit) const {
    for (std::size_t row = 0; row < counts_.size(); ++row)
      for (std::size_t at = 0; at <= kNamed.size(); ++at)
        if (counts_[row][at] > 0)
          visit(row < rows_.size() ? &rows_[row] : nullptr,
                at < kNamed.size() ? std::optional(kNamed[at]) : std::nullopt, counts_[row][at]);
  }

 private:
  static constexpr std::array kNamed{
      Status::good,       Status::check_condition, Status::busy,          Status::reservation_conflict,
      Status::aca_active, Status::task_set_full,   Status::condition_met, Status::task_aborted};

  static std::size_t slot(Status status) {
    std::size_t at = 0;
    while (at < kNamed.size() && kNamed[at] != status) ++at;  // nearly always the first
    return at;
  }

  std::span<const CommandDescriptor> rows_ = command_table();
  std::vector<std::array<std::uint64_t, kNamed.size() + 1>> counts_{rows_.size() + 1};
};

}  // namespace scsi
