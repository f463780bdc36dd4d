// What Windows' disk class driver (classpnp with disk.sys) does with one disk: finds out about it, sends offload
// reads and writes, retries them as it would, and turns the outcome into an NTSTATUS. Plain READ and WRITE are here for
// the copies that are not offloaded.
//
// It knows no files, no volumes and no FSCTLs: those are built on top. It keeps a trace of every command sent.
// Thread: one at a time. Commands block; time comes from the clock and waiting from Config::wait, so that a test
// can make four seconds pass at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "host/disk_discovery.h"
#include "host/list_identifiers.h"
#include "host/range_descriptors.h"
#include "host/scsi_layouts.h"
#include "host/sense_to_nt_status.h"
#include "initiator/initiator.h"

namespace host {

/// One command as it went out, and what came back.
struct TraceEntry {
  std::vector<std::uint8_t> cdb;
  std::size_t data_out_length = 0;
  std::size_t data_in_length = 0;  ///< received
  unsigned attempt = 0;            ///< 0: first
  bool untagged = false;           ///< asked for; see initiator::Command
  initiator::Transport transport = initiator::Transport::delivered;
  std::uint8_t status = 0;
  std::vector<std::uint8_t> sense;
  std::string transport_reason;
  base::TimePoint sent{};
  base::Duration duration{};
  NtStatus nt_status = NtStatus::success;
};

/// STORAGE_OFFLOAD_READ_OUTPUT.
struct OffloadReadResult {
  NtStatus status = NtStatus::success;
  bool range_truncated = false;        ///< flag 1
  std::uint64_t length_protected = 0;  ///< bytes; 0 on failure
  Token token{};
  std::string reason;  ///< for people, on failure
};

/// STORAGE_OFFLOAD_WRITE_OUTPUT.
struct OffloadWriteResult {
  NtStatus status = NtStatus::success;
  bool range_truncated = false;  ///< flag 1
  bool token_invalid = false;    ///< flag 2
  std::uint64_t length_copied = 0;
  std::string reason;  ///< for people, when less was copied than asked for
};

class ClassDriver {
 public:
  struct Config {
    /// CopyOffloadMaxTargetDuration: an offload write stops looping after this long. Windows ignores less than 4 s.
    base::Duration maximum_target_duration = std::chrono::seconds(4);
    std::chrono::milliseconds command_timeout{60000};  ///< TimeOutValue of an installed Windows
    /// Waits before a retry. Without it retries follow at once.
    std::function<void(base::Duration)> wait{};
  };

  /// References outlive the driver; `list_identifiers` is shared by all disks of the host.
  ClassDriver(initiator::Initiator& initiator, const base::Clock& clock, ListIdentifiers& list_identifiers,
              Config config);

  /// Finds out about the disk, in the order Windows asks: READ CAPACITY, VPD 00h, B2h, B0h, 8Fh, control mode page
  /// (QERR set to 0), write protection. A disk without ODX is no failure; see disk().no_odx_reason.
  NtStatus start();
  const Disk& disk() const { return disk_; }

  /// DeviceDsmAction_OffloadRead: one POPULATE TOKEN and one RECEIVE ROD TOKEN INFORMATION. What does not fit the
  /// disk's limits is left out and range_truncated set. `time_to_live` goes into INACTIVITY TIMEOUT as it is; 0: the
  /// disk's default. Refused before any command: C0000463 without ODX, C000000D for no or unaligned ranges or a
  /// time to live above MAXIMUM INACTIVITY TIMEOUT, C0000015 beyond the disk.
  OffloadReadResult offload_read(std::span<const DataSetRange> ranges, std::uint32_t time_to_live);

  /// DeviceDsmAction_OffloadWrite: WRITE USING TOKENs, one after the other, until all ranges are written, one fails,
  /// or the time is up. Anything written at all is a success. `token_offset` in bytes.
  OffloadWriteResult offload_write(const Token& token, std::uint64_t token_offset,
                                   std::span<const DataSetRange> ranges);

  /// READ and WRITE; offset and size in multiples of the block length, cut into commands of at most 1 MiB.
  NtStatus read(std::uint64_t offset, base::MutableBytes out);
  NtStatus write(std::uint64_t offset, base::Bytes data);
  NtStatus flush();  ///< SYNCHRONIZE CACHE(10), whole disk

  /// Sends any command with data-in and hands back what came; for showing what Windows does not ask.
  initiator::Result query(std::vector<std::uint8_t> cdb, std::uint32_t data_in_length);

  const std::vector<TraceEntry>& trace() const { return trace_; }
  std::vector<TraceEntry> take_trace() { return std::exchange(trace_, {}); }

  /// "WRITE USING TOKEN", "INQUIRY, VPD page 8Fh": for traces.
  static std::string command_name(base::Bytes cdb);

 private:
  struct Outcome {
    Interpretation means;
    initiator::Result result;
    bool good() const { return means.status == NtStatus::success; }
  };
  /// What a RECEIVE ROD TOKEN INFORMATION says, by Windows' rules.
  struct TokenInformation {
    NtStatus status = NtStatus::success;  ///< of the command, or of the sense data it carried
    std::uint64_t blocks = 0;
    std::optional<Token> token{};
    bool token_invalid = false;
    std::string reason;
  };

  Outcome send(initiator::Command command, CommandKind kind, unsigned retries);
  Outcome inquire(std::uint8_t page);
  NtStatus read_capacity();
  void discover_copy_offload();
  void clear_queue_error_management();
  void read_write_protection();

  std::optional<std::string> refuse(std::span<const DataSetRange> ranges, NtStatus& status) const;
  CutLimits descriptor_limits(std::size_t header_length) const;
  CutLimits populate_limits(std::uint32_t time_to_live) const;
  CutLimits write_limits() const;
  TokenInformation receive_token_information(std::uint32_t list_identifier, std::uint32_t allocation_length,
                                             unsigned retries, std::uint64_t requested_blocks);
  /// One WRITE USING TOKEN and what follows from it; the blocks it wrote, or a reason to stop.
  TokenInformation write_step(const Token& token, std::uint64_t offset_into_rod, const RangeCut& cut);
  initiator::Command block_command(std::uint8_t opcode10, std::uint8_t opcode16, std::uint64_t lba,
                                   std::uint32_t blocks) const;

  initiator::Initiator& initiator_;
  const base::Clock& clock_;
  ListIdentifiers& list_identifiers_;
  Config config_;
  Disk disk_;
  std::vector<TraceEntry> trace_;
};

}  // namespace host
