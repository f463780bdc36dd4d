// Rules: failures on demand. A rule says which commands it is for, and what is to happen with them.
//
// Owns the rules of the process, their counters and the state they share by name; decides which of them a command
// meets. Does nothing itself: what an action does is done at the gates (scsi/rule_gates.h). Thread: the loop's.
#pragma once

#include <bitset>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/entropy.h"
#include "base/timer_queue.h"
#include "scsi/device_profile.h"
#include "scsi/sense.h"
#include "scsi/status.h"

namespace scsi {

class Journal;
class Task;

enum class RuleId : std::uint32_t { none = 0 };

/// When an action takes place: before the command is executed, or when it is, before it is answered.
enum class Moment : std::uint8_t { before, after };

/// What can happen with a command. One struct for each; docs/faults.md says what hosts see of it.
namespace action {

/// It is only counted, and may move the state.
struct Nothing {
  bool operator==(const Nothing&) const = default;
};

/// It ends with a status, CHECK CONDITION with sense data. Before: nothing else of it is done. After: all is done.
struct Fail {
  Status status = Status::check_condition;
  Sense sense{};
  Moment moment = Moment::before;
  bool operator==(const Fail&) const = default;
};

/// It waits, and can be aborted meanwhile.
struct Delay {
  base::Duration time{};
  Moment moment = Moment::before;
  bool wire_clock = false;  ///< whatever the array clock does
  bool operator==(const Delay&) const = default;
};

/// No more than so many bytes of its data are transferred, in either direction.
struct Truncate {
  std::uint64_t bytes = 0;
  bool operator==(const Truncate&) const = default;
};

/// A copy that stops after so many blocks of its destination, and says so (SBC-4 4.28.2).
struct ShortCopy {
  std::uint64_t blocks = 0;
  bool counted = true;  ///< INFORMATION has the count; else only the result has it
  bool operator==(const ShortCopy&) const = default;
};

/// RECEIVE ROD TOKEN INFORMATION and RECEIVE COPY STATUS tell something else than what was.
struct WrongResult {
  std::optional<std::uint64_t> transfer_count{};
  std::optional<std::uint8_t> copy_status{};  ///< COPY OPERATION STATUS
  std::optional<std::uint16_t> segments_processed{};
  std::optional<std::uint32_t> descriptors_length{};  ///< ROD TOKEN DESCRIPTORS LENGTH
  bool operator==(const WrongResult&) const = default;
};

/// GOOD, and the data is another: what a read gives, or what a write or copy leaves.
struct WrongData {
  enum class How : std::uint8_t {
    zeros,
    inverted,     ///< the first bytes of each block, for copies those of the first block
    not_written,  ///< what was there before; not for reads
  };
  How how = How::zeros;
  bool operator==(const WrongData&) const = default;
};

/// Some bytes of its data-in are others, stand elsewhere, or are missing: `cut` bytes from `at` on give way to `put`,
/// or are moved to `move_to`. Where the data ends before, it is done to what there is.
struct EditData {
  std::uint64_t at = 0;   ///< from the first byte of data-in, before its cut to the allocation length
  std::uint64_t cut = 0;  ///< bytes
  std::vector<std::uint8_t> put{};
  std::optional<std::uint64_t> move_to{};  ///< of what is left without them; beyond it: behind it. Without `put`
  bool operator==(const EditData&) const = default;
};

/// The command is as if it had never come: not executed, not answered.
struct DropCommand {
  bool operator==(const DropCommand&) const = default;
};

/// It is executed, and not answered.
struct DropResponse {
  bool operator==(const DropResponse&) const = default;
};

/// The connection ends at one of the command's PDUs.
struct EndConnection {
  enum class At : std::uint8_t {
    command,         ///< it has come, and is not executed
    r2t,             ///< instead of the nth R2T
    data_out,        ///< the nth Data-Out has come, and is lost
    data_in,         ///< instead of the nth Data-In
    response,        ///< instead of the response, or the Data-In that has the status
    after_response,  ///< it was sent
  };
  At at = At::response;
  std::uint32_t nth = 1;  ///< of the command, from 1
  bool reset = false;     ///< with a TCP RST; else it is closed
  bool operator==(const EndConnection&) const = default;
};

/// A digest that is wrong, where the connection has digests.
struct DigestError {
  enum class Of : std::uint8_t {
    header,         ///< of the first PDU of the answer
    data,           ///< of the first PDU of the answer with data
    received_data,  ///< the nth Data-Out is taken for one with a wrong data digest, with digests or without
  };
  Of of = Of::data;
  std::uint32_t nth = 1;
  bool operator==(const DigestError&) const = default;
};

/// A token ends, or its bytes are altered.
struct EndToken {
  enum class How : std::uint8_t { expired, revoked, cancelled, deleted, corrupted };
  How how = How::expired;
  Moment moment = Moment::before;
  /// As the journal numbers those of the command's array; absent: the one the command names, made or delivers.
  std::optional<std::uint64_t> token{};
  bool operator==(const EndToken&) const = default;
};

/// No data moves between two logical units or arrays, by their names, or again it does.
struct Reach {
  std::string a, b;
  bool reachable = false;
  std::optional<UnreachableRefusal> refusal{};  ///< absent: the profile's
  Moment moment = Moment::before;
  bool operator==(const Reach&) const = default;
};

/// The array of the command offers third-party copy no more, or again; hosts are told (06/3F/03).
struct OfferCopies {
  bool offered = false;
  Moment moment = Moment::before;
  bool operator==(const OfferCopies&) const = default;
};

/// The memory of thin logical units is all taken, or what was taken for this is given back.
struct FillPool {
  bool full = true;
  Moment moment = Moment::before;
  bool operator==(const FillPool&) const = default;
};

/// An Async Message on the command's connection, after its answer (RFC 7143, 11.9.1), and what it says.
struct AsyncMessage {
  enum class Event : std::uint8_t { logout_request, drop_connection, drop_session };
  Event event = Event::logout_request;
  std::uint16_t seconds = 3;  ///< for the logout, else the connection is dropped
  bool operator==(const AsyncMessage&) const = default;
};

}  // namespace action

using Action = std::variant<action::Nothing, action::Fail, action::Delay, action::Truncate, action::ShortCopy,
                            action::WrongResult, action::WrongData, action::EditData, action::DropCommand,
                            action::DropResponse, action::EndConnection, action::DigestError, action::EndToken,
                            action::Reach, action::OfferCopies, action::FillPool, action::AsyncMessage>;

/// An operation code, perhaps one service action of it.
struct CommandCode {
  std::uint8_t opcode = 0;
  std::optional<std::uint16_t> service_action{};
  bool operator==(const CommandCode&) const = default;
};

/// The commands a person means by `text`: T10's name ("WRITE USING TOKEN", "READ (10)", "READ" for all its lengths), or
/// an operation code, perhaps with a service action ("83h", "83h/11h"). Empty: none.
std::vector<CommandCode> commands_named(std::string_view text);

/// Addresses of blocks, both included.
struct LbaRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  bool operator==(const LbaRange&) const = default;
};

/// Which commands a rule is for: all that is said must fit.
struct RuleMatch {
  std::string initiator{};              ///< iSCSI name, perhaps with '*' for what is left of it; empty: any
  std::string target{};                 ///< the same
  std::string lun{};                    ///< the logical unit's name, or its number; empty: any
  std::vector<CommandCode> commands{};  ///< empty: any
  std::optional<std::uint8_t> page{};   ///< PAGE CODE of INQUIRY with EVPD=1
  /// It reads, writes or names one of these blocks. A command that names none does not fit.
  std::optional<LbaRange> lba{};
  std::optional<std::uint64_t> token{};  ///< WRITE USING TOKEN with this one, as the journal numbers it
  std::string when_state{};              ///< the shared state is this; empty: any

  // Of the commands that fit so far, counted from 1, those whose turn it is.
  std::optional<std::uint64_t> nth{};        ///< the first; alone: only this one
  std::optional<std::uint64_t> every_nth{};  ///< from there on (absent `nth`: from the every_nth one) one of so many
  std::optional<std::uint64_t> count{};      ///< hits at most
  std::optional<double> probability{};       ///< 0 to 1, drawn for each whose turn it is
  std::uint64_t seed = 0;                    ///< of the draws: the same ones in every run
  bool operator==(const RuleMatch&) const = default;

  /// How often it hits at most; absent: without limit.
  std::optional<std::uint64_t> limit() const;
};

struct Rule {
  RuleId id = RuleId::none;  ///< given by the set
  std::string name{};        ///< for people
  bool from_file = false;    ///< goes when the configuration file is read again
  RuleMatch match{};
  Action action{};
  std::string set_state{};  ///< what a hit makes of the shared state; empty: nothing

  /// The same rule, whatever its number.
  bool same_as(const Rule& other) const;
};

/// "rule 3 \"third write\"", for logs and sense.
std::string describe(const Rule& rule);
/// What it does, in words.
std::string describe(const Action& action);

class RuleSet {
 public:
  static constexpr std::string_view kInitialState = "initial";
  /// So many hits of one rule in a second, beginning with the first of them, have an event and a line in the log each;
  /// of the others the end of that second tells how many there were.
  static constexpr unsigned kHitsToldEachSecond = 20;

  RuleSet() = default;
  ~RuleSet();
  RuleSet(const RuleSet&) = delete;
  RuleSet& operator=(const RuleSet&) = delete;

  /// Puts it behind the others, with a number that no other had in this process.
  RuleId add(Rule rule);
  /// False: there is no such rule. What it did stays done; commands that met it go on as it said.
  bool remove(RuleId id);
  void clear();
  /// Those from the configuration file are these now, where they are others than before. Returns whether they are.
  bool replace_those_of_file(std::vector<Rule> rules);

  /// Whether a rule may be for commands with this operation code. All that a command asks which no rule is for.
  bool concern(std::uint8_t opcode) const { return operation_codes_[opcode]; }

  /// A rule and its counters, until the set changes.
  struct Listed {
    const Rule& rule;
    std::uint64_t matches = 0;  ///< commands that fit, but for their turn and chance
    std::uint64_t hits = 0;
    bool spent = false;  ///< it hits no more
  };
  std::vector<Listed> list() const;
  std::optional<Listed> find(RuleId id) const;

  const std::string& state() const { return state_; }
  void set_state(std::string state) { state_ = std::move(state); }
  /// All rules count from the start again, and the state is the initial one.
  void start_over();

  // What actions need from above. All outlives the set's use.

  /// Where Delay::wire_clock waits, and whose seconds hits are told by; without, the array clock.
  struct WireTime {
    const base::Clock* clock = nullptr;
    base::TimerQueue* timers = nullptr;
  };
  void set_wire_time(WireTime wire) { wire_ = wire; }
  const WireTime& wire_time() const { return wire_; }
  void on_fill_pool(std::move_only_function<void(bool full)> fill) { fill_pool_ = std::move(fill); }
  void fill_pool(bool full) {
    if (fill_pool_) fill_pool_(full);
  }

  // For the gates.

  using Hits = std::vector<std::shared_ptr<const Rule>>;
  /// The rules that a judged task meets, in their order, as far as its CDB tells; counts them. `list_awaited`: others
  /// may follow when its parameter list is here.
  Hits meet(const Task& task, bool& list_awaited);
  /// The others.
  Hits meet_with_list(const Task& task);

 private:
  struct Entry {
    explicit Entry(Rule its_rule) : rule(std::move(its_rule)), chance(rule.match.seed) {}
    ~Entry() { forget(); }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    void tell(const Task& task, const WireTime& wire, std::string_view initiator);
    void tell_left_out();
    void forget();

    Rule rule;
    std::uint64_t matches = 0;
    std::uint64_t hits = 0;
    base::SeededEntropy chance;

    // The second of kHitsToldEachSecond.
    base::TimePoint second_ends{};
    unsigned told = 0;
    std::uint64_t left_out = 0;
    Journal* journal = nullptr;
    base::TimerQueue* timers = nullptr;
    base::TimerQueue::Id timer = base::TimerQueue::Id::none;
  };
  struct Facts;

  bool remove_those(const std::function<bool(const Rule&)>& wanted);
  void find_operation_codes();
  static bool fits(const RuleMatch& match, const Facts& facts, const std::string& state);
  static bool its_turn(Entry& entry);
  Hits decide(const Task& task, const Facts& facts, const std::function<bool(const RuleMatch&)>& now);
  static Listed listed(const Entry& entry);

  std::vector<std::shared_ptr<Entry>> rules_;
  std::bitset<256> operation_codes_;  // some rule may be for
  std::uint32_t last_id_ = 0;
  std::string state_{kInitialState};
  WireTime wire_{};
  std::move_only_function<void(bool)> fill_pool_;
};

}  // namespace scsi
