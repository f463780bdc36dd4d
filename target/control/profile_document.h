// A device profile as a document, by the keys that odxd.toml has for its limits. Thread: any.
#pragma once

#include <boost/json/object.hpp>

#include "scsi/device_profile.h"
#include "target/control/shape.h"

namespace target::control {

boost::json::object profile_document(const scsi::DeviceProfile& profile);
extern const Shape kProfileShape;

}  // namespace target::control
