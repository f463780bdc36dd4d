// Which bytes of a logical unit tokens depend on that end when their source changes (ROD type 0080 0001h).
//
// Knows ranges and identifiers, no token. Thread: the loop's.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "handlers/backing_store.h"
#include "tokens/token_manager.h"

namespace scsi {

class SourceWatch {
 public:
  /// `valid` tells which tokens are still to be watched. Each call asks it of kLooksOfAnAdd others, and drops those
  /// that are not: they are never many more than the valid ones.
  void add(const std::vector<handlers::ByteRange>& ranges, tokens::TokenId token,
           const std::function<bool(tokens::TokenId)>& valid);

  /// The tokens that depend on any byte of `range`; they are watched no more.
  std::vector<tokens::TokenId> take(handlers::ByteRange range);

  bool empty() const { return tokens_.empty(); }
  std::size_t size() const { return tokens_.size(); }
  static constexpr int kLooksOfAnAdd = 3;

 private:
  void drop(tokens::TokenId token);

  struct Entry {
    std::uint64_t start;
    std::uint64_t end;
    tokens::TokenId token;
    auto operator<=>(const Entry&) const = default;
  };
  std::set<Entry>& entries_for(handlers::ByteRange range);

  /// By the power of two below a range's length, so that what reaches into a place begins not far before it.
  std::array<std::set<Entry>, 64> by_length_;
  std::map<tokens::TokenId, std::vector<handlers::ByteRange>> tokens_;
  tokens::TokenId looked_at_{};  ///< the last of which valid() was asked
};

}  // namespace scsi
