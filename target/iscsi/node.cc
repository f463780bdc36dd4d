#include "target/iscsi/node.h"

#include <algorithm>

namespace iscsi {

bool TargetNode::allows(const std::string& initiator_name) const {
  return allowed_initiators.empty() ||
         std::ranges::find(allowed_initiators, initiator_name) != allowed_initiators.end();
}

bool TargetNode::is_offered_in(std::uint16_t portal_group_tag) const {
  return std::ranges::find(portal_group_tags, portal_group_tag) != portal_group_tags.end();
}

const Authentication& TargetNode::authentication_for(const std::string& initiator_name) const {
  auto own = authentication_of.find(initiator_name);
  return own == authentication_of.end() ? authentication : own->second;
}

std::shared_ptr<const TargetNode> Directory::find(const std::string& target_name) const {
  auto found = std::ranges::find(targets, target_name, [](const auto& node) -> auto& { return node->name; });
  return found == targets.end() ? nullptr : *found;
}

}  // namespace iscsi
