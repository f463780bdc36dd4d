// An allocator that counts what containers take against a budget, whatever its limit.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

#include "handlers/memory_budget.h"

namespace handlers {

/// The budget outlives what was allocated. Containers that are moved keep counting where they did; without a budget
/// nothing is counted. Whoever may start something large asks exhausted() of the budget first.
template <typename T>
class CountedAllocator {
 public:
  using value_type = T;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;

  CountedAllocator() = default;
  CountedAllocator(MemoryBudget* budget) : budget_(budget) {}  // NOLINT(google-explicit-constructor): as containers ask
  template <typename U>
  CountedAllocator(const CountedAllocator<U>& other)  // NOLINT(google-explicit-constructor)
      : budget_(other.budget()) {}

  T* allocate(std::size_t count) {
    T* memory = std::allocator<T>().allocate(count);
    if (budget_) budget_->charge_structure(count * sizeof(T));
    return memory;
  }
  void deallocate(T* memory, std::size_t count) noexcept {
    std::allocator<T>().deallocate(memory, count);
    if (budget_) budget_->refund_structure(count * sizeof(T));
  }

  MemoryBudget* budget() const { return budget_; }
  template <typename U>
  bool operator==(const CountedAllocator<U>& other) const {
    return budget_ == other.budget();
  }

 private:
  MemoryBudget* budget_ = nullptr;
};

}  // namespace handlers
