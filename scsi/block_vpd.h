// VPD pages of direct access block devices: B0h, B1h, B2h.
//
// Every number in them is the one the commands enforce: both take it from the DeviceProfile. Thread: the loop's.
#pragma once

#include <cstdint>
#include <vector>

namespace scsi {

struct DeviceProfile;
class LogicalUnit;

/// Block Limits, page length 3Ch. UNMAP limits are zero on a logical unit that is not thin.
/// WINDOWS: MAXIMUM TRANSFER LENGTH is not what limits offload ranges, and stays 0 unless the profile says otherwise
/// (classpnp, utils.c; the hardware requirement Device.Storage.Hd.OffloadedDataTransfer).
std::vector<std::uint8_t> block_limits_page(const LogicalUnit& lu, const DeviceProfile& profile);

/// Block Device Characteristics: non-rotating.
/// WINDOWS: ignored unless its page length is 3Ch (classpnp).
std::vector<std::uint8_t> block_device_characteristics_page(const LogicalUnit& lu, const DeviceProfile& profile);

/// Logical Block Provisioning. Thin: PROVISIONING TYPE 2 with LBPU, LBPWS, LBPWS10 and LBPRZ; else all zero.
std::vector<std::uint8_t> logical_block_provisioning_page(const LogicalUnit& lu, const DeviceProfile& profile);

}  // namespace scsi
