// What the clients of the benchmarks share: a libiscsi session to one logical unit.
#pragma once

// libiscsi's headers need these first.
#include <poll.h>
#include <sys/uio.h>

// clang-format off
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
// clang-format on

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "cpu_time.h"

namespace bench {

using Task = std::unique_ptr<scsi_task, decltype(&scsi_free_scsi_task)>;

struct Session {
  iscsi_context* context = nullptr;
  int lun = 0;
  std::uint32_t block = 0;   ///< bytes
  std::uint64_t blocks = 0;  ///< of the logical unit
};

/// Throws when anything is refused.
inline Session connect(const std::string& url_text, const std::string& initiator) {
  Session session;
  session.context = iscsi_create_context(initiator.c_str());
  std::unique_ptr<iscsi_url, decltype(&iscsi_destroy_url)> url(iscsi_parse_full_url(session.context, url_text.c_str()),
                                                               &iscsi_destroy_url);
  if (!url) throw std::runtime_error(iscsi_get_error(session.context));
  iscsi_set_session_type(session.context, ISCSI_SESSION_NORMAL);
  iscsi_set_targetname(session.context, url->target);
  iscsi_set_noautoreconnect(session.context, 1);
  session.lun = url->lun;
  if (iscsi_full_connect_sync(session.context, url->portal, url->lun) != 0)
    throw std::runtime_error(iscsi_get_error(session.context));
  Task task(iscsi_readcapacity16_sync(session.context, session.lun), &scsi_free_scsi_task);
  auto* capacity = task && task->status == SCSI_STATUS_GOOD
                       ? static_cast<scsi_readcapacity16*>(scsi_datain_unmarshall(task.get()))
                       : nullptr;
  if (capacity == nullptr) throw std::runtime_error("READ CAPACITY(16) failed");
  session.block = capacity->block_length;
  session.blocks = capacity->returned_lba + 1;
  return session;
}

/// Waits for whatever the session has to send or to receive, and does it. Throws when the connection is gone.
inline void serve(Session& session) {
  pollfd polled{iscsi_get_fd(session.context), static_cast<short>(iscsi_which_events(session.context)), 0};
  poll(&polled, 1, 1000);
  if (iscsi_service(session.context, polled.revents) < 0) throw std::runtime_error(iscsi_get_error(session.context));
}

inline void disconnect(Session& session) {
  iscsi_logout_sync(session.context);
  iscsi_destroy_context(session.context);
}

}  // namespace bench
