// Connections of a session come and go: joining, logout (RFC 7143, 11.14), reinstatement (6.3.4), failure (7.14); and
// the session's own end.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "scsi/logical_unit.h"
#include "scsi/task_set.h"
#include "scsi/unit_attentions.h"
#include "target/iscsi/session.h"
#include "target/iscsi/session_registry.h"

namespace iscsi {

void Session::join(Link& link, std::uint16_t cid, Negotiation negotiation, PortalAddress local) {
  negotiation.take_session_wide(parameters_);
  link.cid = cid;
  link.acknowledged = link.stat_sn;  // of the Login Response, which is to be sent
  link.number = ++last_link_number_;
  link.local = std::move(local);
  link.negotiation = std::move(negotiation);
  links_.push_back(&link);
}

Link* Session::find(std::uint16_t cid) const {
  auto found = std::ranges::find(links_, cid, &Link::cid);
  return found == links_.end() ? nullptr : *found;
}

Link* Session::find_number(std::uint32_t number) const {
  auto found = std::ranges::find(links_, number, &Link::number);
  return found == links_.end() ? nullptr : *found;
}

/// Nothing is sent or taken for the commands of `link` any more. Gives back their task tags; commands before their turn
/// are as if they had never come: their places in the order stay empty until the initiator sends something for them
/// (RFC 7143, 11.14).
std::vector<std::uint32_t> Session::disown(Link& link) {
  std::vector<std::uint32_t> tags;
  commands_.for_each([&](Command& command) {
    if (command.link != &link) return;
    command.link = nullptr;
    tags.push_back(command.tag);
  });
  auto theirs = [&](std::uint32_t tag) { return std::ranges::find(tags, tag) != tags.end(); };
  std::erase_if(deferred_, theirs);
  std::erase_if(fenced_, theirs);
  std::erase_if(held_, [&](const Held& held) {
    bool dropped = held.link == &link && !held.plug;
    if (!dropped) return false;
    held_bytes_ -= held.size();
    in_flight_.remove(held.size());
    return true;
  });
  return tags;
}

std::vector<std::uint32_t> Session::unbind(Link& link) {
  std::erase(links_, &link);
  return disown(link);
}

/// Ends tasks whose connection is gone, then calls `done`. Their I_T nexus goes on, and each logical unit concerned
/// reports it (RFC 7143, 11.14.5).
void Session::end_tasks(const std::vector<std::uint32_t>& tags, std::move_only_function<void()> done) {
  std::set<scsi::Lun> concerned;
  for (std::uint32_t tag : tags) {
    Command* command = commands_.find(tag);
    bool active = command && command->phase != Command::Phase::discarding && command->phase != Command::Phase::fenced;
    if (active) concerned.insert(command->lun);
  }
  auto rendezvous = std::make_shared<scsi::Rendezvous>(
      [self = shared_from_this(), concerned = std::move(concerned), done = std::move(done)]() mutable {
        for (scsi::Lun lun : concerned) {
          if (scsi::LogicalUnit* unit = self->server_->find(lun); unit && !self->ending_)
            unit->unit_attentions().establish(self->nexus_, scsi::AdditionalSense::commands_cleared_by_iscsi_event);
        }
        done();
      });
  for (std::uint32_t tag : tags) {
    Command* command = commands_.find(tag);
    if (!command || command->link) continue;
    if (command->phase == Command::Phase::serving) {
      server_->manage(scsi::TaskManagementFunction::abort_task, nexus_, command->lun, tag,
                      [rendezvous](scsi::TaskManagementResponse) {});
      continue;
    }
    if (command->phase == Command::Phase::gathering) server_->withdraw(*command);
    forget(*command);
  }
}

void Session::remove(Link& link, bool flush, std::string why, std::move_only_function<void()> done) {
  std::vector<std::uint32_t> tags = unbind(link);
  link.finish(flush, std::move(why));
  advance_fences();
  end_tasks(tags, std::move(done));
}

// The ways on after a failure are to recover the connection, which is for ErrorRecoveryLevel 2; to log it out and send
// the missing commands again, for level 1; and session recovery, for all levels (RFC 7143, 7.14).
void Session::lost(Link& link, bool flush, std::string why) {
  auto self = shared_from_this();
  std::uint16_t cid = link.cid;
  bool expected = link.closing;
  unbind(link);
  link.finish(flush, std::move(why));
  if (ending_) return;
  if (links_.empty()) return end();
  if (expected) return advance_fences();
  drop(true, fmt::format("session recovery, as connection {} has failed", cid));
}

void Session::logout(Link& link, const Pdu& pdu) {
  auto bhs = header_as<LogoutRequestBhs>(pdu.bhs);
  std::uint32_t tag = bhs.initiator_task_tag;
  switch (static_cast<LogoutReason>(bhs.reason & kLogoutReasonMask)) {
    case LogoutReason::close_session: break;
    case LogoutReason::close_connection: {
      Link* named = find(bhs.cid);
      if (!named || named->closing) return send_logout_response(link, tag, LogoutStatus::cid_not_found);
      bool last = std::ranges::all_of(links_, [&](const Link* each) { return each == named || each->closing; });
      if (!last) return logout_connection(link, *named, tag);
      break;
    }
    case LogoutReason::remove_for_recovery:
      return send_logout_response(link, tag, LogoutStatus::recovery_not_supported);
    default: return reject_served(link, pdu.bhs, RejectReason::invalid_pdu_field);
  }
  link.logout_task_tag = tag;
  end();
}

/// Logout of one connection of several, asked for on `link`: itself, perhaps.
void Session::logout_connection(Link& link, Link& named, std::uint32_t initiator_task_tag) {
  auto self = shared_from_this();
  if (&named != &link) {
    return remove(named, true, fmt::format("logged out by connection {}", link.cid),
                  [self, number = link.number, initiator_task_tag] {
                    if (Link* asked = self->find_number(number))
                      self->send_logout_response(*asked, initiator_task_tag, LogoutStatus::closed);
                  });
  }
  link.closing = true;
  link.logout_task_tag = initiator_task_tag;
  link.stop_reading();
  std::vector<std::uint32_t> tags = disown(link);
  advance_fences();
  end_tasks(tags, [self, number = link.number] {
    if (Link* closing = self->find_number(number)) self->logged_out(*closing);
    self->end_if_deserted();
  });
}

void Session::logged_out(Link& link) {
  unbind(link);
  if (link.logout_task_tag) send_logout_response(link, *link.logout_task_tag, LogoutStatus::closed);
  link.finish(true, "logged out");
}

void Session::send_logout_response(Link& link, std::uint32_t initiator_task_tag, LogoutStatus status) {
  LogoutResponseBhs answer;
  answer.initiator_task_tag = initiator_task_tag;
  answer.response = static_cast<std::uint8_t>(status);
  answer.time2wait = static_cast<std::uint16_t>(parameters_.number(Key::default_time2wait));
  answer.time2retain = static_cast<std::uint16_t>(parameters_.number(Key::default_time2retain));
  stamp_status(link, answer);
  link.writer.put(answer);
  link.output_added();
}

void Session::drop_commands() {
  held_.clear();
  in_flight_.remove(std::exchange(held_bytes_, 0));
  deferred_.clear();
  fenced_.clear();
  fences_.clear();
  fence_up_ = false;
  // Tasks that wait for data end here; those the device server works on end through it.
  std::vector<Command*> waiting;
  commands_.for_each([&](Command& command) {
    if (command.phase != Command::Phase::serving) waiting.push_back(&command);
  });
  for (Command* command : waiting) {
    if (command->phase == Command::Phase::gathering) server_->withdraw(*command);
    forget(*command);
  }
}

void Session::end() {
  if (ending_) return;
  ending_ = true;
  auto self = shared_from_this();
  for (Link* link : links_) {
    if (!link->closing) link->stop_reading();
    link->closing = true;
  }
  if (!server_) return ended();
  drop_commands();
  server_->abort_all(nexus_, [self] { self->ended(); });
}

void Session::end_if_deserted() {
  if (links_.empty()) end();
}

void Session::ended() {
  if (server_) server_->detach(nexus_);
  while (!links_.empty()) logged_out(*links_.back());
  registry_.left(*this);
}

void Session::drop(bool flush, std::string why) {
  auto self = shared_from_this();
  while (!links_.empty()) {
    Link* link = links_.back();
    if (flush) send_async(*link, AsyncEvent::drop_session, 0);
    unbind(*link);
    link->finish(flush, why);
  }
  end();
}

void Session::request_logout(std::chrono::seconds within) {
  auto self = shared_from_this();
  // By number: asking may be what shows that a connection has failed.
  std::vector<std::uint32_t> numbers;
  for (const Link* link : links_) numbers.push_back(link->number);
  for (std::uint32_t number : numbers)
    if (Link* link = find_number(number)) link->request_logout(within);
  end_if_deserted();
}

}  // namespace iscsi
