#include "target/iscsi/node.h"

#include <algorithm>

namespace iscsi {

bool TargetNode::allows(const std::string& initiator_name) const {
  return allowed_initiators.empty() ||
         std::ranges::find(allowed_initiators, initiator_name) != allowed_initiators.end();
}

std::shared_ptr<const TargetNode> Directory::find(const std::string& target_name) const {
  auto found = std::ranges::find(targets, target_name, [](const auto& node) -> auto& { return node->name; });
  return found == targets.end() ? nullptr : *found;
}

}  // namespace iscsi
