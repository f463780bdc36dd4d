#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace cli {

namespace {

constexpr int kWidth = 50;
constexpr int kTextWidth = 10;

}  // namespace

ProgressBar::ProgressBar(std::uint64_t total) : total_(total), shown_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (shown_) fmt::print(stderr, "\r{:{}}\r", "", kWidth + kTextWidth);
}

void ProgressBar::show(std::uint64_t done) const {
  if (!shown_ || total_ == 0) return;
  const double part = static_cast<double>(std::min(done, total_)) / static_cast<double>(total_);
  const auto filled = static_cast<int>(part * kWidth);
  fmt::print(stderr, "\r[{:#<{}}{:{}}] {:5.1f}%", "", filled, "", kWidth - filled, part * 100);
  std::fflush(stderr);
}

}  // namespace cli
