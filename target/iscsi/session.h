// A session in full-feature phase (RFC 7143, 4.4): commands in order, their data, task management, text, logout.
//
// Owns its commands and the I_T nexus; borrows its connection through Link, and lives on without it while its tasks
// are being ended. One connection per session (MaxConnections 1), ErrorRecoveryLevel 0. Thread: the loop's.
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
#include "scsi/task.h"
#include "target/iscsi/command.h"
#include "target/iscsi/command_window.h"
#include "target/iscsi/data_in_flight.h"
#include "target/iscsi/link.h"
#include "target/iscsi/login.h"
#include "target/iscsi/negotiation.h"
#include "target/iscsi/node.h"
#include "target/iscsi/pdu_decoder.h"
#include "target/iscsi/text_keys.h"

namespace iscsi {

class SessionRegistry;

class Session final : public scsi::TaskObserver, public std::enable_shared_from_this<Session> {
 public:
  struct Config {
    const Directory& directory;
    SessionRegistry& registry;
    base::Ref<base::DataBufferPool> buffers;
    LoginIdentity identity;
    Negotiation negotiation;
    std::uint16_t tsih;
  };
  explicit Session(Config config);
  ~Session();

  const LoginIdentity& identity() const { return identity_; }
  std::uint16_t tsih() const { return tsih_; }
  const Parameters& parameters() const { return negotiation_.parameters(); }
  const CommandWindow& window() const { return window_; }
  const Link* link() const { return link_; }
  std::size_t commands() const { return commands_.size(); }
  bool ending() const { return ending_; }

  // The connection's side.

  /// `link` carries the session from now on; `local` is the address it reached (for SendTargets).
  void bind(Link& link, PortalAddress local);
  /// The connection is gone: nothing is sent any more. Follow with end() or restart().
  void unbind() { link_ = nullptr; }
  /// Takes the negotiation of a login that reinstates the connection (RFC 7143, 6.3.4).
  void renegotiated(LoginIdentity identity, Negotiation negotiation);

  /// Serves one PDU.
  void receive(Pdu& pdu);
  /// A PDU came whose data digest is wrong (RFC 7143, 7.8).
  void data_digest_failed(const Pdu& pdu);
  /// Where the large data segment of `pdu` is to be received; empty for the decoder's own memory.
  struct Destination {
    base::MutableBytes bytes{};
    base::Ref<const base::RefCounted> owner{};
  };
  Destination destination(const Pdu& pdu);

  /// A NOP-In that asks for an answer (RFC 7143, 11.19).
  void ping();
  /// RFC 7143, 11.9. `seconds` is Parameter3.
  void send_async(AsyncEvent event, std::uint16_t seconds);
  void reject(const Bhs& bhs, RejectReason reason);

  // The registry's side.

  /// Ends every task, then the I_T nexus, then leaves the registry. A logout under way is answered in between.
  void end();
  /// Ends the connection, then the session.
  void drop(bool flush, std::string why);
  /// Asks the initiator to log out, and drops the session if it has not `within` the time.
  void request_logout(std::chrono::seconds within);
  /// Ends the connection; the session waits for another.
  void replace_link(std::string why);
  /// Ends every task, then calls `done`: the session goes on with another connection.
  void restart(std::move_only_function<void()> done);

  /// The device server has ended a task.
  void completed(scsi::Task& task) override;

 private:
  /// A PDU that came before its turn.
  struct Held {
    CmdSn cmd_sn{};
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

  // session.cc: sequencing
  std::optional<RejectReason> refusal(const Bhs& bhs) const;
  void sequence(Pdu& pdu);
  void hold(const Pdu& pdu, CmdSn cmd_sn);
  void held_more(std::uint64_t more);
  void deliver_held();
  void serve(Pdu& pdu);
  void nop_out(const Pdu& pdu);
  void logout(const Pdu& pdu);
  void send_logout_response(std::uint32_t initiator_task_tag, LogoutStatus status);
  void ended();
  void drop_commands();
  template <typename Header>
  void stamp(Header& header) const {
    header.exp_cmd_sn = window_.expected().value;
    header.max_cmd_sn = window_.max().value;
  }
  template <typename Header>
  void stamp_status(Header& header) {
    stamp(header);
    header.stat_sn = link_->stat_sn.value;
    ++link_->stat_sn;
  }

  // session_commands.cc: commands and their outcome
  void scsi_command(Pdu& pdu);
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
  bool reserve(Command& command);
  void run(Command& command, base::Bytes data_out, base::Ref<const base::RefCounted> owner);
  void proceed(Command& command);
  void send_r2ts(Command& command);
  void data_out(const Pdu& pdu);
  void unsolicited_data(Command& command, const Pdu& pdu);
  void solicited_data(Command& command, const Pdu& pdu);
  void keep(Command& command, std::uint32_t offset, base::Bytes data);
  void discard(Command& command, const DataOutBhs& bhs);
  void retry_deferred();

  // session_tasks.cc: task management
  void task_management(const Pdu& pdu);
  void abort_task(const TaskManagementRequestBhs& bhs);
  bool abort_unarrived(const TaskManagementRequestBhs& bhs);
  void manage(const TaskManagementRequestBhs& bhs, scsi::TaskManagementFunction function, std::optional<scsi::Lun> lun,
              std::uint32_t tag);
  void drop_unserved(const TaskManagementRequestBhs& bhs, std::optional<scsi::Lun> lun);
  void task_management_done(const TaskManagementRequestBhs& bhs, scsi::TaskManagementResponse response);

  // session_text.cc: text
  void text_request(const Pdu& pdu);
  bool answer_text(std::string_view text);
  void send_text_response(const TextRequestBhs& bhs);

  const Directory& directory_;
  SessionRegistry& registry_;
  base::Ref<base::DataBufferPool> buffers_;
  LoginIdentity identity_;
  Negotiation negotiation_;
  std::uint16_t tsih_;
  scsi::DeviceServer* server_;  // null in a discovery session
  scsi::NexusId nexus_ = scsi::NexusId::none;

  Link* link_ = nullptr;
  PortalAddress local_{};
  CommandWindow window_;
  std::vector<Held> held_;
  std::uint64_t held_bytes_ = 0;
  DataInFlight::Share in_flight_;
  CommandSet commands_;
  std::uint32_t immediate_in_progress_ = 0;
  base::Ref<base::DataBuffer> arriving_;  // where the immediate data of the command now being received goes
  std::uint64_t gathered_bytes_ = 0;
  std::uint64_t reading_bytes_ = 0;      // of commands that wait for a store, or for their turn
  std::vector<std::uint32_t> deferred_;  // task tags of writes that wait for room, oldest first
  std::uint32_t last_target_transfer_tag_ = 0;

  TextAssembler text_in_;
  TextSlicer text_out_;
  std::uint32_t text_task_tag_ = kReservedTag;
  std::uint32_t text_transfer_tag_ = kReservedTag;

  bool ending_ = false;
  std::optional<std::uint32_t> logout_task_tag_;
};

}  // namespace iscsi
