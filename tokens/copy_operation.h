// Copy operations and what is left of them for RECEIVE ROD TOKEN INFORMATION and RECEIVE COPY STATUS.
//
// An operation is named by (I_T nexus, logical unit, list identifier). While it is processed nothing else may take its
// name; afterwards its result is kept until SPC-4 5.17.4.3 lets it go. Holds no data and runs nothing; sense data is
// opaque bytes here. Thread: the loop's.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
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
enum class CopyCommand : std::uint8_t { extended_copy = 0x01, populate_token = 0x10, write_using_token = 0x11 };

/// How an operation ended.
struct CopyOutcome {
  CopyStatus status = CopyStatus::completed;
  std::uint64_t transfer_count = 0;     ///< blocks of the logical unit that processed the command
  std::uint16_t operation_counter = 0;  ///< steps that moved data
  std::uint8_t completion_status = 0;   ///< EXTENDED COPY COMPLETION STATUS, a SCSI status byte
  std::vector<std::uint8_t> sense{};    ///< as it went to the host
  std::optional<RodToken> token{};      ///< POPULATE TOKEN only
};

/// TASK ABORTED, the completion status of what was terminated (SPC-4 6.24).
inline constexpr std::uint8_t kTaskAbortedStatus = 0x40;

/// Why an operation cannot start.
enum class CopyStartError : std::uint8_t {
  list_identifier_in_use,  ///< one of that name is still being processed (05/00/16)
  too_many_operations,     ///< the limit on operations being processed is reached
};

class CopyOperations;

/// One operation, from its start until its result is let go.
class CopyOperation final : public base::RefCounted {
 public:
  CopyOperation(CopyOperationKey key, CopyCommand command) : key_(key), command_(command) {}

  const CopyOperationKey& key() const { return key_; }
  CopyCommand command() const { return command_; }
  CopyStatus status() const { return outcome_.status; }
  const CopyOutcome& outcome() const { return outcome_; }
  /// Whether RECEIVE ROD TOKEN INFORMATION still has something to say; RECEIVE COPY STATUS always has.
  bool rod_token_information_kept() const { return rod_token_information_kept_; }

 private:
  friend class CopyOperations;
  CopyOperationKey key_;
  CopyCommand command_;
  CopyOutcome outcome_{.status = CopyStatus::in_progress_foreground};
  bool rod_token_information_kept_ = true;
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
  };
  explicit CopyOperations(Limits limits) : limits_(limits) {}

  /// Starts an operation; a kept result of the same name is discarded. When it fails nothing is touched.
  std::expected<CopyOperationGuard, CopyStartError> begin(const CopyOperationKey& key, CopyCommand command);

  /// The operation or result of that name, or null.
  const CopyOperation* find(const CopyOperationKey& key) const;

  /// RECEIVE ROD TOKEN INFORMATION has delivered all tokens, or was told to discard (ALLOCATION LENGTH 0). Operations
  /// being processed keep theirs.
  void discard_rod_token_information(const CopyOperationKey& key);

  /// I_T nexus loss: results go; what is processed goes on, and nobody can ask for it.
  void nexus_lost(std::uint32_t nexus);
  /// Logical unit reset: results go; the commands being processed were aborted by the caller.
  void logical_unit_reset(const std::array<std::uint8_t, 16>& logical_unit);

  /// Operations and results that can be asked for.
  std::size_t size() const { return by_key_.size(); }

 private:
  friend class CopyOperationGuard;
  using ByKey = std::map<CopyOperationKey, base::Ref<CopyOperation>>;

  void finish(CopyOperation& operation, CopyOutcome outcome);
  ByKey::iterator unlist(ByKey::iterator at);

  Limits limits_;
  std::size_t in_progress_ = 0;
  ByKey by_key_;
  std::map<std::uint64_t, CopyOperationKey> by_age_;  ///< finished ones, oldest first
  std::uint64_t finished_count_ = 0;
};

}  // namespace tokens
