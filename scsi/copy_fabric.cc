#include "scsi/copy_fabric.h"

#include <fmt/format.h>

#include <algorithm>

#include "scsi/copy_manager.h"
#include "scsi/journal.h"
#include "scsi/logical_unit.h"
#include "scsi/rules.h"

namespace scsi {

const Reachability::Cut* Reachability::find(const std::vector<std::string>& source,
                                            const std::vector<std::string>& destination) const {
  auto names = [](const std::vector<std::string>& end, const std::string& name) {
    return std::ranges::find(end, name) != end.end();
  };
  auto cut = std::ranges::find_if(cuts_, [&](const Cut& each) {
    return (names(source, each.a) && names(destination, each.b)) ||
           (names(source, each.b) && names(destination, each.a));
  });
  return cut == cuts_.end() ? nullptr : &*cut;
}

CopyFabric::CopyFabric() : rules_(std::make_unique<RuleSet>()) {}
CopyFabric::~CopyFabric() = default;

void CopyFabric::set_cuts(std::vector<Reachability::Cut> cuts) {
  std::vector<Reachability::Cut> before = reachability_.cuts();
  reachability_.set(std::move(cuts));
  if (!journal_) return;
  auto tell = [&](const auto& these, const auto& others, std::string_view what) {
    for (const Reachability::Cut& cut : these)
      if (std::ranges::find(others, cut) == others.end())
        journal_->record({.kind = EventKind::reachability, .reason = fmt::format("{} and {} {}", cut.a, cut.b, what)});
  };
  tell(before, reachability_.cuts(), "can reach each other again");
  tell(reachability_.cuts(), before, "cannot reach each other");
}

void CopyFabric::remove(CopyManager& manager) {
  std::erase(managers_, &manager);
  std::erase_if(units_, [&](const auto& unit) { return unit.second.manager == &manager; });
}

void CopyFabric::add(LogicalUnit& lu, CopyManager& manager) { units_[lu.config().name] = {&lu, &manager}; }

void CopyFabric::remove(const LogicalUnit& lu) {
  std::erase_if(units_, [&](const auto& unit) { return unit.second.lu == &lu; });
}

std::optional<CopyFabric::Place> CopyFabric::find(const std::string& name) const {
  auto found = units_.find(name);
  if (found == units_.end()) return {};
  return found->second;
}

LogicalUnit* CopyFabric::find_if(const CopyManager& manager,
                                 const std::function<bool(const LogicalUnit&)>& matches) const {
  for (const auto& [name, place] : units_)
    if (place.manager == &manager && matches(*place.lu)) return place.lu;
  return nullptr;
}

void CopyFabric::for_each(const CopyManager& manager, const std::function<void(LogicalUnit&)>& visit) const {
  for (const auto& [name, place] : units_)
    if (place.manager == &manager) visit(*place.lu);
}

CopyManager* CopyFabric::creator_of(const tokens::RodToken& token) const {
  auto maker = std::ranges::find_if(managers_, [&](CopyManager* each) { return each->tokens().created_here(token); });
  return maker == managers_.end() ? nullptr : *maker;
}

}  // namespace scsi
