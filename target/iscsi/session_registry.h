// All sessions of an array: who is logged in where, session handles, and reinstatement (RFC 7143, 6.3.5).
//
// Owns the sessions; connections come and go. Destroyed after every connection and before the device servers, when
// no task is left with them. Thread: the loop's.
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "target/iscsi/data_in_flight.h"
#include "target/iscsi/half_open_logins.h"
#include "target/iscsi/node.h"
#include "target/iscsi/pdu.h"

namespace iscsi {

class Parameters;
class Session;
struct LoginIdentity;

/// A session as a person wants to see it.
struct SessionInfo {
  std::string initiator_name;
  std::string target_name;  ///< empty: a discovery session
  Isid isid{};
  std::uint16_t tsih = 0;
  std::vector<std::string> peers;  ///< of its connections; none while the session is being ended
  std::size_t commands = 0;
  std::size_t waiting_for_clock = 0;  ///< of the commands: nothing becomes of them before the array clock moves
  std::uint16_t portal_group_tag = 1;
};

class SessionRegistry {
 public:
  explicit SessionRegistry(const Limits& limits);
  ~SessionRegistry();
  SessionRegistry(const SessionRegistry&) = delete;
  SessionRegistry& operator=(const SessionRegistry&) = delete;

  /// Sessions, those included whose tasks are still being ended.
  std::size_t size() const { return sessions_.size(); }
  std::vector<SessionInfo> list() const;

  // For connections.

  /// Counts a connection, logged in or not; false when it is one too many (it counts all the same).
  bool connection_opened() { return ++connections_ <= limits_.max_connections; }
  void connection_closed() { --connections_; }
  /// Those of them that are not logged in.
  HalfOpenLogins& half_open() { return half_open_; }
  DataInFlight& data_in_flight() { return data_in_flight_; }

  using Opened = std::expected<std::shared_ptr<Session>, LoginStatus>;
  /// Opens the session of a login that is agreed on, or finds the one it adds a connection to (TSIH not 0); its CID may
  /// be in use: connection reinstatement. `done` is called when no task of a session or connection that has to give way
  /// is left, perhaps from inside; the session is to be joined at once, or end_if_deserted() called. Errors:
  /// target_removed, session_does_not_exist, cannot_include_in_session, too_many_connections, out_of_resources.
  void open(const Directory& directory, const LoginIdentity& identity, const Parameters& parameters,
            std::move_only_function<void(Opened)> done);
  /// The session that a login with a TSIH names, if it is that initiator's: what its Login Responses tell of the
  /// command window.
  const Session* named(const LoginIdentity& identity) const;

  // For sessions.

  /// The session's tasks and I_T nexus are gone.
  void left(Session& session);
  /// Ends every session with the target, with its connection.
  void end_sessions(const std::string& target_name, const std::string& why);

  // For whoever removes a target, or steers what there is.

  /// Asks every session with the target to log out (RFC 7143, 11.9.1) and drops those that are left after `within`.
  void request_logout(const std::string& target_name, std::chrono::seconds within);
  /// The same for one session. False: there is none.
  bool request_logout(std::uint16_t tsih, std::chrono::seconds within);
  /// Ends a session with its connections, and tells its initiator. False: there is none.
  bool drop(std::uint16_t tsih, const std::string& why);

 private:
  struct Waiting {
    const Session* session;
    std::move_only_function<void()> proceed;
  };

  /// The names of a session's two ports (RFC 7143, 4.4.3). No two sessions with a target have the same.
  struct Ports {
    std::string initiator_name;
    Isid isid{};
    std::string target_name;
    std::uint16_t portal_group_tag = 0;
    auto operator<=>(const Ports&) const = default;
  };
  static Ports ports_of(const LoginIdentity& identity);

  std::vector<std::shared_ptr<Session>> with(const std::string& target_name) const;
  void add_connection(const LoginIdentity& identity, std::move_only_function<void(Opened)> done);
  std::shared_ptr<Session> find_same(const LoginIdentity& identity) const;
  std::uint16_t next_tsih();

  const Limits& limits_;
  DataInFlight data_in_flight_;                                 // outlives the sessions
  std::map<std::uint16_t, std::shared_ptr<Session>> sessions_;  // by TSIH
  std::map<Ports, std::uint16_t> tsih_of_;                      // without discovery sessions
  std::vector<Waiting> waiting_;
  std::uint16_t last_tsih_ = 0;
  std::uint32_t connections_ = 0;
  HalfOpenLogins half_open_;
  struct Buffers;
  std::unique_ptr<Buffers> buffers_;
};

}  // namespace iscsi
