#include "scsi/source_watch.h"

#include <algorithm>
#include <boost/icl/interval_map.hpp>
#include <set>

namespace scsi {

namespace {

using Interval = boost::icl::right_open_interval<std::uint64_t>;

Interval interval_of(handlers::ByteRange range) { return {range.offset, range.end()}; }

}  // namespace

struct SourceWatch::Intervals {
  boost::icl::interval_map<std::uint64_t, std::set<tokens::TokenId>, boost::icl::partial_absorber, std::less,
                           boost::icl::inplace_plus, boost::icl::inter_section, Interval>
      map;
};

SourceWatch::SourceWatch() : intervals_(std::make_unique<Intervals>()) {}
SourceWatch::~SourceWatch() = default;

void SourceWatch::add(const std::vector<handlers::ByteRange>& ranges, tokens::TokenId token,
                      const std::function<bool(tokens::TokenId)>& valid) {
  if (tokens_.size() >= sweep_at_) {
    std::vector<tokens::TokenId> stale;
    for (const auto& [id, watched] : tokens_)
      if (!valid(id)) stale.push_back(id);
    for (tokens::TokenId id : stale) drop(id);
    sweep_at_ = std::max<std::size_t>(64, 2 * tokens_.size());
  }
  for (const handlers::ByteRange& range : ranges)
    intervals_->map.add({interval_of(range), std::set<tokens::TokenId>{token}});
  tokens_[token] = ranges;
}

void SourceWatch::drop(tokens::TokenId token) {
  auto found = tokens_.find(token);
  for (const handlers::ByteRange& range : found->second)
    intervals_->map.subtract({interval_of(range), std::set<tokens::TokenId>{token}});
  tokens_.erase(found);
}

std::vector<tokens::TokenId> SourceWatch::take(handlers::ByteRange range) {
  std::set<tokens::TokenId> hit;
  auto [first, last] = intervals_->map.equal_range(interval_of(range));
  for (; first != last; ++first) hit.insert(first->second.begin(), first->second.end());
  for (tokens::TokenId id : hit) drop(id);
  return {hit.begin(), hit.end()};
}

}  // namespace scsi
