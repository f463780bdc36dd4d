// iSCSI names as a configuration or an initiator writes them (RFC 7143, 4.2.7). Thread: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace iscsi {

/// The name in lower case when it is an iqn., eui. or naa. name of at most 223 bytes; else nothing. Only ASCII is
/// taken: names beyond it need stringprep (RFC 3722).
std::optional<std::string> normalised_name(std::string_view name);

/// What an initiator may call itself: a normalised name, or, because hosts put their host names there as they are,
/// any printable ASCII after iqn., eui. or naa., in lower case; at most 223 bytes.
std::optional<std::string> initiator_name(std::string_view name);

}  // namespace iscsi
