// Response Fence (RFC 7143, 4.2.2.3): in a session of several connections the answer to a task management function that
// ends many tasks arrives after every answer that was sent before it, and before every SCSI answer that is sent after
// it.
#include <algorithm>

#include "target/iscsi/session.h"

namespace iscsi {

/// What the initiator says it has received on `link`.
void Session::acknowledge(Link& link, StatSn exp_stat_sn) {
  // Whoever leaves the field blank has acknowledged nothing.
  if (!exp_stat_sn.after(link.acknowledged) || exp_stat_sn.after(link.stat_sn)) return;
  link.acknowledged = exp_stat_sn;
  advance_fences();
}

/// The answer to `request`, behind a fence.
void Session::answer_fenced(Link& link, const TaskManagementRequestBhs& request,
                            scsi::TaskManagementResponse response) {
  fences_.push_back({link.number, request, response});
  if (!fence_up_) raise_fence();
}

/// Asks for the acknowledgement of all that was sent on other connections than the first fence's own.
void Session::raise_fence() {
  fence_up_ = true;
  for (Link* link : links_)
    if (link->number != fences_.front().link_number) await_acknowledgement(*link);
  advance_fences();
}

void Session::await_acknowledgement(Link& link) {
  if (link.closing || link.acknowledged == link.stat_sn) return;
  fences_.front().awaited.push_back({link.number, link.stat_sn});
  ping(link);
}

/// As far as the acknowledgements that have come allow; nothing when there is no fence.
void Session::advance_fences() {
  while (fence_up_) {
    Fence& fence = fences_.front();
    std::erase_if(fence.awaited, [&](const Acknowledgement& each) {
      const Link* link = find_number(each.link_number);
      return !link || link->closing || !link->acknowledged.before(each.exp_stat_sn);
    });
    Link* link = find_number(fence.link_number);
    if (link && !link->closing) {
      if (!fence.awaited.empty()) return;
      if (!std::exchange(fence.sent, true)) {
        TaskManagementRequestBhs request = fence.request;
        leave_order(request);
        answer_task_management(*link, request, fence.response);
        if (ending_) return;
        await_acknowledgement(*link);
        continue;
      }
    }
    if (!fence.sent) leave_order(fence.request);
    lower_fence();
  }
}

/// The first fence has done its work, or its connection is gone: the answers behind it go out.
void Session::lower_fence() {
  fences_.erase(fences_.begin());
  fence_up_ = false;
  for (std::uint32_t tag : std::exchange(fenced_, {}))
    if (Command* command = commands_.find(tag)) respond(*command);
  if (!fences_.empty()) raise_fence();
}

/// The answer to `command` waits until the fence is down.
void Session::wait_behind_fence(Command& command) {
  command.phase = Command::Phase::fenced;
  fenced_.push_back(command.tag);
}

}  // namespace iscsi
