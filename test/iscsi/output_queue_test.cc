// OutputQueue and PduWriter: bytes to send, in order, pinned until they are sent.
//
// Not tested, and why: sockets (test/target).
#include "target/iscsi/output_queue.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "target/iscsi/pdu_writer.h"
#include "test/iscsi/conversation.h"

using namespace test;
using iscsi::OutputQueue;

namespace {

ByteVector all_of(const OutputQueue& queue) {
  std::vector<iovec> parts(100000);
  parts.resize(queue.gather(parts));
  ByteVector bytes;
  for (const iovec& part : parts) {
    auto* from = static_cast<const std::uint8_t*>(part.iov_base);
    bytes.insert(bytes.end(), from, from + part.iov_len);
  }
  return bytes;
}

/// Tells when nothing holds it any more.
class Pinned final : public base::RefCounted {
 public:
  explicit Pinned(bool& gone) : gone_(gone) {}
  ~Pinned() override { gone_ = true; }

 private:
  bool& gone_;
};

}  // namespace

TEST_SUITE("iscsi OutputQueue") {
  TEST_CASE("What goes in comes out, whatever is consumed at a time") {
    constexpr std::uint64_t kSeed = 20250101;
    MESSAGE("seed ", kSeed);
    std::mt19937_64 random(kSeed);
    ByteVector source = pattern(1 << 20);
    OutputQueue queue;
    ByteVector expected;
    for (int round = 0; round < 20000; ++round) {
      if (random() % 3 != 0) {
        std::size_t count = 1 + random() % (random() % 50 == 0 ? OutputQueue::kChunkSize : 96);
        std::size_t from = random() % (source.size() - count);
        base::Bytes bytes = base::Bytes(source).subspan(from, count);
        if (random() % 2) {
          std::copy(bytes.begin(), bytes.end(), queue.append(count).begin());
        } else {
          queue.append_pinned(bytes, {});
        }
        expected.insert(expected.end(), bytes.begin(), bytes.end());
      } else if (!queue.empty()) {
        std::size_t count = 1 + random() % std::min<std::uint64_t>(queue.size(), random() % 10 == 0 ? 1 << 20 : 300);
        std::array<iovec, 3> parts{};
        std::size_t entries = queue.gather(parts);
        std::size_t seen = 0;
        for (std::size_t i = 0; i < entries; ++i) {
          REQUIRE(std::equal(static_cast<std::uint8_t*>(parts[i].iov_base),
                             static_cast<std::uint8_t*>(parts[i].iov_base) + parts[i].iov_len,
                             expected.begin() + static_cast<std::ptrdiff_t>(seen)));
          seen += parts[i].iov_len;
        }
        queue.consume(count);
        expected.erase(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(count));
      }
      REQUIRE(queue.size() == expected.size());
    }
    CHECK(all_of(queue) == expected);
    queue.clear();
    CHECK(queue.empty());
  }

  TEST_CASE("Pinned data is let go when its last byte is sent, not before") {
    bool gone = false;
    OutputQueue queue;
    ByteVector data(1000);
    queue.append_pinned(data, base::Ref<const base::RefCounted>(base::make_ref<Pinned>(gone)));
    queue.append(4);
    queue.consume(999);
    CHECK(!gone);
    queue.consume(1);
    CHECK(gone);
    CHECK(queue.size() == 4);
  }

  TEST_CASE("Headers that follow each other share a vector entry") {
    OutputQueue queue;
    for (int i = 0; i < 10; ++i) queue.append(48);
    std::array<iovec, 4> parts{};
    CHECK(queue.gather(parts) == 1);
    CHECK(parts[0].iov_len == 480);
  }

  TEST_CASE("A PDU from pinned segments equals one from copied bytes, with digests and padding") {
    for (bool digests : {false, true}) {
      OutputQueue pinned, copied;
      iscsi::PduWriter a(pinned), b(copied);
      a.set_digests(digests, digests);
      b.set_digests(digests, digests);
      ByteVector data = pattern(5001);
      base::Segments segments;
      segments.append(ByteVector(data.begin(), data.begin() + 10));
      segments.append(ByteVector(data.begin() + 10, data.begin() + 3000));
      segments.append(ByteVector(data.begin() + 3000, data.end()));
      iscsi::SegmentCursor cursor;
      std::size_t at = 0;
      for (std::uint32_t length : {7, 2000, 1500, 1494}) {
        iscsi::DataInBhs header;
        header.buffer_offset = static_cast<std::uint32_t>(at);
        a.put(header, segments, cursor, length);
        b.put(header, base::Bytes(data).subspan(at, length));
        at += length;
      }
      CHECK(at == data.size());
      CHECK(all_of(pinned) == all_of(copied));
    }
  }
}
