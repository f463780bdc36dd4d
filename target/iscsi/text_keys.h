// Text as login and text PDUs carry it: key=value pairs, each ended by a zero byte (RFC 7143, 6.1), and how it is
// spread over several PDUs (C bit, RFC 7143, 6.2). Knows no key. Thread: the loop's.
#pragma once

#include <cstddef>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace iscsi {

struct TextPair {
  std::string_view key;
  std::string_view value;
};

/// The value of `key`, if it is there.
std::optional<std::string_view> value_of(std::span<const TextPair> pairs, std::string_view key);

/// How much text one request may be made of, over all its PDUs, and of how many pairs. Beyond: an error.
inline constexpr std::size_t kMaxTextLength = 64 * 1024;
inline constexpr std::size_t kMaxTextPairs = 256;
inline constexpr std::size_t kMaxKeyLength = 63;

/// Splits text into pairs that borrow from it. A missing last zero byte is forgiven. The error names the rule
/// that was broken: no '=', a label that RFC 7143, 6.1 does not allow, a key given twice, too many pairs.
std::expected<std::vector<TextPair>, std::string> parse_text(std::string_view text);

/// Appends one pair.
void append_pair(std::string& text, std::string_view key, std::string_view value);

/// Puts together the text of a request whose PDUs but the last have the C bit.
class TextAssembler {
 public:
  /// False when the text has become longer than kMaxTextLength.
  bool add(base::Bytes data);
  bool empty() const { return text_.empty(); }
  /// The whole text; the assembler is empty afterwards.
  std::string take();

 private:
  std::string text_;
};

/// Hands out a response in pieces that fit the receiver's data segments.
class TextSlicer {
 public:
  void add(std::string_view text) { text_.append(text); }
  bool pending() const { return position_ < text_.size(); }
  struct Piece {
    std::string_view text;  ///< valid until the slicer changes
    bool last = true;       ///< nothing is left after it
  };
  /// The next at most `limit` bytes. When it is the last piece the slicer is ready for new text after the next
  /// call of clear().
  Piece next(std::size_t limit);
  void clear();

 private:
  std::string text_;
  std::size_t position_ = 0;
};

/// "Yes" or "No"; nothing else (RFC 7143, 6.1, boolean-value).
std::expected<bool, std::string> parse_boolean(std::string_view value);
/// A decimal or hexadecimal constant (RFC 7143, 6.1, numerical-value), at most 2^64-1.
std::expected<std::uint64_t, std::string> parse_number(std::string_view value);
/// A binary value in hexadecimal ("0x") or base64 ("0b") form, at most `limit` bytes (RFC 7143, 6.1, binary-value).
std::expected<std::vector<std::uint8_t>, std::string> parse_binary(std::string_view value, std::size_t limit);
/// The hexadecimal form.
std::string format_binary(base::Bytes value);

}  // namespace iscsi
