#include "target/iscsi/discovery.h"

#include <fmt/format.h>

#include <algorithm>

#include "target/iscsi/name.h"
#include "target/iscsi/text_keys.h"

namespace iscsi {
namespace {

void append_target(std::string& text, const TargetNode& target, const PortalAddress& local) {
  append_pair(text, "TargetName", target.name);
  auto append_address = [&](const PortalAddress& portal) {
    // WINDOWS: needs the tag after the comma (facts: windows-host 6.1).
    append_pair(text, "TargetAddress", fmt::format("{},{}", format_portal(portal), target.portal_group_tag));
  };
  if (target.portals.empty()) append_address(local);
  for (const PortalAddress& portal : target.portals) append_address(portal);
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
