#include "handlers/memory_usage.h"

namespace handlers {

void MemoryUsage::add(const Chunk& chunk) {
  auto address = reinterpret_cast<std::uintptr_t>(chunk.data());
  std::uintptr_t arena = address / kArenaSize;
  if (last_marks_ == nullptr || arena != last_arena_) {
    last_arena_ = arena;
    last_marks_ = &arenas_[arena];  // references into an unordered_map stay valid
  }
  auto mark = (*last_marks_)[address % kArenaSize / kGranule];
  if (mark) return;
  mark = true;
  bytes_ += chunk.size();
}

}  // namespace handlers
