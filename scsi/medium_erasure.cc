#include "scsi/medium_erasure.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "base/log.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"
#include "scsi/work_queue.h"

namespace scsi {
namespace {

using handlers::ByteRange;

/// Written at once: some milliseconds of a worker.
constexpr std::uint64_t kWrittenPiece = 16 << 20;
/// Deallocating is cheap; so that the largest medium takes this many pieces.
constexpr std::uint64_t kUnmappedPieces = 256;
/// At the rate of a profile: so that progress moves.
constexpr std::uint64_t kPiecesPerSecond = 8;

/// 03/31/01 FORMAT COMMAND FAILED is the command's; those after it find the medium's condition.
Sense failure(const Medium& medium, Medium::Operation operation) {
  if (operation == Medium::Operation::sanitize) return medium.condition();
  return {SenseKey::medium_error, AdditionalSense::format_command_failed, {}, {}, "the store failed"};
}

}  // namespace

MediumErasure::MediumErasure(CommandContext& context, ErasurePlan plan)
    : server_(context.server), lu_(*context.lu), plan_(std::move(plan)), begun_(context.server.clock().now()) {
  if (!plan_.invert) return;
  inverted_ = plan_.block;
  for (std::uint8_t& byte : inverted_) byte = static_cast<std::uint8_t>(~byte);
}

void MediumErasure::begin(CommandContext& context, ErasurePlan plan, bool immediate) {
  std::shared_ptr<MediumErasure> erasure(new MediumErasure(context, std::move(plan)));
  erasure->lu_.medium().begin(erasure->plan_.operation);
  context.server.copy_manager().medium_lost(erasure->lu_);
  if (!immediate) {
    erasure->task_ = &context.task;
    context.defer(*erasure);
  }
  erasure->run();
}

void MediumErasure::abort() {
  if (Task* task = std::exchange(task_, nullptr)) server_.finish(*task, {});
}

void MediumErasure::run() {
  resting_ = false;
  while (!flushed_ && outcome_ && !lu_.medium().operation_stopped()) {
    if (const base::TimePoint when = due(); server_.clock().now() < when) {
      resting_ = true;
      server_.copy_manager().timers().at(when, [self = shared_from_this()] { self->run(); });
      return;
    }
    if (!do_piece()) return;
    // What was done at once was done on the loop's thread, which has others to serve before the next piece.
    if (base::Executor* executor = server_.long_work()) {
      return executor->post([] {}, [self = shared_from_this()] { self->run(); });
    }
  }
  end();
}

base::TimePoint MediumErasure::due() const {
  const std::uint64_t rate = server_.copy_manager().profile().erase_bytes_per_second;
  if (rate == 0 || plan_.at_once) return begun_;
  const std::chrono::duration<double> time(static_cast<double>(bytes_ + next_piece().length) /
                                           static_cast<double>(rate));
  return begun_ + std::chrono::duration_cast<base::Duration>(time);
}

bool MediumErasure::do_piece() {
  const ByteRange piece = next_piece();
  const Access access = piece.length == 0 ? Access::barrier : Access::exclusive;
  CommandContext::Work work = work_on(piece);
  if (auto done = lu_.work().try_now(access, piece, server_.long_work(), work)) {
    piece_done(piece, *std::move(done));
    return true;
  }
  lu_.work().submit(access, piece, server_.long_work(), std::move(work),
                    [self = shared_from_this(), piece](Outcome outcome) {
                      self->piece_done(piece, std::move(outcome));
                      self->run();
                    });
  return false;
}

/// Nothing when only the flush is left.
ByteRange MediumErasure::next_piece() const {
  if (pass_ == plan_.passes) return {};
  const std::uint64_t size = lu_.capacity().value * lu_.block_length();
  if (plan_.at_once) return {0, size};
  std::uint64_t length = kWrittenPiece;
  if (plan_.unmap) {
    const std::uint64_t share = size / kUnmappedPieces / lu_.block_length() * lu_.block_length();
    length = std::max(length, share);
  }
  if (const std::uint64_t rate = server_.copy_manager().profile().erase_bytes_per_second; rate != 0) {
    const std::uint64_t moment = rate / kPiecesPerSecond / lu_.block_length() * lu_.block_length();
    length = std::min(length, std::max<std::uint64_t>(moment, lu_.block_length()));
  }
  return {offset_, std::min(length, size - offset_)};
}

CommandContext::Work MediumErasure::work_on(ByteRange piece) const {
  handlers::BackingStore& store = lu_.store();
  if (piece.length == 0) return [&store] { return io_outcome(store.flush()); };
  if (plan_.unmap) return [&store, piece] { return io_outcome(store.unmap(piece)); };
  // `this` is kept by whoever does the work.
  const std::vector<std::uint8_t>& block = plan_.invert && pass_ % 2 == 1 ? inverted_ : plan_.block;
  return [&store, piece, &block] { return io_outcome(store.write_same(piece, block)); };
}

void MediumErasure::piece_done(ByteRange piece, Outcome outcome) {
  outcome_ = std::move(outcome);
  if (piece.length == 0) {
    flushed_ = true;
    return;
  }
  const std::uint64_t size = lu_.capacity().value * lu_.block_length();
  offset_ += piece.length;
  bytes_ += piece.length;
  if (offset_ == size) {
    offset_ = 0;
    ++pass_;
  }
  constexpr double kWhole = 65536;
  const double done = (pass_ + static_cast<double>(offset_) / static_cast<double>(size)) / plan_.passes;
  constexpr double kMost = std::numeric_limits<std::uint16_t>::max();
  lu_.medium().set_progress(static_cast<std::uint16_t>(std::min(done * kWhole, kMost)));
}

void MediumErasure::end() {
  if (!outcome_) base::log::error("{}: not erased: {}", lu_.config().name, outcome_.error().rule);
  lu_.medium().end(outcome_ ? Medium::Damage::none : plan_.damage_when_failed);
  Task* task = std::exchange(task_, nullptr);
  if (!task) return;
  Outcome outcome;
  if (!outcome_) outcome = std::unexpected(failure(lu_.medium(), plan_.operation));
  if (lu_.medium().removed()) outcome = std::unexpected(lu_.medium().condition());
  server_.finish(*task, std::move(outcome));
}

}  // namespace scsi
