#include "handlers/extent_tree.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "handlers/extent_node.h"

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
  return others + kMostAdded <= kFanout && (is_root || others + 1 >= kMinFill + kMostMerged);
}

void rewrite_leaf(MemoryPool& pool, ExtentNode& leaf, const Cut& cut, Slot with) {
  std::size_t count = leaf.count();
  std::uint64_t left_length = cut.from - leaf.start(cut.first);
  std::uint64_t right_start = cut.to - leaf.start(cut.last);
  bool right_left_over = cut.to < leaf.end(cut.last);
  SlotList old;
  leaf.gather(0, count, true, old);
  assert(old.size() == count);

  Slot left;
  Slot right;
  if (left_length > 0) {
    left = std::move(old[cut.first]);
    old[cut.first] = cut_slot(pool, left, left_length);
    if (cut.first == cut.last) right_start -= left_length;
  }
  if (right_left_over) right = cut_slot(pool, old[cut.last], right_start);
  for (std::size_t i = cut.first; i <= cut.last; ++i) old[i] = {};
  trim_slot(pool, left);
  trim_slot(pool, right);

  SlotList slots;
  for (std::size_t i = 0; i < cut.first; ++i) slots.push_back(std::move(old[i]));
  if (left.length > 0) push(slots, std::move(left), true);
  push(slots, std::move(with), true);
  if (right.length > 0) push(slots, std::move(right), true);
  for (std::size_t i = cut.last + 1; i < count; ++i) push(slots, std::move(old[i]), true);
  leaf.assign(slots.data(), slots.data() + slots.size());
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

void read_node(const ExtentNode& node, std::uint64_t from, std::uint64_t to, base::Segments& out) {
  for (std::size_t i = node.find(from); from < to; ++i) {
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
Slot new_memory(MemoryPool& pool, ExtentNode& leaf, const Cut& cut) {
  std::size_t wanted = static_cast<std::size_t>(cut.to - cut.from);
  if (cut.first > 0 && cut.from == leaf.start(cut.first) && leaf.writable(cut.first - 1)) {
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

std::string broken_node_rule(const ExtentNode& node, bool is_root) {
  if (node.count() == 0 || node.count() > kFanout) return "a node has 1 to kFanout slots";
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
    // From here to the next byte that can be overwritten in place everything gets new memory, rounded out to whole
    // granules so that small writes do not leave slivers behind, but never over a neighbouring slot's bytes.
    Cut cut{first, first};
    std::uint64_t lowest = round_down(own.start + at);
    cut.from = std::max(leaf.start(first), lowest > own.start ? lowest - own.start : 0);
    std::uint64_t to = std::min<std::uint64_t>(at + rest.size(), cut.from + kMaxChunk);
    while (leaf.end(cut.last) < to && cut.last + 1 < leaf.count() && !leaf.writable(cut.last + 1)) ++cut.last;
    cut.to = std::min({leaf.end(cut.last), round_up(own.start + to) - own.start, cut.from + kMaxChunk});
    Slot memory = new_memory(pool, leaf, cut);
    if (memory.length == 0) return done;
    cut.to = cut.from + memory.length;
    while (leaf.start(cut.last) >= cut.to) --cut.last;
    to = std::min({at + rest.size(), cut.to});

    std::uint8_t* bytes = static_cast<Chunk&>(*memory.target).data() + memory.offset;
    copy_out(leaf, cut.from, {bytes, static_cast<std::size_t>(at - cut.from)});
    std::memcpy(bytes + (at - cut.from), rest.data(), static_cast<std::size_t>(to - at));
    copy_out(leaf, to, {bytes + (to - cut.from), static_cast<std::size_t>(cut.to - to)});
    done += to - at;
    if (fits(leaf, cut, &leaf == root_.get())) {
      rewrite_leaf(pool, leaf, cut, std::move(memory));
    } else {
      replace(pool, own.start + cut.from, ExtentTree(tree_of(pool, 0, &memory, &memory + 1)));
    }
  }
  return done;
}

void ExtentTree::replace(MemoryPool& pool, std::uint64_t offset, ExtentTree with) {
  std::uint64_t length = with.length();
  if (length == 0) return;
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
        rewrite_leaf(pool, *own.node, cut, std::move(slot.front()));
        return;
      }
    }
  }
  auto [left, rest] = split(pool, std::move(root_), offset);
  auto [dead, right] = split(pool, std::move(rest), length);
  root_ = join(pool, join(pool, std::move(left), std::move(with.root_)), std::move(right));
}

ExtentTree ExtentTree::slice(MemoryPool& pool, std::uint64_t offset, std::uint64_t length) const {
  if (length == 0) return {};
  return ExtentTree(handlers::slice(pool, *root_, offset, offset + length));
}

void ExtentTree::append(MemoryPool& pool, ExtentTree tail) {
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

std::string ExtentTree::broken_rule() const { return root_ ? broken_node_rule(*root_, true) : std::string(); }
std::uint64_t ExtentTree::extent_count() const { return root_ ? count_extents(*root_) : 0; }

}  // namespace handlers
