// Puts PDUs into an output queue: DataSegmentLength, padding and digests. Thread: the loop's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/segments.h"
#include "target/iscsi/output_queue.h"
#include "target/iscsi/pdu.h"

namespace iscsi {

/// A place in Segments; put() moves it on.
struct SegmentCursor {
  std::size_t part = 0;
  std::size_t offset = 0;  ///< in that part
};

class PduWriter {
 public:
  explicit PduWriter(OutputQueue& out) : out_(out) {}

  /// From the next PDU on.
  void set_digests(bool header, bool data) {
    header_digest_ = header;
    data_digest_ = data;
  }

  /// The next header digest, or the next data digest, is to be wrong, where there are digests. Both false: no more.
  void spoil(bool header, bool data) {
    spoil_header_ = header && header_digest_;
    spoil_data_ = data && data_digest_;
  }

  /// Queues `header` with a copy of `data`.
  template <typename Header>
  void put(Header& header, base::Bytes data = {}) {
    static_assert(sizeof(Header) == kBhsLength);
    header.data_segment_length = static_cast<std::uint32_t>(data.size());
    write(base::bytes_of(header), data);
  }

  /// Queues `header` with the `length` bytes of `data` at `cursor`, pinned and not copied (unless they are few).
  template <typename Header>
  void put(Header& header, const base::Segments& data, SegmentCursor& cursor, std::uint32_t length) {
    static_assert(sizeof(Header) == kBhsLength);
    header.data_segment_length = length;
    write(base::bytes_of(header), data, cursor, length);
  }

 private:
  void write(base::Bytes header, base::Bytes data);
  void write(base::Bytes header, const base::Segments& data, SegmentCursor& cursor, std::size_t length);
  void write_header(base::Bytes header);
  void write_trailer(std::size_t length, std::uint32_t running_digest);

  OutputQueue& out_;
  bool header_digest_ = false;
  bool data_digest_ = false;
  bool spoil_header_ = false;
  bool spoil_data_ = false;
};

}  // namespace iscsi
