#include "target/iscsi/session_registry.h"

#include <algorithm>

#include "target/iscsi/session.h"

namespace iscsi {
namespace {

/// Idle data-out buffers kept for the next writes.
constexpr std::size_t kMaxIdleBufferBytes = 64 << 20;

const std::string& target_name(const LoginIdentity& identity) {
  static const std::string kNone;
  return identity.target ? identity.target->name : kNone;
}

bool same_initiator_port(const LoginIdentity& a, const LoginIdentity& b) {
  return a.initiator_name == b.initiator_name && a.isid == b.isid;
}

/// A session is between two ports: one initiator name and ISID, one portal group of a target (RFC 7143, 4.4.3).
bool same_target_port(const LoginIdentity& a, const LoginIdentity& b) {
  return target_name(a) == target_name(b) && a.portal_group_tag == b.portal_group_tag && a.discovery == b.discovery;
}

bool same_session(const LoginIdentity& a, const LoginIdentity& b) {
  return same_initiator_port(a, b) && same_target_port(a, b);
}

/// Whether the target that was found at the beginning of a login is still there at its end.
bool still_there(const Directory& directory, const LoginIdentity& identity) {
  if (!identity.target) return true;
  auto now = directory.find(identity.target->name);
  return now && now->device_server == identity.target->device_server;
}

}  // namespace

struct SessionRegistry::Buffers {
  base::Ref<base::DataBufferPool> pool;
};

SessionRegistry::SessionRegistry(const Limits& limits)
    : limits_(limits),
      data_in_flight_(limits),
      half_open_(limits.max_half_open_logins),
      buffers_(new Buffers{base::make_ref<base::DataBufferPool>(kMaxIdleBufferBytes)}) {}
SessionRegistry::~SessionRegistry() = default;

std::vector<SessionInfo> SessionRegistry::list() const {
  std::vector<SessionInfo> all;
  for (const auto& [tsih, session] : sessions_) {
    const LoginIdentity& identity = session->identity();
    std::vector<std::string> peers;
    for (const Link* link : session->links()) peers.push_back(link->peer());
    all.push_back({identity.initiator_name, target_name(identity), identity.isid, tsih, std::move(peers),
                   session->commands(), session->commands_waiting_for_clock(), identity.portal_group_tag});
  }
  return all;
}

std::shared_ptr<Session> SessionRegistry::find_same(const LoginIdentity& identity) const {
  // DEVIATION: discovery sessions do not reinstate each other: they have no tasks, and hosts keep several with one
  // ISID.
  if (identity.discovery) return nullptr;
  auto found = tsih_of_.find(ports_of(identity));
  return found == tsih_of_.end() ? nullptr : sessions_.at(found->second);
}

SessionRegistry::Ports SessionRegistry::ports_of(const LoginIdentity& identity) {
  return {identity.initiator_name, identity.isid, target_name(identity), identity.portal_group_tag};
}

std::uint16_t SessionRegistry::next_tsih() {
  do {
    ++last_tsih_;
  } while (last_tsih_ == 0 || sessions_.contains(last_tsih_));
  return last_tsih_;
}

void SessionRegistry::open(const Directory& directory, const LoginIdentity& identity, const Parameters& parameters,
                           std::move_only_function<void(Opened)> done) {
  if (!still_there(directory, identity)) return done(std::unexpected(LoginStatus::target_removed));
  if (identity.tsih != 0) return add_connection(identity, std::move(done));
  if (auto old = find_same(identity)) {
    // Session reinstatement: the old one's tasks are dead before the new one's first command (RFC 7143, 6.3.5).
    if (!old->ending()) old->drop(false, "session reinstatement");
    if (find_same(identity)) {
      waiting_.push_back({old.get(), [this, &directory, identity, parameters, done = std::move(done)]() mutable {
                            open(directory, identity, parameters, std::move(done));
                          }});
      return;
    }
  }
  constexpr std::size_t kMaxTsih = 65535;
  if (sessions_.size() >= std::min<std::size_t>(limits_.max_sessions, kMaxTsih))
    return done(std::unexpected(LoginStatus::out_of_resources));
  std::uint16_t tsih = next_tsih();
  auto session =
      std::make_shared<Session>(Session::Config{directory, *this, buffers_->pool, identity, parameters, tsih});
  sessions_.emplace(tsih, session);
  if (!identity.discovery) tsih_of_.emplace(ports_of(identity), tsih);
  done(std::move(session));
}

const Session* SessionRegistry::named(const LoginIdentity& identity) const {
  auto found = sessions_.find(identity.tsih);
  return found != sessions_.end() && same_session(found->second->identity(), identity) ? found->second.get() : nullptr;
}

void SessionRegistry::add_connection(const LoginIdentity& identity, std::move_only_function<void(Opened)> done) {
  auto found = sessions_.find(identity.tsih);
  if (found == sessions_.end() || found->second->ending() || !same_initiator_port(found->second->identity(), identity))
    return done(std::unexpected(LoginStatus::session_does_not_exist));
  std::shared_ptr<Session> session = found->second;
  if (!same_target_port(session->identity(), identity))
    return done(std::unexpected(LoginStatus::cannot_include_in_session));
  if (Link* old = session->find(identity.cid)) {
    // Connection reinstatement is a logout of the old one (RFC 7143, 6.3.4 and 11.14). Then it is seen afresh what is
    // there: another login may have come first.
    return session->remove(*old, false, "connection reinstatement", [this, identity, done = std::move(done)]() mutable {
      add_connection(identity, std::move(done));
    });
  }
  if (session->links().size() >= session->max_connections())
    return done(std::unexpected(LoginStatus::too_many_connections));
  done(std::move(session));
}

void SessionRegistry::left(Session& session) {
  // Kept alive to the end of this call.
  auto found = sessions_.find(session.tsih());
  if (found == sessions_.end()) return;
  std::shared_ptr<Session> keep = std::move(found->second);
  sessions_.erase(found);
  if (!session.identity().discovery) tsih_of_.erase(ports_of(session.identity()));
  std::vector<Waiting> due, rest;
  for (Waiting& each : waiting_) (each.session == &session ? due : rest).push_back(std::move(each));
  waiting_ = std::move(rest);
  for (Waiting& each : due) each.proceed();
}

std::vector<std::shared_ptr<Session>> SessionRegistry::with(const std::string& name) const {
  std::vector<std::shared_ptr<Session>> theirs;
  for (const auto& [tsih, session] : sessions_)
    if (target_name(session->identity()) == name) theirs.push_back(session);
  return theirs;
}

void SessionRegistry::end_sessions(const std::string& name, const std::string& why) {
  for (const auto& session : with(name)) session->drop(true, why);
}

void SessionRegistry::request_logout(const std::string& name, std::chrono::seconds within) {
  for (const auto& session : with(name)) session->request_logout(within);
}

bool SessionRegistry::request_logout(std::uint16_t tsih, std::chrono::seconds within) {
  auto found = sessions_.find(tsih);
  if (found == sessions_.end()) return false;
  const std::shared_ptr<Session> session = found->second;
  session->request_logout(within);
  return true;
}

bool SessionRegistry::drop(std::uint16_t tsih, const std::string& why) {
  auto found = sessions_.find(tsih);
  if (found == sessions_.end()) return false;
  const std::shared_ptr<Session> session = found->second;
  if (!session->ending()) session->drop(true, why);
  return true;
}

}  // namespace iscsi
