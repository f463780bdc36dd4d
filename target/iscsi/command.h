// A SCSI command as a session sees it: its task, its tags, and the data-out being gathered for it. Also the set of all
// commands of a session, found by Initiator Task Tag. Nothing here allocates once warm. Thread: the loop's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "scsi/task.h"
#include "target/iscsi/data_out_memory.h"
#include "target/iscsi/pdu.h"

namespace iscsi {

class Link;

/// A Ready To Transfer that has been sent and not yet been answered in full (RFC 7143, 11.8).
struct OutstandingR2t {
  std::uint32_t target_transfer_tag = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
  std::uint32_t received = 0;
  std::uint32_t data_sn = 0;  ///< of the next Data-Out
};

struct Command : scsi::Task {
  enum class Phase : std::uint8_t {
    serving,     ///< with the device server
    gathering,   ///< data-out is coming
    discarding,  ///< its outcome is known; data-out that was asked for is still coming (RFC 7143, 11.17.1)
    fenced,      ///< its outcome is known; the answer waits behind another (RFC 7143, 4.2.2.3)
  };

  Phase phase = Phase::serving;
  Link* link = nullptr;  ///< the connection it came on; null when that is gone, and nobody waits for an answer
  bool immediate = false;
  bool read = false;
  bool write = false;
  bool in_call = false;           ///< a call into the device server is on the stack: completed() leaves it alone
  bool unsolicited_open = false;  ///< unsolicited Data-Out is to come, up to its F bit
  LunField lun_field{};
  std::uint32_t expected_length = 0;  ///< Expected Data Transfer Length (EDTL)

  std::uint32_t wanted = 0;       ///< bytes of data-out the device server is given
  std::uint32_t unsolicited = 0;  ///< bytes come as immediate and unsolicited data
  std::uint32_t unsolicited_data_sn = 0;
  std::uint32_t solicited = 0;    ///< bytes come in answer to R2Ts
  std::uint32_t next_offset = 0;  ///< where the next R2T starts
  std::uint32_t r2t_sn = 0;
  std::vector<OutstandingR2t> r2ts{};
  DataOutMemory memory{};
  std::uint64_t in_flight = 0;  ///< bytes counted against Limits::max_data_in_flight
  std::uint64_t reading = 0;    ///< bytes counted against Limits::max_session_data_in
  std::uint64_t charged = 0;    ///< bytes counted against Limits::max_session_data_out

  Command* next_free = nullptr;

  /// As new, with the capacity it has.
  void recycle();
};

class CommandSet {
 public:
  /// `expected` commands at once are served without allocating.
  explicit CommandSet(std::size_t expected);

  Command* find(std::uint32_t initiator_task_tag) const;
  /// A recycled command under `initiator_task_tag`, which is not in use.
  Command& take(std::uint32_t initiator_task_tag);
  /// The command is over.
  void release(Command& command);

  std::size_t size() const { return size_; }

  /// Calls `each` for every command; it may not take or release any.
  template <typename Each>
  void for_each(Each each) const {
    for (Command* command : slots_)
      if (command) each(*command);
  }

 private:
  std::size_t home(std::uint32_t tag) const;
  void insert(Command& command);
  void grow();

  std::vector<Command*> slots_;  // open addressing, linear probing; the size is a power of two
  std::size_t size_ = 0;
  std::vector<std::unique_ptr<Command>> all_;
  Command* free_ = nullptr;
};

}  // namespace iscsi
