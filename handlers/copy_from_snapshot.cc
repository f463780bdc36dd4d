#include "handlers/copy_from_snapshot.h"

#include <algorithm>

#include "handlers/file_image.h"

namespace handlers {
namespace {

constexpr std::uint64_t kCopyPiece = 1 << 20;

IoResult<void> copy_piece(BackingStore& to, const Snapshot& snapshot, ByteRange piece, std::uint64_t offset) {
  base::Segments data;
  if (auto result = snapshot.read(piece, data); !result) return result;
  for (const base::Segment& part : data.parts()) {
    for (base::Bytes left = part.bytes; !left.empty();) {
      const base::Bytes written = left.first(std::min(left.size(), FileImage::kLongWorkCall));
      if (auto result = to.write(offset, written); !result) return result;
      offset += written.size();
      left = left.subspan(written.size());
    }
  }
  return {};
}

}  // namespace

IoResult<void> copy_from_snapshot(BackingStore& to, const Snapshot& snapshot, ByteRange range, std::uint64_t offset,
                                  std::uint64_t* copied) {
  std::uint64_t done = 0;
  if (copied) *copied = 0;
  while (done < range.length) {
    auto run = snapshot.provisioning(range.offset + done);
    if (!run) return std::unexpected(run.error());
    std::uint64_t length = std::min(run->length, range.length - done);
    if (run->mapped) length = std::min(length, kCopyPiece);
    auto result = run->mapped ? copy_piece(to, snapshot, {range.offset + done, length}, offset + done)
                              : to.unmap({offset + done, length});
    if (!result) return result;
    done += length;
    if (copied) *copied = done;
  }
  return {};
}

}  // namespace handlers
