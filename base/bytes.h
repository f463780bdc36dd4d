// Bytes as the standards print them: spans, big-endian fields, one bounded reader and one writer.
//
// A fixed layout is a struct of be16/be24/be32/be64 (le16/le32/le64 for what Windows prints) and uint8_t, read with
// load() and written with store(); a variable layout goes through ByteReader and ByteWriter, whose length fields close
// themselves. No other code in this project shifts bytes. Thread: any, nothing is shared.
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace base {

using Bytes = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;

inline bool all_zeros(Bytes bytes) {
  return bytes.empty() || (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// An unsigned integer kept as `Width` bytes, most significant first, with no alignment.
template <typename Native, std::size_t Width>
class BigEndian {
 public:
  constexpr BigEndian() = default;
  constexpr BigEndian(Native value) {  // NOLINT(google-explicit-constructor): a field is its value
    for (std::size_t i = 0; i < Width; ++i) bytes_[i] = static_cast<std::uint8_t>(value >> (8 * (Width - 1 - i)));
  }
  constexpr operator Native() const {  // NOLINT(google-explicit-constructor)
    Native value = 0;
    for (std::size_t i = 0; i < Width; ++i) value = static_cast<Native>((value << 8) | bytes_[i]);
    return value;
  }
  constexpr Native value() const { return *this; }

 private:
  std::array<std::uint8_t, Width> bytes_{};
};

using be16 = BigEndian<std::uint16_t, 2>;
using be24 = BigEndian<std::uint32_t, 3>;
using be32 = BigEndian<std::uint32_t, 4>;
using be48 = BigEndian<std::uint64_t, 6>;
using be64 = BigEndian<std::uint64_t, 8>;
static_assert(sizeof(be24) == 3 && alignof(be64) == 1);

/// An unsigned integer kept least significant byte first, with no alignment: Windows' structures, partition tables.
template <typename Native>
class LittleEndian {
 public:
  constexpr LittleEndian() = default;
  constexpr LittleEndian(Native value) {  // NOLINT(google-explicit-constructor): a field is its value
    for (std::size_t i = 0; i < sizeof(Native); ++i) bytes_[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  constexpr operator Native() const {  // NOLINT(google-explicit-constructor)
    Native value = 0;
    for (std::size_t i = sizeof(Native); i-- > 0;) value = static_cast<Native>((value << 8) | bytes_[i]);
    return value;
  }
  constexpr Native value() const { return *this; }

 private:
  std::array<std::uint8_t, sizeof(Native)> bytes_{};
};

using le16 = LittleEndian<std::uint16_t>;
using le32 = LittleEndian<std::uint32_t>;
using le64 = LittleEndian<std::uint64_t>;
static_assert(sizeof(le16) == 2 && alignof(le64) == 1);

template <typename T>
concept WireLayout = std::is_trivially_copyable_v<T> && alignof(T) == 1;

/// Reads a fixed layout from the start of `from`, which must hold at least sizeof(T) bytes.
template <WireLayout T>
T load(Bytes from) {
  assert(from.size() >= sizeof(T));
  T value;
  std::memcpy(&value, from.data(), sizeof(T));
  return value;
}

/// Writes a fixed layout to the start of `to`, which must hold at least sizeof(T) bytes.
template <WireLayout T>
void store(MutableBytes to, const T& value) {
  assert(to.size() >= sizeof(T));
  std::memcpy(to.data(), &value, sizeof(T));
}

/// The bytes of a fixed layout, borrowed.
template <WireLayout T>
Bytes bytes_of(const T& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof(T)};
}

inline Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

/// A bounded cursor over bytes somebody else owns. Reading past the end returns zeros and makes
/// ok() false for good: check once, after the last field.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : bytes_(bytes) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(number<std::uint8_t, 1>()); }
  std::uint16_t u16() { return number<std::uint16_t, 2>(); }
  std::uint32_t u24() { return number<std::uint32_t, 3>(); }
  std::uint32_t u32() { return number<std::uint32_t, 4>(); }
  std::uint64_t u64() { return number<std::uint64_t, 8>(); }

  /// A fixed layout; zero-initialised when fewer than sizeof(T) bytes are left.
  template <WireLayout T>
  T layout() {
    Bytes from = take(sizeof(T));
    return from.size() == sizeof(T) ? load<T>(from) : T{};
  }

  /// The next `count` bytes, borrowed; empty (and !ok()) when fewer are left.
  Bytes take(std::size_t count) {
    if (count > remaining()) {
      ok_ = false;
      position_ = bytes_.size();
      return {};
    }
    Bytes taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }
  /// The next `count` bytes or as many as are left; for lists whose length field may claim more than came.
  Bytes take_up_to(std::size_t count) { return take(count < remaining() ? count : remaining()); }
  void skip(std::size_t count) { take(count); }

  bool ok() const { return ok_; }
  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

 private:
  template <typename Native, std::size_t Width>
  Native number() {
    return layout<BigEndian<Native, Width>>();
  }

  Bytes bytes_;
  std::size_t position_ = 0;
  bool ok_ = true;
};

/// Appends to a vector. A length field is opened with length8/16/32() and filled in when the scope
/// it returned ends, so that a length cannot disagree with its content.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<std::uint8_t>& out) : out_(out) {}

  void u8(std::uint8_t value) { out_.push_back(value); }
  void u16(std::uint16_t value) { append(be16(value)); }
  void u24(std::uint32_t value) { append(be24(value)); }
  void u32(std::uint32_t value) { append(be32(value)); }
  void u64(std::uint64_t value) { append(be64(value)); }
  void zeros(std::size_t count) { out_.resize(out_.size() + count); }
  void bytes(Bytes from) { out_.insert(out_.end(), from.begin(), from.end()); }

  /// A fixed layout.
  template <WireLayout T>
  void layout(const T& value) {
    bytes(bytes_of(value));
  }

  /// Text cut or padded with spaces to `width` (T10 ASCII fields are left-aligned, space-filled).
  void ascii(std::string_view text, std::size_t width) {
    text = text.substr(0, width);
    bytes(bytes_of(text));
    out_.insert(out_.end(), width - text.size(), std::uint8_t{' '});
  }

  std::size_t size() const { return out_.size(); }

  /// Fills its length field with the count of bytes written after it when it ends.
  template <typename Field>
  class Length {
   public:
    explicit Length(std::vector<std::uint8_t>& out) : out_(out), at_(out.size()) { out_.resize(at_ + sizeof(Field)); }
    Length(const Length&) = delete;
    Length& operator=(const Length&) = delete;
    ~Length() {
      std::size_t count = out_.size() - at_ - sizeof(Field);
      Field field{static_cast<decltype(Field{}.value())>(count)};
      store(MutableBytes(out_).subspan(at_), field);
    }

   private:
    std::vector<std::uint8_t>& out_;
    std::size_t at_;
  };
  [[nodiscard]] Length<BigEndian<std::uint8_t, 1>> length8() { return Length<BigEndian<std::uint8_t, 1>>(out_); }
  [[nodiscard]] Length<be16> length16() { return Length<be16>(out_); }
  [[nodiscard]] Length<be32> length32() { return Length<be32>(out_); }

 private:
  template <WireLayout T>
  void append(const T& value) {
    bytes(bytes_of(value));
  }

  std::vector<std::uint8_t>& out_;
};

}  // namespace base
