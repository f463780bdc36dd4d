// A logical unit gets more blocks, or fewer, while it is used.
//
// Fewer only where the store does not block, so that no work is ever under way between two calls. Commands that have
// not begun are judged again; copies that use the logical unit are stopped. Thread: the loop's.
#pragma once

#include <cstdint>

namespace scsi {

class CopyManager;
class LogicalUnit;

/// Gives `lu`, of the array of `copies`, `size_bytes`: a whole number of blocks, at least one. Not while its medium is
/// being erased. The store of a logical unit that grows has them already; one that shrinks is cut here. Every I_T nexus
/// is told by CAPACITY DATA HAS CHANGED (06/2A/09); tokens that lose blocks are cancelled
/// (CopyManager::logical_unit_shrunk()).
void change_capacity(LogicalUnit& lu, CopyManager& copies, std::uint64_t size_bytes);

}  // namespace scsi
