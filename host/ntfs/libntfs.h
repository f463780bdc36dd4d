// SPDX-License-Identifier: GPL-2.0-or-later
// The headers of libntfs-3g, included in the one way they can be: <sys/stat.h> first (or they define struct timespec
// again), as C, and without the macros that would break the standard library.
// Owns nothing. For the .cc files of host/ntfs and its tests only.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

extern "C" {
// clang-format off: attrib.h and volume.h include each other, and this is the order that works.
#include <ntfs-3g/types.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/volume.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/attrib.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/layout.h>
#include <ntfs-3g/logging.h>
#include <ntfs-3g/mft.h>
#include <ntfs-3g/ntfstime.h>
#include <ntfs-3g/runlist.h>
#include <ntfs-3g/unistr.h>
// clang-format on
}

#undef min
#undef max
