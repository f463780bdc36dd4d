// The rows of the table of routes, by what they are about, and what several of them have in common. Each file of
// resources has one. Thread: the loop's.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <span>
#include <string>

#include "target/arrays.h"
#include "target/control/route.h"

namespace target::control {

std::span<const Route> process_routes();       ///< process.cc: health, metrics, memory, reset, the document itself
std::span<const Route> page_routes();          ///< page_resource.cc: the live page
std::span<const Route> array_routes();         ///< array_resource.cc: arrays, profiles
std::span<const Route> target_routes();        ///< target_resource.cc
std::span<const Route> lun_routes();           ///< lun_resource.cc
std::span<const Route> session_routes();       ///< session_resource.cc
std::span<const Route> token_routes();         ///< token_resource.cc
std::span<const Route> operation_routes();     ///< operation_resource.cc
std::span<const Route> reachability_routes();  ///< reachability_resource.cc
std::span<const Route> snapshot_routes();      ///< snapshot_resource.cc
std::span<const Route> clock_routes();         ///< clock_resource.cc
std::span<const Route> event_routes();         ///< event_resource.cc
std::span<const Route> rule_routes();          ///< rule_resource.cc

/// Has the journal know of a change of the configuration.
void note(const Steered& steered, std::string change);

/// 507: what could not be put back, as memory has run out.
Response not_all_done(const std::vector<std::string>& failures);

/// A list: {"targets": [...]}.
boost::json::object list_of(std::string_view name, boost::json::array items);

double seconds(base::Duration duration);
std::string hexadecimal(std::span<const std::uint8_t> bytes);

/// A number in a path. Throws Refusal (400).
std::uint64_t number_of(const std::string& text, std::string_view name, std::uint64_t highest);

/// The array of that id or name. Throws Refusal (404).
Array& find_array(const Steered& steered, const std::string& id);

/// The target of that name. Throws Refusal (404).
std::shared_ptr<const iscsi::TargetNode> find_target(const Steered& steered, const std::string& name);
/// The LUN of that target and number. Throws Refusal (404, 400).
Arrays::OfferedLun find_lun(const Steered& steered, const std::string& target, const std::string& number);

/// The name of an array for documents: what it is called, or its id where it is the only one.
const std::string& shown_name(const Array& array);

/// A target's configuration from a document with the keys of [[target]]: "luns" stand there as "lun". Throws
/// ConfigError.
TargetConfig target_config(const boost::json::object& keys);

extern const Shape kLunShape;     ///< a LUN as it is told
extern const Shape kNewLunShape;  ///< a LUN as it is asked for
boost::json::object lun_document(const Steered& steered, const Arrays::OfferedLun& lun);
/// Has its configuration say what its access states are, which initiators may have changed, so that what is wanted is
/// another. Where the array changes them.
void look_at_access(Array::ExportedLun& lun);
/// Gives a LUN that is asked for a free name if it has none. Throws Refusal (409): name, serial or NAA are another's.
void tell_apart(const Steered& steered, LunConfig& lun);

}  // namespace target::control
