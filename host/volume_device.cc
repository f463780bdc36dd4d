#include "host/volume_device.h"

#include <algorithm>
#include <vector>

namespace host {

namespace {

/// The whole blocks that hold a range.
struct Blocks {
  std::uint64_t first_byte;
  std::size_t length;
  std::size_t skip;  ///< from the first block's start to the range
};

Blocks blocks_of(std::uint64_t offset, std::size_t length, std::uint32_t block) {
  const std::uint64_t first = offset - offset % block;
  const std::uint64_t end = round_up(offset + length, block);
  return {first, static_cast<std::size_t>(end - first), static_cast<std::size_t>(offset - first)};
}

}  // namespace

NtStatus VolumeDevice::read(std::uint64_t offset, base::MutableBytes out) {
  if (!inside(offset, out.size())) return NtStatus::nonexistent_sector;
  if (out.empty()) return NtStatus::success;
  const Blocks whole = blocks_of(offset, out.size(), block_length());
  if (whole.length == out.size()) return driver_.read(first_byte_ + offset, out);
  std::vector<std::uint8_t> buffer(whole.length);
  NtStatus status = driver_.read(first_byte_ + whole.first_byte, buffer);
  if (status == NtStatus::success) std::ranges::copy(base::Bytes(buffer).subspan(whole.skip, out.size()), out.begin());
  return status;
}

NtStatus VolumeDevice::write(std::uint64_t offset, base::Bytes data) {
  if (!inside(offset, data.size())) return NtStatus::nonexistent_sector;
  if (data.empty()) return NtStatus::success;
  const Blocks whole = blocks_of(offset, data.size(), block_length());
  if (whole.length == data.size()) return driver_.write(first_byte_ + offset, data);
  std::vector<std::uint8_t> buffer(whole.length);
  const std::size_t block = block_length();
  NtStatus status = driver_.read(first_byte_ + whole.first_byte, base::MutableBytes(buffer).first(block));
  if (status == NtStatus::success && whole.length > block)
    status =
        driver_.read(first_byte_ + whole.first_byte + whole.length - block, base::MutableBytes(buffer).last(block));
  if (status != NtStatus::success) return status;
  std::ranges::copy(data, buffer.begin() + static_cast<std::ptrdiff_t>(whole.skip));
  return driver_.write(first_byte_ + whole.first_byte, buffer);
}

}  // namespace host
