#include "test/sim/model.h"

#include <algorithm>
#include <cstring>

#include "scsi/copy_layouts.h"

namespace sim {

using scsi::AdditionalSense;
using scsi::FieldPointer;
using scsi::Sense;
using scsi::SenseKey;

namespace {

Sense illegal(AdditionalSense code, std::optional<FieldPointer> field = {},
              std::optional<std::uint64_t> information = {}) {
  return {SenseKey::illegal_request, code, information, field, {}};
}
Sense list_field(std::size_t byte) {
  return illegal(AdditionalSense::invalid_field_in_parameter_list, FieldPointer::list(byte));
}

// Where things stand in the parameter lists (SBC-4 5.12, 5.59).
constexpr std::size_t kRangeDescriptor = 16;
constexpr std::size_t kPopulateTimeout = 4, kPopulateRodType = 8, kPopulateDescriptorLength = 14;
constexpr std::size_t kWriteOffset = 8, kWriteToken = 16, kWriteTokenLength = 22, kWriteDescriptorLength = 534;

bool intersect(const Range& a, const Range& b) {
  return a.blocks > 0 && b.blocks > 0 && a.lba < b.lba + b.blocks && b.lba < a.lba + a.blocks;
}

/// Tombstones that the array keeps for each token of its limit.
constexpr std::size_t kReasonsPerToken = 4;

Sense token_refused(TokenEnd state) {
  using enum AdditionalSense;
  auto code = [&] {
    switch (state) {
      case TokenEnd::expired: return invalid_token_operation_token_expired;
      case TokenEnd::cancelled: return invalid_token_operation_token_cancelled;
      case TokenEnd::revoked: return invalid_token_operation_token_revoked;
      case TokenEnd::deleted: return invalid_token_operation_token_deleted;
      default: return invalid_token_operation_token_unknown;
    }
  };
  return illegal(code(), FieldPointer::list(kWriteToken));
}

template <typename Layout>
bool same_bytes(const Layout& a, const Layout& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

}  // namespace

Bytes LogicalUnitModel::at(const Ranges& ranges) const {
  Bytes data;
  for (const Range& range : ranges) {
    auto from = bytes.begin() + static_cast<std::ptrdiff_t>(range.lba * block_length);
    data.insert(data.end(), from, from + static_cast<std::ptrdiff_t>(std::uint64_t{range.blocks} * block_length));
  }
  return data;
}

unsigned LogicalUnitModel::depth(const Ranges& ranges) const {
  unsigned deepest = 0;
  for (const Range& range : ranges)
    for (std::uint64_t lba = range.lba; lba < range.lba + range.blocks && lba < depths.size(); ++lba)
      deepest = std::max<unsigned>(deepest, depths[lba]);
  return deepest;
}

std::uint64_t CopyRequest::blocks() const {
  std::uint64_t sum = 0;
  for (const Range& range : ranges) sum += range.blocks;
  return sum;
}

// ---- Tokens ---------------------------------------------------------------------------------------------------

base::TimePoint TokenModel::expires() const {
  if (commands_in_progress > 0 || inactivity_timeout == base::Duration::zero()) return created + lifetime;
  return std::min(created + lifetime, last_used + inactivity_timeout);
}

TokenEnd TokenModel::state(base::TimePoint now) const {
  if (now >= forgotten()) return TokenEnd::forgotten;
  if (ended != TokenEnd::none) return ended;
  return now >= expires() ? TokenEnd::expired : TokenEnd::none;
}

bool Model::room_for_token() const { return valid_tokens() < limits_.tokens; }

std::size_t Model::valid_tokens() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      tokens_, [&](const TokenRef& token) { return token->state(clock_.now()) == TokenEnd::none; }));
}

TokenRef Model::create_token(std::size_t lun, Bytes bytes, std::uint32_t timeout_s) {
  auto token = std::make_shared<TokenModel>();
  token->bytes = std::move(bytes);
  token->lun = lun;
  token->created = token->last_used = clock_.now();
  token->lifetime = std::chrono::seconds(limits_.lifetime_s);
  token->inactivity_timeout = std::chrono::seconds(timeout_s == 0 ? limits_.default_inactivity_timeout_s : timeout_s);
  tokens_.push_back(token);
  lose_reasons();
  return token;
}

void Model::lose_reasons() {
  auto ended = [&](const TokenRef& it) {
    TokenEnd state = it->state(clock_.now());
    return state != TokenEnd::none && state != TokenEnd::forgotten;
  };
  if (static_cast<std::size_t>(std::ranges::count_if(tokens_, ended)) >= kReasonsPerToken * limits_.tokens)
    for (const TokenRef& it : tokens_) it->reason_may_be_lost |= ended(it);
}

void Model::source_changes(std::size_t lun, std::uint64_t first, std::uint64_t end, bool surely) {
  for (const TokenRef& token : tokens_) {
    if (!token->vulnerable || token->lun != lun) continue;
    bool hit = std::ranges::any_of(
        token->source, [&](const Range& range) { return first < range.lba + range.blocks && range.lba < end; });
    if (hit) (surely ? token->source_has_changed : token->source_may_have_changed) = true;
  }
}

void Model::end_use(TokenModel& token) {
  bool valid = token.state(clock_.now()) == TokenEnd::none;
  --token.commands_in_progress;
  if (valid) {
    token.last_used = clock_.now();
  } else if (token.ended == TokenEnd::none) {
    token.ended = TokenEnd::expired;
  }
}

void Model::end(TokenModel& token, TokenEnd reason) const {
  TokenEnd state = token.state(clock_.now());
  if (token.ended == TokenEnd::none) token.ended = state == TokenEnd::none ? reason : TokenEnd::expired;
}

std::string Model::learn(TokenModel& token, const tokens::RodToken& image) {
  if (image.rod_type != static_cast<std::uint32_t>(token.type)) return "ROD TYPE";
  if (image.rod_token_length != tokens::kRodTokenLength) return "ROD TOKEN LENGTH";
  if (image.number_of_bytes_represented != token.bytes.size()) return "NUMBER OF BYTES REPRESENTED";
  if (image.number_of_bytes_represented_high != 0) return "NUMBER OF BYTES REPRESENTED, high part";
  if (!same_bytes(image.creator_logical_unit_descriptor, logical_units[token.lun].creator))
    return "CREATOR LOGICAL UNIT DESCRIPTOR";
  if (image.block_device.logical_block_length != logical_units[token.lun].block_length) return "block length";
  if (!token_identifiers_.insert(image.copy_manager_rod_token_identifier).second)
    return "COPY MANAGER ROD TOKEN IDENTIFIER was used before";
  if (!key_epoch_) key_epoch_ = image.extended.key_epoch;
  if (*key_epoch_ != image.extended.key_epoch) return "key epoch";
  token.image = image;
  return {};
}

void Model::forget_old_tokens() {
  std::erase_if(tokens_, [&](const TokenRef& token) {
    if (clock_.now() < token->forgotten() + token->lifetime) return false;
    if (token->image) forgotten_.push_back(*token->image);
    return true;
  });
}

Judged Model::judge_token(const tokens::RodToken& image) const {
  using enum tokens::RodType;
  auto refused = [](AdditionalSense code, std::size_t byte = kWriteToken) {
    return Judged{.refusal = illegal(code, FieldPointer::list(byte))};
  };
  static const std::set<std::uint32_t> kUsable = {
      static_cast<std::uint32_t>(access_upon_reference), static_cast<std::uint32_t>(point_in_time_default),
      static_cast<std::uint32_t>(point_in_time_change_vulnerable), static_cast<std::uint32_t>(point_in_time_persistent),
      static_cast<std::uint32_t>(block_device_zero)};
  if (!kUsable.contains(image.rod_type))
    return refused(AdditionalSense::invalid_token_operation_unsupported_token_type);
  if (image.rod_token_length != tokens::kRodTokenLength)
    return refused(AdditionalSense::invalid_token_operation_invalid_token_length, kWriteTokenLength);
  if (image.rod_type == static_cast<std::uint32_t>(block_device_zero)) return {};
  bool ours = std::ranges::any_of(logical_units, [&](const LogicalUnitModel& lu) {
    return same_bytes(lu.creator, image.creator_logical_unit_descriptor);
  });
  if (!ours) return refused(AdditionalSense::invalid_token_operation_remote_token_usage_not_supported);
  if (!key_epoch_ || image.extended.key_epoch != *key_epoch_)
    return refused(AdditionalSense::invalid_token_operation_token_unknown);
  for (const TokenRef& token : tokens_) {
    if (!token->image || !same_bytes(*token->image, image)) continue;
    TokenEnd state = token->state(clock_.now());
    if (state == TokenEnd::none) return {.token = token};
    return {.refusal = token_refused(state), .token = token};
  }
  bool forgotten =
      std::ranges::any_of(forgotten_, [&](const tokens::RodToken& token) { return same_bytes(token, image); });
  return refused(forgotten ? AdditionalSense::invalid_token_operation_token_unknown
                           : AdditionalSense::invalid_token_operation_token_corrupt);
}

// ---- Parameter lists ------------------------------------------------------------------------------------------

std::optional<Sense> Model::judge_block_range(std::size_t lun, std::uint64_t lba, std::uint64_t blocks) const {
  std::uint64_t capacity = logical_units[lun].capacity();
  if (lba <= capacity && blocks <= capacity - lba) return {};
  return illegal(AdditionalSense::logical_block_address_out_of_range, {}, std::max(lba, capacity));
}

std::optional<Sense> Model::judge_unmap(std::size_t lun, const Ranges& ranges) const {
  for (const Range& range : ranges)
    if (auto sense = judge_block_range(lun, range.lba, range.blocks)) return sense;
  return {};
}

std::optional<Sense> Model::judge_lists_end(std::size_t lun, const CopyRequest& request,
                                            std::size_t length_field) const {
  if (request.defect == CopyRequest::Defect::descriptor_length) return list_field(length_field);
  if (request.ranges.size() > limits_.range_descriptors)
    return illegal(AdditionalSense::too_many_segment_descriptors, FieldPointer::list(length_field));
  std::size_t first = length_field + 2;
  std::uint64_t limit = limits_.transfer_bytes / logical_units[lun].block_length;
  for (std::size_t i = 0; i < request.ranges.size(); ++i)
    if (request.ranges[i].blocks > limit) return list_field(first + i * kRangeDescriptor + 8);
  if (request.blocks() > limit) return illegal(AdditionalSense::invalid_field_in_parameter_list);
  // Of all overlapping pairs the one whose addresses are lowest is named, by its later descriptor.
  std::optional<std::pair<std::uint64_t, std::size_t>> overlap;
  for (std::size_t i = 0; i < request.ranges.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (!intersect(request.ranges[i], request.ranges[j])) continue;
      std::pair<std::uint64_t, std::size_t> found{std::max(request.ranges[i].lba, request.ranges[j].lba), i};
      if (!overlap || found.first < overlap->first) overlap = found;
    }
  }
  if (overlap) return list_field(first + overlap->second * kRangeDescriptor);
  for (const Range& range : request.ranges)
    if (auto sense = judge_block_range(lun, range.lba, range.blocks); sense && range.blocks > 0) return sense;
  return {};
}

std::optional<Sense> Model::judge_populate(std::size_t lun, const CopyRequest& request) const {
  using enum tokens::RodType;
  using Defect = CopyRequest::Defect;
  if (request.defect == Defect::list_too_short) return illegal(AdditionalSense::parameter_list_length_error);
  if (request.defect == Defect::data_length) return list_field(0);
  static const std::set<std::uint32_t> kCreatable = {
      static_cast<std::uint32_t>(point_in_time_default), static_cast<std::uint32_t>(point_in_time_change_vulnerable),
      static_cast<std::uint32_t>(point_in_time_persistent), static_cast<std::uint32_t>(point_in_time_any)};
  if ((request.flags & scsi::kRtv) && !kCreatable.contains(request.rod_type)) return list_field(kPopulateRodType);
  if (request.timeout_s > limits_.maximum_inactivity_timeout_s) return list_field(kPopulateTimeout);
  return judge_lists_end(lun, request, kPopulateDescriptorLength);
}

std::optional<Sense> Model::judge_write_using_list(std::size_t lun, const CopyRequest& request) const {
  using Defect = CopyRequest::Defect;
  if (request.defect == Defect::list_too_short) return illegal(AdditionalSense::parameter_list_length_error);
  if (request.defect == Defect::data_length) return list_field(0);
  return judge_lists_end(lun, request, kWriteDescriptorLength);
}

std::optional<Sense> Model::judge_rod(std::size_t lun, const CopyRequest& request, const TokenModel& token) const {
  std::uint64_t block = logical_units[lun].block_length;
  if (request.offset >= (token.bytes.size() + block - 1) / block) return list_field(kWriteOffset);
  if (request.blocks() * block > token.bytes.size() - request.offset * block)
    return illegal(AdditionalSense::copy_target_device_data_underrun, {}, 0);
  if (unreachable.contains({token.lun, lun}) || unreachable.contains({lun, token.lun}))
    return illegal(AdditionalSense::unreachable_copy_target);
  return {};
}

// ---- Copy operations ------------------------------------------------------------------------------------------

std::optional<Sense> Model::begin_operation(const Key& key, std::uint8_t service_action, ResultRef& result) {
  auto found = results_.find(key);
  if (found != results_.end() && found->second->in_progress()) return illegal(AdditionalSense::operation_in_progress);
  const bool one_too_many = in_progress_ >= limits_.operations;
  if (found != results_.end()) drop(found);
  result = results_.emplace(key, std::make_shared<ResultModel>()).first->second;
  result->service_action = service_action;
  ++in_progress_;
  if (!one_too_many) return {};
  return Sense{SenseKey::aborted_command, AdditionalSense::insufficient_resources, {}, {}, {}};
}

void Model::finish_operation(const ResultRef& result) {
  --in_progress_;
  auto listed = std::ranges::find_if(results_, [&](const auto& entry) { return entry.second == result; });
  if (listed == results_.end()) return;
  by_age_.push_back(result);
  if (by_age_.size() <= limits_.results) return;
  drop(std::ranges::find_if(results_, [&](const auto& entry) { return entry.second == by_age_.front(); }));
}

ResultRef Model::find_result(const Key& key) const {
  auto found = results_.find(key);
  return found == results_.end() ? nullptr : found->second;
}

std::vector<Model::Key> Model::keys(bool with_token) const {
  std::vector<Key> keys;
  for (const auto& [key, result] : results_)
    if (result->token || !with_token) keys.push_back(key);
  return keys;
}

void Model::drop(std::map<Key, ResultRef>::iterator result) {
  std::erase(by_age_, result->second);
  results_.erase(result);
}

void Model::nexus_lost(std::size_t nexus) {
  for (auto at = results_.begin(); at != results_.end();) {
    auto next = std::next(at);
    if (std::get<0>(at->first) == nexus) drop(at);
    at = next;
  }
}

void Model::logical_unit_reset(std::size_t lun) {
  for (auto at = results_.begin(); at != results_.end();) {
    auto next = std::next(at);
    if (std::get<1>(at->first) == lun) drop(at);
    at = next;
  }
}

// ---- Unit attentions ------------------------------------------------------------------------------------------

namespace {

/// By precedence (SAM-5 table 56); a reset stands for everything beside it.
constexpr AdditionalSense kUnitAttentions[] = {AdditionalSense::power_on_reset_or_bus_device_reset_occurred,
                                               AdditionalSense::bus_device_reset_function_occurred,
                                               AdditionalSense::commands_cleared_by_another_initiator,
                                               AdditionalSense::registrations_preempted,
                                               AdditionalSense::reservations_preempted,
                                               AdditionalSense::reservations_released};
constexpr std::size_t kResets = 2;

}  // namespace

void Model::establish(std::size_t nexus, std::size_t lun, AdditionalSense code) {
  auto& pending = unit_attentions_[{nexus, lun}];
  pending.insert(code);
  for (std::size_t reset = 0; reset < kResets; ++reset)
    if (pending.contains(kUnitAttentions[reset])) pending = {kUnitAttentions[reset]};
}

std::optional<Sense> Model::take_unit_attention(std::size_t nexus, std::size_t lun) {
  auto& pending = unit_attentions_[{nexus, lun}];
  for (AdditionalSense code : kUnitAttentions)
    if (pending.erase(code) > 0) return Sense{SenseKey::unit_attention, code, {}, {}, {}};
  return {};
}

void Model::forget_unit_attentions(std::size_t nexus) {
  std::erase_if(unit_attentions_, [&](const auto& entry) { return entry.first.first == nexus; });
}

}  // namespace sim
