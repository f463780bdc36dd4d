#include "target/config_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "scsi/profiles.h"

namespace target {
namespace {

using scsi::DeviceProfile;
using tokens::RodType;

constexpr std::uint64_t kU32 = UINT32_MAX;
constexpr std::uint64_t kSmallestTransfer = 4096;  // one block of either length
constexpr std::uint64_t kDayMs = 86'400'000;

constexpr Word<RodType> kRodTypes[] = {
    {"access-upon-reference", RodType::access_upon_reference},
    {"point-in-time-default", RodType::point_in_time_default},
    {"point-in-time-change-vulnerable", RodType::point_in_time_change_vulnerable},
    {"point-in-time-persistent", RodType::point_in_time_persistent},
    {"point-in-time-any", RodType::point_in_time_any},
    {"zero", RodType::block_device_zero},
};

constexpr Word<scsi::CopyDuration::Completion> kCompletions[] = {
    {"at-once", scsi::CopyDuration::Completion::at_once},
    {"scheduled", scsi::CopyDuration::Completion::scheduled},
};

template <typename T, std::size_t kCount>
std::optional<T> read_word(const TableReader& table, std::string_view key, const Word<T> (&words)[kCount]) {
  const std::string rule = one_of(words);
  auto text = table.text(key, rule);
  if (!text) return std::nullopt;
  auto value = find_word(words, *text);
  if (!value) table.refuse(key, rule);
  return value;
}

/// A limit that may not pass another: written, it is refused; left to its default, it follows.
template <typename T>
void keep_at_most(const TableReader& table, std::string_view key, T& value, std::string_view limit_key, T limit) {
  if (value <= limit) return;
  if (table.has(key)) table.refuse(key, fmt::format("at most {}, {}", limit_key, limit));
  value = limit;
}

/// Sets `to` to the power of two that the key gives in bytes.
void power_of_two_into(const TableReader& table, std::string_view key, std::uint8_t& to) {
  auto bytes = table.size(key, 1);
  if (!bytes) return;
  if (!std::has_single_bit(*bytes) || *bytes > 1u << 30) table.refuse(key, "a power of two of at most 1G");
  to = static_cast<std::uint8_t>(std::countr_zero(*bytes));
}

void u32_size_into(const TableReader& table, std::string_view key, std::uint64_t low, std::uint64_t high,
                   std::uint32_t& to) {
  auto bytes = table.size(key, low);
  if (!bytes) return;
  if (*bytes > high) table.refuse(key, fmt::format("a size from {} to {} bytes", low, high));
  to = static_cast<std::uint32_t>(*bytes);
}

/// A size that may also be 0, for "no limit".
template <typename T>
void limit_into(const TableReader& table, std::string_view key, std::uint64_t low, T& to,
                T high = std::numeric_limits<T>::max()) {
  auto bytes = table.size(key, 0);
  if (!bytes) return;
  if ((*bytes != 0 && *bytes < low) || *bytes > high)
    table.refuse(key, fmt::format("0 for no limit, or a size from {} to {} bytes", low, high));
  to = static_cast<T>(*bytes);
}

void duration_into(const TableReader& table, const std::string& prefix, scsi::CopyDuration& to) {
  if (auto latency = table.number(prefix + "latency_ms", 0, kDayMs)) to.latency_us = *latency * 1000;
  limit_into(table, prefix + "rate", 1024, to.bytes_per_second, scsi::CopyDuration::kHighestRate);
  if (auto completion = read_word(table, prefix + "completion", kCompletions)) to.completion = *completion;
}

void read_rod_types(const TableReader& table, DeviceProfile& profile) {
  const std::string rule = "an array of " + quoted(kRodTypes);
  if (table.has("rod_types")) {
    std::vector<tokens::RodTypeSupport> chosen;
    const std::vector<std::string> names = table.texts("rod_types", rule);
    for (const std::string& name : names)
      if (!find_word(kRodTypes, name))
        table.complain("rod_types", fmt::format("holds \"{}\"; expected {}", name, rule));
    for (const tokens::RodTypeSupport& row : tokens::all_rod_types())
      if (std::ranges::any_of(names, [&](const std::string& each) { return find_word(kRodTypes, each) == row.type; }))
        chosen.push_back(row);
    profile.rod_types = std::move(chosen);
  }
  if (auto type = read_word(table, "populate_type", kRodTypes)) profile.populate_token_type = *type;
  auto row = std::ranges::find(profile.rod_types, profile.populate_token_type, &tokens::RodTypeSupport::type);
  if (row == profile.rod_types.end() || !row->token_out)
    table.refuse("populate_type", "one of rod_types of which tokens are made");
  row->point_in_time = true;  // what POPULATE TOKEN makes, it may be asked for
}

void read_lives(const TableReader& table, DeviceProfile& profile) {
  table.number_into("lifetime_s", 1, kU32, profile.token_lifetime_s);
  table.number_into("minimum_lifetime_s", 1, kU32, profile.minimum_token_lifetime_s);
  table.number_into("maximum_lifetime_s", 1, kU32, profile.maximum_token_lifetime_s);
  keep_at_most(table, "minimum_lifetime_s", profile.minimum_token_lifetime_s, "lifetime_s", profile.token_lifetime_s);
  if (profile.maximum_token_lifetime_s < profile.token_lifetime_s) {
    if (table.has("maximum_lifetime_s"))
      table.refuse("maximum_lifetime_s", fmt::format("at least lifetime_s, {}", profile.token_lifetime_s));
    profile.maximum_token_lifetime_s = profile.token_lifetime_s;
  }
  table.number_into("maximum_inactivity_timeout_s", 1, kU32, profile.maximum_inactivity_timeout_s);
  table.number_into("default_inactivity_timeout_s", 1, kU32, profile.default_inactivity_timeout_s);
  keep_at_most(table, "default_inactivity_timeout_s", profile.default_inactivity_timeout_s,
               "maximum_inactivity_timeout_s", profile.maximum_inactivity_timeout_s);
}

void read_tokens(const TableReader& parent, DeviceProfile& profile) {
  auto table = parent.table("tokens", {"odx",
                                       "lifetime_s",
                                       "minimum_lifetime_s",
                                       "maximum_lifetime_s",
                                       "default_inactivity_timeout_s",
                                       "maximum_inactivity_timeout_s",
                                       "maximum_tokens",
                                       "maximum_range_descriptors",
                                       "maximum_transfer",
                                       "optimal_transfer",
                                       "alignment",
                                       "rod_types",
                                       "populate_type",
                                       "source_write_cancels",
                                       "partial_write",
                                       "remote_tokens",
                                       "populate_latency_ms",
                                       "populate_rate",
                                       "populate_completion",
                                       "maximum_results"});
  if (!table) return;
  table->flag_into("odx", profile.odx);
  read_lives(*table, profile);
  table->number_into("maximum_tokens", 1, kU32, profile.maximum_tokens);
  table->number_into("maximum_results", 1, kU32, profile.maximum_copy_results);
  table->number_into("maximum_range_descriptors", 0, 0xFFFF, profile.maximum_range_descriptors);
  limit_into(*table, "maximum_transfer", kSmallestTransfer, profile.maximum_token_transfer_bytes);
  limit_into(*table, "optimal_transfer", kSmallestTransfer, profile.optimal_transfer_bytes);
  if (profile.maximum_token_transfer_bytes != 0)
    keep_at_most(*table, "optimal_transfer", profile.optimal_transfer_bytes, "maximum_transfer",
                 profile.maximum_token_transfer_bytes);
  limit_into(*table, "alignment", 1, profile.offload_alignment_bytes);
  read_rod_types(*table, profile);
  table->flag_into("source_write_cancels", profile.source_write_cancels);
  table->flag_into("partial_write", profile.partial_write);
  // REMOTE TOKENS, SPC-4 table 636: creation for others (6h) is not offered.
  if (auto remote = table->choice("remote_tokens", {0, 4})) profile.remote_tokens = static_cast<std::uint8_t>(*remote);
  duration_into(*table, "populate_", profile.populate_duration);
}

void read_copy(const TableReader& parent, DeviceProfile& profile) {
  auto table =
      parent.table("copy", {"extended_copy", "background", "refusal", "latency_ms", "rate", "completion",
                            "maximum_operations", "maximum_cscd_descriptors", "maximum_segment_descriptors",
                            "maximum_descriptor_list", "maximum_inline_data", "maximum_segment", "segment_granularity",
                            "held_data_limit", "held_data_granularity", "across_targets"});
  if (!table) return;
  table->flag_into("extended_copy", profile.extended_copy);
  table->flag_into("background", profile.background);
  if (auto refusal = read_refusal(*table, "refusal")) profile.unreachable_refusal = *refusal;
  duration_into(*table, "", profile.copy_duration);
  table->number_into("maximum_operations", 1, kU32, profile.maximum_copy_operations);
  table->number_into("maximum_cscd_descriptors", 1, 0x800, profile.maximum_cscd_descriptors);  // IDs 0000h to 07FFh
  table->number_into("maximum_segment_descriptors", 1, 0xFFFF, profile.maximum_segment_descriptors);
  u32_size_into(*table, "maximum_descriptor_list", 64, 1 << 20, profile.maximum_descriptor_list_bytes);
  u32_size_into(*table, "maximum_inline_data", 0, 0xFFFF, profile.maximum_inline_data_bytes);
  limit_into(*table, "maximum_segment", kSmallestTransfer, profile.maximum_segment_bytes);
  power_of_two_into(*table, "segment_granularity", profile.data_segment_granularity_log2);
  u32_size_into(*table, "held_data_limit", 0, 1 << 30, profile.held_data_limit_bytes);
  power_of_two_into(*table, "held_data_granularity", profile.held_data_granularity_log2);
  table->flag_into("across_targets", profile.extended_copy_across_targets);
}

/// VPD page B0h, and what goes with it.
void read_block_limits(const TableReader& parent, DeviceProfile& profile) {
  auto table =
      parent.table("block_limits", {"maximum_transfer", "largest_transfer", "optimal_transfer",
                                    "maximum_compare_and_write_blocks", "maximum_unmap_blocks",
                                    "maximum_unmap_descriptors", "maximum_write_same", "maximum_atomic", "erase_rate"});
  if (!table) return;
  limit_into(*table, "maximum_transfer", kSmallestTransfer, profile.maximum_transfer_bytes);
  table->size_into("largest_transfer", kSmallestTransfer, profile.largest_transfer_bytes);
  limit_into(*table, "optimal_transfer", kSmallestTransfer, profile.optimal_transfer_length_bytes);
  if (profile.maximum_transfer_bytes != 0)
    keep_at_most(*table, "optimal_transfer", profile.optimal_transfer_length_bytes, "maximum_transfer",
                 profile.maximum_transfer_bytes);
  table->number_into("maximum_compare_and_write_blocks", 0, 255, profile.maximum_compare_and_write_blocks);
  table->number_into("maximum_unmap_blocks", 1, kU32, profile.maximum_unmap_lba_count);
  table->number_into("maximum_unmap_descriptors", 1, 4095, profile.maximum_unmap_descriptors);  // UNMAP's 16-bit length
  limit_into(*table, "maximum_write_same", kSmallestTransfer, profile.maximum_write_same_bytes);
  limit_into(*table, "maximum_atomic", kSmallestTransfer, profile.maximum_atomic_bytes);
  limit_into(*table, "erase_rate", 1, profile.erase_bytes_per_second);
}

}  // namespace

std::string_view rod_type_word(RodType type) {
  auto found = std::ranges::find(kRodTypes, type, &Word<RodType>::value);
  return found == std::end(kRodTypes) ? "?" : found->word;
}

std::optional<scsi::UnreachableRefusal> read_refusal(const TableReader& table, std::string_view key) {
  return read_word(table, key, kRefusalWords);
}

std::string profile_rule() {
  std::string names;
  for (const scsi::NamedProfile& each : scsi::profiles())
    names += fmt::format("{}\"{}\"", names.empty() ? "one of " : ", ", each.name);
  return names;
}

DeviceProfile read_profile(const TableReader& table) {
  DeviceProfile profile;
  if (auto name = table.text("profile", profile_rule())) {
    auto found = scsi::find_profile(*name);
    if (!found) table.refuse("profile", profile_rule());
    profile = std::move(*found);
  }
  read_tokens(table, profile);
  read_copy(table, profile);
  read_block_limits(table, profile);
  return profile;
}

}  // namespace target
