// A byte stream cut into PDUs. Whatever the bytes, and however they are split between receives, the decoder gives the
// same PDUs.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "base/segments.h"
#include "target/iscsi/pdu_decoder.h"

namespace {

constexpr std::uint32_t kMaxData = 65536;

struct Seen {
  iscsi::PduDecoder::Result result;
  std::vector<std::uint8_t> bytes;  ///< header, additional header and data
  bool operator==(const Seen&) const = default;
};

/// Everything the decoder says about the stream, received in pieces of at most `piece` bytes.
std::vector<Seen> decode(base::Bytes stream, std::size_t piece, bool digests, bool in_place) {
  using Result = iscsi::PduDecoder::Result;
  iscsi::PduDecoder decoder;
  decoder.set_max_data_segment_length(kMaxData);
  decoder.set_digests(digests, digests);
  std::vector<Seen> seen;
  while (!stream.empty()) {
    std::array<iovec, iscsi::PduDecoder::kMostBuffers> buffers;
    std::size_t used = decoder.receive_buffers(buffers);
    if (used == 0) std::abort();
    std::size_t count = 0;
    for (const iovec& buffer : std::span(buffers).first(used)) {
      std::size_t here = std::min({piece - count, buffer.iov_len, stream.size()});
      std::memcpy(buffer.iov_base, stream.data(), here);
      stream = stream.subspan(here);
      count += here;
    }
    decoder.received(count);
    iscsi::Pdu pdu;
    for (Result result = decoder.next(pdu); result != Result::need_more; result = decoder.next(pdu)) {
      if (result == Result::large_data) {
        std::uint32_t length = pdu.bhs.data_segment_length;
        if (length > kMaxData) std::abort();
        if (in_place) {
          auto owner = base::make_ref<base::Buffer>(length);
          std::size_t front = length / 3;
          decoder.place({{owner->bytes().first(front), owner}, {owner->bytes().subspan(front), owner}});
        } else {
          decoder.gather();
        }
        continue;
      }
      Seen one{result, {}};
      std::vector<std::uint8_t> segment = pdu.data_copy();
      for (base::Bytes part : {base::bytes_of(pdu.bhs), pdu.ahs, base::Bytes(segment)}) {
        one.bytes.insert(one.bytes.end(), part.begin(), part.end());
      }
      seen.push_back(std::move(one));
      if (result == Result::data_too_long || result == Result::header_digest_error) return seen;
    }
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  bool digests = (data[0] & 1) != 0;
  std::size_t piece = data[1] + std::size_t{1};
  base::Bytes stream(data + 2, size - 2);
  if (decode(stream, stream.size() + 1, digests, false) != decode(stream, piece, digests, (data[0] & 2) != 0)) {
    std::abort();
  }
  return 0;
}
