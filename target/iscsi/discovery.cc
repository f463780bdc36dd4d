#include "target/iscsi/discovery.h"

#include <fmt/format.h>

#include <algorithm>

#include "target/iscsi/name.h"
#include "target/iscsi/text_keys.h"

namespace iscsi {
namespace {

/// A target's name without an address would say that it is here (RFC 7143, appendix C), so it goes with one or not at
/// all.
void append_target(std::string& text, const TargetNode& target, const PortalAddress& local) {
  std::string addresses;
  auto append_address = [&](const PortalAddress& portal) {
    if (!target.is_offered_in(portal.portal_group_tag)) return;
    // WINDOWS: needs the tag after the comma.
    append_pair(addresses, "TargetAddress", fmt::format("{},{}", format_portal(portal), portal.portal_group_tag));
  };
  if (target.portals.empty()) append_address(local);
  for (const PortalAddress& portal : target.portals) append_address(portal);
  if (addresses.empty()) return;
  append_pair(text, "TargetName", target.name);
  text += addresses;
}

}  // namespace

std::string format_portal(const PortalAddress& portal) {
  std::string address = portal.address;
  if (std::ranges::count(address, ':') > 1) {
    // A zone means something only on the machine it stands on (fe80::1%eth0).
    if (std::size_t zone = address.find('%'); zone != std::string::npos)
      address.erase(zone, address.ends_with(']') ? address.size() - 1 - zone : std::string::npos);
    if (!address.starts_with('[')) address = '[' + address + ']';
  }
  return fmt::format("{}:{}", address, portal.port);
}

std::optional<std::string> send_targets(const Directory& directory, const DiscoveryRequest& request,
                                        std::string_view value) {
  std::string text;
  if (value == "All") {
    for (const auto& target : directory.targets)
      if (target->allows(request.initiator_name)) append_target(text, *target, request.local);
    return text;
  }
  if (value.empty()) {
    if (!request.session_target) return std::nullopt;
    append_target(text, *request.session_target, request.local);
    return text;
  }
  auto name = normalised_name(value);
  if (!name) return std::nullopt;
  auto target = directory.find(*name);
  if (target && target->allows(request.initiator_name)) append_target(text, *target, request.local);
  return text;
}

}  // namespace iscsi
