// The journal: what happened in the arrays of a process that a person who looks for the reason of something wants to
// know. Third-party copy commands with their verdicts, everything that was refused, the lives of tokens, copies that
// ended, changes from outside. READs and WRITEs that succeed are not in it.
//
// Keeps the last events, and hands each new one to whoever subscribed. Writes no file and formats nothing
// (target/journal_document.h). Where there is none nothing is recorded, which costs a test of a pointer.
// Thread: the loop's.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "scsi/sense.h"
#include "scsi/status.h"
#include "tokens/copy_operation.h"
#include "tokens/token_events.h"

namespace scsi {

enum class EventKind : std::uint8_t {
  command,          ///< a third-party copy command, or INQUIRY of VPD page 8Fh, ended with GOOD or TASK ABORTED
  refusal,          ///< any command ended otherwise
  copy_started,     ///< a copy operation is under way; those that take no time have no such event
  copy_ended,       ///< a copy operation that was not refused ended
  token_created,    //
  token_used,       ///< a command began to use it
  token_ended,      ///< expired, cancelled, revoked, deleted
  token_forgotten,  ///< from now on it is unknown, as if it had never been
  task_management,  ///< a function was asked for
  login,            ///< an I_T nexus came
  logout,           ///< an I_T nexus went
  reachability,     ///< a pair was cut, or joined
  clock,            ///< the array clock was moved, or moves differently
  configuration,    ///< targets, logical units or the profile were changed while the array served
  rule_hit,         ///< a rule acted
};

/// Its name in documents: "token_ended".
std::string_view name_of(EventKind kind);
std::optional<EventKind> find_event_kind(std::string_view name);

/// A token, for people and programs: numbers are short, but an array's own.
struct EventToken {
  std::string array{};       ///< whose; empty: of the only one
  std::uint64_t number = 0;  ///< of those the array made since its start, from 1; 0: of none of ours
  tokens::TokenId id{};      ///< COPY MANAGER ROD TOKEN IDENTIFIER, as it stands in the token
  bool operator==(const EventToken&) const = default;
};

/// What is absent or empty does not apply, or is not known.
struct Event {
  std::uint64_t sequence = 0;  ///< from 1, without gaps; record() sets it
  base::TimePoint time{};      ///< of the array clock; record() sets it
  EventKind kind = EventKind::command;

  std::string array{};   ///< empty where there is only one
  std::string target{};  ///< iSCSI name
  std::optional<Lun> lun{};
  std::string logical_unit{};  ///< its name in the configuration
  std::string initiator{};     ///< iSCSI name

  std::string command{};  ///< as T10 names it
  std::optional<std::uint8_t> opcode{};
  std::optional<std::uint16_t> service_action{};
  std::optional<std::uint8_t> page{};  ///< PAGE CODE of INQUIRY with EVPD=1
  std::optional<std::uint32_t> list_identifier{};
  std::optional<EventToken> token{};
  std::optional<std::uint64_t> lba{};     ///< the first of the command's
  std::optional<std::uint64_t> blocks{};  ///< of all its ranges
  std::optional<std::uint64_t> bytes{};   ///< what a token represents

  std::optional<Status> status{};
  std::optional<Sense> sense{};                       ///< its `rule` is in `reason`
  std::optional<tokens::CopyStatus> copy_status{};    ///< of copy_ended, and of commands that tell one
  std::optional<std::uint64_t> transfer_count{};      ///< what was written, of copy_ended
  tokens::TransferCountUnits transfer_count_units{};  ///< with transfer_count
  std::optional<tokens::TokenState> token_state{};    ///< of token_ended
  std::string rule{};                                 ///< name of the rule that acted, of rule_hit
  std::optional<std::uint64_t> left_out{};            ///< hits of the rule that have no event of their own
  std::string reason{};                               ///< in words; complete without the other fields
};

class Journal {
 public:
  static constexpr std::size_t kDefaultEvents = 4096;
  static constexpr std::size_t kLeastEvents = 16;

  /// Keeps the last `events`, kLeastEvents at the least. `array_clock` outlives it.
  explicit Journal(const base::Clock& array_clock, std::size_t events = kDefaultEvents);

  /// Gives the event its sequence number, which is returned, and its time; keeps it and shows it to the subscribers.
  std::uint64_t record(Event event);

  /// The sequence number of the last event; 0: none yet.
  std::uint64_t last() const { return last_; }
  const std::deque<Event>& events() const { return events_; }  ///< those that are kept, oldest first
  std::size_t capacity() const { return capacity_; }
  /// Kept events after the one numbered `sequence`, oldest first, at most `most`.
  std::vector<Event> since(std::uint64_t sequence, std::size_t most = SIZE_MAX) const;
  /// Forgets all events; numbers go on.
  void clear() { events_.clear(); }

  using Subscriber = std::function<void(const Event&)>;
  /// Calls `subscriber` for each event from now on, in their order, until what is returned is gone. It is called from
  /// inside commands, so it changes nothing in the arrays: what it wants done it posts for later. It may subscribe
  /// others and record, whose events it sees after this one.
  [[nodiscard]] std::shared_ptr<void> subscribe(Subscriber subscriber);

 private:
  const Event* find(std::uint64_t sequence) const;
  void show(const Event& event);

  const base::Clock& clock_;
  std::size_t capacity_;
  std::uint64_t last_ = 0;
  std::deque<Event> events_;
  std::vector<std::weak_ptr<Subscriber>> subscribers_;
  std::uint64_t shown_ = 0;  ///< the last that subscribers were shown
  bool showing_ = false;
};

}  // namespace scsi
