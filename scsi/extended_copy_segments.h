// Processing of EXTENDED COPY segments: copy sources and destinations looked up when a segment uses them, data moved
// between them, residual data and held data kept between segments (SPC-4 5.17.7.2), RODs populated.
//
// Lives in the coroutine that is the copy operation. Thread: the loop's, except store work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "base/async.h"
#include "scsi/copy_data.h"
#include "scsi/copy_job.h"
#include "scsi/device_server.h"
#include "scsi/extended_copy_list.h"
#include "scsi/token_commands.h"
#include "tokens/rod.h"
#include "tokens/token_manager.h"

namespace scsi {

class LogicalUnit;

/// What a CSCD descriptor that is a ROD stands for.
struct ListRod {
  std::optional<JudgedToken> token{};             ///< in the inline data
  std::vector<handlers::ByteRange> ranges{};      ///< populated so far, of the logical unit that processes the command
  std::vector<handlers::SnapshotRef> captured{};  ///< point in time: their data
  bool closed = false;                            ///< it was used: nothing more may be added
};

class ExtendedCopy {
 public:
  using Outcome = std::expected<void, Sense>;

  /// `rods` has an element for each CSCD descriptor.
  ExtendedCopy(CopyJob& job, ExtendedCopyList list, std::vector<ListRod> rods)
      : job_(job), nexus_(job.server().nexus(job.nexus())), list_(std::move(list)), rods_(std::move(rods)) {}

  /// All segments, and then the tokens. Errors, key COPY ABORTED with the segment's number:
  ///   08/04  a CSCD descriptor ID that names nothing          at the segment's field
  ///   0D/02  a CSCD that is not there or cannot be reached    at the CSCD descriptor
  ///   0D/03  a CSCD of another device type                    at the CSCD descriptor
  ///   0D/01  what a logical unit answered, forwarded          at the CSCD descriptor
  ///   00/00  the same, when it was LBA OUT OF RANGE
  ///   26/00  another block length; a byte offset beyond the block; a ROD that is populated no more
  ///   26/0A  residual data that neither CAT nor PAD says what to do with
  ///   26/0C  an operation that a CSCD does not allow
  ///   26/0D  more than MAXIMUM SEGMENT LENGTH, or no multiple of DATA SEGMENT GRANULARITY
  ///   26/16  FCO=1 and data that has to be moved
  ///   55/03  no memory for a source's data, or too much residual data
  /// and ILLEGAL REQUEST 55/0C, 55/0D where there is no room for a ROD or its token.
  /// INFORMATION is what was not written of the segment, in blocks of the destination, when something was.
  base::Async<CopyJob::End> run();

 private:
  using From = ForwardedSense::From;
  using Bytes = std::vector<std::uint8_t>;

  /// A copy source or copy destination.
  struct Party {
    enum class Kind : std::uint8_t { logical_unit, rod, null };
    Kind kind = Kind::null;
    From role = From::copy_source;
    const CscdDescriptor* cscd = nullptr;  ///< null: named by an ID of its own
    LogicalUnit* lu = nullptr;             ///< Kind::logical_unit
    ListRod* rod = nullptr;                ///< Kind::rod
    tokens::RodRef data{};                 ///< Kind::rod of this array or of one beside it
    std::uint32_t block_length = 0;        ///< 0: a null logical unit has no blocks
    std::uint64_t size_bytes = 0;
    bool pad = false;
  };
  struct Place {
    std::uint64_t lba = 0;
    std::uint32_t byte_offset = 0;
    std::uint64_t at = 0;  ///< both in bytes, once the range was checked
  };
  /// What a segment does with how many bytes (SPC-4 tables 115 and 116).
  struct Flow {
    std::uint64_t read = 0;       ///< from the source
    std::uint64_t processed = 0;  ///< of residual source data and then what was read
    std::uint64_t written = 0;    ///< of residual destination data and then what was processed
    Place source{};
    Place destination{};
    bool uses_residue = true;
    bool keep_source = false;       ///< what is left over becomes residual source data
    bool keep_destination = false;  ///< and residual destination data
    bool pads = false;              ///< or the latter is written, with zeros behind it
    std::uint64_t padding = 0;      ///< that many

    /// Bytes for the destination when the residue was `residue` bytes.
    std::uint64_t total(std::uint64_t residue) const {
      return written + (pads ? residue + processed - written + padding : 0);
    }
  };
  /// The data of a segment, in order: `head`, then the source's. What is not written goes to the others.
  struct Stream {
    Bytes head{};                         ///< residual destination data and processed residual source data
    std::uint64_t processed_in_head = 0;  ///< of it, the latter
    std::uint64_t fresh = 0;              ///< processed bytes from what is read of the source
    Bytes padded{};                       ///< the last block of a padded segment
    Bytes source_left{};
    Bytes destination_left{};
  };

  base::Async<Outcome> process(const SegmentDescriptor& segment);
  base::Async<Outcome> copy(const SegmentDescriptor& segment);
  base::Async<Outcome> populate(const SegmentDescriptor& segment, const PopulateRod& populate);
  base::Async<Outcome> process_segments();

  // Persistent reservations (extended_copy_reservations.cc).
  base::Async<Outcome> register_key(const SegmentDescriptor& segment, const ReservationKeys& keys);
  base::Async<Outcome> move_reservations();
  base::Async<Outcome> move_reservation(const SegmentDescriptor& segment, const ReservationMove& move);
  Outcome reservation_outcome(const Party& destination, std::expected<void, ReservationError> done) const;
  std::expected<Party, Sense> registrar(const SegmentDescriptor& segment);
  Outcome verify(const SegmentDescriptor& segment, const VerifyCscd& verify);

  // Copy sources and destinations.
  std::expected<Party, Sense> find(const SegmentDescriptor& segment, From role);
  std::expected<Party, Sense> find_rod(Party party, std::size_t index);
  std::expected<Party, Sense> checked_block_length(Party party) const;
  Outcome check_parties(const SegmentDescriptor& segment, const Party& source, const Party& destination) const;
  static bool moves_bytes(const Party& source, const Party& destination);
  tokens::RodRef rod_of(std::size_t index) const;
  tokens::RodType type_of(std::size_t index) const;

  // What is to move.
  std::expected<Flow, Sense> flow_of(const SegmentDescriptor& segment, const Party& source,
                                     const Party& destination) const;
  std::expected<Flow, Sense> image_flow(const CopyBlocks& blocks, const Party& source, const Party& destination) const;
  std::expected<Flow, Sense> bytes_flow(const CopyBytes& copy, const Party& source, const Party& destination) const;
  std::optional<Sense> settle_residue(const SegmentDescriptor& segment, Flow& flow, const Party& source,
                                      const Party& destination) const;
  Outcome check_flow(const SegmentDescriptor& segment, Flow& flow, const Party& source, const Party& destination) const;
  std::optional<Sense> check_range(const Party& party, Place& place, std::uint64_t length) const;

  // Moving it.
  base::Async<Captured> open(const Party& source, const Flow& flow);
  Stream divide(const Flow& flow) const;
  base::Async<Outcome> keep(const SegmentDescriptor& segment, const Flow& flow, Stream& stream, const CopySource& from);
  static Outcome residue_fits(std::uint64_t bytes);
  base::Async<Outcome> hold(const Stream& stream, const CopySource& from);
  base::Async<std::expected<Bytes, Sense>> bytes_of(const CopySource& source, std::uint64_t offset,
                                                    std::uint64_t length);
  base::Async<CopyMoved> write(LogicalUnit& to, const Flow& flow, const Stream& stream, const CopySource& from);
  base::Async<bool> write_bytes(LogicalUnit& to, std::uint64_t offset, const Bytes& bytes, CopyMoved& moved);

  // What goes wrong.
  Sense aborted(AdditionalSense code, std::string rule, FieldPointer pointer) const;
  Sense forwarded(const Party& party, Sense answer) const;
  Sense reservation_conflict(const Party& party) const;
  Sense read_failure(const Party& source, Sense sense) const;
  Sense no_room_for_rod(const Party& source, Sense sense) const;
  Sense byte_offset_error(std::size_t field) const;
  Sense null_unit_error(From role) const;
  static FieldPointer pointer_to(const Party& party);
  /// The field of a segment descriptor that names a copy source or destination.
  static std::size_t id_field(From role);

  std::expected<std::vector<tokens::CreatedToken>, Sense> create_tokens();
  tokens::CopyProgress progress() const;
  tokens::CopyOutcome outcome(tokens::CopyStatus status) const;

  CopyJob& job_;
  const ITNexus nexus_;  ///< in whose name logical units are used; it may be gone before the operation is
  ExtendedCopyList list_;
  std::vector<ListRod> rods_;
  std::uint16_t segment_ = 0;           ///< being processed; those before it were
  std::vector<std::uint16_t> moves_{};  ///< segments of type 15h that were met, and are carried out at the end
  Bytes source_residue_{};
  Bytes destination_residue_{};
  Bytes held_{};
  bool held_discarded_ = false;
  std::uint64_t bytes_written_ = 0;
  std::uint16_t steps_ = 0;
  bool waited_ = false;  ///< the profile's latency was, once for all segments
};

}  // namespace scsi
