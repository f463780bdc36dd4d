// The command window of a session (RFC 7143, 4.2.2.1): which CmdSN is expected, and up to which one commands are
// taken. Thread: the loop's.
#pragma once

#include <cstdint>

#include "target/iscsi/serial.h"

namespace iscsi {

class CommandWindow {
 public:
  enum class Place {
    expected,  ///< to be served now
    ahead,     ///< inside the window, with a gap before it
    outside,   ///< to be ignored silently
  };

  /// `first` is the CmdSN of the leading login; `size` the window when idle, at least 1.
  CommandWindow(CmdSn first, std::uint32_t size) : expected_(first), size_(size) {}

  Place place(CmdSn sn) const {
    if (sn == expected_) return in_progress_ < size_ ? Place::expected : Place::outside;
    return sn.after(expected_) && !sn.after(max()) ? Place::ahead : Place::outside;
  }

  /// The expected command was taken; it holds its place in the window until done().
  void advance() {
    ++expected_;
    ++in_progress_;
  }
  /// A command taken has been answered (or will never be): the window opens by one.
  void done() { --in_progress_; }
  /// The command taken last, done since, is rejected: it is expected again (RFC 7143, 7.3).
  void take_back() { --expected_; }

  CmdSn expected() const { return expected_; }
  /// MaxCmdSN: ExpCmdSN - 1 when the window is closed. Never goes back.
  CmdSn max() const { return expected_ + (size_ - in_progress_) - 1; }

 private:
  CmdSn expected_;
  std::uint32_t size_;
  std::uint32_t in_progress_ = 0;
};

}  // namespace iscsi
