// Cuts a byte stream into PDUs (RFC 7143, 11): headers and small data segments out of one receive buffer, large
// data segments straight into a destination that the caller names.
//
// Owns the receive buffer; checks digests and lengths, nothing else. Any split of the stream gives the same PDUs.
// Thread: the loop's.
#pragma once

#include <sys/uio.h>

#include <boost/container/static_vector.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ref.h"
#include "target/iscsi/pdu.h"

namespace iscsi {

/// Memory for a part of a data segment.
struct Place {
  base::MutableBytes bytes{};
  base::Ref<const base::RefCounted> owner{};  ///< what keeps it alive
};

/// As many as memory is lent in (target/iscsi/data_out_memory.h).
inline constexpr std::size_t kMostPlaces = 17;
using Places = boost::container::static_vector<Place, kMostPlaces>;

/// A received PDU. The spans are valid until the decoder is touched again.
struct Pdu {
  Bhs bhs{};
  base::Bytes ahs{};
  /// The data segment; none where it lies in several places.
  base::Bytes data{};
  /// Where it lies when PduDecoder::place() said so.
  std::span<const Place> placed{};

  /// Bytes of the data segment; none after a digest error.
  std::size_t data_length() const;
  /// Calls `each` with the runs of bytes it is made of, in order.
  template <typename Each>
  void for_each_run(Each each) const {
    if (placed.empty()) return each(data);
    for (const Place& place : placed) each(base::Bytes(place.bytes));
  }
  std::vector<std::uint8_t> data_copy() const;
};

class PduDecoder {
 public:
  enum class Result {
    need_more,            ///< the PDU is not complete
    large_data,           ///< headers are complete: call place() or gather(), then next() again
    pdu,                  ///< a PDU
    data_too_long,        ///< DataSegmentLength is above the limit; the stream is not followed any further
    header_digest_error,  ///< likewise (RFC 7143, 7.7: the length cannot be trusted)
    data_digest_error,    ///< the PDU is delivered without data; the stream goes on
  };

  /// A data segment this long (bytes), of which some is still to come, is worth receiving in place.
  static constexpr std::size_t kLargeData = 8192;
  static constexpr std::size_t kBufferSize = 128 * 1024;
  /// After a segment this long, the next is likely as long,
  static constexpr std::size_t kLongSegment = 32 * 1024;
  /// and what of it comes with its header has to be copied: no more than this is received behind one that is placed.
  static constexpr std::size_t kHeaderReceive = 512;

  PduDecoder();

  /// Longest data segment accepted, in bytes, without padding (RFC 7143, 13.12).
  void set_max_data_segment_length(std::uint32_t bytes) { max_data_segment_length_ = bytes; }
  /// Longest run of bytes asked for at once; data segments that are received in place are not bounded.
  void set_receive_limit(std::size_t bytes) { at_once_ = receive_limit_ = bytes; }
  /// From the next PDU on.
  void set_digests(bool header, bool data) {
    header_digest_ = header;
    data_digest_ = data;
  }

  /// Where the next bytes go, in order: fills the front of `out` (at least one) and returns how many it filled. Never
  /// without room. What follows a segment that is received in place goes to the buffer by the same call.
  static constexpr std::size_t kMostBuffers = kMostPlaces + 1;
  std::size_t receive_buffers(std::span<iovec> out);
  /// The first of them.
  base::MutableBytes receive_buffer();
  /// `count` bytes were put there.
  void received(std::size_t count);

  /// Takes the next PDU, or says why not. `pdu.bhs` is set for everything but need_more, data_too_long's and
  /// header_digest_error's included.
  Result next(Pdu& pdu);

  /// After large_data: the segment is to be received in `places`, together of exactly its length.
  void place(Places places);
  /// After large_data: the segment is to be received in memory of the decoder's own.
  void gather();

 private:
  enum class Stage { headers, data_destination, data, trailer };

  std::size_t available() const { return end_ - begin_; }
  base::Bytes front(std::size_t count) const { return {buffer_.get() + begin_, count}; }
  Result headers(Pdu& pdu);
  Result small_data(Pdu& pdu, std::size_t headers_length);
  Result trailer(Pdu& pdu);
  bool placing() const { return stage_ == Stage::data && placed_count_ < bhs_.data_segment_length; }
  base::MutableBytes buffer_room();

  std::unique_ptr<std::uint8_t[]> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t receive_limit_ = kBufferSize;
  std::size_t at_once_ = kBufferSize;  // less when the next data segment is likely to be large

  std::uint32_t max_data_segment_length_ = kDefaultMaxRecvDataSegmentLength;
  bool header_digest_ = false;
  bool data_digest_ = false;

  Stage stage_ = Stage::headers;
  Bhs bhs_{};                      // of the PDU whose data is being placed
  std::vector<std::uint8_t> ahs_;  // likewise
  Places places_{};                // where its data goes; kept until the next PDU
  std::size_t placed_count_ = 0;   // bytes there so far
  std::vector<std::uint8_t> gathered_;
};

}  // namespace iscsi
