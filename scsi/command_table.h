// The command table: everything there is to say about a command without its body.
//
// Dispatch, reserved-bit checks, gates, REPORT SUPPORTED OPERATION CODES and the table in
// docs/protocol-support.md all come from these rows. An opcode that is not supported has no row.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "handlers/backing_store.h"
#include "scsi/sense.h"
#include "scsi/target_port_groups.h"
#include "scsi/task.h"
#include "scsi/unit_statistics.h"

namespace scsi {

class DeviceServer;
struct DeviceProfile;

enum class DataDirection : std::uint8_t { none, in, out };

/// What persistent reservations make of a command (SPC-4 tables 65 and 66, SBC-3 table 13): whose it is not ends with
/// RESERVATION CONFLICT.
enum class ReservationGate : std::uint8_t {
  none,        ///< always allowed, or the body judges
  read,        ///< allowed through write exclusive reservations
  write,       ///< allowed to holders and, where the reservation is one for registrants, to these
  start_stop,  ///< none to start, else write (SBC-3 table 13)
  prevent,     ///< none to allow medium removal, else write (SPC-4 table 65)
  registered,  ///< allowed to registered nexuses, with or without a reservation
};

/// What a reservation made with RESERVE does to a command (SPC-2 5.5.1): RESERVATION CONFLICT.
enum class UnitReservationGate : std::uint8_t {
  none,     ///< always allowed, or the body judges
  others,   ///< from every nexus but the one that reserved
  anybody,  ///< PERSISTENT RESERVE IN and OUT: from that one, too
};

/// What is checked before a body runs, in this order. A bit set means the check applies.
struct Gates {
  bool logical_unit = true;    ///< 05/25/00 when the LUN has none (INQUIRY, REPORT LUNS, REQUEST SENSE: no)
  bool unit_attention = true;  ///< reports a pending unit attention (INQUIRY, REPORT LUNS, REQUEST SENSE: no)
  ReservationGate reservation = ReservationGate::write;
  UnitReservationGate unit_reservation = UnitReservationGate::others;
  /// Through a target port in standby, unavailable or transitioning: 02/04/0B, 02/04/0C or 02/04/0A.
  AccessGate access = AccessGate::active;
  bool ready = true;  ///< 02/04/02 while stopped by START STOP UNIT, and what `medium` says
  /// 02/3A/00 while the medium is out, 03/31/00 and 03/31/03 where FORMAT UNIT or SANITIZE failed (READ CAPACITY).
  bool medium = false;
  /// Served during FORMAT UNIT and SANITIZE too (INQUIRY, REPORT LUNS, REQUEST SENSE, REPORT SUPPORTED ...: SBC-3
  /// 4.11.2, 5.3.1); others are 02/04/04 or 02/04/1B.
  bool during_format = false;
  bool write = false;  ///< DATA PROTECT 07/27/00 when the logical unit is read-only
};

/// How a piece of store work is ordered against others of the same logical unit.
enum class Access : std::uint8_t {
  shared,     ///< reads its range
  exclusive,  ///< changes its range
  barrier,    ///< alone on the whole logical unit (capture, flush, ORDERED tasks)
};

/// When a piece of store work is done.
enum class Durability : std::uint8_t {
  cached,   ///< when the store took it
  flushed,  ///< when it, and all else that the store has taken, is on the medium; what waits for that shares a flush
};

/// What a body sees. Valid during the call only.
struct CommandContext {
  DeviceServer& server;
  LogicalUnit* lu;  ///< null only for rows without Gates::logical_unit
  Task& task;

  base::Bytes cdb() const { return task.cdb; }

  /// The CDB as the standard's layout.
  template <base::WireLayout T>
  T cdb_as() const {
    return base::load<T>(task.cdb);
  }

  /// Answers with parameter data; the device server cuts it to the allocation length, once.
  void respond(std::vector<std::uint8_t> data) { task.data_in.append(std::move(data)); }

  /// The parameter list of a data-out command: what data_out_length asked for. 05/1A/00 when the initiator
  /// transferred fewer bytes than the CDB says (SPC-4 4.3.5.5).
  std::expected<base::Bytes, Sense> parameter_list() const;

  using Work = std::move_only_function<std::expected<void, Sense>()>;
  /// Runs `work` when no earlier work of the logical unit on an overlapping range is left, on a worker
  /// thread if the store may block, else at once. `work` touches only the store, the task and what it
  /// captured. The command completes with its outcome, or with that of `then`, which runs on the loop's
  /// thread after work that succeeded or failed and may turn one into the other. At most once per body, as
  /// its last act.
  ///
  /// `work` reads task.data_out when it runs and never captures the span: bytes that were only lent are moved to a
  /// copy when the work has to wait. Up to 24 bytes of captures cost no allocation.
  using Then = std::move_only_function<std::expected<void, Sense>(std::expected<void, Sense>)>;
  ///
  /// `at_once` is asked first where the store may block and nothing is in the way: whether it could do on the spot what
  /// `work` does. Where it could not, it has left nothing behind that `work` does not do again. A flush that is asked
  /// for follows either.
  using AtOnce = bool (*)(Task& task, handlers::ByteRange range);
  void start(Access access, handlers::ByteRange range, Work work, Then then = {},
             Durability durability = Durability::cached, AtOnce at_once = nullptr);

  /// The command goes on after the body has returned without an error: whoever called this finishes the task through
  /// DeviceServer::finish(), perhaps before. Aborts reach it through `runner`. Data-out that was only lent is gone
  /// then.
  void defer(Abortable& runner);

  /// RESERVATION CONFLICT instead of CHECK CONDITION, for a body that finds it in its parameter list: what it returns
  /// then. `rule` is for the log.
  std::unexpected<Sense> reservation_conflict(std::string rule);

  // The device server's own.
  enum class Started : std::uint8_t { no, finished, pending };
  Started started = Started::no;         ///< what start() or defer() did
  std::expected<void, Sense> outcome{};  ///< of work that finished inside start()
};

/// Fails only with Sense; data goes to context.respond(), store work to context.start().
using CommandBody = std::expected<void, Sense> (*)(CommandContext&);

/// What a command with data-out can be refused for before its data is asked for: ranges, limits, fields of the
/// CDB. Runs in admit(), after the gates; changes nothing.
using CommandCheck = std::expected<void, Sense> (*)(const CommandContext&);

/// The number of bytes the CDB transfers, data-in or data-out, given the logical unit's block length
/// (`lu` may be null for rows without Gates::logical_unit).
using TransferLength = std::uint64_t (*)(const Task& task, const LogicalUnit* lu);

/// One row. `usage` has the length of the CDB; a bit 0 in it must be 0 in the CDB, else 05/24/00 with byte
/// and bit pointer (SPC-4 4.3.1). Byte 0 and the service action field carry their own values.
struct CommandDescriptor {
  std::string_view name;  ///< T10's
  std::uint8_t opcode;
  std::optional<std::uint16_t> service_action;
  std::uint8_t cdb_length;
  std::array<std::uint8_t, kMaxCdbLength> usage;
  DataDirection direction;
  Gates gates;
  TransferLength transfer_length;  ///< null: no data
  CommandBody body;
  CommandCheck check = nullptr;
  /// Null: always; where false there might as well be no row. `lu` null: for whatever logical unit there may be.
  bool (*offered)(const DeviceProfile& profile, const LogicalUnit* lu) = nullptr;
  Counted counted = Counted::nothing;
  /// Its data-out, the blocks of its CDB, may be received in memory that the store lends (DeviceServer::lend()).
  bool takes_loans = false;
  std::uint32_t recommended_timeout_s = 0;  ///< REPORT SUPPORTED OPERATION CODES with RCTD; 0: not stated
};

/// The service action field of every operation code that has one here: bits 4-0 of byte 1 (SPC-4 4.3.2).
inline constexpr std::size_t kServiceActionByte = 1;
inline constexpr std::uint8_t kServiceActionMask = 0x1F;
inline constexpr std::uint8_t kServiceActionHighBit = 4;

/// All rows, sorted by opcode and service action.
std::span<const CommandDescriptor> command_table();

inline bool offers(const DeviceProfile& profile, const LogicalUnit* lu, const CommandDescriptor& row) {
  return !row.offered || row.offered(profile, lu);
}

/// The row for a CDB; nothing when the opcode, or its service action, has none.
struct CommandLookup {
  const CommandDescriptor* row = nullptr;
  bool opcode_known = false;  ///< the opcode has rows, this service action not
};
CommandLookup find_command(base::Bytes cdb);

/// The first bit of `cdb` (lowest byte, then highest bit) that `row`, one of command_table(), wants to be 0: a bit
/// outside the usage mask, or NACA=1 in the CONTROL byte, which no logical unit here supports (SAM-5 5.2).
std::optional<FieldPointer> forbidden_bit(const CommandDescriptor& row, base::Bytes cdb);

}  // namespace scsi
