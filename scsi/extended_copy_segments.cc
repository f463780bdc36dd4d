#include "scsi/extended_copy_segments.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "handlers/joined_snapshot.h"
#include "scsi/copy_fabric.h"
#include "scsi/copy_identity.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/extended_copy_layouts.h"
#include "scsi/io_error_sense.h"
#include "scsi/logical_unit.h"
#include "scsi/reservation_commands.h"
#include "scsi/token_commands.h"

namespace scsi {

namespace {

using handlers::ByteRange;
using From = ForwardedSense::From;

/// Residual data is less than a block, but for what was to go to a null logical unit.
constexpr std::uint64_t kMaximumResidue = 4u << 20;

constexpr std::uint8_t kFcoBit = 2;
constexpr std::uint8_t kCatBit = 0;

std::uint64_t rounded_up(std::uint64_t bytes, std::uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

/// The logical unit behind the same target that has the designator and is there for the initiator, or null. A nexus
/// reaches no others (CVE-2020-28374), unless the profile says so; what is not there for its initiator it never does.
/// The nexus itself may be gone by now, its operation goes on.
LogicalUnit* find_logical_unit(const CopyJob& job, const std::string& initiator_name, const LogicalUnitCscd& cscd) {
  auto matches = [&](const LogicalUnit& lu) { return designates(cscd, lu.identity()) && lu.allows(initiator_name); };
  for (const auto& [number, lu] : job.server().logical_units())
    if (matches(*lu)) return lu.get();
  if (!job.manager().profile().extended_copy_across_targets) return nullptr;
  return job.manager().fabric().find_if(job.manager(), matches);
}

Sense out_of_range(std::uint64_t lba, std::uint64_t count, std::uint64_t capacity) {
  Sense sense = Sense::illegal_request(AdditionalSense::logical_block_address_out_of_range,
                                       fmt::format("LBA {} count {}, the capacity is {} blocks", lba, count, capacity));
  sense.information = std::max(lba, capacity);
  return sense;
}

}  // namespace

base::Async<ExtendedCopy::Outcome> ExtendedCopy::process_segments() {
  for (segment_ = 0; segment_ < list_.segments.size(); ++segment_) {
    job_.operation().report(progress());
    Outcome done = co_await process(list_.segments[segment_]);
    if (!done || job_.stopping()) co_return done;
  }
  co_return Outcome{};
}

base::Async<CopyJob::End> ExtendedCopy::run() {
  Outcome done = co_await process_segments();
  // Whatever happened: nobody is left with a reservation that was to be given back.
  if (Outcome moved = co_await move_reservations(); done) done = std::move(moved);
  if (job_.stopping()) co_return CopyJob::completed({});
  if (!done) co_return CopyJob::failed(outcome(tokens::CopyStatus::completed_with_errors), std::move(done.error()));
  auto tokens = create_tokens();
  if (!tokens) co_return CopyJob::failed(outcome(tokens::CopyStatus::completed_with_errors), std::move(tokens.error()));
  for (std::size_t i = 0; i < rods_.size(); ++i)
    if (rods_[i].token && rods_[i].token->use && std::get<RodCscd>(list_.cscds[i].what).delete_token)
      rods_[i].token->use->delete_by_client();

  tokens::CopyOutcome result = outcome(tokens::CopyStatus::completed);
  result.tokens = std::move(*tokens);
  result.held_data = std::move(held_);
  result.held_data_discarded = held_discarded_;
  CopyJob::End end = CopyJob::completed(std::move(result));
  if (list_.header.g_sense) {
    end.good_sense = Sense{SenseKey::completed, AdditionalSense::extended_copy_information_available};
    end.good_sense->segment = segment_;
  }
  co_return end;
}

base::Async<ExtendedCopy::Outcome> ExtendedCopy::process(const SegmentDescriptor& segment) {
  if (const auto* check = std::get_if<VerifyCscd>(&segment.what)) co_return verify(segment, *check);
  if (const auto* ranges = std::get_if<PopulateRod>(&segment.what)) co_return co_await populate(segment, *ranges);
  if (const auto* keys = std::get_if<ReservationKeys>(&segment.what)) co_return co_await register_key(segment, *keys);
  if (std::holds_alternative<ReservationMove>(segment.what)) {
    moves_.push_back(segment_);
    co_return Outcome{};
  }
  co_return co_await copy(segment);
}

// What goes wrong.

std::size_t ExtendedCopy::id_field(From role) {
  return role == From::copy_source ? offsetof(SegmentHeader, source_cscd_descriptor_id)
                                   : offsetof(SegmentHeader, destination_cscd_descriptor_id);
}

Sense ExtendedCopy::aborted(AdditionalSense code, std::string rule, FieldPointer pointer) const {
  Sense sense{SenseKey::copy_aborted, code, {}, pointer, fmt::format("segment {}: {}", segment_, rule)};
  sense.segment = segment_;
  return sense;
}

/// The CSCD descriptor, or where there is none the segment's field that named it.
FieldPointer ExtendedCopy::pointer_to(const Party& party) {
  return party.cscd ? FieldPointer::list(party.cscd->offset) : FieldPointer::segment(id_field(party.role));
}

Sense ExtendedCopy::forwarded(const Party& party, Sense answer) const {
  // DEVIATION: SPC-4 5.17.7.4 says THIRD PARTY DEVICE FAILURE also of an address there is not. iscsi-test-cu takes
  // 00/00, 08/04 and 0D/02 only, and the forwarded sense data tells what it was.
  bool beyond = answer.code == AdditionalSense::logical_block_address_out_of_range;
  Sense sense =
      aborted(beyond ? AdditionalSense::none : AdditionalSense::third_party_device_failure,
              fmt::format("the copy {} answered {}{}{}", party.role == From::copy_source ? "source" : "destination",
                          describe(answer), answer.rule.empty() ? "" : ": ", answer.rule),
              pointer_to(party));
  sense.forwarded.push_back({party.role, Status::check_condition, encode_fixed(answer)});
  return sense;
}

/// RESERVATION CONFLICT is a status; no sense data goes with it.
Sense ExtendedCopy::reservation_conflict(const Party& party) const {
  Sense sense = aborted(AdditionalSense::third_party_device_failure, "a logical unit is reserved", pointer_to(party));
  sense.forwarded.push_back({party.role, Status::reservation_conflict, {}});
  return sense;
}

// Copy sources and destinations.

std::expected<ExtendedCopy::Party, Sense> ExtendedCopy::find(const SegmentDescriptor& segment, From role) {
  std::uint16_t id = role == From::copy_source ? segment.source : segment.destination;
  Party party{.role = role};
  if (id == kNullBlockDevice) return party;
  if (id == kThisLogicalUnit) {
    party.lu = &job_.lu();
  } else if (id == kRodTokenLogicalUnit || id == kNullStreamDevice) {
    return std::unexpected(aborted(AdditionalSense::copy_target_device_not_reachable,
                                   fmt::format("CSCD descriptor ID {:04X}h holds no blocks", id), pointer_to(party)));
  } else if (id >= list_.cscds.size()) {
    return std::unexpected(aborted(AdditionalSense::unreachable_copy_target,
                                   fmt::format("CSCD descriptor ID {:04X}h names nothing", id), pointer_to(party)));
  } else {
    party.cscd = &list_.cscds[id];
    party.pad = party.cscd->pad;
    if (std::holds_alternative<RodCscd>(party.cscd->what)) return find_rod(std::move(party), id);
    party.lu = find_logical_unit(job_, nexus_.initiator_name, std::get<LogicalUnitCscd>(party.cscd->what));
    if (!party.lu)
      return std::unexpected(aborted(AdditionalSense::copy_target_device_not_reachable,
                                     "no logical unit here has that designator", pointer_to(party)));
    job_.use(*party.lu);
    if (party.cscd->device_type != kBlockDevice)
      return std::unexpected(aborted(AdditionalSense::incorrect_copy_target_device_type,
                                     fmt::format("peripheral device type {:02X}h", party.cscd->device_type),
                                     pointer_to(party)));
  }
  party.kind = Party::Kind::logical_unit;
  party.block_length = party.lu->block_length();
  party.size_bytes = party.lu->capacity().value * party.block_length;
  return checked_block_length(std::move(party));
}

std::expected<ExtendedCopy::Party, Sense> ExtendedCopy::checked_block_length(Party party) const {
  if (!party.cscd || party.cscd->block_length == party.block_length) return party;
  return std::unexpected(aborted(
      AdditionalSense::invalid_field_in_parameter_list,
      fmt::format("DISK BLOCK LENGTH {}, the blocks have {} bytes", party.cscd->block_length, party.block_length),
      FieldPointer::list(party.cscd->offset + offsetof(tokens::IdentificationCscdDescriptor, disk_block_length))));
}

std::expected<ExtendedCopy::Party, Sense> ExtendedCopy::find_rod(Party party, std::size_t index) {
  party.kind = Party::Kind::rod;
  party.rod = &rods_[index];
  const std::optional<JudgedToken>& token = party.rod->token;
  if (token && token->use && token->use->zero()) {
    party.block_length = std::max<std::uint32_t>(party.cscd->block_length, 1);
    party.size_bytes = std::numeric_limits<std::uint64_t>::max();
    return party;
  }
  if (token && !token->use) {
    const tokens::RodToken& image = *std::get<RodCscd>(party.cscd->what).token;
    party.block_length = std::max<std::uint32_t>(image.block_device.logical_block_length, 1);
    party.size_bytes = size_of(*token, image);
    return checked_block_length(std::move(party));
  }
  if (!token && party.rod->ranges.empty())
    return std::unexpected(
        aborted(AdditionalSense::copy_target_device_not_reachable, "the ROD has no data yet", pointer_to(party)));
  party.rod->closed = true;
  tokens::RodRef rod = rod_of(index);
  party.block_length = rod->source().block_length;
  party.size_bytes = rod->size_bytes();
  party.data = std::move(rod);
  return checked_block_length(std::move(party));
}

/// The ROD that CSCD descriptor `index` stands for.
tokens::RodRef ExtendedCopy::rod_of(std::size_t index) const {
  const ListRod& rod = rods_[index];
  if (rod.token) return rod.token->use->rod();
  handlers::SnapshotRef data;
  if (rod.captured.size() == 1) data = rod.captured.front();
  if (rod.captured.size() > 1) data = base::make_ref<const handlers::JoinedSnapshot>(rod.captured);
  return base::make_ref<const tokens::Rod>(made_type(job_.manager().profile(), type_of(index)), std::move(data),
                                           tokens::RodSource{.name = job_.lu().config().name,
                                                             .block_length = job_.lu().block_length(),
                                                             .logical_unit = job_.lu().identity().naa,
                                                             .ranges = rod.ranges});
}

tokens::RodType ExtendedCopy::type_of(std::size_t index) const {
  return static_cast<tokens::RodType>(std::get<RodCscd>(list_.cscds[index].what).rod_type);
}

ExtendedCopy::Outcome ExtendedCopy::check_parties(const SegmentDescriptor& segment, const Party& source,
                                                  const Party& destination) const {
  if (destination.kind == Party::Kind::rod) {
    bool by_reference = destination.data && destination.data->type() == tokens::RodType::access_upon_reference;
    return std::unexpected(aborted(by_reference ? AdditionalSense::invalid_operation_for_copy_source_or_destination
                                                : AdditionalSense::invalid_field_in_parameter_list,
                                   "the copy destination is a ROD",
                                   FieldPointer::segment(id_field(From::copy_destination))));
  }
  for (const Party* party : {&source, &destination})
    if (auto not_ready = party->lu ? party->lu->why_not_ready() : std::nullopt)
      return std::unexpected(forwarded(*party, std::move(*not_ready)));
  auto reserved = [this](const LogicalUnit& lu) { return lu.reservations().unit_reserved_by_another(job_.nexus()); };
  if (source.lu &&
      (reserved(*source.lu) || !source.lu->reservations().may_read(source.lu->reservations().find(nexus_))))
    return std::unexpected(reservation_conflict(source));
  if (destination.lu && (reserved(*destination.lu) ||
                         !destination.lu->reservations().may_write(destination.lu->reservations().find(nexus_))))
    return std::unexpected(reservation_conflict(destination));
  std::string from = source.lu ? source.lu->config().name : source.data ? source.data->source().name : std::string();
  if (destination.lu && !from.empty() && unreachable(job_.manager(), from, destination.lu->config().name))
    return std::unexpected(aborted(AdditionalSense::copy_target_device_not_reachable,
                                   fmt::format("{} cannot be reached from {}", from, destination.lu->config().name),
                                   pointer_to(source)));
  if (segment.fast_copy_only && moves_bytes(source, destination))
    return std::unexpected(aborted(AdditionalSense::fast_copy_not_possible, "FCO is one and the data has to be moved",
                                   FieldPointer::segment(offsetof(SegmentHeader, flags), kFcoBit)));
  return {};
}

/// Whether a store that has to be waited for is among them; others share their blocks.
bool ExtendedCopy::moves_bytes(const Party& source, const Party& destination) {
  auto waits = [](const Party& party) {
    return (party.lu && party.lu->store().may_block()) ||
           (party.data && party.data->data() && party.data->data()->may_block());
  };
  return waits(source) || waits(destination);
}

// What is to move.

namespace {

/// How many bytes a segment processes and how many of them are written, DC and all (SPC-4 table 115).
struct Amount {
  std::uint64_t processed = 0;
  std::uint64_t written = 0;
};

Amount amount_of(const CopyBlocks& blocks, bool dc, std::uint64_t source_block, std::uint64_t destination_block,
                 std::uint64_t residue) {
  Amount amount;
  if (dc) {
    amount.written = blocks.blocks * destination_block;
    amount.processed = amount.written > residue ? amount.written - residue : 0;
  } else {
    amount.processed = blocks.blocks * source_block;
    amount.written = destination_block == 0 ? 0 : (residue + amount.processed) / destination_block * destination_block;
  }
  return amount;
}

}  // namespace

/// Type 16h: as many blocks as both have, and no residual data (SPC-4 6.4.6.19).
std::expected<ExtendedCopy::Flow, Sense> ExtendedCopy::image_flow(const CopyBlocks& blocks, const Party& source,
                                                                  const Party& destination) const {
  for (const Party* party : {&source, &destination})
    if (party->kind == Party::Kind::null) return std::unexpected(null_unit_error(party->role));
  if (source.block_length != destination.block_length)
    return std::unexpected(aborted(AdditionalSense::incorrect_copy_target_device_type,
                                   fmt::format("an image of {}-byte blocks cannot have {}-byte blocks",
                                               source.block_length, destination.block_length),
                                   pointer_to(destination)));
  auto left = [](const Party& party, std::uint64_t lba) {
    std::uint64_t capacity = party.size_bytes / party.block_length;
    return lba < capacity ? capacity - lba : 0;
  };
  std::uint64_t count = blocks.blocks == 0 ? std::numeric_limits<std::uint64_t>::max() : blocks.blocks;
  count = std::min({count, left(source, blocks.source_lba), left(destination, blocks.destination_lba)});
  std::uint64_t bytes = count * source.block_length;
  return Flow{.read = bytes,
              .processed = bytes,
              .written = bytes,
              .source = {blocks.source_lba, 0},
              .destination = {blocks.destination_lba, 0},
              .uses_residue = false};
}

/// Type 0Ah: as many bytes as it says; residual data only changes which.
std::expected<ExtendedCopy::Flow, Sense> ExtendedCopy::bytes_flow(const CopyBytes& copy, const Party& source,
                                                                  const Party& destination) const {
  if (source.block_length != 0 && copy.source_byte_offset >= source.block_length)
    return std::unexpected(byte_offset_error(offsetof(BlockOffsetToBlockOffsetSegment, source_byte_offset)));
  if (destination.block_length != 0 && copy.destination_byte_offset >= destination.block_length)
    return std::unexpected(byte_offset_error(offsetof(BlockOffsetToBlockOffsetSegment, destination_byte_offset)));
  return Flow{.read = copy.bytes,
              .processed = copy.bytes,
              .written = copy.bytes,
              .source = {copy.source_lba, copy.source_byte_offset},
              .destination = {copy.destination_lba, copy.destination_byte_offset}};
}

std::expected<ExtendedCopy::Flow, Sense> ExtendedCopy::flow_of(const SegmentDescriptor& segment, const Party& source,
                                                               const Party& destination) const {
  if (const auto* copy = std::get_if<CopyBytes>(&segment.what)) return bytes_flow(*copy, source, destination);
  const auto& blocks = std::get<CopyBlocks>(segment.what);
  if (segment.type == SegmentType::block_image_to_block_image) return image_flow(blocks, source, destination);
  Amount amount =
      amount_of(blocks, segment.dc, source.block_length, destination.block_length, destination_residue_.size());
  Flow flow{.processed = amount.processed,
            .written = amount.written,
            .source = {blocks.source_lba, 0},
            .destination = {blocks.destination_lba, 0}};
  // A null logical unit has no blocks to take data from, nor to put it into: what is processed for one becomes residual
  // data (SPC-4 table 148, note b).
  if (source.kind == Party::Kind::null && (segment.dc ? amount.processed > source_residue_.size() : blocks.blocks > 0))
    return std::unexpected(null_unit_error(From::copy_source));
  if (destination.kind == Party::Kind::null && segment.dc && blocks.blocks > 0)
    return std::unexpected(null_unit_error(From::copy_destination));
  if (amount.processed > source_residue_.size())
    flow.read = rounded_up(amount.processed - source_residue_.size(), source.block_length);
  return flow;
}

Sense ExtendedCopy::byte_offset_error(std::size_t field) const {
  return aborted(AdditionalSense::invalid_field_in_parameter_list, "a byte offset beyond its block",
                 FieldPointer::segment(field));
}

Sense ExtendedCopy::null_unit_error(From role) const {
  return aborted(AdditionalSense::copy_target_device_not_reachable, "a null logical unit takes no commands",
                 FieldPointer::segment(id_field(role)));
}

/// SPC-4 table 116, judged before anything moves.
std::optional<Sense> ExtendedCopy::settle_residue(const SegmentDescriptor& segment, Flow& flow, const Party& source,
                                                  const Party& destination) const {
  bool last = segment_ + 1u == list_.segments.size();
  if (!flow.uses_residue || segment.cat) {
    flow.keep_source = flow.keep_destination = !last;
    return {};
  }
  std::uint64_t source_left = source_residue_.size() + flow.read - flow.processed;
  std::uint64_t destination_left = destination_residue_.size() + flow.processed - flow.written;
  bool designated = segment.dc || std::holds_alternative<CopyBytes>(segment.what);
  bool inexact =
      destination.pad ? designated && destination_left > 0 : !source.pad && source_left + destination_left > 0;
  if (inexact)
    return aborted(
        AdditionalSense::unexpected_inexact_segment,
        fmt::format("{} bytes of source data and {} of destination data are left over", source_left, destination_left),
        FieldPointer::segment(offsetof(SegmentHeader, flags), kCatBit));
  flow.keep_source = destination.pad && !source.pad && !last;
  if (destination.pad && destination_left > 0 && destination.block_length > 0)
    flow.padding = rounded_up(destination_left, destination.block_length) - destination_left;
  flow.pads = destination.pad && destination_left > 0;
  return {};
}

/// The limits of the profile, and whether both ends have the blocks; fills in the byte offsets.
ExtendedCopy::Outcome ExtendedCopy::check_flow(const SegmentDescriptor& segment, Flow& flow, const Party& source,
                                               const Party& destination) const {
  const DeviceProfile& profile = job_.manager().profile();
  std::uint64_t moved = std::max(flow.processed, flow.written);
  std::uint64_t granularity = std::uint64_t{1} << profile.data_segment_granularity_log2;
  std::uint64_t held = std::uint64_t{1} << profile.held_data_granularity_log2;
  bool holds = segment.type == SegmentType::block_to_block_and_hold;
  if ((profile.maximum_segment_bytes != 0 && moved > profile.maximum_segment_bytes) ||
      flow.processed % granularity != 0 || flow.written % granularity != 0 || (holds && flow.processed % held != 0))
    return std::unexpected(aborted(AdditionalSense::copy_segment_granularity_violation,
                                   fmt::format("{} bytes to process and {} to write", flow.processed, flow.written),
                                   FieldPointer::segment(0)));
  std::uint64_t to_write = flow.total(destination_residue_.size());
  if (auto refused = check_range(source, flow.source, flow.read)) return std::unexpected(std::move(*refused));
  if (auto refused = check_range(destination, flow.destination, to_write)) return std::unexpected(std::move(*refused));
  if (to_write == 0 || !destination.lu) return {};
  if (auto protection = write_protection(*destination.lu))
    return std::unexpected(forwarded(destination, std::move(*protection)));
  return {};
}

std::optional<Sense> ExtendedCopy::check_range(const Party& party, Place& place, std::uint64_t length) const {
  if (length == 0) return {};
  if (party.kind == Party::Kind::null) return null_unit_error(party.role);
  std::uint64_t capacity = party.size_bytes / party.block_length;
  std::uint64_t bytes_left = place.lba < capacity ? party.size_bytes - place.lba * party.block_length : 0;
  if (place.byte_offset > bytes_left || length > bytes_left - place.byte_offset)
    return forwarded(
        party, out_of_range(place.lba, rounded_up(place.byte_offset + length, party.block_length) / party.block_length,
                            capacity));
  place.at = place.lba * party.block_length + place.byte_offset;
  return {};
}

// Moving it.

base::Async<ExtendedCopy::Outcome> ExtendedCopy::copy(const SegmentDescriptor& segment) {
  auto source = find(segment, From::copy_source);
  if (!source) co_return std::unexpected(std::move(source.error()));
  auto destination = find(segment, From::copy_destination);
  if (!destination) co_return std::unexpected(std::move(destination.error()));
  if (auto fit = check_parties(segment, *source, *destination); !fit) co_return fit;
  auto flow = flow_of(segment, *source, *destination);
  if (!flow) co_return std::unexpected(std::move(flow.error()));
  if (auto inexact = settle_residue(segment, *flow, *source, *destination))
    co_return std::unexpected(std::move(*inexact));
  if (auto fit = check_flow(segment, *flow, *source, *destination); !fit) co_return fit;

  Captured data = co_await open(*source, *flow);
  if (!data) co_return std::unexpected(read_failure(*source, std::move(data.error())));
  if (job_.stopping()) co_return Outcome{};
  CopySource from{std::move(*data), source->lu ? 0 : flow->source.at};
  Stream stream = divide(*flow);
  auto kept = co_await keep(segment, *flow, stream, from);
  if (!kept) co_return std::unexpected(read_failure(*source, std::move(kept.error())));

  std::uint64_t to_write = flow->total(destination_residue_.size());
  if (destination->lu && to_write > 0) {
    CopyMoved moved = co_await write(*destination->lu, *flow, stream, from);
    bytes_written_ += moved.bytes;
    steps_ = static_cast<std::uint16_t>(steps_ + moved.steps);
    if (moved.data_lost && source->rod && source->rod->token && source->rod->token->use)
      source->rod->token->use->cancel();
    if (!moved.result) {
      bool reading = moved.data_lost || moved.result.error().code == AdditionalSense::unrecovered_read_error;
      Sense failure = forwarded(reading ? *source : *destination, std::move(moved.result.error()));
      if (moved.bytes > 0)
        failure.information = rounded_up(to_write - moved.bytes, destination->block_length) / destination->block_length;
      co_return std::unexpected(std::move(failure));
    }
  }
  if (flow->uses_residue) {
    source_residue_ = std::move(stream.source_left);
    destination_residue_ = std::move(stream.destination_left);
  }
  co_return Outcome{};
}

/// What a source answered, or why it could not be asked.
Sense ExtendedCopy::read_failure(const Party& source, Sense sense) const {
  constexpr std::uint8_t kInvalidTokenOperation = 0x23;
  if (sense.asc() == kInvalidTokenOperation) return sense;
  if (sense.code == AdditionalSense::copy_target_device_not_reachable ||
      sense.code == AdditionalSense::unreachable_copy_target)
    return aborted(AdditionalSense::copy_target_device_not_reachable, std::move(sense.rule), pointer_to(source));
  if (sense.code == AdditionalSense::insufficient_resources)
    return aborted(AdditionalSense::insufficient_resources, std::move(sense.rule), pointer_to(source));
  return forwarded(source, std::move(sense));
}

base::Async<Captured> ExtendedCopy::open(const Party& source, const Flow& flow) {
  if (flow.read == 0) co_return handlers::SnapshotRef{};
  if (source.lu) {
    std::vector<ByteRange> ranges{{flow.source.at, flow.read}};
    co_return co_await capture(job_, *source.lu, std::move(ranges));
  }
  if (!source.rod->token) co_return co_await data_of(job_, *source.data);
  const auto& cscd = std::get<RodCscd>(source.cscd->what);
  co_return co_await data_of(job_, *source.rod->token, *cscd.token, cscd.token_offset);
}

/// Which bytes of the segment lie in memory already.
ExtendedCopy::Stream ExtendedCopy::divide(const Flow& flow) const {
  Stream stream;
  if (!flow.uses_residue) {
    stream.fresh = flow.processed;
    return stream;
  }
  std::uint64_t reused = std::min<std::uint64_t>(source_residue_.size(), flow.processed);
  stream.head = destination_residue_;
  stream.head.insert(stream.head.end(), source_residue_.begin(),
                     source_residue_.begin() + static_cast<std::ptrdiff_t>(reused));
  stream.processed_in_head = reused;
  stream.source_left.assign(source_residue_.begin() + static_cast<std::ptrdiff_t>(reused), source_residue_.end());
  stream.fresh = flow.processed - reused;
  return stream;
}

ExtendedCopy::Outcome ExtendedCopy::residue_fits(std::uint64_t bytes) {
  if (bytes <= kMaximumResidue) return {};
  return std::unexpected(
      out_of_resources(fmt::format("{} bytes of residual data, at most {} are kept", bytes, kMaximumResidue)));
}

/// Brings into memory what does not go to the destination now: residual data, and data held for the application client.
base::Async<std::expected<void, Sense>> ExtendedCopy::keep(const SegmentDescriptor& segment, const Flow& flow,
                                                           Stream& stream, const CopySource& from) {
  if (segment.type == SegmentType::block_to_block_and_hold) {
    auto held = co_await hold(stream, from);
    if (!held) co_return held;
  }
  if (!flow.uses_residue) co_return Outcome{};
  std::uint64_t written_fresh = flow.written > stream.head.size() ? flow.written - stream.head.size() : 0;
  if (flow.keep_destination || flow.pads) {
    std::uint64_t from_head = std::min<std::uint64_t>(flow.written, stream.head.size());
    if (auto fits = residue_fits(stream.head.size() - from_head + stream.fresh - written_fresh); !fits) co_return fits;
    auto rest = co_await bytes_of(from, written_fresh, stream.fresh - written_fresh);
    if (!rest) co_return std::unexpected(std::move(rest.error()));
    stream.destination_left.assign(stream.head.begin() + static_cast<std::ptrdiff_t>(from_head), stream.head.end());
    stream.destination_left.insert(stream.destination_left.end(), rest->begin(), rest->end());
  }
  if (flow.pads) {
    stream.padded = std::exchange(stream.destination_left, {});
    stream.padded.resize(stream.padded.size() + flow.padding);
  }
  if (flow.keep_source) {
    if (auto fits = residue_fits(stream.source_left.size() + flow.read - stream.fresh); !fits) co_return fits;
    auto rest = co_await bytes_of(from, stream.fresh, flow.read - stream.fresh);
    if (!rest) co_return std::unexpected(std::move(rest.error()));
    stream.source_left.insert(stream.source_left.end(), rest->begin(), rest->end());
  } else {
    stream.source_left.clear();
  }
  co_return Outcome{};
}

base::Async<std::expected<ExtendedCopy::Bytes, Sense>> ExtendedCopy::bytes_of(const CopySource& source,
                                                                              std::uint64_t offset,
                                                                              std::uint64_t length) {
  if (length == 0 || !source.data) co_return Bytes(length);
  ByteRange range{source.offset + offset, length};
  base::Segments bytes;
  handlers::IoResult<void> done;
  auto read = [&] { done = source.data->read(range, bytes); };
  if (source.data->may_block()) {
    co_await job_.elsewhere(read);
  } else {
    read();
  }
  if (!done) co_return std::unexpected(io_error_sense(done.error()));
  co_return bytes.to_vector();
}

/// The processed data, for RECEIVE COPY DATA: beyond HELD DATA LIMIT the oldest bytes go (SPC-4 5.17.4.5).
base::Async<ExtendedCopy::Outcome> ExtendedCopy::hold(const Stream& stream, const CopySource& from) {
  std::uint64_t limit = job_.manager().profile().held_data_limit_bytes;
  std::uint64_t fresh = std::min(stream.fresh, limit);
  auto data = co_await bytes_of(from, stream.fresh - fresh, fresh);
  if (!data) co_return std::unexpected(std::move(data.error()));
  held_discarded_ = held_discarded_ || fresh < stream.fresh;
  if (fresh < stream.fresh) held_.clear();
  held_.insert(held_.end(), stream.head.end() - static_cast<std::ptrdiff_t>(stream.processed_in_head),
               stream.head.end());
  held_.insert(held_.end(), data->begin(), data->end());
  if (held_.size() > limit) {
    held_.erase(held_.begin(), held_.end() - static_cast<std::ptrdiff_t>(limit));
    held_discarded_ = true;
  }
  co_return Outcome{};
}

/// What lies in memory first, then the source's data, then a padded block.
base::Async<CopyMoved> ExtendedCopy::write(LogicalUnit& to, const Flow& flow, const Stream& stream,
                                           const CopySource& from) {
  CopyMoved moved;
  std::uint64_t from_head = std::min<std::uint64_t>(flow.written, stream.head.size());
  Bytes head(stream.head.begin(), stream.head.begin() + static_cast<std::ptrdiff_t>(from_head));
  co_await write_bytes(to, flow.destination.at, head, moved);
  if (moved.result && flow.written > from_head && !job_.stopping()) {
    CopyDuration duration = job_.manager().profile().copy_duration;
    if (std::exchange(waited_, true)) duration.latency_us = 0;
    std::vector<ByteRange> ranges{{flow.destination.at + from_head, flow.written - from_head}};
    CopyMoved part = co_await move_data(job_, to, from, std::move(ranges),
                                        CopySchedule(duration, job_.manager().clock().now()), progress());
    moved.bytes += part.bytes;
    moved.steps = static_cast<std::uint16_t>(moved.steps + part.steps);
    moved.data_lost = part.data_lost;
    moved.result = std::move(part.result);
  }
  if (moved.result && !job_.stopping())
    co_await write_bytes(to, flow.destination.at + flow.written, stream.padded, moved);
  co_return moved;
}

base::Async<bool> ExtendedCopy::write_bytes(LogicalUnit& to, std::uint64_t offset, const Bytes& bytes,
                                            CopyMoved& moved) {
  if (bytes.empty()) co_return true;
  ByteRange range{offset, bytes.size()};
  Outcome done = co_await job_.work(to, Access::exclusive, range, [&]() -> Outcome {
    if (job_.stopping()) return {};
    auto written = to.store().write(offset, bytes);
    if (!written) return std::unexpected(io_error_sense(written.error()));
    return {};
  });
  if (done && !job_.stopping()) {
    moved.bytes += bytes.size();
    ++moved.steps;
  }
  moved.result = std::move(done);
  co_return true;
}

// The other segments.

ExtendedCopy::Outcome ExtendedCopy::verify(const SegmentDescriptor& segment, const VerifyCscd& verify) {
  // A ROD of this list need not have data; a token was judged before the first segment (SPC-4 6.4.6.9).
  if (segment.source < list_.cscds.size() && std::holds_alternative<RodCscd>(list_.cscds[segment.source].what))
    return {};
  auto party = find(segment, From::copy_source);
  if (!party) return std::unexpected(std::move(party.error()));
  if (party->kind == Party::Kind::null) return std::unexpected(null_unit_error(From::copy_source));
  if (!verify.test_unit_ready) return {};
  if (auto not_ready = party->lu->why_not_ready()) return std::unexpected(forwarded(*party, std::move(*not_ready)));
  return {};
}

base::Async<ExtendedCopy::Outcome> ExtendedCopy::populate(const SegmentDescriptor& segment,
                                                          const PopulateRod& populate) {
  LogicalUnit& lu = job_.lu();
  ListRod& rod = rods_[segment.destination];
  FieldPointer destination = FieldPointer::segment(id_field(From::copy_destination));
  if (rod.closed)
    co_return std::unexpected(
        aborted(AdditionalSense::invalid_field_in_parameter_list, "the ROD was used already", destination));
  Party source{.kind = Party::Kind::logical_unit, .role = From::copy_source, .lu = &lu};
  Party party{.role = From::copy_destination, .cscd = &list_.cscds[segment.destination]};
  party.block_length = lu.block_length();
  if (auto fits = checked_block_length(party); !fits) co_return std::unexpected(std::move(fits.error()));

  std::vector<ByteRange> ranges;
  std::uint64_t total = 0;
  for (const ByteRange& range : rod.ranges) total += range.length;
  for (const PopulateRod::Range& range : populate.ranges) {
    base::Lba lba{range.lba};
    base::BlockCount count{range.blocks};
    if (count.value == 0) continue;
    if (!lu.contains(lba, count))
      co_return std::unexpected(forwarded(source, out_of_range(lba.value, count.value, lu.capacity().value)));
    ByteRange bytes = lu.bytes(lba, count);
    if (std::ranges::any_of(rod.ranges, [&](const ByteRange& other) {
          return bytes.offset < other.end() && other.offset < bytes.end();
        }))
      co_return std::unexpected(
          aborted(AdditionalSense::invalid_field_in_parameter_list, "data that the ROD has already", destination));
    ranges.push_back(bytes);
    total += bytes.length;
  }
  std::uint64_t most = job_.manager().profile().maximum_token_transfer_bytes;
  if (most != 0 && total > most)
    co_return std::unexpected(aborted(AdditionalSense::invalid_field_in_parameter_list,
                                      fmt::format("{} bytes, MAXIMUM BYTES IN BLOCK ROD is {}", total, most),
                                      destination));
  if (ranges.empty()) co_return Outcome{};
  if (type_of(segment.destination) != tokens::RodType::access_upon_reference) {
    Captured captured = co_await capture(job_, lu, ranges);
    if (!captured) co_return std::unexpected(no_room_for_rod(source, std::move(captured.error())));
    rod.captured.push_back(std::move(*captured));
  }
  rod.ranges.insert(rod.ranges.end(), ranges.begin(), ranges.end());
  ++steps_;
  co_return Outcome{};
}

Sense ExtendedCopy::no_room_for_rod(const Party& source, Sense sense) const {
  if (sense.code != AdditionalSense::insufficient_resources) return forwarded(source, std::move(sense));
  return Sense::illegal_request(AdditionalSense::insufficient_resources_to_create_rod, std::move(sense.rule));
}

std::expected<std::vector<tokens::CreatedToken>, Sense> ExtendedCopy::create_tokens() {
  std::vector<tokens::CreatedToken> created;
  for (std::size_t i = 0; i < rods_.size(); ++i) {
    const auto* rod = std::get_if<RodCscd>(&list_.cscds[i].what);
    if (!rod || !rod->return_token || rods_[i].ranges.empty()) continue;
    const DeviceProfile& profile = job_.manager().profile();
    tokens::NewToken token{.rod = rod_of(i),
                           .inactivity_timeout = std::chrono::seconds(rod->inactivity_timeout_s),
                           .creator = creator_descriptor(job_.lu()),
                           .block_device = block_device_rod_data(job_.lu()),
                           .target_device_descriptor = target_device_descriptor(job_.server().config().target_name)};
    if (rod->lifetime_s != 0)
      token.lifetime = std::chrono::seconds(std::max(rod->lifetime_s, profile.minimum_token_lifetime_s));
    auto made = create_token(job_, std::move(token));
    if (!made) {
      for (const tokens::CreatedToken& before : created)
        job_.manager().tokens().cancel(tokens::TokenId{before.token.copy_manager_rod_token_identifier.value()},
                                       tokens::TokenEnd::command_failed);
      return std::unexpected(Sense::illegal_request(AdditionalSense::insufficient_resources_to_create_rod_token,
                                                    "the limit on tokens is reached"));
    }
    created.push_back({static_cast<std::uint16_t>(i), *made});
  }
  return created;
}

tokens::CopyProgress ExtendedCopy::progress() const {
  return {.transfer_count = bytes_written_, .operation_counter = steps_, .segments_processed = segment_};
}

tokens::CopyOutcome ExtendedCopy::outcome(tokens::CopyStatus status) const {
  return {
      .status = status, .transfer_count = bytes_written_, .operation_counter = steps_, .segments_processed = segment_};
}

}  // namespace scsi
