// SCSI commands over a session: data in both directions, residuals, status.
//
// Not tested, and why: what commands do (test/scsi); sockets (test/target).
#include <doctest/doctest.h>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;

TEST_SUITE("iscsi commands") {
  TEST_CASE("A READ is answered by Data-In whose last PDU carries GOOD") {
    Array array;
    Peer peer(array);
    peer.login();
    peer.clear_attentions();
    array.device.stores[0]->bytes() = pattern(1 << 20);
    peer.send_command(read10(1, 2), 0xC0, 1024);
    auto answers = peer.answers();
    CHECK(lines(answers) == Lines{"DataIn F S itt=3 sn=0 offset=0 len=1024"});
    ByteVector all = pattern(1 << 20);
    CHECK(answers[0].data == ByteVector(all.begin() + 512, all.begin() + 1536));
  }

  TEST_CASE("A WRITE with immediate data needs nothing more") {
    Array array;
    Peer peer(array);
    peer.login();
    peer.clear_attentions();
    peer.send_command(write10(4, 1), 0xA0, 512, pattern(512, 9));
    CHECK(peer.told() == Lines{"Response 00 itt=3"});
    auto& bytes = array.device.stores[0]->bytes();
    CHECK(ByteVector(bytes.begin() + 2048, bytes.begin() + 2560) == pattern(512, 9));
  }

  TEST_CASE("A WRITE without immediate data is asked for by R2T") {
    Array array;
    Peer peer(array);
    peer.login();
    peer.clear_attentions();
    std::uint32_t itt = peer.send_command(write10(0, 2), 0xA0, 1024);
    Answer r2t = peer.answer();
    CHECK(r2t.line() == "R2T itt=3 sn=0 offset=0 len=1024");
    CHECK(r2t.bhs.flags == 0x80);
    std::uint32_t ttt = r2t.as<iscsi::R2tBhs>().target_transfer_tag;
    peer.send_data_out(itt, ttt, 0, 0, pattern(512), false);
    CHECK(peer.told() == Lines{});
    ByteVector all = pattern(1024);
    peer.send_data_out(itt, ttt, 1, 512, ByteVector(all.begin() + 512, all.end()), true);
    CHECK(peer.told() == Lines{"Response 00 itt=3"});
    auto& bytes = array.device.stores[0]->bytes();
    CHECK(ByteVector(bytes.begin(), bytes.begin() + 1024) == all);
  }
}
