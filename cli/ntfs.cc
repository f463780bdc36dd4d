#include "cli/ntfs.h"

#ifdef ODX_HAVE_NTFS
#include "host/ntfs/mount.h"
#endif

namespace cli {

#ifdef ODX_HAVE_NTFS
bool has_ntfs() { return true; }
host::Volume::Mounter ntfs_mounter() { return host::ntfs::mount; }
#else
bool has_ntfs() { return false; }
host::Volume::Mounter ntfs_mounter() { return {}; }
#endif

}  // namespace cli
