// SPDX-License-Identifier: GPL-2.0-or-later
// NTFS on a volume, by libntfs-3g. This is all of host/ntfs that others see.
// Thread: one for all file systems of a process; libntfs-3g has global state.
#pragma once

#include <memory>

#include "host/file_system.h"
#include "host/volume_device.h"

namespace host::ntfs {

/// Mounts what is on `device`, which outlives the file system. Read-only when `read_only` or when the disk is write
/// protected; then nothing is ever written.
///
/// STATUS_UNRECOGNIZED_VOLUME: no NTFS boot sector, or one that does not fit the disk. STATUS_DISK_CORRUPT_ERROR: the
/// metadata are bad. STATUS_VOLUME_DIRTY: Windows did not close its log, or is hibernated on it; a read-only mount will
/// do. Else what the driver said.
NtResult<std::unique_ptr<FileSystem>> mount(VolumeDevice& device, bool read_only);

}  // namespace host::ntfs
