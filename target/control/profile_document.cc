#include "target/control/profile_document.h"

#include <boost/json.hpp>

#include "target/config_profile.h"

namespace target::control {
namespace {

namespace json = boost::json;

constexpr Field kFields[] = {
    {.name = "tokens", .kind = Kind::object, .about = "the keys of [tokens]"},
    {.name = "copy", .kind = Kind::object, .about = "the keys of [copy]"},
    {.name = "block_limits", .kind = Kind::object, .about = "the keys of [block_limits]"},
};

std::string_view completion_word(scsi::CopyDuration::Completion completion) {
  return completion == scsi::CopyDuration::Completion::at_once ? "at-once" : "scheduled";
}

json::object tokens_document(const scsi::DeviceProfile& profile) {
  json::array types;
  for (const tokens::RodTypeSupport& row : profile.rod_types) types.emplace_back(rod_type_word(row.type));
  json::object keys{{"odx", profile.odx},
                    {"lifetime_s", profile.token_lifetime_s},
                    {"minimum_lifetime_s", profile.minimum_token_lifetime_s},
                    {"maximum_lifetime_s", profile.maximum_token_lifetime_s},
                    {"default_inactivity_timeout_s", profile.default_inactivity_timeout_s},
                    {"maximum_inactivity_timeout_s", profile.maximum_inactivity_timeout_s},
                    {"maximum_tokens", profile.maximum_tokens},
                    {"maximum_range_descriptors", profile.maximum_range_descriptors},
                    {"maximum_transfer", profile.maximum_token_transfer_bytes},
                    {"optimal_transfer", profile.optimal_transfer_bytes},
                    {"alignment", profile.offload_alignment_bytes},
                    {"rod_types", std::move(types)},
                    {"populate_type", rod_type_word(profile.populate_token_type)},
                    {"source_write_cancels", profile.source_write_cancels},
                    {"partial_write", profile.partial_write},
                    {"populate_latency_ms", profile.populate_duration.latency_us / 1000},
                    {"populate_rate", profile.populate_duration.bytes_per_second},
                    {"populate_completion", completion_word(profile.populate_duration.completion)},
                    {"maximum_results", profile.maximum_copy_results}};
  if (profile.remote_tokens) keys["remote_tokens"] = *profile.remote_tokens;
  return keys;
}

json::object copy_document(const scsi::DeviceProfile& profile) {
  return {{"extended_copy", profile.extended_copy},
          {"background", profile.background},
          {"refusal", word_of(kRefusalWords, profile.unreachable_refusal)},
          {"latency_ms", profile.copy_duration.latency_us / 1000},
          {"rate", profile.copy_duration.bytes_per_second},
          {"completion", completion_word(profile.copy_duration.completion)},
          {"maximum_operations", profile.maximum_copy_operations},
          {"maximum_cscd_descriptors", profile.maximum_cscd_descriptors},
          {"maximum_segment_descriptors", profile.maximum_segment_descriptors},
          {"maximum_descriptor_list", profile.maximum_descriptor_list_bytes},
          {"maximum_inline_data", profile.maximum_inline_data_bytes},
          {"maximum_segment", profile.maximum_segment_bytes},
          {"segment_granularity", 1ull << profile.data_segment_granularity_log2},
          {"held_data_limit", profile.held_data_limit_bytes},
          {"held_data_granularity", 1ull << profile.held_data_granularity_log2},
          {"across_targets", profile.extended_copy_across_targets}};
}

json::object block_limits_document(const scsi::DeviceProfile& profile) {
  return {{"maximum_transfer", profile.maximum_transfer_bytes},
          {"largest_transfer", profile.largest_transfer_bytes},
          {"optimal_transfer", profile.optimal_transfer_length_bytes},
          {"maximum_compare_and_write_blocks", profile.maximum_compare_and_write_blocks},
          {"maximum_unmap_blocks", profile.maximum_unmap_lba_count},
          {"maximum_unmap_descriptors", profile.maximum_unmap_descriptors},
          {"maximum_write_same", profile.maximum_write_same_bytes},
          {"maximum_atomic", profile.maximum_atomic_bytes},
          {"erase_rate", profile.erase_bytes_per_second}};
}

}  // namespace

constexpr Shape kProfileShape{.name = "Profile", .about = "The limits of an array", .fields = kFields};

json::object profile_document(const scsi::DeviceProfile& profile) {
  return {{"tokens", tokens_document(profile)},
          {"copy", copy_document(profile)},
          {"block_limits", block_limits_document(profile)}};
}

}  // namespace target::control
