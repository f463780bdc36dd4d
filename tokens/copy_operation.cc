#include "tokens/copy_operation.h"

#include <utility>

namespace tokens {

namespace {

/// How many results of what is lost an operation that ends frees at most, for the bytes they hold.
constexpr std::size_t kLostAtOnce = 64;

/// The bytes that a result keeps beyond the few of every one.
std::size_t weight(const CopyOutcome& outcome) {
  return outcome.held_data.size() + outcome.tokens.size() * sizeof(CreatedToken);
}

}  // namespace

CopyOperationGuard::~CopyOperationGuard() {
  if (operation_) finish({.status = CopyStatus::terminated, .completion_status = kTaskAbortedStatus});
}

void CopyOperationGuard::continue_in_background() { operation_->outcome_.status = CopyStatus::in_progress_background; }

void CopyOperationGuard::count_in(TransferCountUnits units) { operation_->units_ = units; }

void CopyOperationGuard::report(const CopyProgress& progress) {
  operation_->outcome_.transfer_count = progress.transfer_count;
  operation_->outcome_.operation_counter = progress.operation_counter;
  operation_->outcome_.segments_processed = progress.segments_processed;
  operation_->update_delay_ms_ = progress.update_delay_ms;
}

void CopyOperationGuard::finish(CopyOutcome outcome) {
  base::Ref<CopyOperation> operation = std::move(operation_);
  operations_->finish(*operation, std::move(outcome));
}

std::expected<CopyOperationGuard, CopyStartError> CopyOperations::begin(const CopyOperationKey& key,
                                                                        CopyCommand command) {
  const CopyOperation* found = look_up(key);
  if (found && tokens::in_progress(found->status())) return std::unexpected(CopyStartError::list_identifier_in_use);
  if (in_progress_ >= limits_.operations) return std::unexpected(CopyStartError::too_many_operations);
  auto operation = base::make_ref<CopyOperation>(key, command);
  list(key, operation);
  ++in_progress_;
  return CopyOperationGuard(*this, std::move(operation));
}

std::expected<CopyOperationGuard, CopyStartError> CopyOperations::begin_unlisted(const CopyOperationKey& key,
                                                                                 CopyCommand command) {
  if (in_progress_ >= limits_.operations) return std::unexpected(CopyStartError::too_many_operations);
  auto operation = base::make_ref<CopyOperation>(key, command);
  operation->listed_ = false;
  ++in_progress_;
  return CopyOperationGuard(*this, std::move(operation));
}

void CopyOperations::refused(const CopyOperationKey& key, CopyCommand command, CopyOutcome outcome) {
  auto operation = base::make_ref<CopyOperation>(key, command);
  list(key, operation);
  ++in_progress_;  // for as long as finish() takes
  finish(*operation, std::move(outcome));
}

const CopyOperation* CopyOperations::find(const CopyOperationKey& key) const { return look_up(key); }

CopyOperation* CopyOperations::look_up(const CopyOperationKey& key) const {
  auto nexus = by_nexus_.find(key.nexus);
  if (nexus == by_nexus_.end()) return nullptr;
  auto unit = nexus->second.find(key.logical_unit);
  if (unit == nexus->second.end()) return nullptr;
  auto found = unit->second.find(key.list_identifier);
  return found == unit->second.end() ? nullptr : found->second.get();
}

void CopyOperations::list(const CopyOperationKey& key, base::Ref<CopyOperation> operation) {
  base::Ref<CopyOperation>& place = by_nexus_[key.nexus][key.logical_unit][key.list_identifier];
  if (place)
    unlisted(*place);
  else
    ++listed_;
  place = std::move(operation);
}

void CopyOperations::discard(const CopyOperationKey& key, CopyResultPart part) {
  CopyOperation* operation = look_up(key);
  if (!operation || tokens::in_progress(operation->status())) return;
  operation->discarded_ |= static_cast<std::uint8_t>(1u << static_cast<unsigned>(part));
  drop(*operation, part);
}

void CopyOperations::finish(CopyOperation& operation, CopyOutcome outcome) {
  --in_progress_;
  operation.outcome_ = std::move(outcome);
  operation.update_delay_ms_.reset();
  if (look_up(operation.key_) != &operation) operation.listed_ = false;  // its nexus is lost
  if (!operation.listed_) return;
  operation.finished_ = ++finished_count_;
  by_age_.emplace(operation.finished_, operation.key_);
  held_bytes_ += weight(operation.outcome_);
  while (by_age_.size() > limits_.results)
    if (of_lost_.empty())
      discard_listed(by_age_.begin()->second);
    else
      free_lost(1);
  limit_held_data();
}

void CopyOperations::drop(CopyOperation& operation, CopyResultPart part) {
  CopyOutcome& outcome = operation.outcome_;
  held_bytes_ -= weight(outcome);
  if (part == CopyResultPart::rod_token_information) outcome.tokens = {};
  if (part == CopyResultPart::held_data) outcome.held_data = {};
  held_bytes_ += weight(outcome);
}

void CopyOperations::limit_held_data() {
  for (std::size_t freed = 0; held_bytes_ > limits_.held_bytes && freed < kLostAtOnce && free_lost(1); ++freed)
    continue;
  if (!of_lost_.empty()) return;  // theirs goes first, a few at a time
  for (auto at = by_age_.lower_bound(weighty_from_); held_bytes_ > limits_.held_bytes && at != by_age_.end(); ++at) {
    weighty_from_ = at->first + 1;
    CopyOperation& operation = *look_up(at->second);
    if (!operation.outcome_.held_data.empty()) operation.outcome_.held_data_discarded = true;
    drop(operation, CopyResultPart::held_data);
    if (!operation.outcome_.tokens.empty()) discard(operation.key_, CopyResultPart::rod_token_information);
  }
}

void CopyOperations::unlisted(CopyOperation& operation) {
  operation.listed_ = false;
  if (!tokens::in_progress(operation.status())) held_bytes_ -= weight(operation.outcome_);
  by_age_.erase(operation.finished_);
}

void CopyOperations::discard_listed(const CopyOperationKey& key) {
  OfUnit& operations = by_nexus_.at(key.nexus).at(key.logical_unit);
  auto at = operations.find(key.list_identifier);
  unlisted(*at->second);
  operations.erase(at);
  --listed_;
}

void CopyOperations::nexus_lost(std::uint32_t nexus) {
  auto lost = by_nexus_.extract(nexus);
  if (lost.empty()) return;
  for (auto& [unit, operations] : lost.mapped()) lose(std::move(operations));
}

void CopyOperations::lose(OfUnit&& operations) {
  listed_ -= operations.size();
  if (!operations.empty()) of_lost_.push_back(std::move(operations));
}

bool CopyOperations::free_lost(std::size_t most) {
  for (; most > 0 && !of_lost_.empty(); --most) {
    OfUnit& first = of_lost_.front();
    if (CopyOperation& operation = *first.begin()->second; operation.listed_) unlisted(operation);
    first.erase(first.begin());
    if (first.empty()) of_lost_.pop_front();
  }
  return !of_lost_.empty();
}

void CopyOperations::logical_unit_reset(const std::array<std::uint8_t, 16>& logical_unit) {
  for (auto& [nexus, units] : by_nexus_)
    if (auto lost = units.extract(logical_unit); !lost.empty()) lose(std::move(lost.mapped()));
}

}  // namespace tokens
