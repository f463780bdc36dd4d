#include "base/segments.h"

#include <algorithm>

namespace base {
namespace {

constexpr std::size_t kZeroPageSize = 256 * 1024;
alignas(4096) constinit const std::array<std::uint8_t, kZeroPageSize> zero_page{};

}  // namespace

void Segments::append(Bytes bytes, Ref<const RefCounted> owner) {
  if (bytes.empty()) return;
  size_ += bytes.size();
  parts_.push_back({bytes, std::move(owner)});
}

void Segments::append(std::vector<std::uint8_t> bytes) {
  auto buffer = make_ref<Buffer>(std::move(bytes));
  Bytes content = std::as_const(*buffer).bytes();
  append(content, std::move(buffer));
}

void Segments::append_zeros(std::uint64_t count) {
  while (count > 0) {
    std::size_t run = static_cast<std::size_t>(std::min<std::uint64_t>(count, kZeroPageSize));
    append(Bytes(zero_page).first(run), {});
    count -= run;
  }
}

void Segments::truncate(std::uint64_t count) {
  if (count >= size_) return;
  std::uint64_t kept = 0;
  std::size_t parts = 0;
  while (kept < count) {
    Segment& part = parts_[parts++];
    if (part.bytes.size() > count - kept) part.bytes = part.bytes.first(static_cast<std::size_t>(count - kept));
    kept += part.bytes.size();
  }
  parts_.resize(parts);
  size_ = count;
}

void Segments::clear() {
  parts_.clear();
  size_ = 0;
}

void Segments::copy_to(std::uint64_t offset, MutableBytes out) const {
  assert(offset + out.size() <= size_);
  for (const Segment& part : parts_) {
    if (out.empty()) return;
    if (offset >= part.bytes.size()) {
      offset -= part.bytes.size();
      continue;
    }
    Bytes from = part.bytes.subspan(static_cast<std::size_t>(offset));
    std::size_t run = std::min(from.size(), out.size());
    std::memcpy(out.data(), from.data(), run);
    out = out.subspan(run);
    offset = 0;
  }
}

std::vector<std::uint8_t> Segments::to_vector() const {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(size_));
  copy_to(0, out);
  return out;
}

}  // namespace base
