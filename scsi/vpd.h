// Vital product data pages (SPC-4 7.8): one row each, in ascending order.
//
// WINDOWS: classpnp ignores 8Fh, B0h, B1h and B2h altogether unless page 00h lists strictly ascending codes and begins
// with 00h. The order of the table is the order of the list, and asserted. Pages of block devices are in block_vpd.h,
// page 8Fh is the copy manager's. Thread: the loop's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace scsi {

class DeviceServer;
struct CommandContext;

struct VpdPage {
  std::uint8_t code;
  /// The whole page, header included.
  std::vector<std::uint8_t> (*page)(const CommandContext& context);
  bool (*offered)(const DeviceServer& server) = nullptr;  ///< null: always
};

/// The pages `server` offers, ascending by code.
std::vector<VpdPage> vpd_pages(const DeviceServer& server);

}  // namespace scsi
