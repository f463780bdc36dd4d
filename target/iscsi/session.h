// A session in full-feature phase (RFC 7143, 4.4): commands in order, their data, task management, text, logout.
//
// Owns its commands, their order and the I_T nexus; borrows its connections through Link, and lives on without any
// while its tasks are being ended. A command belongs to the connection it came on (connection allegiance, RFC
// 7143, 4.2.5.1): its data and answer go there and nowhere else. ErrorRecoveryLevel 0. Thread: the loop's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/data_buffer.h"
#include "scsi/device_server.h"
#include "scsi/rule_gates.h"
#include "scsi/task.h"
#include "target/iscsi/command.h"
#include "target/iscsi/command_window.h"
#include "target/iscsi/data_in_flight.h"
#include "target/iscsi/link.h"
#include "target/iscsi/login.h"
#include "target/iscsi/negotiation.h"
#include "target/iscsi/node.h"
#include "target/iscsi/pdu_decoder.h"

namespace iscsi {

class SessionRegistry;

class Session final : public scsi::TaskObserver, public std::enable_shared_from_this<Session> {
 public:
  struct Config {
    const Directory& directory;
    SessionRegistry& registry;
    base::Ref<base::DataBufferPool> buffers;
    LoginIdentity identity;
    Parameters parameters;
    std::uint16_t tsih;
  };
  explicit Session(Config config);
  ~Session();

  const LoginIdentity& identity() const { return identity_; }  ///< of the leading login
  std::uint16_t tsih() const { return tsih_; }
  const CommandWindow& window() const { return window_; }
  const std::vector<Link*>& links() const { return links_; }
  std::size_t commands() const { return commands_.size(); }
  /// Those of them of which nothing becomes before the array clock moves.
  std::size_t commands_waiting_for_clock() const;
  bool ending() const { return ending_; }
  /// As the leading login agreed (RFC 7143, 13.2).
  std::size_t max_connections() const { return parameters_.number(Key::max_connections); }

  // The connections' side. `link` has joined and has not left.

  /// `link` is a connection of the session from now on. `negotiation` is that of its own login; what a leading login
  /// alone may negotiate is the session's. `local` is the address it reached.
  void join(Link& link, std::uint16_t cid, Negotiation negotiation, PortalAddress local);
  /// The connection failed, or has to end: finishes it. At ErrorRecoveryLevel 0 that ends the session with all its
  /// connections (RFC 7143, 7.14), unless the connection was logging out.
  void lost(Link& link, bool flush, std::string why);

  /// Serves one PDU.
  void receive(Link& link, Pdu& pdu);
  /// A PDU came whose data digest is wrong (RFC 7143, 7.8).
  void data_digest_failed(Link& link, const Pdu& pdu);
  /// Where the large data segment of `pdu` is to be received; empty for the decoder's own memory.
  Places destination(Link& link, const Pdu& pdu);

  /// A NOP-In that asks for an answer (RFC 7143, 11.19).
  void ping(Link& link);
  /// RFC 7143, 11.9. `seconds` is Parameter3.
  void send_async(Link& link, AsyncEvent event, std::uint16_t seconds);
  void reject(Link& link, const Bhs& bhs, RejectReason reason);

  // The registry's side.

  Link* find(std::uint16_t cid) const;
  /// Ends one connection, then its tasks, then calls `done`, perhaps from inside; the session goes on.
  void remove(Link& link, bool flush, std::string why, std::move_only_function<void()> done);
  /// Ends every task, then the I_T nexus, then leaves the registry. A logout under way is answered in between.
  void end();
  /// Ends a session that nobody has joined.
  void end_if_deserted();
  /// Ends the connections, then the session. With `flush` the initiator is told (Async Message event 3).
  void drop(bool flush, std::string why);
  /// Asks the initiator, on every connection, to log out, and drops the session if it has not `within` the time.
  void request_logout(std::chrono::seconds within);

  /// The device server has ended a task.
  void completed(scsi::Task& task) override;

 private:
  /// A PDU that came before its turn.
  struct Held {
    CmdSn cmd_sn{};
    Link* link = nullptr;
    bool plug = false;  ///< only fills the gap: its command was aborted before it came (RFC 7143, 11.5.1)
    Bhs bhs{};
    std::vector<std::uint8_t> ahs{};
    std::vector<std::uint8_t> data{};
    struct DataOut {
      Bhs bhs{};
      std::vector<std::uint8_t> data{};
    };
    std::vector<DataOut> data_outs{};

    /// Bytes it keeps, for Limits::max_session_data_out.
    std::uint64_t size() const;
  };

  /// A task management function that came before commands it concerns.
  struct Overtaken {
    CmdSn before{};                ///< commands with smaller numbers
    std::optional<scsi::Lun> lun;  ///< nothing: of all logical units
  };

  struct Acknowledgement {
    std::uint32_t link_number;
    StatSn exp_stat_sn;
  };
  /// An answer that is not to change places with others, on whatever connection.
  struct Fence {
    std::uint32_t link_number;
    TaskManagementRequestBhs request;
    scsi::TaskManagementResponse response;
    bool sent = false;
    std::vector<Acknowledgement> awaited{};
  };

  // session.cc: sequencing
  std::optional<RejectReason> refusal(const Bhs& bhs) const;
  void sequence(Link& link, Pdu& pdu);
  void hold(Link& link, const Pdu& pdu, CmdSn cmd_sn);
  void held_more(std::uint64_t more);
  void deliver_held();
  void serve(Link& link, Pdu& pdu);
  void reject_served(Link& link, const Bhs& bhs, RejectReason reason);
  void nop_out(Link& link, const Pdu& pdu);
  template <typename Header>
  void stamp(Header& header) const {
    header.exp_cmd_sn = window_.expected().value;
    header.max_cmd_sn = window_.max().value;
  }
  template <typename Header>
  void stamp_status(Link& link, Header& header) {
    stamp(header);
    header.stat_sn = link.stat_sn.value;
    ++link.stat_sn;
  }

  // session_connections.cc: connections come and go
  Link* find_number(std::uint32_t number) const;
  std::vector<std::uint32_t> disown(Link& link);
  std::vector<std::uint32_t> unbind(Link& link);
  void end_tasks(const std::vector<std::uint32_t>& tags, std::move_only_function<void()> done);
  void logout(Link& link, const Pdu& pdu);
  void logout_connection(Link& link, Link& named, std::uint32_t initiator_task_tag);
  void send_logout_response(Link& link, std::uint32_t initiator_task_tag, LogoutStatus status);
  void logged_out(Link& link);
  void ended();
  void drop_commands();

  // session_commands.cc: commands and their outcome
  void scsi_command(Link& link, Pdu& pdu);
  bool crowded(std::uint64_t more) const;
  std::optional<scsi::Sense> refuse_command(const Pdu& pdu, const Command& command) const;
  void admit(Command& command, const Pdu& pdu);
  void settle(Command& command);
  void fail(Command& command, scsi::Sense sense);
  void conclude(Command& command);
  void respond(Command& command);
  bool send_data_in(Command& command, std::uint32_t length, std::uint8_t residual_flags, std::uint32_t residual);
  void send_response(Command& command, std::uint8_t residual_flags, std::uint32_t residual, std::uint32_t data_sn);
  void forget(Command& command);

  // session_data_out.cc: gathering data-out
  void gather(Command& command, const Pdu& pdu);
  bool fits(const Command& command) const;
  void charge(Command& command);
  void take_memory(const Command& command, DataOutMemory& memory);
  bool reserve(Command& command);
  void run(Command& command, base::Bytes data_out, base::Ref<const base::RefCounted> owner);
  void run_gathered(Command& command);
  void proceed(Command& command);
  void send_r2ts(Command& command);
  void data_out(Link& link, const Pdu& pdu);
  void unsolicited_data(Command& command, const Pdu& pdu);
  void solicited_data(Command& command, const Pdu& pdu);
  static void keep(const Command& command, std::size_t offset, const Pdu& pdu);
  void discard(Command& command, const DataOutBhs& bhs);
  void retry_deferred();

  // session_faults.cc: what rules want
  void settle_by_rules(Command& command);
  static bool reaches_end(const Command& command, scsi::action::EndConnection::At at, std::uint32_t nth = 1);
  static void spoil_answer(const Command& command);
  void after_answer(Link& link, const scsi::TaskFaults& faults);
  bool spoil_data_out(Command& command, const Pdu& pdu);
  void break_off(Link& link, scsi::action::EndConnection end);

  // session_tasks.cc: task management
  void task_management(Link& link, const Pdu& pdu);
  void abort_task(Link& link, const TaskManagementRequestBhs& bhs);
  bool abort_unarrived(const TaskManagementRequestBhs& bhs);
  void manage(Link& link, const TaskManagementRequestBhs& bhs, scsi::TaskManagementFunction function,
              std::optional<scsi::Lun> lun, std::uint32_t tag);
  void drop_unserved(const TaskManagementRequestBhs& bhs, std::optional<scsi::Lun> lun);
  void overtake(CmdSn before, std::optional<scsi::Lun> lun);
  bool was_overtaken(const Bhs& bhs);
  void task_management_done(std::uint32_t link_number, const TaskManagementRequestBhs& bhs,
                            scsi::TaskManagementResponse response);

  void leave_order(const TaskManagementRequestBhs& bhs);
  void answer_task_management(Link& link, const TaskManagementRequestBhs& bhs, scsi::TaskManagementResponse response);

  // session_fence.cc: order of answers on several connections
  void acknowledge(Link& link, StatSn exp_stat_sn);
  void answer_fenced(Link& link, const TaskManagementRequestBhs& bhs, scsi::TaskManagementResponse response);
  void raise_fence();
  void await_acknowledgement(Link& link);
  void advance_fences();
  void lower_fence();
  void wait_behind_fence(Command& command);

  // session_text.cc: text
  void text_request(Link& link, const Pdu& pdu);
  bool answer_text(Link& link, std::string_view text);
  void send_text_response(Link& link, const TextRequestBhs& bhs);

  const Directory& directory_;
  SessionRegistry& registry_;
  base::Ref<base::DataBufferPool> buffers_;
  LoginIdentity identity_;
  Parameters parameters_;  // what the leading login agreed on for the session
  std::uint16_t tsih_;
  scsi::DeviceServer* server_;  // null in a discovery session
  scsi::NexusId nexus_ = scsi::NexusId::none;

  std::vector<Link*> links_;
  std::uint32_t last_link_number_ = 0;
  CommandWindow window_;
  std::vector<Held> held_;
  std::uint64_t held_bytes_ = 0;
  DataInFlight::Share in_flight_;
  std::vector<Overtaken> overtaken_;
  std::vector<Fence> fences_;          // the first is up, others wait for it
  std::vector<std::uint32_t> fenced_;  // task tags of commands whose answers wait behind it
  bool fence_up_ = false;
  CommandSet commands_;
  std::uint32_t immediate_in_progress_ = 0;
  std::uint64_t gathered_bytes_ = 0;
  std::uint64_t reading_bytes_ = 0;      // of commands that wait for a store, or for their turn
  std::vector<std::uint32_t> deferred_;  // task tags of writes that wait for room, oldest first
  std::uint32_t last_target_transfer_tag_ = 0;

  bool ending_ = false;
};

}  // namespace iscsi
