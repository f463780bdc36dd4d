// INQUIRY data and vital product data pages as JSON, for `odx probe`. Works on whatever a target sent: a page that ends
// early is shown as far as it goes.
// Thread: any, nothing is shared.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "base/bytes.h"

namespace cli {

boost::json::object standard_inquiry_json(base::Bytes data);  ///< SPC-4 6.6.2
boost::json::array page_list_json(base::Bytes page);          ///< VPD 00h: "8Fh Third-party copy"
std::string serial_text(base::Bytes page);                    ///< VPD 80h
boost::json::array designators_json(base::Bytes page);        ///< VPD 83h
boost::json::object block_limits_json(base::Bytes page);      ///< VPD B0h
boost::json::object characteristics_json(base::Bytes page);   ///< VPD B1h
boost::json::object provisioning_json(base::Bytes page);      ///< VPD B2h
boost::json::array third_party_copy_json(base::Bytes page);   ///< VPD 8Fh, one object for each descriptor

}  // namespace cli
