// Erasing a whole medium: what FORMAT UNIT and SANITIZE do to it, piece by piece, so that neither the loop nor a worker
// is held up for longer than a piece takes.
//
// It goes on when its command was aborted, its session ended or the logical unit was reset (SBC-3 4.11.2), and ends
// with the process. Thread: the loop's, except the pieces of a store that may block.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "scsi/command_table.h"
#include "scsi/medium.h"

namespace scsi {

struct ErasurePlan {
  Medium::Operation operation = Medium::Operation::none;
  Medium::Damage damage_when_failed = Medium::Damage::none;
  /// Deallocated; else each block becomes `block`, and with `invert` its complement in every second pass.
  bool unmap = false;
  std::vector<std::uint8_t> block{};
  bool at_once = false;  ///< all of it in one piece, whatever the rate of the profile: a key is forgotten
  unsigned passes = 1;
  bool invert = false;
};

class MediumErasure final : public Abortable, public std::enable_shared_from_this<MediumErasure> {
 public:
  /// Begins, as the last act of a body, which returns without an error afterwards: with `immediate` the command is good
  /// now, else it ends with the erasure (03/31/01, 03/31/03). Tokens of what was on the medium are cancelled.
  static void begin(CommandContext& context, ErasurePlan plan, bool immediate);

 private:
  using Outcome = std::expected<void, Sense>;

  MediumErasure(CommandContext& context, ErasurePlan plan);
  /// The command is over, the erasure goes on.
  void abort() override;
  bool waits_for_clock() const override { return resting_; }

  void run();
  /// When the next piece may have been done by, at the rate of the profile.
  base::TimePoint due() const;
  /// Does the next piece now or later; false: later, and then run() goes on.
  bool do_piece();
  handlers::ByteRange next_piece() const;
  CommandContext::Work work_on(handlers::ByteRange piece) const;
  void piece_done(handlers::ByteRange piece, Outcome outcome);
  void end();

  DeviceServer& server_;
  LogicalUnit& lu_;
  const ErasurePlan plan_;
  std::vector<std::uint8_t> inverted_{};
  Task* task_ = nullptr;  ///< waits for the end
  unsigned pass_ = 0;
  std::uint64_t offset_ = 0;  ///< of the next piece
  std::uint64_t bytes_ = 0;   ///< done, in all passes
  const base::TimePoint begun_;
  bool flushed_ = false;
  bool resting_ = false;  ///< until a piece is due
  Outcome outcome_{};
};

}  // namespace scsi
