#include "scsi/source_watch.h"

#include <bit>

namespace scsi {

std::set<SourceWatch::Entry>& SourceWatch::entries_for(handlers::ByteRange range) {
  return by_length_[static_cast<std::size_t>(std::bit_width(range.length) - 1)];
}

void SourceWatch::add(const std::vector<handlers::ByteRange>& ranges, tokens::TokenId token,
                      const std::function<bool(tokens::TokenId)>& valid) {
  for (int i = 0; i < kLooksOfAnAdd && !tokens_.empty(); ++i) {
    auto next = tokens_.upper_bound(looked_at_);
    if (next == tokens_.end()) next = tokens_.begin();
    looked_at_ = next->first;
    if (!valid(looked_at_)) drop(looked_at_);
  }
  for (const handlers::ByteRange& range : ranges) entries_for(range).insert({range.offset, range.end(), token});
  tokens_[token] = ranges;
}

void SourceWatch::drop(tokens::TokenId token) {
  auto found = tokens_.find(token);
  for (const handlers::ByteRange& range : found->second) entries_for(range).erase({range.offset, range.end(), token});
  tokens_.erase(found);
}

std::vector<tokens::TokenId> SourceWatch::take(handlers::ByteRange range) {
  std::set<tokens::TokenId> hit;
  for (std::size_t length = 0; length < by_length_.size(); ++length) {
    const std::set<Entry>& entries = by_length_[length];
    if (entries.empty()) continue;
    const std::uint64_t longest = (std::uint64_t{2} << length) - 1;
    const Entry from{range.offset > longest ? range.offset - longest : 0, 0, tokens::TokenId{}};
    for (auto at = entries.lower_bound(from); at != entries.end() && at->start < range.end(); ++at)
      if (at->end > range.offset) hit.insert(at->token);
  }
  for (tokens::TokenId id : hit) drop(id);
  return {hit.begin(), hit.end()};
}

}  // namespace scsi
