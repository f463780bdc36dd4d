// One line on standard error that is drawn over; only on a terminal.
// Thread: main's.
#pragma once

#include <cstdint>

namespace cli {

class ProgressBar {
 public:
  explicit ProgressBar(std::uint64_t total);
  ~ProgressBar();  ///< wipes the line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(std::uint64_t done) const;

 private:
  std::uint64_t total_;
  bool shown_;
};

}  // namespace cli
