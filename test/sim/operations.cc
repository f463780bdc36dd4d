#include <fmt/format.h>

#include <algorithm>

#include "scsi/copy_layouts.h"
#include "test/scsi/block_cdbs.h"
#include "test/sim/simulation.h"

namespace sim {

using scsi::BlockFlags;

namespace {

constexpr std::uint64_t kLongestTransfer = 40;  ///< blocks
constexpr std::size_t kInFlight = 24;

std::string text_of(const Ranges& ranges) {
  std::string text;
  for (const Range& range : ranges) text += fmt::format(" {}+{}", range.lba, range.blocks);
  return text;
}

Ranges without_empty(const Ranges& ranges) {
  Ranges some;
  std::ranges::copy_if(ranges, std::back_inserter(some), [](const Range& range) { return range.blocks > 0; });
  return some;
}

bool overlap(const Ranges& ranges, const Range& range) {
  return std::ranges::any_of(ranges, [&](const Range& other) {
    return range.lba < other.lba + other.blocks && other.lba < range.lba + range.blocks;
  });
}

}  // namespace

Bytes Simulation::some_data(std::uint64_t size) {
  Bytes data(size);
  if (one_in(12)) return data;  // zeros
  for (std::uint64_t i = 0; i < size; i += 8) {
    std::uint64_t word = random_();
    std::copy_n(reinterpret_cast<const std::uint8_t*>(&word), std::min<std::uint64_t>(8, size - i), data.data() + i);
  }
  return data;
}

Range Simulation::some_range(std::size_t lun, std::uint64_t longest) {
  std::uint64_t capacity = model_.logical_units[lun].capacity();
  if (one_in(60)) return {capacity - pick(4), static_cast<std::uint32_t>(4 + pick(4))};  // beyond the end
  std::uint64_t lba = one_in(3) ? pick(capacity / 64) * 64 : pick(capacity);
  return {lba, static_cast<std::uint32_t>(std::min(capacity - lba, 1 + pick(longest)))};
}

/// Up to four of them, mostly distinct; now and then an empty one, or too many.
Ranges Simulation::some_ranges(std::size_t lun, std::uint64_t longest) {
  Ranges ranges;
  std::size_t count = one_in(40) ? model_.limits().range_descriptors + 1 : 1 + pick(4);
  bool distinct = !one_in(15);
  for (std::size_t i = 0; i < count; ++i) {
    Range range = one_in(25) ? Range{pick(8), 0} : some_range(lun, longest);
    if (!distinct || range.blocks == 0 || !overlap(ranges, range)) ranges.push_back(range);
  }
  return ranges;
}

std::unique_ptr<Operation> Simulation::make(Kind kind) {
  auto operation = std::make_unique<Operation>(*this, kind);
  operation->number = ++last_number_;
  operation->lun = pick(model_.logical_units.size());
  operation->nexus = pick(nexuses_.size());
  switch (kind) {
    case Kind::read:
    case Kind::write: make_block_command(*operation); break;
    case Kind::unmap: make_unmap(*operation); break;
    case Kind::write_same: make_write_same(*operation); break;
    case Kind::compare_and_write: make_compare_and_write(*operation); break;
    case Kind::populate_token: make_populate(*operation); break;
    case Kind::write_using_token: make_write_using(*operation); break;
    case Kind::receive_rod_token_information:
    case Kind::receive_copy_status: make_receive(*operation); break;
    case Kind::copy_operation_abort: make_abort(*operation); break;
    case Kind::persistent_reserve_out: make_reservation(*operation); break;
  }
  return operation;
}

void Simulation::send_something() {
  if (in_flight_.size() >= kInFlight) return work_off(4);
  static constexpr std::pair<Kind, unsigned> kMix[] = {{Kind::read, 12},
                                                       {Kind::write, 22},
                                                       {Kind::unmap, 6},
                                                       {Kind::write_same, 5},
                                                       {Kind::compare_and_write, 6},
                                                       {Kind::populate_token, 14},
                                                       {Kind::write_using_token, 24},
                                                       {Kind::receive_rod_token_information, 12},
                                                       {Kind::receive_copy_status, 4},
                                                       {Kind::copy_operation_abort, 3},
                                                       {Kind::persistent_reserve_out, 2}};
  unsigned sum = 0;
  for (auto [kind, weight] : kMix) sum += weight;
  std::uint64_t which = pick(sum);
  for (auto [kind, weight] : kMix) {
    if (which < weight && (kind != Kind::copy_operation_abort || traits_.background)) return send(make(kind));
    if (which < weight) return;
    which -= weight;
  }
}

void Simulation::send(std::unique_ptr<Operation> owned) {
  Operation& operation = *owned;
  Nexus& nexus = nexuses_[operation.nexus];
  if (!nexus.attached || nexus.leaving) return;
  operations_.push_back(std::move(owned));
  if (operations_.size() > 4 * kInFlight && operations_.front()->concluded) operations_.pop_front();
  operation.task.nexus = nexus.id;
  operation.task.lun = scsi::Lun{static_cast<std::uint16_t>(operation.lun)};
  operation.task.tag = ++nexus.last_tag;
  operation.task.observer = &operation;
  operation.text = fmt::format("#{} {} nexus {} LUN {}{}", operation.number, name_of(operation.kind), operation.nexus,
                               operation.lun, operation.text);
  note(operation.text);

  if (judge_operation_code(operation)) operation.refusal = model_.take_unit_attention(operation.nexus, operation.lun);
  operation.conflict = !operation.refusal && conflicts(operation);
  // Which blocks a READ asks for is looked at when it is executed, and so after rules.
  auto passes = [&] { return !operation.refusal && !operation.conflict && !operation.turned_away; };
  if (passes() && operation.kind == Kind::read) meet_rules(operation);
  if (passes()) judge_cdb(operation);
  if (passes() && operation.kind != Kind::read) meet_rules(operation);
  bool refused = operation.refusal || operation.conflict || operation.turned_away;
  if (!refused && operation.data_out.empty()) begin(operation);
  in_flight_.push_back(&operation);
  world_.server.admit(operation.task);
  if (operation.completed_once || !operation.task.has_data_out()) return;
  require(!refused, operation.text + " was not refused");
  operation.waits_for_data = one_in(8);
  if (!operation.waits_for_data) deliver(operation);
}

void Simulation::deliver(Operation& operation) {
  operation.waits_for_data = false;
  begin(operation);
  Bytes lent = operation.data_out;
  operation.task.data_out = lent;
  world_.server.execute(operation.task);
  std::ranges::fill(lent, std::uint8_t{0xEE});
  poll();
}

// ---- Block commands -------------------------------------------------------------------------------------------

namespace {

void put_cdb(Operation& operation, const Bytes& cdb) { std::ranges::copy(cdb, operation.task.cdb.begin()); }

}  // namespace

void Simulation::make_block_command(Operation& operation) {
  Range range = some_range(operation.lun, kLongestTransfer);
  bool write = operation.kind == Kind::write;
  std::uint8_t flags = one_in(6) ? BlockFlags::kFua : std::uint8_t{0};
  put_cdb(operation, test::cdb_16(write ? 0x8A : 0x88, range.lba, range.blocks, flags));
  operation.ranges = {range};
  operation.changes = write;
  if (write)
    operation.data_out = operation.new_data =
        some_data(std::uint64_t{range.blocks} * model_.logical_units[operation.lun].block_length);
  operation.text = text_of(operation.ranges) + (flags != 0 ? " FUA" : "");
}

void Simulation::make_write_same(Operation& operation) {
  const LogicalUnitModel& lu = model_.logical_units[operation.lun];
  Range range = some_range(operation.lun, lu.capacity() / 3);
  std::uint8_t flags = 0;
  if (one_in(3)) flags |= BlockFlags::kUnmap;
  if (one_in(4)) flags |= BlockFlags::kNoDataOutBuffer;
  bool to_the_end = one_in(20);
  put_cdb(operation, test::cdb_16(0x93, range.lba, to_the_end ? 0 : range.blocks, flags));
  if (to_the_end) range.blocks = static_cast<std::uint32_t>(lu.capacity() - std::min(range.lba, lu.capacity()));
  operation.ranges = {range};
  operation.changes = true;
  Bytes block(lu.block_length);
  if ((flags & BlockFlags::kNoDataOutBuffer) == 0) {
    if ((flags & BlockFlags::kUnmap) == 0) block = some_data(lu.block_length);
    operation.data_out = block;
  }
  for (std::uint32_t i = 0; i < range.blocks; ++i)
    operation.new_data.insert(operation.new_data.end(), block.begin(), block.end());
  operation.text = fmt::format("{} flags {:02X}h{}", text_of(operation.ranges), flags, to_the_end ? " to the end" : "");
}

/// Compares with what is there now, which others may change before, or with something else.
void Simulation::make_compare_and_write(Operation& operation) {
  const LogicalUnitModel& lu = model_.logical_units[operation.lun];
  Range range = some_range(operation.lun, 8);
  put_cdb(operation, test::compare_and_write(range.lba, static_cast<std::uint8_t>(range.blocks)));
  operation.ranges = {range};
  operation.changes = true;
  std::uint64_t size = std::uint64_t{range.blocks} * lu.block_length;
  operation.new_data = some_data(size);
  bool inside = range.lba + range.blocks <= lu.capacity();
  operation.compared = inside ? lu.at(operation.ranges) : Bytes(size);
  if (one_in(4)) operation.compared[pick(size)] ^= static_cast<std::uint8_t>(1 + pick(255));
  operation.data_out = operation.compared;
  operation.data_out.insert(operation.data_out.end(), operation.new_data.begin(), operation.new_data.end());
  operation.text = text_of(operation.ranges);
}

void Simulation::make_unmap(Operation& operation) {
  while (!model_.logical_units[operation.lun].thin && !one_in(8)) operation.lun = pick(model_.logical_units.size());
  const LogicalUnitModel& lu = model_.logical_units[operation.lun];
  std::vector<test::Unmapped> descriptors;
  for (std::uint64_t i = 0, count = 1 + pick(3); i < count; ++i) {
    Range range = some_range(operation.lun, lu.capacity() / 4);
    operation.ranges.push_back(range);
    descriptors.push_back({range.lba, range.blocks});
  }
  operation.data_out = test::unmap_list(descriptors);
  operation.changes = true;
  std::uint64_t blocks = 0;
  for (const Range& range : operation.ranges) blocks += range.blocks;
  operation.new_data = Bytes(blocks * lu.block_length);
  put_cdb(operation, test::unmap_cdb(static_cast<std::uint16_t>(operation.data_out.size())));
  operation.text = text_of(operation.ranges);
}

// ---- Copy commands --------------------------------------------------------------------------------------------

void Simulation::spoil_list(Operation& operation, std::size_t length_field) {
  if (!one_in(25)) return;
  using Defect = CopyRequest::Defect;
  Bytes& list = operation.data_out;
  switch (pick(3)) {
    case 0:
      operation.request.defect = Defect::list_too_short;
      list.resize(1 + pick(length_field + 1));
      break;
    case 1:
      operation.request.defect = Defect::data_length;
      list[1] ^= 0x10;
      break;
    default:
      operation.request.defect = Defect::descriptor_length;
      base::store(base::MutableBytes(list).subspan(length_field), base::be16(static_cast<std::uint16_t>(pick(16))));
      break;
  }
  operation.text += " with a wrong length";
}

void Simulation::make_populate(Operation& operation) {
  CopyRequest& request = operation.request;
  request.ranges = some_ranges(operation.lun, one_in(40) ? 1000 : kLongestTransfer);
  if (!one_in(3))
    request.timeout_s = static_cast<std::uint32_t>(1 + pick(model_.limits().maximum_inactivity_timeout_s));
  if (one_in(50)) request.timeout_s = model_.limits().maximum_inactivity_timeout_s + 1;
  if (one_in(4)) {
    using enum tokens::RodType;
    static constexpr tokens::RodType kTypes[] = {
        point_in_time_default,           point_in_time_persistent, point_in_time_change_vulnerable,
        point_in_time_change_vulnerable, point_in_time_any,        access_upon_reference};
    request.flags |= scsi::kRtv;
    request.rod_type = static_cast<std::uint32_t>(kTypes[pick(std::size(kTypes))]);
  }
  bool vulnerable = traits_.source_write_cancels ||
                    request.rod_type == static_cast<std::uint32_t>(tokens::RodType::point_in_time_change_vulnerable);
  if (traits_.background && !vulnerable && one_in(4)) request.flags |= scsi::kImmed;
  operation.list_identifier = some_list_identifier();
  operation.data_out = test::populate_list(
      request.ranges, {.flags = request.flags, .timeout_s = request.timeout_s, .rod_type = request.rod_type});
  operation.text = fmt::format(" list {}{} timeout {} flags {:02X}h type {:08X}h", operation.list_identifier,
                               text_of(request.ranges), request.timeout_s, request.flags, request.rod_type);
  spoil_list(operation, 14);
  put_cdb(operation, test::out_cdb(0x10, operation.list_identifier, operation.data_out.size()));
  operation.ranges = without_empty(request.ranges);
}

/// Changes something in a token that its holder may not change.
std::string Simulation::alter(tokens::RodToken& token) {
  Bytes bytes(sizeof token);
  std::memcpy(bytes.data(), &token, sizeof token);
  struct Part {
    const char* name;
    std::size_t offset, length;
  };
  static constexpr Part kParts[] = {{"ROD TYPE", 0, 4},       {"ROD TOKEN LENGTH", 6, 2},    {"identifier", 8, 8},
                                    {"creator", 16, 32},      {"bytes represented", 48, 16}, {"reserved", 64, 32},
                                    {"device data", 96, 160}, {"key epoch", 256, 16},        {"secret", 272, 208},
                                    {"MAC", 480, 32}};
  std::string text;
  for (std::uint64_t i = 0, count = one_in(3) ? 2 : 1; i < count; ++i) {
    const Part& part = kParts[pick(std::size(kParts))];
    bytes[part.offset + pick(part.length)] ^= static_cast<std::uint8_t>(1 + pick(255));
    text += std::string(" altered: ") + part.name;
    report_.count(std::string("tokens altered in ") + part.name);
  }
  std::memcpy(&token, bytes.data(), sizeof token);
  return text;
}

/// A token that a host has, perhaps altered, or the zero token.
std::optional<tokens::RodToken> Simulation::some_token(Operation& operation) {
  std::vector<TokenRef> known;
  std::ranges::copy_if(model_.tokens(), std::back_inserter(known),
                       [](const TokenRef& token) { return token->image.has_value(); });
  if (one_in(10)) {
    operation.text += " zero token";
    return tokens::zero_token();
  }
  if (known.empty()) return {};
  TokenRef chosen = known[pick(known.size())];
  for (int tries = 0; tries < 24 && chosen->state(world_.clock.now()) != TokenEnd::none; ++tries)
    chosen = known[pick(known.size())];
  operation.next_to_a_limit = watched_token_ && watched_token_->image && !one_in(3);
  if (operation.next_to_a_limit) chosen = std::exchange(watched_token_, nullptr);
  tokens::RodToken token = *chosen->image;
  operation.text += fmt::format(" token {:X}", token.copy_manager_rod_token_identifier.value());
  if (one_in(12)) operation.text += alter(token);
  return token;
}

void Simulation::make_write_using(Operation& operation) {
  CopyRequest& request = operation.request;
  request.token = some_token(operation).value_or(tokens::zero_token());
  std::uint64_t block = model_.logical_units[operation.lun].block_length;
  std::uint64_t in_token = request.token.number_of_bytes_represented / block;
  bool zero = request.token.rod_type == static_cast<std::uint32_t>(tokens::RodType::block_device_zero);
  if (zero && one_in(2)) request.offset = random_();  // means nothing there
  if (!zero && one_in(3)) request.offset = pick(one_in(12) ? in_token + 3 : std::min<std::uint64_t>(in_token, 256) + 1);
  std::uint64_t left = in_token > request.offset ? in_token - request.offset : 0;
  // Mostly what the token holds, in as many ranges as it takes.
  request.ranges = some_ranges(operation.lun, kLongestTransfer);
  if (left > 0 && !one_in(8)) {
    for (Range& range : request.ranges) {
      range.blocks = static_cast<std::uint32_t>(std::min<std::uint64_t>(range.blocks, left));
      left -= range.blocks;
    }
  }
  if (one_in(8)) request.flags |= scsi::kDelTkn;
  if (traits_.background && one_in(4)) request.flags |= scsi::kImmed;
  operation.list_identifier = some_list_identifier();
  operation.data_out = test::write_list(request.token, request.ranges, request.offset, request.flags);
  operation.text = fmt::format(" list {}{}{} offset {} flags {:02X}h", operation.list_identifier, operation.text,
                               text_of(request.ranges), request.offset, request.flags);
  spoil_list(operation, 534);
  put_cdb(operation, test::out_cdb(0x11, operation.list_identifier, operation.data_out.size()));
  operation.ranges = without_empty(request.ranges);
  operation.changes = true;
}

void Simulation::make_receive(Operation& operation) {
  bool information = operation.kind == Kind::receive_rod_token_information;
  operation.list_identifier = some_list_identifier();
  // Mostly of an operation there was.
  auto keys = model_.keys(information && !one_in(4));
  if (!keys.empty() && !one_in(8)) {
    std::tie(operation.nexus, operation.lun, operation.list_identifier) = keys[pick(keys.size())];
  }
  operation.allocation_length = 805;
  if (one_in(6)) operation.allocation_length = static_cast<std::uint32_t>(pick(600));
  if (one_in(20)) operation.allocation_length = 0;
  put_cdb(operation, test::in_cdb(information ? 0x07 : 0x05, operation.list_identifier, operation.allocation_length));
  operation.text = fmt::format(" list {} allocation length {}", operation.list_identifier, operation.allocation_length);
}

/// Mostly of a copy that is being processed.
void Simulation::make_abort(Operation& operation) {
  operation.list_identifier = some_list_identifier();
  std::vector<Operation*> copies;
  std::ranges::copy_if(in_flight_, std::back_inserter(copies), [](const Operation* other) {
    return other->result && other->begun != 0 && other->kind != Kind::copy_operation_abort;
  });
  if (!copies.empty() && !one_in(4)) {
    const Operation& victim = *copies[pick(copies.size())];
    operation.nexus = victim.nexus;
    operation.lun = victim.lun;
    operation.list_identifier = victim.list_identifier;
  }
  Bytes cdb = test::in_cdb(0x1C, operation.list_identifier, 0);
  cdb[0] = scsi::kThirdPartyCopyOut;
  put_cdb(operation, cdb);
  operation.text = fmt::format(" list {}", operation.list_identifier);
}

}  // namespace sim
