#include "tokens/copy_operation.h"

#include <utility>

namespace tokens {

namespace {

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
  auto found = by_key_.find(key);
  if (found != by_key_.end() && tokens::in_progress(found->second->status()))
    return std::unexpected(CopyStartError::list_identifier_in_use);
  if (in_progress_ >= limits_.operations) return std::unexpected(CopyStartError::too_many_operations);
  if (found != by_key_.end()) unlist(found);
  auto operation = base::make_ref<CopyOperation>(key, command);
  by_key_.emplace(key, operation);
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
  auto found = by_key_.find(key);
  if (found != by_key_.end()) unlist(found);
  auto operation = base::make_ref<CopyOperation>(key, command);
  by_key_.emplace(key, operation);
  ++in_progress_;  // for as long as finish() takes
  finish(*operation, std::move(outcome));
}

const CopyOperation* CopyOperations::find(const CopyOperationKey& key) const {
  auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : found->second.get();
}

void CopyOperations::discard(const CopyOperationKey& key, CopyResultPart part) {
  auto found = by_key_.find(key);
  if (found == by_key_.end() || tokens::in_progress(found->second->status())) return;
  CopyOperation& operation = *found->second;
  operation.discarded_ |= static_cast<std::uint8_t>(1u << static_cast<unsigned>(part));
  drop(operation, part);
}

void CopyOperations::finish(CopyOperation& operation, CopyOutcome outcome) {
  --in_progress_;
  operation.outcome_ = std::move(outcome);
  operation.update_delay_ms_.reset();
  if (!operation.listed_) return;
  operation.finished_ = ++finished_count_;
  by_age_.emplace(operation.finished_, operation.key_);
  held_bytes_ += weight(operation.outcome_);
  if (by_age_.size() > limits_.results) unlist(by_key_.find(by_age_.begin()->second));
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
  for (auto at = by_age_.begin(); held_bytes_ > limits_.held_bytes && at != by_age_.end(); ++at) {
    CopyOperation& operation = *by_key_.find(at->second)->second;
    if (!operation.outcome_.held_data.empty()) operation.outcome_.held_data_discarded = true;
    drop(operation, CopyResultPart::held_data);
    if (!operation.outcome_.tokens.empty()) discard(operation.key_, CopyResultPart::rod_token_information);
  }
}

CopyOperations::ByKey::iterator CopyOperations::unlist(ByKey::iterator at) {
  CopyOperation& operation = *at->second;
  operation.listed_ = false;
  if (!tokens::in_progress(operation.status())) held_bytes_ -= weight(operation.outcome_);
  by_age_.erase(operation.finished_);
  return by_key_.erase(at);
}

void CopyOperations::nexus_lost(std::uint32_t nexus) {
  auto at = by_key_.lower_bound(CopyOperationKey{.nexus = nexus});
  while (at != by_key_.end() && at->first.nexus == nexus) at = unlist(at);
}

void CopyOperations::logical_unit_reset(const std::array<std::uint8_t, 16>& logical_unit) {
  for (auto at = by_key_.begin(); at != by_key_.end();)
    at = at->first.logical_unit == logical_unit ? unlist(at) : std::next(at);
}

}  // namespace tokens
