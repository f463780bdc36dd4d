// iSCSI names as a configuration writes them (RFC 7143, 4.2.7). Thread: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace target {

/// The name in lower case when it is an iqn., eui. or naa. name of at most 223 bytes; else nothing. Only ASCII is
/// taken: names beyond it need stringprep (RFC 3722).
std::optional<std::string> normalised_iscsi_name(std::string_view name);

}  // namespace target
