// Cloning without sharing: bytes read from a snapshot of any kind, written to any store, in bounded pieces.
// Thread: whatever the store and the snapshot ask for.
#pragma once

#include "handlers/backing_store.h"

namespace handlers {

/// BackingStore::clone() for every pair that cannot share: runs of holes are unmapped, the rest is read and
/// written at most 1 MiB at a time. Errors: those of Snapshot::read, BackingStore::write and unmap; `copied`, when
/// given, counts the bytes of the pieces finished before.
IoResult<void> copy_from_snapshot(BackingStore& to, const Snapshot& snapshot, ByteRange range, std::uint64_t offset,
                                  std::uint64_t* copied);

}  // namespace handlers
