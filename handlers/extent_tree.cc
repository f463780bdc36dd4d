#include "handlers/extent_tree.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "handlers/extent_node.h"
#include "handlers/memory_usage.h"

namespace handlers {
namespace {

constexpr std::uint64_t round_down(std::uint64_t value) { return value / kGranule * kGranule; }
constexpr std::uint64_t round_up(std::uint64_t value) { return round_down(value + kGranule - 1); }

/// A leaf that belongs to one tree alone, and where in the tree it starts.
struct OwnLeaf {
  ExtentNode* node = nullptr;
  std::uint64_t start = 0;
};

OwnLeaf own_leaf(MemoryPool& pool, ExtentNodeRef& root, std::uint64_t offset) {
  if (!root->unique()) root = copy_node(pool, *root);
  OwnLeaf at{root.get(), 0};
  while (!at.node->leaf()) {
    std::size_t i = at.node->find(offset - at.start);
    at.start += at.node->start(i);
    at.node = at.node->own_child(pool, i);
  }
  return at;
}

/// Slots [first, last] of a leaf, which are to change between `from` and `to`.
struct Cut {
  std::size_t first = 0;
  std::size_t last = 0;
  std::uint64_t from = 0;
  std::uint64_t to = 0;
};

/// Whether the leaf has neither too many nor too few slots after the cut is replaced by one slot.
bool fits(const ExtentNode& leaf, const Cut& cut, bool is_root) {
  std::size_t others = leaf.count() - (cut.last - cut.first + 1);
  constexpr std::size_t kMostAdded = 3;  // what is left of the first slot, the new one, what is left of the last
  constexpr std::size_t kMostMerged = 2;
  return others + kMostAdded <= leaf.capacity() && (is_root || others + 1 >= kMinFill + kMostMerged);
}

void rewrite_leaf(MemoryPool& pool, ExtentNode& leaf, const Cut& cut, Slot with) {
  Slot left;
  Slot right;
  if (std::uint64_t length = cut.from - leaf.start(cut.first); length > 0) left = {length};
  if (std::uint64_t length = leaf.end(cut.last) - cut.to; length > 0) right = {length};
  // The neighbours take part because the new slot may continue one of them.
  std::size_t first = cut.first > 0 ? cut.first - 1 : 0;
  std::size_t last = std::min(cut.last + 1, leaf.count() - 1);
  SlotList slots;
  if (first < cut.first) slots.push_back(leaf.take(first));
  Slot edge = leaf.take(cut.first);
  if (left.length > 0) {
    Slot rest = cut_slot(pool, edge, left.length);
    left = std::move(edge);
    edge = std::move(rest);
  }
  if (cut.last > cut.first) edge = leaf.take(cut.last);
  if (right.length > 0) right = cut_slot(pool, edge, edge.length - right.length);
  edge = {};
  settle_slot(pool, left);
  settle_slot(pool, right);
  if (left.length > 0) push(slots, std::move(left), true);
  push(slots, std::move(with), true);
  if (right.length > 0) push(slots, std::move(right), true);
  if (last > cut.last) push(slots, leaf.take(last), true);
  leaf.splice(first, last, slots);
}

/// Whether a cut that leaves `length` bytes of slot `i` would leave a sliver.
bool leaves_sliver(const ExtentNode& leaf, std::size_t i, std::uint64_t length) {
  return leaf.chunk(i) && length < leaf.chunk(i)->size() / kSliverPart;
}

/// Whether settling the slot that holds the byte at `offset` would free anything.
bool unsettled(const ExtentNode& root, std::uint64_t offset) {
  const ExtentNode* node = &root;
  bool own = node->unique();
  std::size_t i = node->find(offset);
  for (; !node->leaf(); i = node->find(offset)) {
    offset -= node->start(i);
    node = node->child(i);
    own = own && node->unique();
  }
  const Chunk* chunk = node->chunk(i);
  if (!chunk) return false;
  if (own && chunk->unique()) return chunk->size() - node->slot_length(i) >= kGranule;
  return leaves_sliver(*node, i, node->slot_length(i));
}

/// Settles the slot that holds the byte at `offset`, after something was spliced in beside it.
void settle(MemoryPool& pool, ExtentNodeRef& root, std::uint64_t offset) {
  if (!unsettled(*root, offset)) return;
  OwnLeaf own = own_leaf(pool, root, offset);
  std::size_t i = own.node->find(offset - own.start);
  SlotList slot;
  slot.push_back(own.node->take(i));
  settle_slot(pool, slot.front());
  own.node->splice(i, i, slot);
}

/// Copies bytes [from, from + out.size()) of a leaf.
void copy_out(const ExtentNode& leaf, std::uint64_t from, base::MutableBytes out) {
  while (!out.empty()) {
    std::size_t i = leaf.find(from);
    std::uint64_t within = from - leaf.start(i);
    std::size_t run = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), leaf.slot_length(i) - within));
    if (const Chunk* chunk = leaf.chunk(i)) {
      std::memcpy(out.data(), chunk->data() + leaf.offset(i) + within, run);
    } else {
      std::memset(out.data(), 0, run);
    }
    out = out.subspan(run);
    from += run;
  }
}

void read_node(const ExtentNode& root, std::uint64_t from, std::uint64_t to, base::Segments& out) {
  const ExtentNode* lowest = &root;  // that has all of it
  std::size_t i = root.find(from);
  while (!lowest->leaf() && to <= lowest->end(i)) {
    std::uint64_t start = lowest->start(i);
    from -= start;
    to -= start;
    lowest = lowest->child(i);
    i = lowest->find(from);
  }
  const ExtentNode& node = *lowest;
  for (; from < to; ++i) {
    std::uint64_t within = from - node.start(i);
    std::uint64_t run = std::min(to, node.end(i)) - from;
    if (!node.leaf()) {
      read_node(*node.child(i), within, within + run, out);
    } else if (Chunk* chunk = node.chunk(i)) {
      base::Bytes bytes(chunk->data() + node.offset(i) + within, static_cast<std::size_t>(run));
      out.append(bytes, base::Ref<const base::RefCounted>(chunk));
    } else {
      out.append_zeros(run);
    }
    from += run;
  }
}

/// Overwrites what can be overwritten in place from `offset` (in the leaf) on; returns how much that was.
std::uint64_t write_in_place(ExtentNode& leaf, std::size_t i, std::uint64_t offset, base::Bytes data) {
  std::uint64_t written = 0;
  for (; written < data.size() && i < leaf.count() && leaf.writable(i); ++i) {
    std::uint64_t within = offset + written - leaf.start(i);
    std::size_t run =
        static_cast<std::size_t>(std::min<std::uint64_t>(data.size() - written, leaf.slot_length(i) - within));
    std::memcpy(leaf.chunk(i)->data() + leaf.offset(i) + within, data.data() + written, run);
    written += run;
  }
  return written;
}

/// New memory for the start of `cut`: behind the chunk before it where that can grow, else a chunk of its own.
Slot new_memory(MemoryPool& pool, const OwnLeaf& own, const Cut& cut) {
  const ExtentNode& leaf = *own.node;
  std::size_t wanted = static_cast<std::size_t>(cut.to - cut.from);
  const bool on_border = (own.start + cut.from) % kMaxChunk == 0;
  if (!on_border && cut.first > 0 && cut.from == leaf.start(cut.first) && leaf.writable(cut.first - 1)) {
    std::size_t before = cut.first - 1;
    Chunk* chunk = leaf.chunk(before);
    std::size_t end = leaf.offset(before) + static_cast<std::size_t>(leaf.slot_length(before));
    if (end == chunk->size()) {
      std::size_t added = std::min(pool.grow(*chunk, wanted), wanted);
      if (added > 0) return {added, base::Ref<base::RefCounted>(chunk), static_cast<std::uint32_t>(end)};
    }
  }
  base::Ref<Chunk> chunk = pool.allocate(wanted);
  if (!chunk) return {};
  std::uint64_t length = std::min(wanted, chunk->size());
  return {length, std::move(chunk), 0};
}

/// What gets new memory when `length` bytes at `at` are written and the first cannot be overwritten in place: up to
/// the next byte that can, rounded out to whole granules and over slivers of what is being replaced, but never over a
/// neighbouring slot's bytes. So small writes leave no crumbs, and a chunk is never kept for a few bytes. Nor is it
/// over a multiple of kMaxChunk: between those a large write can take the place of what was there (exchange()).
Cut cut_for_new_memory(const OwnLeaf& own, std::size_t first, std::uint64_t at, std::uint64_t length) {
  const ExtentNode& leaf = *own.node;
  Cut cut{first, first};
  std::uint64_t granule = round_down(own.start + at);
  cut.from = std::max(leaf.start(first), granule > own.start ? granule - own.start : 0);
  if (leaves_sliver(leaf, first, cut.from - leaf.start(first))) cut.from = leaf.start(first);
  std::uint64_t most = (own.start + cut.from) / kMaxChunk * kMaxChunk + kMaxChunk - own.start;
  std::uint64_t to = std::min(at + length, most);
  while (leaf.end(cut.last) < to && cut.last + 1 < leaf.count() && !leaf.writable(cut.last + 1)) ++cut.last;
  std::uint64_t end = leaf.end(cut.last);
  cut.to = std::min(end, round_up(own.start + to) - own.start);
  if (leaves_sliver(leaf, cut.last, end - cut.to)) cut.to = end;
  cut.to = std::min(cut.to, most);
  return cut;
}

/// Fills new memory for `cut` with `data`, which starts at `at`, and old bytes around it. Returns how much of `data`
/// went in: none when the memory is so short that it ends before.
std::uint64_t fill(const ExtentNode& leaf, const Cut& cut, const Slot& memory, std::uint64_t at, base::Bytes data) {
  std::uint8_t* bytes = static_cast<Chunk&>(*memory.target).data() + memory.offset;
  std::uint64_t from = std::min(at, cut.to);
  std::uint64_t to = std::min(from + data.size(), cut.to);
  copy_out(leaf, cut.from, {bytes, static_cast<std::size_t>(from - cut.from)});
  std::memcpy(bytes + (from - cut.from), data.data(), static_cast<std::size_t>(to - from));
  copy_out(leaf, to, {bytes + (to - cut.from), static_cast<std::size_t>(cut.to - to)});
  return to - from;
}

std::string broken_node_rule(const ExtentNode& node, bool is_root) {
  if (node.count() == 0 || node.count() > node.capacity()) return "a node has a slot, and no more than it has room for";
  if (!is_root && node.count() < kMinFill) return "a node below the root has at least kMinFill slots";
  if (is_root && !node.leaf() && node.count() < 2) return "an inner root has at least 2 subtrees";
  for (std::size_t i = 0; i < node.count(); ++i) {
    if (node.end(i) <= node.start(i)) return "no slot is empty";
    if (!node.leaf()) {
      if (node.child(i)->height() + 1 != node.height()) return "all leaves are equally deep";
      if (node.child(i)->length() != node.slot_length(i)) return "a slot is as long as its subtree";
      if (std::string rule = broken_node_rule(*node.child(i), false); !rule.empty()) return rule;
    } else if (node.chunk(i)) {
      if (node.offset(i) + node.slot_length(i) > node.chunk(i)->size()) return "a run lies inside its chunk";
    } else if (i > 0 && !node.chunk(i - 1)) {
      return "adjacent holes in a leaf are one";
    }
  }
  return {};
}

std::uint64_t count_extents(const ExtentNode& node) {
  if (node.leaf()) return node.count();
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < node.count(); ++i) sum += count_extents(*node.child(i));
  return sum;
}

/// A walk over a tree from the byte `from` on, until `left` leaves and subtrees that were met before are behind it.
struct CountingStep {
  MemoryUsage& usage;
  const std::uint64_t from;
  std::size_t& left;

  /// `node` begins at `start`. Returns where it stopped: at the start of what it has not begun, or at the node's end.
  std::uint64_t visit(const ExtentNode& node, std::uint64_t start) {
    const std::uint64_t end = start + node.length();
    // One that begins before `from` was begun by an earlier step.
    if (start >= from) {
      // What one tree alone refers to is met once in any case.
      if (!node.unique() && !usage.enter_and_hold(node)) {
        --left;
        return end;
      }
      usage.add(node.cost());
    }
    if (node.leaf()) {
      for (std::size_t i = 0; i < node.count(); ++i)
        if (const Chunk* chunk = node.chunk(i)) usage.add(*chunk);
      --left;
      return end;
    }
    for (std::size_t i = start < from ? node.find(from - start) : 0; i < node.count(); ++i) {
      if (left == 0) return start + node.start(i);
      const std::uint64_t stopped = visit(*node.child(i), start + node.start(i));
      if (stopped < start + node.end(i)) return stopped;
    }
    return end;
  }
};

}  // namespace

ExtentTree::ExtentTree() = default;
ExtentTree::ExtentTree(ExtentNodeRef root) : root_(std::move(root)) {}
ExtentTree::ExtentTree(ExtentTree&& other) noexcept = default;
ExtentTree& ExtentTree::operator=(ExtentTree&& other) noexcept = default;
ExtentTree::~ExtentTree() = default;

ExtentTree ExtentTree::hole(MemoryPool& pool, std::uint64_t length) {
  Slot slot{length};
  return ExtentTree(tree_of(pool, 0, &slot, &slot + (length > 0 ? 1 : 0)));
}

ExtentTree ExtentTree::extent(MemoryPool& pool, base::Ref<Chunk> chunk, std::uint64_t length) {
  Slot slot{length, std::move(chunk)};
  return ExtentTree(tree_of(pool, 0, &slot, &slot + 1));
}

ExtentTree ExtentTree::repeat(MemoryPool& pool, const ExtentTree& unit, std::uint64_t length) {
  ExtentTree result = unit.slice(pool, 0, length % unit.length());
  ExtentNodeRef power = unit.root_;
  for (std::uint64_t times = length / unit.length(); times > 0; times /= 2) {
    if (times % 2 != 0) result.root_ = join(pool, power, std::move(result.root_));
    if (times > 1) power = join(pool, power, power);
  }
  return result;
}

std::uint64_t ExtentTree::length() const { return root_ ? root_->length() : 0; }

void ExtentTree::read(std::uint64_t offset, std::uint64_t length, base::Segments& out) const {
  if (length > 0) read_node(*root_, offset, offset + length, out);
}

/// Whoever has called it can begin to change the structure: nothing fails until it is changed.
void ExtentTree::reserve_for(const ExtentTree* other) const {
  unsigned height = root_ ? root_->height() : 0;
  if (other && other->root_) height = std::max(height, other->root_->height());
  ExtentNode::reserve(most_new_nodes(height));
}

std::uint64_t ExtentTree::write(MemoryPool& pool, std::uint64_t offset, base::Bytes data) {
  std::uint64_t done = 0;
  while (done < data.size()) {
    OwnLeaf own = own_leaf(pool, root_, offset + done);
    ExtentNode& leaf = *own.node;
    std::uint64_t at = offset + done - own.start;
    base::Bytes rest = data.subspan(static_cast<std::size_t>(done));
    std::size_t first = leaf.find(at);
    if (std::uint64_t run = write_in_place(leaf, first, at, rest); run > 0) {
      done += run;
      continue;
    }
    reserve_for();
    Cut cut = cut_for_new_memory(own, first, at, rest.size());
    Slot memory = new_memory(pool, own, cut);
    if (memory.length == 0) return done;
    cut.to = cut.from + memory.length;
    while (leaf.start(cut.last) >= cut.to) --cut.last;
    done += fill(leaf, cut, memory, at, rest);
    if (fits(leaf, cut, &leaf == root_.get())) {
      rewrite_leaf(pool, leaf, cut, std::move(memory));
    } else {
      put(pool, own.start + cut.from, ExtentTree(tree_of(pool, 0, &memory, &memory + 1)));
    }
  }
  return done;
}

bool ExtentTree::exchange(MemoryPool& pool, std::uint64_t offset, std::uint64_t length, base::Ref<Chunk>& chunk) {
  OwnLeaf own = own_leaf(pool, root_, offset);
  ExtentNode& leaf = *own.node;
  Cut cut{0, 0, offset - own.start, offset - own.start + length};
  cut.first = leaf.find(cut.from);
  const bool from_edge = cut.from == leaf.start(cut.first);
  if (from_edge && cut.to == leaf.end(cut.first)) {
    chunk = leaf.exchange(cut.first, std::move(chunk));
    return true;
  }
  if (cut.to > leaf.length()) return false;
  cut.last = leaf.find(cut.to - 1);
  // What is left of an extent that can be overwritten would only be smaller extents.
  if (!from_edge && leaf.writable(cut.first)) return false;
  if (cut.to < leaf.end(cut.last) && leaf.writable(cut.last)) return false;
  reserve_for();
  Slot slot{length, std::exchange(chunk, {})};
  if (fits(leaf, cut, &leaf == root_.get())) {
    rewrite_leaf(pool, leaf, cut, std::move(slot));
  } else {
    put(pool, offset, ExtentTree(tree_of(pool, 0, &slot, &slot + 1)));
  }
  return true;
}

void ExtentTree::replace(MemoryPool& pool, std::uint64_t offset, ExtentTree with) {
  if (with.length() == 0) return;
  reserve_for(&with);
  put(pool, offset, std::move(with));
}

/// replace() by some bytes, when nodes are reserved.
void ExtentTree::put(MemoryPool& pool, std::uint64_t offset, ExtentTree with) {
  const std::uint64_t length = with.length();
  if (with.root_->leaf() && with.root_->count() == 1) {
    OwnLeaf own = own_leaf(pool, root_, offset);
    Cut cut{0, 0, offset - own.start, offset - own.start + length};
    if (cut.to <= own.node->length()) {
      cut.first = own.node->find(cut.from);
      cut.last = own.node->find(cut.to - 1);
      if (fits(*own.node, cut, own.node == root_.get())) {
        SlotList slot;
        with.root_->gather(0, 1, with.root_->unique(), slot);
        with.root_ = {};
        settle_slot(pool, slot.front());
        rewrite_leaf(pool, *own.node, cut, std::move(slot.front()));
        return;
      }
    }
  }
  auto [left, rest] = split(pool, std::move(root_), offset);
  auto [dead, right] = split(pool, std::move(rest), length);
  dead = {};
  root_ = join(pool, join(pool, std::move(left), std::move(with.root_)), std::move(right));
  // Both sides of both seams may have become slivers.
  for (std::uint64_t seam : {offset, offset + length}) {
    if (seam > 0) settle(pool, root_, seam - 1);
    if (seam < root_->length()) settle(pool, root_, seam);
  }
}

ExtentTree ExtentTree::slice(MemoryPool& pool, std::uint64_t offset, std::uint64_t length) const {
  if (length == 0) return {};
  return ExtentTree(handlers::slice(pool, *root_, offset, offset + length));
}

void ExtentTree::append(MemoryPool& pool, ExtentTree tail) {
  reserve_for(&tail);
  root_ = join(pool, std::move(root_), std::move(tail.root_));
}

ExtentTree::Run ExtentTree::run(std::uint64_t offset) const {
  const ExtentNode* node = root_.get();
  for (;;) {
    std::size_t i = node->find(offset);
    if (!node->leaf()) {
      offset -= node->start(i);
      node = node->child(i);
      continue;
    }
    bool mapped = node->chunk(i) != nullptr;
    std::size_t last = i;
    while (last + 1 < node->count() && (node->chunk(last + 1) != nullptr) == mapped) ++last;
    return {node->end(last) - offset, mapped};
  }
}

std::uint64_t ExtentTree::count_memory(MemoryUsage& usage, std::uint64_t from, std::size_t& left) const {
  if (!root_ || from >= length()) return length();
  return CountingStep{usage, from, left}.visit(*root_, 0);
}

std::string ExtentTree::broken_rule() const { return root_ ? broken_node_rule(*root_, true) : std::string(); }
std::uint64_t ExtentTree::extent_count() const { return root_ ? count_extents(*root_) : 0; }

}  // namespace handlers
