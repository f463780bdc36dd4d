// One seeded run: random operations of several I_T nexuses on the array of world.h, each judged by model.h.
//
// What a command must answer is foretold when the device server takes it up, from the model as it is then; where its
// data comes from, or what it changes, is compared when it ends. That is enough for commands in flight: those that
// share blocks must end in the order in which they began, and this is checked. Faults and aborts leave a choice (old or
// new blocks); the model then looks which was taken, and allows nothing else. Thread: one.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "scsi/copy_job.h"
#include "scsi/task.h"
#include "test/sim/model.h"
#include "test/sim/report.h"
#include "test/sim/reservation_model.h"
#include "test/sim/rule_model.h"
#include "test/sim/world.h"
#include "tokens/copy_operation.h"

namespace sim {

/// The array did something that the model does not allow.
class Disagreement : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Kind : std::uint8_t {
  read,
  write,
  unmap,
  write_same,
  compare_and_write,
  populate_token,
  write_using_token,
  receive_rod_token_information,
  receive_copy_status,
  copy_operation_abort,
  persistent_reserve_out,
};
const char* name_of(Kind kind);

class Simulation;

/// A command on its way, and what has to become of it.
class Operation final : public scsi::TaskObserver {
 public:
  Operation(Simulation& simulation, Kind its_kind) : kind(its_kind), simulation_(simulation) {}
  void completed(scsi::Task& task) override;
  /// Whether it is one of the copy manager's operations, being processed.
  bool copies() const {
    return begun != 0 && !refusal && !ranges.empty() &&
           (kind == Kind::populate_token || kind == Kind::write_using_token);
  }

  const std::uint8_t* new_block(std::uint64_t lba, std::uint64_t block_length) const;

  Kind kind;
  scsi::Task task{};
  std::uint64_t number = 0;
  std::size_t nexus = 0;
  std::size_t lun = 0;
  std::string text{};
  Bytes data_out{};
  bool waits_for_data = false;
  std::uint64_t begun = 0;  ///< its place in the order of beginning; 0: it has not begun
  bool completed_once = false;
  bool concluded = false;  ///< and nothing of it moves any more

  std::optional<scsi::Sense> refusal{};  ///< what it must be refused with
  scsi::Status status{};                 ///< what it was answered, or what its result says
  scsi::Sense sense{};
  bool aborted = false;                 ///< by task management
  std::optional<Bytes> when_aborted{};  ///< what its ranges held then: a copy changes nothing afterwards

  Ranges ranges{};       ///< what it reads, changes or captures
  bool changes = false;  ///< its ranges
  Bytes compared{};      ///< COMPARE AND WRITE
  Bytes new_data{};      ///< what its ranges hold afterwards

  CopyRequest request{};
  std::uint32_t list_identifier = 0;
  ResultRef result{};
  tokens::CopyOperationKey key{};
  std::vector<std::uint64_t> targets{};  ///< COPY OPERATION ABORT, PREEMPT AND ABORT: the numbers of what they stop
  // PERSISTENT RESERVE OUT.
  std::uint8_t action = 0, type = 0;
  std::size_t victim = 0;
  bool registers = false;
  bool conflict = false;  ///< it must end with RESERVATION CONFLICT
  // Of the rule that does something to it.
  std::optional<scsi::Action> met{};
  std::optional<scsi::Status> turned_away{};  ///< it ends with this, and nothing else comes of it
  base::Duration delay{};
  template <typename Action>
  const Action* met_rule() const {
    return met ? std::get_if<Action>(&*met) : nullptr;
  }
  bool late = false;                   ///< takes its turn when it has its data and its time, not in order of arrival
  bool in_pieces = false;              ///< changes its blocks one after another, and lets others in between
  bool background = false;             ///< was answered, and goes on
  bool stopped = false;                ///< in another way than by an abort of its task
  std::weak_ptr<scsi::CopyJob> job{};  ///< of one in the background: it is gone when it has ended
  bool unseen = false;                 ///< nobody can ask for its result any more
  base::TimePoint started{};
  std::set<std::uint64_t> overwritten{};  ///< LBAs that others changed since it began
  TokenRef token{};                       ///< WRITE USING TOKEN: whose use ends with the command
  bool reason_may_be_lost = false;        ///< of its token
  bool next_to_a_limit = false;           ///< of its token
  std::uint32_t allocation_length = 0;

 private:
  Simulation& simulation_;
};

struct RunOptions {
  std::uint64_t seed = 1;
  std::uint64_t steps = 4000;
};

class Simulation {
 public:
  Simulation(RunOptions options, Report& report);

  /// Throws Disagreement.
  void run();
  /// The last things done, oldest first.
  const std::deque<std::string>& last_events() const { return events_; }
  /// What has not ended.
  std::vector<std::string> in_flight() const;

  /// A command has ended. A disagreement is thrown later, not through the device server.
  void ended(Operation& operation);

 private:
  struct Nexus {
    std::string initiator;
    scsi::NexusId id{};
    bool attached = false;
    bool leaving = false;     ///< its tasks are being aborted
    bool tasks_gone = false;  ///< they have been
    std::uint32_t last_tag = 0;
  };
  struct Function {
    std::string text;
    std::vector<std::uint64_t> aborted{};  ///< numbers; when it is complete all of these have ended
    bool done = false;
  };

  // simulation.cc: what happens.
  void step();
  void work_off(std::size_t at_most);
  void pass_time();
  void advance(base::Duration by);
  bool fire_next_timer(base::TimePoint until);
  void set_fault();
  void end_token_early();
  void finish_leaving();
  void attach(std::size_t nexus);
  void compare_everything();
  void check_holes(std::size_t lun);
  void compare_all();
  void check_end();
  void note(std::string event);
  void require(bool good, const std::string& what) const;
  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  bool one_in(std::uint64_t n) { return pick(n) == 0; }

  // task_functions.cc: task management and I_T nexus loss.
  void manage();
  void lose_nexus();
  bool over(const Function& function) const;
  void complete(Function& function, bool as_expected);
  void stop(Operation& operation);
  void remember(Operation& operation);
  void select(Function& function, bool resets, const std::function<bool(const Operation&)>& selected);
  void start(std::shared_ptr<Function> function, scsi::TaskManagementFunction code, std::size_t nexus, std::size_t lun,
             std::uint32_t tag);

  // operations.cc: what is sent.
  void send_something();
  void send(std::unique_ptr<Operation> operation);
  void deliver(Operation& operation);
  std::unique_ptr<Operation> make(Kind kind);
  void make_block_command(Operation& operation);
  void make_write_same(Operation& operation);
  void make_compare_and_write(Operation& operation);
  void make_unmap(Operation& operation);
  void make_populate(Operation& operation);
  void make_write_using(Operation& operation);
  void make_receive(Operation& operation);
  void make_abort(Operation& operation);
  // reservations.cc
  void make_reservation(Operation& operation);
  bool conflicts(const Operation& operation) const;
  // rules.cc
  void change_rules();
  scsi::Rule some_rule(bool acts);
  scsi::Action some_action(std::vector<scsi::CommandCode>& commands);
  void meet_rules(Operation& operation);
  void foretell(Operation& operation);
  void foretell_write(Operation& operation);
  bool ends_inside_a_block(const Operation& operation) const;
  void end_named_token(Operation& operation);
  Bytes as_read(const Operation& operation, Bytes data) const;
  static void make_wrong(Bytes& data, const scsi::action::WrongData& wrong, std::uint64_t block);
  void compare_rules();
  void begin_reservation(Operation& operation);
  void spoil_list(Operation& operation, std::size_t length_field);
  std::optional<tokens::RodToken> some_token(Operation& operation);
  std::string alter(tokens::RodToken& token);
  Ranges some_ranges(std::size_t lun, std::uint64_t longest);
  Range some_range(std::size_t lun, std::uint64_t longest);
  Bytes some_data(std::uint64_t size);
  std::uint32_t some_list_identifier() { return static_cast<std::uint32_t>(pick(12)); }

  // background.cc: copies that go on after their commands were answered.
  void poll();
  std::vector<Operation*> unseen_copies() const;
  void settle_background(Operation& operation, const tokens::CopyOperation* copy);
  void resolve_vulnerable();
  void compare_tokens();
  void compare_token_data();
  void end_token(TokenModel& token, TokenEnd reason);

  // settle.cc: what must have come back.
  void settle(Operation& operation);
  void conclude(Operation& operation);
  Failures take_failures(const Operation& operation);
  void settle_stopped(Operation& operation);
  enum class Content : std::uint8_t { of_model, of_operation, of_another, wrong };
  Content look(const Operation& operation, std::uint64_t lba, const std::uint8_t* actual) const;
  bool another_writes(const Operation& operation, std::uint64_t lba, const std::uint8_t* actual) const;
  void observe(const Operation& operation);
  bool could_match(const Operation& operation) const;
  void write_model(Operation& operation, std::uint64_t lba, const std::uint8_t* data);
  void adopt(Operation& operation);
  bool written(const Operation& copy, std::uint64_t lba);
  using EachBlock = std::function<void(std::uint64_t index, std::uint64_t lba, const std::uint8_t* actual)>;
  void each_block(const Operation& operation, const EachBlock& visit);
  void check_written(Operation& operation, std::uint64_t count, bool torn);
  void adopt_end_of_token(Operation& operation);
  void expect_good(const Operation& operation) const;
  void watch_source(const Operation& operation, TokenModel& token);
  void check_progress(const Operation& operation, const Bytes& data);
  void check_time(const Operation& operation) const;

  // judge.cc: what must come back.
  bool judge_operation_code(Operation& operation);
  void judge_cdb(Operation& operation);
  void begin(Operation& operation);
  void begin_populate(Operation& operation);
  void begin_write_using(Operation& operation);
  void begin_receive(Operation& operation);
  void begin_abort(Operation& operation);
  void settle_refused(Operation& operation, const scsi::Sense& expected);
  void settle_failed(Operation& operation, const Failures& failures);
  void settle_good(Operation& operation);
  void settle_populate(Operation& operation);
  void settle_short_write(Operation& operation, const scsi::Sense& sense, bool token_lost);
  void settle_cut(Operation& operation, std::uint64_t blocks);
  void see_through_answer(Operation& operation, const Failures& failures) const;
  void settle_receive(Operation& operation);
  void compare_result(Operation& operation, const Bytes& data, bool with_token);
  void finish_result(Operation& operation, std::uint8_t status, std::uint64_t count,
                     const std::optional<scsi::Sense>& sense);
  void end_use(Operation& operation);
  const Operation* in_the_way_of(const Operation& operation) const;
  void expect_sense(const Operation& operation, const scsi::Sense& expected) const;
  std::string outcome_of(const Operation& operation) const;

  RunOptions options_;
  Report& report_;
  std::mt19937_64 random_;
  Traits traits_;
  std::deque<std::unique_ptr<Operation>> operations_{};
  std::vector<Nexus> nexuses_{};
  std::vector<ReservationModel> reservations_{};  ///< by logical unit
  RuleModel rules_{};
  std::vector<Operation*> in_flight_{};  ///< in the order they were sent
  std::vector<std::shared_ptr<Function>> functions_{};
  std::deque<std::string> events_{};
  std::optional<std::string> disagreement_{};  ///< found inside a call of the device server
  std::uint64_t last_number_ = 0;
  std::uint64_t last_begun_ = 0;
  std::optional<std::size_t> full_{};  ///< a logical unit without room
  TokenRef watched_token_{};           ///< its time was just moved next to a limit, or it was ended
  World world_;                        ///< goes first: until then commands may end
  Model model_;
};

}  // namespace sim
