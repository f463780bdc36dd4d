#include "target/iscsi/pdu_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "target/iscsi/digest.h"

namespace iscsi {
namespace {

/// The last byte of `digest`, spoiled if that is wanted; it no longer is.
void spoil_digest(base::MutableBytes digest, bool& wanted) {
  if (std::exchange(wanted, false)) digest.back() ^= 1;
}

}  // namespace

void PduWriter::write_header(base::Bytes header) {
  base::MutableBytes to = out_.append(kBhsLength + (header_digest_ ? kDigestLength : 0));
  std::memcpy(to.data(), header.data(), kBhsLength);
  if (!header_digest_) return;
  base::store(to.subspan(kBhsLength), digest_of(header));
  spoil_digest(to, spoil_header_);
}

void PduWriter::write_trailer(std::size_t length, std::uint32_t running_digest) {
  static constexpr std::uint8_t kZeros[4]{};
  std::size_t pad = padding(length);
  std::size_t total = pad + (data_digest_ ? kDigestLength : 0);
  if (total == 0) return;
  base::MutableBytes to = out_.append(total);
  std::memset(to.data(), 0, pad);
  if (!data_digest_) return;
  base::store(to.subspan(pad), digest_bytes(digest_add(running_digest, base::Bytes(kZeros, pad))));
  spoil_digest(to, spoil_data_);
}

void PduWriter::write(base::Bytes header, base::Bytes data) {
  write_header(header);
  if (data.empty()) return;
  std::uint32_t running = data_digest_ ? digest_add(kDigestStart, data) : 0;
  for (base::Bytes rest = data; !rest.empty();) {
    base::Bytes piece = rest.first(std::min(rest.size(), OutputQueue::kChunkSize));
    std::memcpy(out_.append(piece.size()).data(), piece.data(), piece.size());
    rest = rest.subspan(piece.size());
  }
  write_trailer(data.size(), running);
}

void PduWriter::write(base::Bytes header, const base::Segments& data, SegmentCursor& cursor, std::size_t length) {
  write_header(header);
  if (length == 0) return;
  std::uint32_t running = kDigestStart;
  for (std::size_t left = length; left > 0;) {
    const base::Segment& part = data.parts()[cursor.part];
    base::Bytes run = part.bytes.subspan(cursor.offset);
    run = run.first(std::min(run.size(), left));
    if (data_digest_) running = digest_add(running, run);
    if (run.size() <= OutputQueue::kCopied) {
      std::memcpy(out_.append(run.size()).data(), run.data(), run.size());
    } else {
      out_.append_pinned(run, part.owner);
    }
    left -= run.size();
    cursor.offset += run.size();
    if (cursor.offset == part.bytes.size()) cursor = {cursor.part + 1, 0};
  }
  write_trailer(length, running);
}

}  // namespace iscsi
