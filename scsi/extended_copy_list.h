// The parameter lists of EXTENDED COPY(LID1) and EXTENDED COPY(LID4), read into one structure and checked as far as the
// list itself and the array's profile go.
//
// Does not look for logical units, tokens or capacities: a copy source or destination is validated when the segment
// that uses it is processed (SPC-4 5.17.7.2). Changes nothing. Thread: any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "scsi/device_profile.h"
#include "scsi/sense.h"
#include "scsi/transport_id.h"
#include "tokens/rod_token.h"

namespace scsi {

enum class ListFormat : std::uint8_t { lid1, lid4 };

/// LIST ID USAGE (SPC-4 table 120).
enum class ListIdUsage : std::uint8_t {
  hold = 0b00,      ///< held data is kept for RECEIVE COPY DATA
  reserved = 0b01,  ///< never in a list that was accepted
  discard = 0b10,   ///< results may go at once
  none = 0b11,      ///< no list identifier, no results
};

struct ExtendedCopyHeader {
  ListFormat format = ListFormat::lid1;
  std::uint32_t list_identifier = 0;
  ListIdUsage usage = ListIdUsage::hold;
  bool sequential_striped = false;  ///< STR, a hint
  std::uint8_t priority = 0;        ///< a hint
  bool immediate = false;           ///< IMMED; LID4 only
  bool g_sense = false;             ///< sense data with GOOD status too; LID4 only
  std::size_t size = 0;             ///< of the header
  std::size_t cscd_descriptor_list_length = 0;
  std::size_t segment_descriptor_list_length = 0;
  std::size_t inline_data_length = 0;

  std::size_t segments_offset() const { return size + cscd_descriptor_list_length; }
  std::size_t inline_data_offset() const { return segments_offset() + segment_descriptor_list_length; }
};

/// E4h: a logical unit, by one designator of its VPD page 83h.
struct LogicalUnitCscd {
  std::uint8_t code_set = 0;
  std::uint8_t association = 0;  ///< 0: the logical unit
  std::uint8_t designator_type = 0;
  std::uint8_t designator_length = 0;
  std::array<std::uint8_t, 20> designator{};

  base::Bytes name() const { return base::Bytes(designator).first(designator_length); }
};

/// FEh: a ROD, made by this command or named by a token in the inline data.
struct RodCscd {
  std::uint16_t producer = 0;  ///< ROD PRODUCER CSCD DESCRIPTOR ID
  std::uint32_t rod_type = 0;  ///< 0: `token` names it
  std::uint32_t lifetime_s = 0;
  std::uint32_t inactivity_timeout_s = 0;  ///< 0: never by inactivity
  bool return_token = false;               ///< R_TOKEN
  bool delete_token = false;               ///< DEL_TKN
  std::size_t token_offset = 0;            ///< of `token` in the list, for field pointers
  std::optional<tokens::RodToken> token{};
};

struct CscdDescriptor {
  std::size_t offset = 0;  ///< in the list, for field pointers
  std::uint8_t device_type = 0;
  bool pad = false;
  std::uint32_t block_length = 0;  ///< DISK BLOCK LENGTH
  std::variant<LogicalUnitCscd, RodCscd> what{};
};

/// Segment descriptor types there is something behind (SPC-4 table 128).
enum class SegmentType : std::uint8_t {
  block_to_block = 0x02,
  verify_cscd = 0x07,
  block_offset_to_block_offset = 0x0A,
  block_to_block_and_hold = 0x0D,
  register_key = 0x14,
  source_nexus = 0x15,
  block_image_to_block_image = 0x16,
  populate_rod_from_ranges = 0xBE,
  populate_rod_from_one_range = 0xBF,
};

/// Blocks to blocks: 02h, 0Dh and 16h.
struct CopyBlocks {
  std::uint64_t source_lba = 0;
  std::uint64_t destination_lba = 0;
  std::uint32_t blocks = 0;  ///< of the source, or with DC=1 of the destination
};

/// 0Ah.
struct CopyBytes {
  std::uint32_t bytes = 0;
  std::uint64_t source_lba = 0;
  std::uint64_t destination_lba = 0;
  std::uint16_t source_byte_offset = 0;
  std::uint16_t destination_byte_offset = 0;
};

/// 07h.
struct VerifyCscd {
  bool test_unit_ready = false;
};

/// 14h.
struct ReservationKeys {
  std::uint64_t reservation_key = 0;
  std::uint64_t service_action_reservation_key = 0;
};

/// 15h.
struct ReservationMove {
  ReservationKeys keys{};
  bool unregister = false;
  bool persist_through_power_loss = false;  ///< APTPL
  std::uint16_t relative_target_port_identifier = 0;
  TransportId to{};  ///< one initiator port
};

/// BEh and BFh.
struct PopulateRod {
  struct Range {
    std::uint64_t lba = 0;
    std::uint32_t blocks = 0;
  };
  std::vector<Range> ranges{};
};

struct SegmentDescriptor {
  std::size_t offset = 0;  ///< in the list, for field pointers
  SegmentType type = SegmentType::block_to_block;
  bool cat = false;
  bool dc = false;
  bool fast_copy_only = false;
  std::uint16_t source = 0;
  std::uint16_t destination = 0;
  std::variant<CopyBlocks, CopyBytes, VerifyCscd, ReservationKeys, ReservationMove, PopulateRod> what{};
};

struct ExtendedCopyList {
  ExtendedCopyHeader header;
  std::vector<CscdDescriptor> cscds;
  std::vector<SegmentDescriptor> segments;
};

/// Descriptor type codes offered with `profile`, segments and CSCDs, ascending: VPD 8Fh descriptor 0008h and RECEIVE
/// COPY OPERATING PARAMETERS.
std::vector<std::uint8_t> supported_descriptor_types(const DeviceProfile& profile);
/// CSCD descriptor IDs offered with `profile` beyond indexes into the list, ascending: VPD 8Fh descriptor 000Ch.
std::vector<std::uint16_t> supported_cscd_ids(const DeviceProfile& profile);

/// What has to be known to take the list identifier. Errors, in this order:
///   05/1A/00  the list is shorter than its header
///   05/26/00  PARAMETER LIST FORMAT, header CSCD descriptor length and type; LIST ID USAGE 01b; a LIST IDENTIFIER that
///             is not 0 with LIST ID USAGE 11b
///   05/24/00  IMMED=1 with G_SENSE=1 or LIST ID USAGE 11b (SPC-4 6.4.3.1 names the CDB, so without pointer)
///   05/26/00  IMMED=1 where there are no background operations
std::expected<ExtendedCopyHeader, Sense> parse_extended_copy_header(base::Bytes list, ListFormat format,
                                                                    const DeviceProfile& profile);

/// The whole list. Errors, after those of the header, in this order; a pointer names the field or descriptor:
///   05/1A/00  the descriptors are longer than MAXIMUM DESCRIPTOR LIST LENGTH
///   05/26/0B  inline data longer than MAXIMUM INLINE DATA LENGTH
///   05/1A/00  the list ends before the descriptors or the inline data do
///   05/26/00  the CSCD descriptor list length cuts a descriptor
///   05/26/06  more CSCD descriptors than MAXIMUM CSCD DESCRIPTOR COUNT
///   05/26/07  a CSCD descriptor type code that is not supported
///   05/26/00  fields of CSCD descriptors, SPC-4 6.4.5.4 and 6.4.5.10
///   05/26/00  the segment descriptor list length cuts a descriptor
///   05/26/08  more segment descriptors than MAXIMUM SEGMENT DESCRIPTOR COUNT
///   05/26/09  a segment descriptor type code that is not supported
///   05/26/00  DESCRIPTOR LENGTH; held data without list identifier; two ranges of a segment that overlap; a populating
///             segment whose source is not FFFFh, or whose destination is no ROD, one of ROD TYPE 0 or no block device
/// What lies behind the inline data is not looked at.
std::expected<ExtendedCopyList, Sense> parse_extended_copy(base::Bytes list, ListFormat format,
                                                           const DeviceProfile& profile);

}  // namespace scsi
