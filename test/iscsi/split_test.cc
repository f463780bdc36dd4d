// A whole conversation, from the login to the logout, cut at every byte, and handed over in pieces of every size: what
// comes back is the same to the byte.
//
// Not tested, and why: segments so large that they are received in place (pdu_decoder_test.cc, data_out_test.cc).
#include <doctest/doctest.h>

#include <algorithm>

#include "test/iscsi/conversation.h"

using namespace test;

namespace {

DeviceOptions small() {
  DeviceOptions each;
  each.size_bytes = 4 << 10;
  return each;
}

/// Every PDU an initiator sends, with data of all remainders by 4. What it says does not depend on what it hears.
ByteVector record(const ByteVector& keys) {
  Array array(small());
  Peer peer(array);
  ByteVector stream;
  auto say = [&](auto header, const ByteVector& data = {}) {
    auto bhs = iscsi::header_as<iscsi::Bhs>(header);
    ByteVector bytes = peer.encode(bhs, data);
    stream.insert(stream.end(), bytes.begin(), bytes.end());
    peer.send_encoded(bhs, data, bytes);
    return peer.answers();
  };
  say(peer.login_request(0x81),
      pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target", "AuthMethod=None"));
  say(peer.login_request(0x44), pairs("InitialR2T=No"));
  say(peer.login_request(0x87), keys);
  REQUIRE(peer.connection().full_feature());
  auto command = [&](ByteVector cdb, std::uint8_t flags, std::uint32_t length, const ByteVector& data = {}) {
    auto bhs = peer.command(std::move(cdb), flags, length);
    ++peer.cmd_sn;
    return say(bhs, data);
  };
  command(test_unit_ready(), 0x80, 0);
  command(write10(0, 1), 0xA0, 512, pattern(512));
  command(read10(0, 1), 0xC0, 512);
  command(write10(1, 1), 0x20, 512, pattern(101));
  iscsi::DataOutBhs data;
  data.flags = iscsi::kFinal;
  data.initiator_task_tag = peer.task_tag;
  data.buffer_offset = 101;
  auto answers = say(data, pattern(102));
  REQUIRE(answers.size() == 1);
  data.target_transfer_tag = answers[0].as<iscsi::R2tBhs>().target_transfer_tag;
  data.buffer_offset = 203;
  CHECK(say(data, pattern(309)).size() == 1);
  iscsi::NopOutBhs ping;
  ping.initiator_task_tag = 0x70;
  ping.cmd_sn = peer.cmd_sn++;
  CHECK(say(ping, pattern(3)).size() == 1);
  CHECK(say(peer.text_request(), pairs("SendTargets=All")).size() == 1);
  CHECK(say(peer.task_management(1, 0, 99)).size() == 1);
  CHECK(say(iscsi::SnackRequestBhs{}).size() == 1);
  CHECK(say(peer.logout_request()).size() == 1);
  CHECK(peer.finished_flag);
  return stream;
}

/// Takes a stream in pieces and gives back all output. `next` is the length of the piece that begins at a place.
template <typename Next>
ByteVector play(const ByteVector& stream, Next next) {
  Array array(small());
  Peer peer(array);
  ByteVector output;
  auto drain = [&] {
    while (peer.connection().output_size() > 0) {
      std::array<iovec, 4> parts{};
      std::size_t count = peer.connection().output(parts);
      std::size_t bytes = 0;
      for (std::size_t i = 0; i < count; ++i) {
        auto* from = static_cast<const std::uint8_t*>(parts[i].iov_base);
        output.insert(output.end(), from, from + parts[i].iov_len);
        bytes += parts[i].iov_len;
      }
      peer.connection().sent(bytes);
    }
  };
  for (std::size_t place = 0; place < stream.size();) {
    std::size_t count = std::min(next(place), stream.size() - place);
    peer.feed(base::Bytes(stream).subspan(place, count));
    drain();
    place += count;
  }
  CHECK(peer.finished_flag);
  return output;
}

}  // namespace

TEST_SUITE("iscsi splits") {
  TEST_CASE("A conversation cut at any byte, or at all of them, is the same") {
    for (bool digests : {false, true}) {
      ByteVector stream =
          record(digests ? pairs("HeaderDigest=CRC32C", "DataDigest=CRC32C") : pairs("DataDigest=None"));
      ByteVector whole = play(stream, [&](std::size_t) { return stream.size(); });
      CHECK(whole.size() > 1300);
      for (std::size_t cut = 1; cut < stream.size(); ++cut) {
        CAPTURE(cut);
        bool same = play(stream, [&](std::size_t place) { return place == 0 ? cut : stream.size(); }) == whole;
        CHECK(same);
      }
      for (std::size_t piece = 1; piece < 200; piece += piece < 64 ? 1 : 17) {
        CAPTURE(piece);
        bool same = play(stream, [&](std::size_t) { return piece; }) == whole;
        CHECK(same);
      }
    }
  }
}
