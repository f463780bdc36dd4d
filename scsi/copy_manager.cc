#include "scsi/copy_manager.h"

#include <algorithm>
#include <set>

#include "scsi/command_table.h"
#include "scsi/copy_identity.h"
#include "scsi/copy_layouts.h"
#include "scsi/logical_unit.h"
#include "scsi/third_party_copy_page.h"
#include "tokens/copy_operation.h"
#include "tokens/token_manager.h"

namespace scsi {

namespace {

/// REMOTE TOKENS (SPC-4 table 636).
constexpr std::uint8_t kTokensOfThisTargetOnly = 0x0;
constexpr std::uint8_t kTokensOfOtherTargets = 0x4;

/// Tombstones a token's worth of memory is spared for: a few bytes each.
constexpr std::size_t kTombstonesPerToken = 4;

tokens::TokenLimits token_limits(const DeviceProfile& profile) {
  return {.tokens = profile.maximum_tokens,
          .tombstones = kTombstonesPerToken * profile.maximum_tokens,
          .lifetime = std::chrono::seconds(profile.token_lifetime_s),
          .rod_types = profile.rod_types};
}

/// The third-party copy rows of the command table, so that the page cannot name what is not there.
std::vector<ThirdPartyCopyPage::SupportedCommand> supported_commands() {
  std::vector<ThirdPartyCopyPage::SupportedCommand> commands{{kThirdPartyCopyOut}, {kThirdPartyCopyIn}};
  for (const CommandDescriptor& row : command_table())  // sorted
    for (auto& command : commands)
      if (row.opcode == command.operation_code && row.service_action)
        command.service_actions.push_back(static_cast<std::uint8_t>(*row.service_action));
  return commands;
}

}  // namespace

void Reachability::cut(const std::string& a, const std::string& b) { cut_.emplace_back(a, b); }

bool Reachability::reachable(const std::string& source, const std::string& destination) const {
  return std::ranges::none_of(cut_, [&](const auto& pair) {
    return pair == std::pair(source, destination) || pair == std::pair(destination, source);
  });
}

struct CopyManager::Impl {
  Impl(const DeviceProfile& its_profile, const base::Clock& clock, base::Entropy& entropy)
      : profile(its_profile),
        tokens(token_limits(profile), clock, entropy),
        operations({.operations = profile.maximum_copy_operations, .results = profile.maximum_copy_results}) {}

  DeviceProfile profile;
  tokens::TokenManager tokens;
  tokens::CopyOperations operations;
  Reachability reachability;
  std::set<std::string> targets;
};

CopyManager::CopyManager(DeviceProfile profile, const base::Clock& clock, base::Entropy& entropy)
    : impl_(std::make_unique<Impl>(std::move(profile), clock, entropy)) {}
CopyManager::~CopyManager() = default;

const DeviceProfile& CopyManager::profile() const { return impl_->profile; }
tokens::TokenManager& CopyManager::tokens() { return impl_->tokens; }
tokens::CopyOperations& CopyManager::operations() { return impl_->operations; }
Reachability& CopyManager::reachability() { return impl_->reachability; }

void CopyManager::exported(const LogicalUnit& lu, const std::string& target_name) {
  impl_->tokens.add_creator(creator_descriptor(lu));
  impl_->targets.insert(target_name);
}

void CopyManager::nexus_lost(NexusId nexus) { impl_->operations.nexus_lost(static_cast<std::uint32_t>(nexus)); }

void CopyManager::logical_unit_reset(const LogicalUnit& lu) { impl_->operations.logical_unit_reset(lu.identity().naa); }

std::vector<std::uint8_t> CopyManager::third_party_copy_page(const LogicalUnit& lu) const {
  const DeviceProfile& profile = impl_->profile;
  ThirdPartyCopyPage page;
  page.block_device_rod_limits = {
      .maximum_range_descriptors = profile.maximum_range_descriptors,
      .maximum_inactivity_timeout_s = profile.maximum_inactivity_timeout_s,
      .default_inactivity_timeout_s = profile.default_inactivity_timeout_s,
      .maximum_token_transfer_size_blocks = profile.maximum_token_transfer_bytes / lu.block_length(),
      .optimal_transfer_count_blocks = profile.optimal_transfer_bytes / lu.block_length()};
  page.supported_commands = supported_commands();
  page.rod_token_features = {
      .remote_tokens = impl_->targets.size() > 1 ? kTokensOfOtherTargets : kTokensOfThisTargetOnly,
      .minimum_token_lifetime_s = profile.token_lifetime_s,
      .maximum_token_lifetime_s = profile.token_lifetime_s,
      .maximum_token_inactivity_timeout_s = profile.maximum_inactivity_timeout_s,
      .maximum_bytes_in_block_rod = profile.maximum_token_transfer_bytes,
      .optimal_bytes_in_block_rod_transfer = profile.optimal_transfer_bytes};
  for (const tokens::RodTypeSupport& row : profile.rod_types)
    page.supported_rod_types.push_back({.type = row.type,
                                        .extended_copy_internal = profile.extended_copy && row.internal,
                                        .token_in = row.token_in,
                                        .token_out = row.token_out});
  page.general_copy_operations = {.total_concurrent_copies = profile.maximum_copy_operations,
                                  .maximum_identified_concurrent_copies = profile.maximum_copy_operations};
  return encode(page);
}

}  // namespace scsi
