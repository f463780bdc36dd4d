// The states of a connection as RFC 7143, 8.1.1 names them for targets, as far as ErrorRecoveryLevel 0 has them.
// Thread: any.
#pragma once

#include <array>
#include <cstdint>

namespace iscsi {

enum class ConnectionState : std::uint8_t {
  xpt_up,            ///< S3: connected, no Login Request yet
  in_login,          ///< S4
  logged_in,         ///< S5: full-feature phase
  in_logout,         ///< S6: Logout Request taken, tasks are being ended
  logout_requested,  ///< S7: we asked for a logout
  free,              ///< S1: over; output may be left to send
};

struct ConnectionTransition {
  ConnectionState from;
  ConnectionState to;
};

inline constexpr std::array<ConnectionTransition, 10> kConnectionTransitions{{
    {ConnectionState::xpt_up, ConnectionState::in_login},             // T4
    {ConnectionState::xpt_up, ConnectionState::free},                 // T6
    {ConnectionState::in_login, ConnectionState::logged_in},          // T5
    {ConnectionState::in_login, ConnectionState::free},               // T7
    {ConnectionState::logged_in, ConnectionState::in_logout},         // T9
    {ConnectionState::logged_in, ConnectionState::logout_requested},  // T11
    {ConnectionState::logged_in, ConnectionState::free},              // T8
    {ConnectionState::logout_requested, ConnectionState::in_logout},  // T10
    {ConnectionState::logout_requested, ConnectionState::free},       // T18
    {ConnectionState::in_logout, ConnectionState::free},              // T13
}};

constexpr bool is_legal(ConnectionState from, ConnectionState to) {
  for (const ConnectionTransition& each : kConnectionTransitions)
    if (each.from == from && each.to == to) return true;
  return false;
}

}  // namespace iscsi
