// Copy operations and what is left of them for the commands that receive copy results.
//
// An operation is named by (I_T nexus, logical unit, list identifier). While it is processed nothing else may take its
// name; afterwards its result is kept until SPC-4 5.17.4.3 lets it go. Holds no data and runs nothing; sense data is
// opaque bytes here. Thread: the loop's.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <optional>
#include <vector>

#include "base/ref.h"
#include "tokens/rod_token.h"

namespace tokens {

/// Names a copy operation (SPC-4 5.17.4.2): list identifiers are per I_T nexus and per copy manager, and each logical
/// unit has its own copy manager.
struct CopyOperationKey {
  std::uint32_t nexus = 0;
  std::array<std::uint8_t, 16> logical_unit{};  ///< its NAA designator
  std::uint32_t list_identifier = 0;
  auto operator<=>(const CopyOperationKey&) const = default;
};

/// COPY OPERATION STATUS (SPC-4 table 209).
enum class CopyStatus : std::uint8_t {
  completed = 0x01,
  completed_with_errors = 0x02,
  completed_partial = 0x03,  ///< without errors, but short
  completed_residual = 0x04,
  in_progress = 0x10,
  in_progress_foreground = 0x11,
  in_progress_background = 0x12,
  terminated = 0x60,
};

constexpr bool in_progress(CopyStatus status) {
  return status == CopyStatus::in_progress || status == CopyStatus::in_progress_foreground ||
         status == CopyStatus::in_progress_background;
}

/// The originating command; the value is RESPONSE TO SERVICE ACTION.
enum class CopyCommand : std::uint8_t {
  extended_copy_lid1 = 0x00,
  extended_copy = 0x01,
  populate_token = 0x10,
  write_using_token = 0x11,
};

/// TRANSFER COUNT UNITS (SPC-4 table 211).
enum class TransferCountUnits : std::uint8_t { bytes = 0x00, blocks = 0xF1 };

/// How far an operation is; also the last thing that is said of one that ended.
struct CopyProgress {
  std::uint64_t transfer_count = 0;     ///< in the operation's units
  std::uint16_t operation_counter = 0;  ///< steps that moved data
  std::uint16_t segments_processed = 0;
  /// ESTIMATED STATUS UPDATE DELAY while it is processed; nullopt: cannot say.
  std::optional<std::uint32_t> update_delay_ms{};
};

/// A token an operation made, and the CSCD descriptor it was made for (0 for POPULATE TOKEN).
struct CreatedToken {
  std::uint16_t cscd_index = 0;
  RodToken token;
};

/// How an operation ended.
struct CopyOutcome {
  CopyStatus status = CopyStatus::completed;
  std::uint64_t transfer_count = 0;
  std::uint16_t operation_counter = 0;
  std::uint16_t segments_processed = 0;
  std::uint8_t completion_status = 0;  ///< EXTENDED COPY COMPLETION STATUS, a SCSI status byte
  std::vector<std::uint8_t> sense{};   ///< as it went to the host
  std::vector<CreatedToken> tokens{};
  std::vector<std::uint8_t> held_data{};
  bool held_data_discarded = false;  ///< HDD: some was, being more than is held
};

/// TASK ABORTED, the completion status of what was terminated (SPC-4 6.24).
inline constexpr std::uint8_t kTaskAbortedStatus = 0x40;

/// Why an operation cannot start.
enum class CopyStartError : std::uint8_t {
  list_identifier_in_use,  ///< one of that name is still being processed (05/00/16)
  too_many_operations,     ///< the limit on operations being processed is reached
};

class CopyOperations;

/// What of a result is read, and then discarded, on its own (SPC-4 5.17.4.3).
enum class CopyResultPart : std::uint8_t { rod_token_information, held_data, failure_details, status_lid1 };

/// One operation, from its start until its result is let go.
class CopyOperation final : public base::RefCounted {
 public:
  CopyOperation(CopyOperationKey key, CopyCommand command) : key_(key), command_(command) {}

  const CopyOperationKey& key() const { return key_; }
  CopyCommand command() const { return command_; }
  TransferCountUnits units() const { return units_; }
  CopyStatus status() const { return outcome_.status; }
  /// While in progress: how far it is, in the fields of CopyProgress.
  const CopyOutcome& outcome() const { return outcome_; }
  std::optional<std::uint32_t> update_delay_ms() const { return update_delay_ms_; }

  /// Whether RECEIVE ROD TOKEN INFORMATION, RECEIVE COPY DATA, RECEIVE COPY FAILURE DETAILS and RECEIVE COPY
  /// STATUS(LID1) still have something to say. RECEIVE COPY STATUS(LID4) always has.
  bool kept(CopyResultPart part) const { return (discarded_ & (1u << static_cast<unsigned>(part))) == 0; }

 private:
  friend class CopyOperations;
  friend class CopyOperationGuard;
  CopyOperationKey key_;
  CopyCommand command_;
  CopyOutcome outcome_{.status = CopyStatus::in_progress_foreground};
  std::optional<std::uint32_t> update_delay_ms_{};
  TransferCountUnits units_ = TransferCountUnits::blocks;
  std::uint8_t discarded_ = 0;  ///< a bit for each CopyResultPart
  bool listed_ = true;          ///< reachable by its key
  std::uint64_t finished_ = 0;  ///< its place among the finished ones
};

/// Holds an operation while it is processed. One that ends without finish() was terminated (status 60h): its command
/// was aborted, and nobody else will say so.
class CopyOperationGuard {
 public:
  CopyOperationGuard(CopyOperations& operations, base::Ref<CopyOperation> operation)
      : operations_(&operations), operation_(std::move(operation)) {}
  CopyOperationGuard(CopyOperationGuard&&) noexcept = default;
  CopyOperationGuard& operator=(CopyOperationGuard&&) = delete;
  ~CopyOperationGuard();

  const CopyOperation& operation() const { return *operation_; }
  /// From now on it is in progress in the background: its command was answered.
  void continue_in_background();
  void count_in(TransferCountUnits units);
  void report(const CopyProgress& progress);
  void finish(CopyOutcome outcome);

 private:
  CopyOperations* operations_;
  base::Ref<CopyOperation> operation_;
};

/// All operations and results of an array. Outlives every guard.
class CopyOperations {
 public:
  struct Limits {
    std::size_t operations = 1024;  ///< being processed; beyond: CopyStartError::too_many_operations
    std::size_t results = 65536;    ///< finished and kept; beyond, the one that finished first goes
    /// Held data and tokens of all results; beyond, those of the operation that finished first go (SPC-4 5.17.4.3; of
    /// held data HDD says so).
    std::size_t held_bytes = 64u << 20;
  };
  explicit CopyOperations(Limits limits) : limits_(limits) {}

  /// Starts an operation; a kept result of the same name is discarded. When it fails nothing is touched.
  std::expected<CopyOperationGuard, CopyStartError> begin(const CopyOperationKey& key, CopyCommand command);

  /// Starts an operation that has no list identifier (LIST ID USAGE 11b): it counts, and leaves nothing.
  std::expected<CopyOperationGuard, CopyStartError> begin_unlisted(const CopyOperationKey& key, CopyCommand command);

  /// Keeps the result of an operation that was refused because too many are being processed.
  void refused(const CopyOperationKey& key, CopyCommand command, CopyOutcome outcome);

  /// The operation or result of that name, or null.
  const CopyOperation* find(const CopyOperationKey& key) const;

  /// All of this part was delivered, or it is to be discarded (ALLOCATION LENGTH 0). Operations being processed keep
  /// theirs.
  void discard(const CopyOperationKey& key, CopyResultPart part);

  // However many results go, their memory comes back with free_lost().
  /// I_T nexus loss: results go; what is processed goes on, and nobody can ask for it.
  void nexus_lost(std::uint32_t nexus);
  /// Frees at most `most` of what nexuses and logical units left. Returns whether there is more.
  bool free_lost(std::size_t most);
  /// Logical unit reset: results go; the commands being processed were aborted by the caller.
  void logical_unit_reset(const std::array<std::uint8_t, 16>& logical_unit);

  /// Operations and results that can be asked for.
  std::size_t size() const { return listed_; }
  std::size_t in_progress() const { return in_progress_; }
  std::size_t held_bytes() const { return held_bytes_; }

 private:
  friend class CopyOperationGuard;
  /// Of one I_T nexus and logical unit, by list identifier.
  using OfUnit = std::map<std::uint32_t, base::Ref<CopyOperation>>;
  using OfNexus = std::map<std::array<std::uint8_t, 16>, OfUnit>;

  void lose(OfUnit&& operations);
  CopyOperation* look_up(const CopyOperationKey& key) const;
  void list(const CopyOperationKey& key, base::Ref<CopyOperation> operation);
  void finish(CopyOperation& operation, CopyOutcome outcome);
  void discard_listed(const CopyOperationKey& key);
  /// What goes with one that is no longer reachable by its key.
  void unlisted(CopyOperation& operation);
  void drop(CopyOperation& operation, CopyResultPart part);
  void limit_held_data();

  Limits limits_;
  std::size_t in_progress_ = 0;
  std::size_t held_bytes_ = 0;
  std::map<std::uint32_t, OfNexus> by_nexus_;
  std::size_t listed_ = 0;                            ///< in by_nexus_
  std::deque<OfUnit> of_lost_;                        ///< not empty; some of theirs are in by_age_ still
  std::map<std::uint64_t, CopyOperationKey> by_age_;  ///< finished ones, oldest first
  std::uint64_t finished_count_ = 0;
  std::uint64_t weighty_from_ = 0;  ///< those before it in by_age_ have lost what they held
};

}  // namespace tokens
