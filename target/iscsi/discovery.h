// SendTargets (RFC 7143, appendix C): which targets an initiator is told of, and where they are. Thread: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "target/iscsi/node.h"

namespace iscsi {

/// Who asks, from where.
struct DiscoveryRequest {
  std::string initiator_name;
  const TargetNode* session_target = nullptr;  ///< null in a discovery session
  PortalAddress local{};                       ///< the address the initiator reached
};

/// The text that answers SendTargets=`value`: "All", a target's name, or nothing (the session's own target). Only
/// targets the initiator may log in to are told; an unknown name is answered with no text at all. Nothing when the
/// value is none of the three, or has no meaning in this session: the answer is Reject.
std::optional<std::string> send_targets(const Directory& directory, const DiscoveryRequest& request,
                                        std::string_view value);

/// "192.0.2.1:3260", "[2001:db8::1]:3260": IPv6 addresses bracketed, without a zone.
std::string format_portal(const PortalAddress& portal);

}  // namespace iscsi
