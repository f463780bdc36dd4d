// PduDecoder and DataBufferPool: a byte stream cut into PDUs.
//
// Not tested, and why: what PDUs mean (the conversation tests).
#include "target/iscsi/pdu_decoder.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

#include "base/data_buffer.h"
#include "target/iscsi/digest.h"
#include "test/iscsi/conversation.h"

using namespace test;
using iscsi::PduDecoder;

namespace {

struct Options {
  bool header_digest = false;
  bool data_digest = false;
  std::size_t ahs_length = 0;
};

ByteVector encode(std::uint32_t tag, const ByteVector& data, const Options& options) {
  iscsi::Bhs bhs;
  bhs.opcode = static_cast<std::uint8_t>(iscsi::Opcode::nop_out);
  bhs.initiator_task_tag = tag;
  bhs.total_ahs_length = static_cast<std::uint8_t>(options.ahs_length / 4);
  bhs.data_segment_length = static_cast<std::uint32_t>(data.size());
  base::Bytes head = base::bytes_of(bhs);
  ByteVector out(head.begin(), head.end());
  for (std::size_t i = 0; i < options.ahs_length; ++i) out.push_back(static_cast<std::uint8_t>(i));
  auto digest = [&](std::size_t from) {
    base::be32 value = iscsi::digest_of(base::Bytes(out).subspan(from));
    base::Bytes raw = base::bytes_of(value);
    out.insert(out.end(), raw.begin(), raw.end());
  };
  if (options.header_digest) digest(0);
  if (data.empty()) return out;
  std::size_t start = out.size();
  out.insert(out.end(), data.begin(), data.end());
  while ((out.size() - start) % 4 != 0) out.push_back(0);
  if (options.data_digest) digest(start);
  return out;
}

struct Seen {
  std::uint32_t tag = 0;
  ByteVector ahs{};
  ByteVector data{};
  bool operator==(const Seen&) const = default;
};

/// Memory for a segment in up to four pieces.
iscsi::Places pieces(std::size_t length) {
  iscsi::Places places;
  const std::size_t most = length / 3;
  while (length > 0) {
    auto buffer = base::make_ref<base::Buffer>(std::min(length, most));
    length -= buffer->bytes().size();
    places.push_back({buffer->bytes(), buffer});
  }
  return places;
}

/// Puts up to `count` bytes of `stream` where `decoder` wants the next ones.
void feed(PduDecoder& decoder, base::Bytes& stream, std::size_t count) {
  std::array<iovec, PduDecoder::kMostBuffers> buffers;
  std::size_t used = decoder.receive_buffers(buffers);
  REQUIRE(used > 0);
  base::MutableBytes first = decoder.receive_buffer();
  CHECK(first.data() == buffers[0].iov_base);
  CHECK(first.size() == buffers[0].iov_len);
  std::size_t fed = 0;
  for (const iovec& buffer : std::span(buffers).first(used)) {
    REQUIRE(buffer.iov_len > 0);
    std::size_t here = std::min({stream.size(), buffer.iov_len, count - fed});
    std::copy_n(stream.begin(), here, static_cast<std::uint8_t*>(buffer.iov_base));
    stream = stream.subspan(here);
    fed += here;
  }
  decoder.received(fed);
}

/// Feeds `stream` in pieces of `chunk` bytes; large segments alternate between a buffer, memory in pieces and the
/// decoder's own.
std::vector<Seen> decode(base::Bytes stream, std::size_t chunk, const Options& options, std::size_t first = 0) {
  PduDecoder decoder;
  decoder.set_digests(options.header_digest, options.data_digest);
  decoder.set_max_data_segment_length(1 << 20);
  auto pool = base::make_ref<base::DataBufferPool>(1 << 20);
  std::vector<Seen> all;
  iscsi::Pdu pdu;
  int where = 0;
  std::size_t next = first == 0 ? chunk : first;
  while (!stream.empty()) {
    feed(decoder, stream, next);
    next = chunk;
    while (true) {
      auto result = decoder.next(pdu);
      if (result == PduDecoder::Result::need_more) break;
      if (result == PduDecoder::Result::large_data) {
        const std::size_t length = pdu.bhs.data_segment_length;
        auto buffer = pool->take(length);
        switch (where++ % 3) {
          case 0: decoder.place({{buffer->bytes().first(length), buffer}}); break;
          case 1: decoder.place(pieces(length)); break;
          default: decoder.gather();
        }
        continue;
      }
      REQUIRE(result == PduDecoder::Result::pdu);
      all.push_back({pdu.bhs.initiator_task_tag, {pdu.ahs.begin(), pdu.ahs.end()}, pdu.data_copy()});
      CHECK(pdu.data_length() == all.back().data.size());
      CHECK((pdu.placed.size() > 1 || std::ranges::equal(pdu.data, all.back().data)));
    }
  }
  return all;
}

}  // namespace

TEST_SUITE("iscsi PduDecoder") {
  TEST_CASE("A stream split at any byte gives the same PDUs") {
    for (bool digests : {false, true}) {
      Options plain{digests, digests, 0};
      Options extended{digests, digests, 20};
      ByteVector stream;
      std::vector<Seen> expected;
      std::uint32_t tag = 0;
      for (std::size_t length : {0, 1, 2, 3, 4, 48, 511, 0}) {
        const Options& options = tag % 2 ? extended : plain;
        ByteVector data = pattern(length, static_cast<std::uint8_t>(tag));
        ByteVector bytes = encode(tag, data, options);
        stream.insert(stream.end(), bytes.begin(), bytes.end());
        ByteVector ahs;
        for (std::size_t i = 0; i < options.ahs_length; ++i) ahs.push_back(static_cast<std::uint8_t>(i));
        expected.push_back({tag++, ahs, data});
      }
      for (std::size_t split = 1; split < stream.size(); ++split)
        REQUIRE(decode(stream, stream.size(), plain, split) == expected);
      for (std::size_t chunk = 1; chunk < 64; ++chunk) REQUIRE(decode(stream, chunk, plain) == expected);
    }
  }

  TEST_CASE("Large data segments arrive whole, in place or gathered, however the stream is cut") {
    for (bool digests : {false, true}) {
      Options options{digests, digests, 0};
      ByteVector stream;
      std::vector<Seen> expected;
      std::uint32_t tag = 0;
      for (std::size_t length : {8191, 8192, 8193, 65537, 12, 262144, 140001}) {
        ByteVector data = pattern(length, static_cast<std::uint8_t>(tag));
        ByteVector bytes = encode(tag, data, options);
        stream.insert(stream.end(), bytes.begin(), bytes.end());
        expected.push_back({tag++, {}, data});
      }
      for (std::size_t chunk : {1021, 4096, 65536, 131072, 1 << 20}) {
        CAPTURE(chunk);
        CHECK(decode(stream, chunk, options) == expected);
      }
    }
  }

  TEST_CASE("Thousands of small PDUs pass through the buffer without loss") {
    Options options;
    ByteVector stream;
    std::vector<Seen> expected;
    for (std::uint32_t tag = 0; tag < 3000; ++tag) {
      ByteVector data = pattern(tag % 97, static_cast<std::uint8_t>(tag));
      ByteVector bytes = encode(tag, data, options);
      stream.insert(stream.end(), bytes.begin(), bytes.end());
      expected.push_back({tag, {}, data});
    }
    for (std::size_t chunk : {777, 100000, 200000}) CHECK(decode(stream, chunk, options) == expected);
  }

  TEST_CASE("A header digest that does not match is told, and the stream is not followed") {
    PduDecoder decoder;
    decoder.set_digests(true, false);
    ByteVector bytes = encode(1, {}, {true, false, 0});
    bytes[20] ^= 1;
    std::copy(bytes.begin(), bytes.end(), decoder.receive_buffer().begin());
    decoder.received(bytes.size());
    iscsi::Pdu pdu;
    CHECK(decoder.next(pdu) == PduDecoder::Result::header_digest_error);
    CHECK(decoder.next(pdu) == PduDecoder::Result::header_digest_error);
  }

  TEST_CASE("A data digest that does not match drops the data and nothing else") {
    PduDecoder decoder;
    decoder.set_digests(false, true);
    ByteVector bad = encode(1, pattern(100), {false, true, 0});
    bad[60] ^= 1;
    ByteVector good = encode(2, pattern(8), {false, true, 0});
    bad.insert(bad.end(), good.begin(), good.end());
    std::copy(bad.begin(), bad.end(), decoder.receive_buffer().begin());
    decoder.received(bad.size());
    iscsi::Pdu pdu;
    CHECK(decoder.next(pdu) == PduDecoder::Result::data_digest_error);
    CHECK(pdu.data.empty());
    CHECK(pdu.bhs.initiator_task_tag == 1);
    CHECK(decoder.next(pdu) == PduDecoder::Result::pdu);
    CHECK(pdu.bhs.initiator_task_tag == 2);
  }

  TEST_CASE("A data segment above the limit is told by its header alone") {
    PduDecoder decoder;
    decoder.set_max_data_segment_length(8192);
    ByteVector bytes = encode(1, pattern(8193), {});
    std::copy_n(bytes.begin(), 48, decoder.receive_buffer().begin());
    decoder.received(48);
    iscsi::Pdu pdu;
    CHECK(decoder.next(pdu) == PduDecoder::Result::data_too_long);
  }

  TEST_CASE("CRC32C has the values of RFC 7143, B.4 on the wire") {
    struct Row {
      ByteVector data;
      std::array<std::uint8_t, 4> digest;
    };
    ByteVector incrementing(32), decrementing(32);
    for (std::uint8_t i = 0; i < 32; ++i) {
      incrementing[i] = i;
      decrementing[i] = static_cast<std::uint8_t>(31 - i);
    }
    std::vector<Row> rows{
        {ByteVector(32, 0x00), {0xAA, 0x36, 0x91, 0x8A}},
        {ByteVector(32, 0xFF), {0x43, 0xAB, 0xA8, 0x62}},
        {incrementing, {0x4E, 0x79, 0xDD, 0x46}},
        {decrementing, {0x5C, 0xDB, 0x3F, 0x11}},
    };
    for (const Row& row : rows) {
      base::be32 digest = iscsi::digest_of(row.data);
      CHECK(std::ranges::equal(base::bytes_of(digest), row.digest));
    }
  }

  TEST_CASE("A buffer pool keeps what fits its limit and gives it out again") {
    auto pool = base::make_ref<base::DataBufferPool>(100 << 10);
    {
      auto small = pool->take(1);
      auto medium = pool->take(20 << 10);
      auto large = pool->take(5 << 20);
      CHECK(small->capacity() == 16 << 10);
      CHECK(medium->capacity() == 64 << 10);
      CHECK(large->capacity() == 5 << 20);
      CHECK(pool->idle_bytes() == 0);
    }
    CHECK(pool->idle_bytes() == 80 << 10);
    auto again = pool->take(30 << 10);
    CHECK(pool->idle_bytes() == 16 << 10);
    // The pool goes first, the buffer after it.
    pool = {};
    again->bytes()[0] = 1;
  }

  TEST_CASE("The buffer given back last is given out first: it is the likeliest to be in a cache") {
    auto pool = base::make_ref<base::DataBufferPool>(1 << 20);
    std::array<base::Ref<base::DataBuffer>, 4> taken;
    for (auto& buffer : taken) buffer = pool->take(1);
    std::vector<base::DataBuffer*> given_back;
    for (std::size_t at : {2u, 0u, 3u}) {
      given_back.push_back(taken[at].get());
      taken[at] = {};
    }
    taken[0] = pool->take(1);
    CHECK(taken[0].get() == given_back[2]);
    taken[2] = pool->take(1);
    CHECK(taken[2].get() == given_back[1]);
    taken[0] = {};
    taken[3] = pool->take(1);
    CHECK(taken[3].get() == given_back[2]);
    CHECK(pool->take(1).get() == given_back[0]);
  }

  TEST_CASE("Buffers that other threads give back while one is taken are each given out once at a time") {
    auto pool = base::make_ref<base::DataBufferPool>(64 << 20);
    constexpr int kRounds = 2000, kThreads = 3;
    std::array<base::Ref<base::DataBuffer>, kThreads> passed;
    std::array<std::atomic<bool>, kThreads> full{};
    std::atomic<int> shared = 0;
    {
      std::vector<std::jthread> threads;
      for (std::size_t at = 0; at < kThreads; ++at) {
        threads.emplace_back([&, at] {
          for (int i = 0; i < kRounds; ++i) {
            full[at].wait(false);
            if (std::exchange(passed[at]->bytes()[0], 0) != at + 1) ++shared;
            passed[at] = {};
            full[at] = false;
            full[at].notify_one();
          }
        });
      }
      for (int i = 0; i < kRounds; ++i) {
        for (std::size_t at = 0; at < kThreads; ++at) {
          full[at].wait(true);
          auto buffer = pool->take(1);
          buffer->bytes()[0] = static_cast<std::uint8_t>(at + 1);
          passed[at] = std::move(buffer);
          full[at] = true;
          full[at].notify_one();
        }
      }
    }
    CHECK(shared == 0);
    CHECK(pool->idle_bytes() <= kThreads * (16 << 10));
  }
}
