#include "handlers/extent_node.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <memory>

namespace handlers {
namespace {

/// Memory for nodes that must be made though there is no other.
class NodeReserve {
 public:
  NodeReserve() = default;
  NodeReserve(const NodeReserve&) = delete;
  NodeReserve& operator=(const NodeReserve&) = delete;
  ~NodeReserve() {
    while (first_) ::operator delete(take());
  }

  void fill(std::size_t count, std::size_t bytes_each) {
    for (; count_ < count; ++count_) first_ = ::new (::operator new(bytes_each)) Spare{first_};
  }
  /// Null: nothing is left.
  void* take() {
    if (!first_) return nullptr;
    --count_;
    return std::exchange(first_, first_->next);
  }

 private:
  struct Spare {
    Spare* next;
  };
  Spare* first_ = nullptr;
  std::size_t count_ = 0;
};

thread_local NodeReserve node_reserve;

/// One node, or two of equal height where one would be too full.
struct OneOrTwo {
  ExtentNodeRef first;
  ExtentNodeRef second;
};

ExtentNodeRef node_of(MemoryPool& pool, unsigned height, Slot* first, Slot* last) {
  ExtentNodeRef node(ExtentNode::make(pool, height, static_cast<std::size_t>(last - first)));
  node->assign(first, last);
  return node;
}

OneOrTwo nodes_of(MemoryPool& pool, unsigned height, SlotList& list) {
  Slot* begin = list.data();
  Slot* end = begin + list.size();
  if (list.size() <= kFanout) return {node_of(pool, height, begin, end), {}};
  Slot* middle = begin + list.size() / 2;
  return {node_of(pool, height, begin, middle), node_of(pool, height, middle, end)};
}

ExtentNodeRef node_ref(const Slot& slot) { return ExtentNodeRef(static_cast<ExtentNode*>(slot.target.get())); }

Slot slot_of(ExtentNodeRef node) {
  std::uint64_t length = node->length();
  return {length, std::move(node)};
}

bool mergeable(const Slot& a, const Slot& b) {
  if (a.target != b.target) return false;
  return !a.target || a.offset + a.length == b.offset;
}

bool seam_merges(const ExtentNode& a, const ExtentNode& b) {
  if (!a.leaf()) return false;
  std::size_t last = a.count() - 1;
  if (a.chunk(last) != b.chunk(0)) return false;
  return a.chunk(last) == nullptr || a.offset(last) + a.slot_length(last) == b.offset(0);
}

OneOrTwo combine(MemoryPool& pool, ExtentNodeRef a, ExtentNodeRef b) {
  bool full = a->count() + b->count() > kFanout;
  if (full && a->count() >= kMinFill && b->count() >= kMinFill && !seam_merges(*a, *b))
    return {std::move(a), std::move(b)};
  SlotList list;
  a->gather(0, a->count(), a->unique(), list);
  b->gather(0, b->count(), b->unique(), list);
  return nodes_of(pool, a->height(), list);
}

OneOrTwo join_nodes(MemoryPool& pool, ExtentNodeRef a, ExtentNodeRef b) {
  if (a->height() == b->height()) return combine(pool, std::move(a), std::move(b));
  bool a_higher = a->height() > b->height();
  ExtentNodeRef& higher = a_higher ? a : b;
  SlotList list;
  std::size_t count = higher->count();
  unsigned height = higher->height();
  higher->gather(0, count, higher->unique(), list);
  higher = {};
  if (a_higher) {
    ExtentNodeRef last = node_ref(list.back());
    list.pop_back();
    OneOrTwo joined = join_nodes(pool, std::move(last), std::move(b));
    list.push_back(slot_of(std::move(joined.first)));
    if (joined.second) list.push_back(slot_of(std::move(joined.second)));
  } else {
    ExtentNodeRef first = node_ref(list.front());
    list.front() = {};
    OneOrTwo joined = join_nodes(pool, std::move(a), std::move(first));
    if (joined.second) {
      list.front() = slot_of(std::move(joined.second));
      list.insert(list.begin(), slot_of(std::move(joined.first)));
    } else {
      list.front() = slot_of(std::move(joined.first));
    }
  }
  return nodes_of(pool, height, list);
}

}  // namespace

ExtentNode* ExtentNode::make(MemoryPool& pool, unsigned height, std::size_t slots) {
  std::size_t capacity = slots <= kFewSlots ? kFewSlots : kFanout;
  void* memory = nullptr;
  try {
    memory = ::operator new(memory_for(capacity));
  } catch (const std::bad_alloc&) {
    memory = node_reserve.take();
    if (!memory) throw;
  }
  return ::new (memory) ExtentNode(pool, height, capacity);
}

void ExtentNode::reserve(std::size_t nodes) { node_reserve.fill(nodes, memory_for(kFanout)); }

ExtentNode::ExtentNode(MemoryPool& pool, unsigned height, std::size_t capacity)
    : pool_(&pool), height_(static_cast<std::uint8_t>(height)), capacity_(static_cast<std::uint8_t>(capacity)) {
  std::uninitialized_default_construct_n(ends(), capacity);
  std::uninitialized_default_construct_n(targets(), capacity);
  std::uninitialized_default_construct_n(offsets(), capacity);
  pool_->budget().charge(cost());
}

ExtentNode::~ExtentNode() {
  std::destroy_n(targets(), capacity_);
  pool_->budget().refund(cost());
}

void ExtentNode::dispose() {
  if (count_ == 0) {
    delete this;
  } else {
    pool_->bury(this);
  }
}

std::size_t ExtentNode::find(std::uint64_t position) const {
  std::size_t first = 0;
  const std::uint64_t* ends = this->ends();
  for (std::size_t count = count_; count > 1;) {
    std::size_t half = count / 2;
    first = ends[first + half - 1] <= position ? first + half : first;
    count -= half;
  }
  return first;
}

void ExtentNode::gather(std::size_t first, std::size_t last, bool own, SlotList& out) {
  for (std::size_t i = first; i < last; ++i) {
    Slot slot{slot_length(i), own ? std::move(targets()[i]) : targets()[i], offsets()[i]};
    push(out, std::move(slot), leaf());
  }
  if (own && first == 0 && last == count_) count_ = 0;
}

void ExtentNode::assign(Slot* first, Slot* last) {
  std::size_t count = 0;
  std::uint64_t end = 0;
  for (; first != last; ++first, ++count) {
    end += first->length;
    ends()[count] = end;
    targets()[count] = std::move(first->target);
    offsets()[count] = first->offset;
  }
  for (std::size_t i = count; i < count_; ++i) targets()[i] = {};
  count_ = static_cast<std::uint8_t>(count);
}

base::Ref<Chunk> ExtentNode::exchange(std::size_t i, base::Ref<Chunk> chunk) {
  base::Ref<Chunk> before(this->chunk(i));
  targets()[i] = std::move(chunk);
  offsets()[i] = 0;
  return before;
}

Slot ExtentNode::take(std::size_t i) { return {slot_length(i), std::move(targets()[i]), offsets()[i]}; }

void ExtentNode::splice(std::size_t first, std::size_t last, SlotList& slots) {
  std::size_t replaced = last + 1 - first;
  std::uint64_t end = start(first);
  std::size_t count = count_ + slots.size() - replaced;
  assert(count <= capacity_);
  auto shift = [&](auto* array) {
    if (count > count_) std::move_backward(array + last + 1, array + count_, array + count);
    if (count < count_) std::move(array + last + 1, array + count_, array + last + 1 - (count_ - count));
  };
  shift(ends());
  shift(targets());
  shift(offsets());
  for (std::size_t i = 0; i < slots.size(); ++i) {
    end += slots[i].length;
    ends()[first + i] = end;
    targets()[first + i] = std::move(slots[i].target);
    offsets()[first + i] = slots[i].offset;
  }
  for (std::size_t i = count; i < count_; ++i) targets()[i] = {};
  count_ = static_cast<std::uint8_t>(count);
}

void ExtentNode::copy_child(MemoryPool& pool, std::size_t i) { targets()[i] = copy_node(pool, *child(i)); }

void push(SlotList& list, Slot slot, bool leaf) {
  if (leaf && !list.empty() && mergeable(list.back(), slot)) {
    list.back().length += slot.length;
  } else {
    list.push_back(std::move(slot));
  }
}

Slot cut_slot(MemoryPool& pool, Slot& slot, std::uint64_t at) {
  Slot rest{slot.length - at, slot.target, slot.offset};
  slot.length = at;
  if (!slot.target) return rest;
  std::uint32_t cut = slot.offset + static_cast<std::uint32_t>(at);
  rest.offset = cut;
  rest.target = {};
  if (slot.target->unique() && cut % kGranule == 0) {
    rest.target = pool.divide(static_cast<Chunk&>(*slot.target), cut);
    rest.offset = 0;
  } else {
    rest.target = slot.target;
  }
  return rest;
}

void settle_slot(MemoryPool& pool, Slot& slot) {
  if (!slot.target) return;
  auto& chunk = static_cast<Chunk&>(*slot.target);
  auto length = static_cast<std::size_t>(slot.length);
  if (chunk.unique()) {
    pool.shrink(chunk, slot.offset + length);
    if (slot.offset < kGranule) return;
    std::uint32_t within = slot.offset % kGranule;
    slot.target = pool.divide(chunk, slot.offset - within);
    slot.offset = within;
  } else if (length < chunk.size() / kSliverPart) {
    base::Ref<Chunk> copy = pool.allocate(length);
    if (!copy || copy->size() < length) return;
    std::memcpy(copy->data(), chunk.data() + slot.offset, length);
    slot.target = std::move(copy);
    slot.offset = 0;
  }
}

ExtentNodeRef tree_of(MemoryPool& pool, unsigned height, Slot* first, Slot* last) {
  if (first == last) return {};
  if (height > 0 && last - first == 1) return node_ref(*first);
  return node_of(pool, height, first, last);
}

ExtentNodeRef copy_node(MemoryPool& pool, ExtentNode& node) {
  SlotList list;
  node.gather(0, node.count(), false, list);
  return node_of(pool, node.height(), list.data(), list.data() + list.size());
}

ExtentNodeRef join(MemoryPool& pool, ExtentNodeRef a, ExtentNodeRef b) {
  if (!a) return b;
  if (!b) return a;
  OneOrTwo joined = join_nodes(pool, std::move(a), std::move(b));
  if (!joined.second) return joined.first;
  unsigned height = joined.first->height() + 1;
  Slot slots[] = {slot_of(std::move(joined.first)), slot_of(std::move(joined.second))};
  return node_of(pool, height, std::begin(slots), std::end(slots));
}

std::pair<ExtentNodeRef, ExtentNodeRef> split(MemoryPool& pool, ExtentNodeRef node, std::uint64_t at) {
  if (!node || at == 0) return {ExtentNodeRef(), std::move(node)};
  if (at == node->length()) return {std::move(node), ExtentNodeRef()};
  std::size_t i = node->find(at);
  std::uint64_t within = at - node->start(i);
  unsigned height = node->height();
  SlotList list;
  std::size_t count = node->count();
  node->gather(0, count, node->unique(), list);
  node = {};
  assert(list.size() == count);  // adjacent slots of one leaf never merge: push() has merged them already
  Slot* begin = list.data();
  Slot* end = begin + list.size();
  Slot* here = begin + i;
  if (within == 0) return {tree_of(pool, height, begin, here), tree_of(pool, height, here, end)};
  if (height == 0) {
    Slot rest = cut_slot(pool, *here, within);
    ExtentNodeRef left = tree_of(pool, height, begin, here + 1);
    *here = std::move(rest);
    return {std::move(left), tree_of(pool, height, here, end)};
  }
  ExtentNodeRef child = node_ref(*here);
  here->target = {};
  auto [left, right] = split(pool, std::move(child), within);
  return {join(pool, tree_of(pool, height, begin, here), std::move(left)),
          join(pool, std::move(right), tree_of(pool, height, here + 1, end))};
}

ExtentNodeRef slice(MemoryPool& pool, ExtentNode& node, std::uint64_t from, std::uint64_t to) {
  if (from == to) return {};
  if (from == 0 && to == node.length()) return ExtentNodeRef(&node);
  std::size_t first = node.find(from);
  std::size_t last = node.find(to - 1);
  if (!node.leaf() && first == last)
    return slice(pool, *node.child(first), from - node.start(first), to - node.start(first));
  SlotList list;
  if (node.leaf()) {
    node.gather(first, last + 1, false, list);
    list.back().length -= node.end(last) - to;
    list.front().length -= from - node.start(first);
    if (list.front().target) list.front().offset += static_cast<std::uint32_t>(from - node.start(first));
    return tree_of(pool, 0, list.data(), list.data() + list.size());
  }
  node.gather(first + 1, last, false, list);
  ExtentNodeRef left = slice(pool, *node.child(first), from - node.start(first), node.slot_length(first));
  ExtentNodeRef right = slice(pool, *node.child(last), 0, to - node.start(last));
  ExtentNodeRef middle = tree_of(pool, node.height(), list.data(), list.data() + list.size());
  return join(pool, join(pool, std::move(left), std::move(middle)), std::move(right));
}

}  // namespace handlers
