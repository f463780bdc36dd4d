#include "target/status_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "handlers/memory_pool.h"
#include "handlers/memory_usage.h"
#include "scsi/copy_manager.h"
#include "scsi/logical_unit.h"
#include "target/arrays.h"
#include "target/config_profile.h"
#include "tokens/copy_operation.h"
#include "tokens/token_manager.h"

namespace target {
namespace {

constexpr std::size_t kLongestList = 1000;  // tokens of an array, for people

/// "1.5 GiB", "512 B".
std::string size_text(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

double seconds(base::Duration duration) { return std::chrono::duration<double>(duration).count(); }

ArrayReport array_report(const Array& array, handlers::MemoryUsage& usage, base::TimePoint now) {
  scsi::CopyManager& manager = array.copy_manager();
  ArrayReport report{.name = array.name(), .id = array.id(), .copies = manager.operations().in_progress()};
  report.results = manager.operations().size() - report.copies;
  manager.tokens().for_each(SIZE_MAX, [&](const tokens::TokenManager::Description& token) {
    std::uint64_t memory = usage.count([&] {
      if (token.rod.data()) token.rod.data()->count_memory(usage);  // access upon reference keeps none
    });
    report.tokens.push_back({.id = static_cast<std::uint64_t>(token.id),
                             .source = token.rod.source().name,
                             .type = std::string(rod_type_word(token.rod.type())),
                             .bytes = token.rod.size_bytes(),
                             .memory = memory,
                             .left = token.expires - now});
  });
  return report;
}

void append_tokens(std::string& text, const ArrayReport& array) {
  if (array.tokens.empty()) return;
  text += fmt::format("  {:>20}  {:<24}  {:<31}  {:>10}  {:>10}  {:>9}\n", "token", "source", "type", "represents",
                      "memory", "ends in");
  for (const TokenReport& token : std::span(array.tokens).first(std::min(array.tokens.size(), kLongestList)))
    text += fmt::format("  {:>20}  {:<24}  {:<31}  {:>10}  {:>10}  {:>7.1f} s\n", token.id, token.source, token.type,
                        size_text(token.bytes), size_text(token.memory), seconds(token.left));
  if (array.tokens.size() > kLongestList)
    text += fmt::format("  and {} more; --json lists all\n", array.tokens.size() - kLongestList);
}

}  // namespace

StatusReport status_report(const Arrays& arrays, base::TimePoint now) {
  handlers::MemoryBudget& budget = arrays.memory().budget();
  StatusReport report{.memory_used = budget.used(), .memory_limit = budget.limit()};
  handlers::MemoryUsage usage;
  for (const auto& array : arrays.all())
    for (const Array::ExportedLun& lun : array->luns()) lun.logical_unit->store().count_memory(usage);
  std::uint64_t of_luns = usage.bytes();
  for (const auto& array : arrays.all()) report.arrays.push_back(array_report(*array, usage, now));
  report.memory_of_tokens = usage.bytes() - of_luns;
  return report;
}

std::string status_text(const StatusReport& report) {
  std::string text = fmt::format("memory: {} used of {}, {} of it for tokens only\n", size_text(report.memory_used),
                                 size_text(report.memory_limit), size_text(report.memory_of_tokens));
  for (const ArrayReport& array : report.arrays) {
    text += fmt::format("array {}{}{}: {} tokens, {} copies under way, {} results\n", array.name,
                        array.name.empty() ? "" : ", ", array.id, array.tokens.size(), array.copies, array.results);
    append_tokens(text, array);
  }
  return text;
}

std::string status_json(const StatusReport& report) {
  boost::json::object line{{"event", "status"},
                           {"memory_used", report.memory_used},
                           {"memory_limit", report.memory_limit},
                           {"memory_of_tokens", report.memory_of_tokens}};
  boost::json::array& arrays = line["arrays"].emplace_array();
  for (const ArrayReport& array : report.arrays) {
    boost::json::array tokens;
    for (const TokenReport& token : array.tokens)
      tokens.push_back(boost::json::object{{"id", token.id},
                                           {"source", token.source},
                                           {"type", token.type},
                                           {"bytes", token.bytes},
                                           {"memory", token.memory},
                                           {"ends_in_s", seconds(token.left)}});
    boost::json::object object{{"id", array.id}, {"copies", array.copies}, {"results", array.results}};
    if (!array.name.empty()) object["name"] = array.name;
    object["tokens"] = std::move(tokens);
    arrays.push_back(std::move(object));
  }
  return boost::json::serialize(line);
}

}  // namespace target
