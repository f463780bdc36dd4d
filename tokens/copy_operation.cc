#include "tokens/copy_operation.h"

#include <utility>

namespace tokens {

CopyOperationGuard::~CopyOperationGuard() {
  if (operation_) finish({.status = CopyStatus::terminated, .completion_status = kTaskAbortedStatus});
}

void CopyOperationGuard::finish(CopyOutcome outcome) {
  base::Ref<CopyOperation> operation = std::move(operation_);
  operations_->finish(*operation, std::move(outcome));
}

std::expected<CopyOperationGuard, CopyStartError> CopyOperations::begin(const CopyOperationKey& key,
                                                                        CopyCommand command) {
  auto found = by_key_.find(key);
  if (found != by_key_.end() && in_progress(found->second->status()))
    return std::unexpected(CopyStartError::list_identifier_in_use);
  if (in_progress_ >= limits_.operations) return std::unexpected(CopyStartError::too_many_operations);
  if (found != by_key_.end()) unlist(found);
  auto operation = base::make_ref<CopyOperation>(key, command);
  by_key_.emplace(key, operation);
  ++in_progress_;
  return CopyOperationGuard(*this, std::move(operation));
}

const CopyOperation* CopyOperations::find(const CopyOperationKey& key) const {
  auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : found->second.get();
}

void CopyOperations::discard_rod_token_information(const CopyOperationKey& key) {
  auto found = by_key_.find(key);
  if (found == by_key_.end() || in_progress(found->second->status())) return;
  found->second->rod_token_information_kept_ = false;
  found->second->outcome_.token.reset();
}

void CopyOperations::finish(CopyOperation& operation, CopyOutcome outcome) {
  --in_progress_;
  operation.outcome_ = std::move(outcome);
  if (!operation.listed_) return;
  operation.finished_ = ++finished_count_;
  by_age_.emplace(operation.finished_, operation.key_);
  if (by_age_.size() > limits_.results) unlist(by_key_.find(by_age_.begin()->second));
}

CopyOperations::ByKey::iterator CopyOperations::unlist(ByKey::iterator at) {
  at->second->listed_ = false;
  by_age_.erase(at->second->finished_);
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
