// Which tokens there are, in the order of their creation: a bit for each number that was given out, in blocks that go
// when none of theirs is left. What is behind a number is found in some ten nanoseconds, whether that one is still
// there or not and however many there are.
//
// Knows numbers, no token. Thread: the loop's.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <map>

namespace tokens {

class TokenIndex {
 public:
  /// A number from 1 that is not in it.
  void add(std::uint64_t number) {
    Block& block = blocks_[number / kBits];
    word(block, number) |= mask(number);
    ++block.count;
  }

  /// One that is in it.
  void remove(std::uint64_t number) {
    auto block = blocks_.find(number / kBits);
    word(block->second, number) &= ~mask(number);
    if (--block->second.count == 0) blocks_.erase(block);
  }

  /// The first behind `number`, which may be 0 or gone; 0: none.
  std::uint64_t next(std::uint64_t number) const {
    std::uint64_t from = number + 1;
    for (auto block = blocks_.lower_bound(from / kBits); block != blocks_.end(); ++block) {
      if (block->first > from / kBits) from = block->first * kBits;
      std::size_t i = from % kBits / kWord;
      std::uint64_t bits = block->second.words[i] & (~std::uint64_t{0} << from % kWord);
      while (bits == 0 && ++i < kWords) bits = block->second.words[i];
      if (bits != 0) return block->first * kBits + i * kWord + static_cast<std::uint64_t>(std::countr_zero(bits));
      // Nothing behind it in its own block: in the next is something.
    }
    return 0;
  }

  bool empty() const { return blocks_.empty(); }

 private:
  static constexpr std::uint64_t kWord = 64;
  static constexpr std::size_t kWords = 64;
  static constexpr std::uint64_t kBits = kWord * kWords;
  struct Block {
    std::array<std::uint64_t, kWords> words{};
    std::uint32_t count = 0;
  };

  static std::uint64_t& word(Block& block, std::uint64_t number) { return block.words[number % kBits / kWord]; }
  static std::uint64_t mask(std::uint64_t number) { return std::uint64_t{1} << number % kWord; }

  std::map<std::uint64_t, Block> blocks_;
};

}  // namespace tokens
