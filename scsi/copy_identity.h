// How logical units, targets and operations are named in tokens and by list identifiers.
// Thread: any.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "scsi/status.h"
#include "tokens/copy_operation.h"
#include "tokens/rod_token.h"

namespace scsi {

class LogicalUnit;
struct LogicalUnitCscd;
struct LogicalUnitIdentity;

/// CREATOR LOGICAL UNIT DESCRIPTOR of tokens made from `lu`: its NAA designator.
tokens::IdentificationCscdDescriptor creator_descriptor(const LogicalUnit& lu);

/// The SCSI name of a logical unit: "eui." and 16 hexadecimal digits (RFC 7143, 4.2.7.4). Without the null that ends it
/// in VPD page 83h it just fits an E4h CSCD descriptor.
std::string eui_name(const LogicalUnitIdentity& identity);

/// Whether an E4h CSCD descriptor names the logical unit: by its NAA, its EUI-64 or its SCSI name, with or without the
/// null at the name's end.
bool designates(const LogicalUnitCscd& cscd, const LogicalUnitIdentity& identity);

/// READ CAPACITY (16) data of `lu` from byte 8 on (SBC-4 4.28.5).
tokens::BlockDeviceRodData block_device_rod_data(const LogicalUnit& lu);

/// TARGET DEVICE DESCRIPTOR: an NAA Locally Assigned designator that follows from the target's name, because an iSCSI
/// name may be longer than the field.
std::array<std::uint8_t, tokens::kTargetDeviceDescriptorSize> target_device_descriptor(std::string_view target_name);

/// The name of a copy operation on `lu`.
tokens::CopyOperationKey copy_operation_key(NexusId nexus, const LogicalUnit& lu, std::uint32_t list_identifier);

}  // namespace scsi
