#include "scsi/copy_manager.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "scsi/command_table.h"
#include "scsi/copy_identity.h"
#include "scsi/copy_job.h"
#include "scsi/copy_layouts.h"
#include "scsi/extended_copy_list.h"
#include "scsi/journal.h"
#include "scsi/logical_unit.h"
#include "scsi/source_watch.h"
#include "scsi/task_set.h"
#include "scsi/third_party_copy_page.h"
#include "scsi/token_keeper.h"
#include "scsi/unit_attentions.h"
#include "scsi/work_queue.h"
#include "tokens/copy_operation.h"
#include "tokens/token_manager.h"

namespace scsi {

namespace {

/// REMOTE TOKENS (SPC-4 table 636).
constexpr std::uint8_t kTokensOfThisTargetOnly = 0x0;
constexpr std::uint8_t kTokensOfOtherTargets = 0x4;

/// Tombstones a token's worth of memory is spared for: some 100 bytes each.
constexpr std::size_t kTombstonesPerToken = 4;

tokens::TokenLimits token_limits(const DeviceProfile& profile) {
  return {.tokens = profile.maximum_tokens,
          .tombstones = kTombstonesPerToken * profile.maximum_tokens,
          .lifetime = std::chrono::seconds(profile.token_lifetime_s),
          .rod_types = profile.rod_types};
}

/// The third-party copy rows of the command table, so that the page cannot name what is not there.
std::vector<ThirdPartyCopyPage::SupportedCommand> supported_commands(const DeviceProfile& profile) {
  std::vector<ThirdPartyCopyPage::SupportedCommand> commands{{kThirdPartyCopyOut}, {kThirdPartyCopyIn}};
  for (const CommandDescriptor& row : command_table())  // sorted
    for (auto& command : commands)
      if (row.opcode == command.operation_code && row.service_action && offers(profile, nullptr, row))
        command.service_actions.push_back(static_cast<std::uint8_t>(*row.service_action));
  return commands;
}

}  // namespace

struct CopyManager::Impl {
  Impl(DeviceProfile&& its_profile, const base::Clock& array_clock, base::Entropy& entropy,
       base::TimerQueue* its_timers, CopyFabric* its_fabric, std::string name)
      : array_name(std::move(name)),
        profile(std::move(its_profile)),
        odx(profile.odx),
        extended_copy(profile.extended_copy),
        clock(array_clock),
        timers(its_timers ? *its_timers : own_timers),
        fabric(its_fabric ? *its_fabric : own_fabric),
        tokens(token_limits(profile), clock, entropy),
        operations({.operations = profile.maximum_copy_operations, .results = profile.maximum_copy_results}) {}

  std::string array_name;
  DeviceProfile profile;
  const bool odx, extended_copy;  ///< as the profile has them, offered or not
  const base::Clock& clock;
  base::TimerQueue own_timers;
  CopyFabric own_fabric;
  base::TimerQueue& timers;
  CopyFabric& fabric;
  tokens::TokenManager tokens;
  tokens::CopyOperations operations;
  std::set<std::string> targets;
  std::optional<TokenKeeper> keeper{};
  std::map<LogicalUnit*, SourceWatch> watches;
  std::map<CopyJob*, std::shared_ptr<CopyJob>> jobs;
};

CopyManager::CopyManager(DeviceProfile profile, const base::Clock& clock, base::Entropy& entropy,
                         base::TimerQueue* timers, CopyFabric* fabric, std::string array_name)
    : impl_(std::make_unique<Impl>(std::move(profile), clock, entropy, timers, fabric, std::move(array_name))) {
  impl_->keeper.emplace(*this);
  impl_->fabric.add(*this);
}

CopyManager::~CopyManager() {
  abandon_jobs();
  impl_->keeper.reset();
  impl_->fabric.remove(*this);
}

void CopyManager::abandon_jobs() {
  for (auto jobs = std::move(impl_->jobs); auto& [job, owned] : jobs) job->abandon();
}

void CopyManager::stop_all(const std::shared_ptr<Rendezvous>& waiter) {
  stop_jobs([](const CopyJob&) { return true; }, waiter);
}

const std::string& CopyManager::array_name() const { return impl_->array_name; }
const DeviceProfile& CopyManager::profile() const { return impl_->profile; }
const base::Clock& CopyManager::clock() const { return impl_->clock; }
base::TimerQueue& CopyManager::timers() { return impl_->timers; }
tokens::TokenManager& CopyManager::tokens() { return impl_->tokens; }
const tokens::TokenManager& CopyManager::tokens() const { return impl_->tokens; }
tokens::CopyOperations& CopyManager::operations() { return impl_->operations; }
CopyFabric& CopyManager::fabric() { return impl_->fabric; }
Journal* CopyManager::journal() const { return impl_->fabric.journal(); }
Reachability& CopyManager::reachability() { return impl_->fabric.reachability(); }

void CopyManager::exported(LogicalUnit& lu, const std::string& target_name) {
  impl_->tokens.add_creator(creator_descriptor(lu));
  impl_->targets.insert(target_name);
  impl_->fabric.add(lu, *this);
}

void CopyManager::add(std::shared_ptr<CopyJob> job) {
  CopyJob* key = job.get();
  job->number_ = impl_->fabric.next_job_number();
  impl_->jobs.emplace(key, std::move(job));
}

void CopyManager::remove(CopyJob& job) { impl_->jobs.erase(&job); }

CopyJob* CopyManager::find_job(const tokens::CopyOperationKey& key) const {
  const tokens::CopyOperation* operation = impl_->operations.find(key);
  if (!operation || !tokens::in_progress(operation->status())) return nullptr;
  auto found = std::ranges::find_if(impl_->jobs,
                                    [&](const auto& job) { return &job.first->operation().operation() == operation; });
  return found == impl_->jobs.end() ? nullptr : found->first;
}

bool ends_by_change(const DeviceProfile& profile, tokens::RodType type) {
  return type == tokens::RodType::point_in_time_change_vulnerable ||
         (profile.source_write_cancels && type == tokens::RodType::point_in_time_default);
}

std::size_t CopyManager::running_jobs() const { return impl_->jobs.size(); }

std::vector<std::shared_ptr<CopyJob>> CopyManager::jobs() const {
  std::vector<std::shared_ptr<CopyJob>> all;
  for (const auto& [job, owned] : impl_->jobs) all.push_back(owned);
  std::ranges::sort(all, {}, [](const auto& job) { return job->number(); });
  return all;
}

void CopyManager::nexus_lost(NexusId nexus) { impl_->operations.nexus_lost(static_cast<std::uint32_t>(nexus)); }

void CopyManager::stop_jobs(const std::function<bool(const CopyJob&)>& selected,
                            const std::shared_ptr<Rendezvous>& waiter) {
  std::vector<std::shared_ptr<CopyJob>> stopped;
  for (auto& [job, owned] : impl_->jobs)
    if (selected(*job)) stopped.push_back(owned);
  for (const auto& job : stopped) job->stop(waiter);
}

void CopyManager::stop_using(const LogicalUnit& lu, NexusId nexus, const std::shared_ptr<Rendezvous>& waiter) {
  stop_jobs([&](const CopyJob& job) { return job.uses(lu) && (nexus == NexusId::none || job.nexus() == nexus); },
            waiter);
}

void CopyManager::logical_unit_reset(const LogicalUnit& lu, const std::shared_ptr<Rendezvous>& waiter) {
  impl_->operations.logical_unit_reset(lu.identity().naa);
  stop_using(lu, NexusId::none, waiter);
}

void CopyManager::logical_unit_shrunk(const LogicalUnit& lu) {
  auto nobody = std::make_shared<Rendezvous>([] {});
  for (CopyManager* manager : impl_->fabric.managers()) manager->stop_using(lu, NexusId::none, nobody);
  auto lost = [this, size = lu.size_bytes()](const tokens::Rod& rod) {
    bool vulnerable = !rod.data() || ends_by_change(impl_->profile, rod.type());
    return vulnerable &&
           std::ranges::any_of(rod.source().ranges, [&](const auto& range) { return range.end() > size; });
  };
  impl_->tokens.cancel_of(lu.identity().naa, lost, tokens::TokenEnd::source_shrank);
}

void CopyManager::medium_lost(const LogicalUnit& lu) {
  auto nobody = std::make_shared<Rendezvous>([] {});
  for (CopyManager* manager : impl_->fabric.managers()) manager->stop_using(lu, NexusId::none, nobody);
  impl_->tokens.cancel_of(lu.identity().naa, tokens::TokenEnd::source_lost);
}

void CopyManager::logical_unit_removed(LogicalUnit& lu, const std::shared_ptr<Rendezvous>& waiter) {
  impl_->fabric.remove(lu);
  for (CopyManager* manager : impl_->fabric.managers()) manager->stop_using(lu, NexusId::none, waiter);
  lu.work().watch(nullptr);
  impl_->watches.erase(&lu);
  // The same file behind two targets is one logical unit to hosts, and the other stays.
  auto same = [&](const LogicalUnit& other) { return other.identity().naa == lu.identity().naa; };
  if (impl_->fabric.find_if(*this, same)) return;
  impl_->tokens.cancel_of(lu.identity().naa, tokens::TokenEnd::source_removed);
  impl_->operations.logical_unit_reset(lu.identity().naa);
}

void CopyManager::offer_third_party_copy(bool offered) {
  const bool odx = offered && impl_->odx, extended_copy = offered && impl_->extended_copy;
  if (odx == impl_->profile.odx && extended_copy == impl_->profile.extended_copy) return;
  impl_->profile.odx = odx;
  impl_->profile.extended_copy = extended_copy;
  impl_->fabric.for_each(*this, [](LogicalUnit& lu) {
    lu.unit_attentions().establish_for_all(AdditionalSense::inquiry_data_has_changed);
  });
  if (Journal* its_journal = journal())
    its_journal->record(
        {.kind = EventKind::configuration,
         .array = array_name(),
         .reason = offered ? "third-party copy is offered again" : "third-party copy is offered no more"});
}

void CopyManager::target_removed(const std::string& target_name) { impl_->targets.erase(target_name); }

bool CopyManager::in_use(const LogicalUnit& lu) const {
  return std::ranges::any_of(impl_->fabric.managers(), [&](const CopyManager* manager) {
    return std::ranges::any_of(manager->impl_->jobs, [&](const auto& job) { return job.first->uses(lu); });
  });
}

void CopyManager::watch(LogicalUnit& lu, const std::vector<handlers::ByteRange>& ranges, tokens::TokenId token) {
  SourceWatch& watch = impl_->watches[&lu];
  watch.add(ranges, token, [&](tokens::TokenId id) { return impl_->tokens.state(id) == tokens::TokenState::valid; });
  lu.work().watch([this, &watch](handlers::ByteRange range) {
    for (tokens::TokenId id : watch.take(range)) impl_->tokens.cancel(id, tokens::TokenEnd::source_changed);
    return !watch.empty();
  });
}

std::uint8_t CopyManager::remote_tokens() const {
  bool elsewhere =
      impl_->targets.size() > 1 || impl_->fabric.managers().size() > 1 || impl_->fabric.remote_rods() != nullptr;
  return impl_->profile.remote_tokens.value_or(elsewhere ? kTokensOfOtherTargets : kTokensOfThisTargetOnly);
}

std::vector<std::uint8_t> CopyManager::third_party_copy_page(const LogicalUnit& lu) const {
  const DeviceProfile& profile = impl_->profile;
  ThirdPartyCopyPage page;
  if (profile.odx)
    page.block_device_rod_limits = {
        .maximum_range_descriptors = profile.maximum_range_descriptors,
        .maximum_inactivity_timeout_s = profile.maximum_inactivity_timeout_s,
        .default_inactivity_timeout_s = profile.default_inactivity_timeout_s,
        .maximum_token_transfer_size_blocks = profile.maximum_token_transfer_bytes / lu.block_length(),
        .optimal_transfer_count_blocks = profile.optimal_transfer_bytes / lu.block_length()};
  page.supported_commands = supported_commands(profile);
  if (profile.extended_copy) {
    page.parameter_data = {.maximum_cscd_descriptor_count = profile.maximum_cscd_descriptors,
                           .maximum_segment_descriptor_count = profile.maximum_segment_descriptors,
                           .maximum_descriptor_list_length = profile.maximum_descriptor_list_bytes,
                           .maximum_inline_data_length = profile.maximum_inline_data_bytes};
    page.supported_descriptors = supported_descriptor_types(profile);
    page.supported_cscd_ids = supported_cscd_ids(profile);
    if (profile.held_data_limit_bytes > 0)
      page.held_data = {.held_data_limit_bytes = profile.held_data_limit_bytes,
                        .held_data_granularity_log2 = profile.held_data_granularity_log2};
  }
  page.rod_token_features = {.remote_tokens = remote_tokens(),
                             .minimum_token_lifetime_s = profile.minimum_token_lifetime_s,
                             .maximum_token_lifetime_s = profile.maximum_token_lifetime_s,
                             .maximum_token_inactivity_timeout_s = profile.maximum_inactivity_timeout_s,
                             .maximum_bytes_in_block_rod = profile.maximum_token_transfer_bytes,
                             .optimal_bytes_in_block_rod_transfer = profile.optimal_transfer_bytes};
  for (const tokens::RodTypeSupport& row : profile.rod_types)
    page.supported_rod_types.push_back({.type = row.type,
                                        .extended_copy_internal = profile.extended_copy && row.internal,
                                        .token_in = row.token_in,
                                        .token_out = row.token_out});
  page.general_copy_operations = {.total_concurrent_copies = profile.maximum_copy_operations,
                                  .maximum_identified_concurrent_copies = profile.maximum_copy_operations,
                                  .maximum_segment_length_bytes = profile.maximum_segment_bytes,
                                  .data_segment_granularity_log2 = profile.data_segment_granularity_log2};
  return encode(page);
}

}  // namespace scsi
