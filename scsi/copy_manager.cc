#include "scsi/copy_manager.h"

#include <algorithm>

#include "scsi/logical_unit.h"

namespace scsi {

void Reachability::cut(const std::string& a, const std::string& b) { cut_.emplace_back(a, b); }

bool Reachability::reachable(const std::string& source, const std::string& destination) const {
  return std::ranges::none_of(cut_, [&](const auto& pair) {
    return pair == std::pair(source, destination) || pair == std::pair(destination, source);
  });
}

struct CopyManager::Impl {
  DeviceProfile profile;
  Reachability reachability;
};

CopyManager::CopyManager(DeviceProfile profile, const base::Clock&, base::Entropy&)
    : impl_(std::make_unique<Impl>(Impl{profile, {}})) {}
CopyManager::~CopyManager() = default;

const DeviceProfile& CopyManager::profile() const { return impl_->profile; }
Reachability& CopyManager::reachability() { return impl_->reachability; }
void CopyManager::nexus_lost(NexusId) {}
void CopyManager::logical_unit_reset(const LogicalUnit&) {}
void CopyManager::exported(const LogicalUnit&, const std::string&) {}
std::vector<std::uint8_t> CopyManager::third_party_copy_page(const LogicalUnit&) const { return {0, 0x8F, 0, 0}; }

}  // namespace scsi
