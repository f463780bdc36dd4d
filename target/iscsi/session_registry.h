// All sessions of an array: who is logged in where, session handles, and reinstatement (RFC 7143, 6.3.5).
//
// Owns the sessions; connections come and go. Destroyed after every connection and before the device servers.
// Thread: the loop's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "target/iscsi/node.h"
#include "target/iscsi/pdu.h"

namespace iscsi {

/// A session as a person wants to see it.
struct SessionInfo {
  std::string initiator_name;
  std::string target_name;  ///< empty: a discovery session
  Isid isid{};
  std::uint16_t tsih = 0;
  std::string peer;  ///< of its connection
  std::size_t commands = 0;
};

class SessionRegistry {
 public:
  explicit SessionRegistry(const Limits& limits);
  ~SessionRegistry();
  SessionRegistry(const SessionRegistry&) = delete;
  SessionRegistry& operator=(const SessionRegistry&) = delete;

  /// Sessions, those included whose tasks are still being ended.
  std::size_t size() const;
  std::vector<SessionInfo> list() const;

 private:
  friend class Connection;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace iscsi
