// Digests on every kind of PDU, both ways: none, header, data, both; right and wrong; data padded by 0 to 3 bytes;
// headers with additional segments.
//
// Not tested, and why: what CRC32C is (pdu_decoder_test.cc); what becomes of a write whose Data-Out was wrong, and
// large segments (data_out_test.cc).
#include "target/iscsi/digest.h"

#include <doctest/doctest.h>

#include <set>

#include "test/iscsi/conversation.h"

using namespace test;
using Lines = std::vector<std::string>;

namespace {

constexpr std::uint8_t kRead = 0xC0;
constexpr std::uint8_t kWrite = 0xA0;
constexpr std::uint8_t kNone = 0x80;

struct Digests {
  bool header;
  bool data;
};
constexpr Digests kAll[] = {{false, false}, {true, false}, {false, true}, {true, true}};

struct Host {
  explicit Host(Digests digests) : array(small()), peer(array) {
    peer.login(pairs(digests.header ? "HeaderDigest=CRC32C" : "HeaderDigest=None",
                     digests.data ? "DataDigest=CRC32C" : "DataDigest=None", "InitialR2T=No"));
    peer.clear_attentions();
    peer.task_tag = 0;
  }
  static DeviceOptions small() {
    DeviceOptions each;
    each.size_bytes = 8 << 10;
    return each;
  }
  Array array;
  Peer peer;
};

iscsi::NopOutBhs ping(Peer& peer) {
  iscsi::NopOutBhs bhs;
  bhs.opcode |= iscsi::kImmediate;
  bhs.initiator_task_tag = 0x70;
  bhs.cmd_sn = peer.cmd_sn;
  return bhs;
}

/// Every kind of request an initiator sends after the login, the last with no data.
struct Request {
  const char* name;
  void (*send)(Peer&);
  bool has_data;
  const char* answer;  ///< when all is right
};
const Request kRequests[] = {
    {"NOP-Out", [](Peer& p) { p.send(ping(p), pattern(5)); }, true, "NopIn itt=70 len=5"},
    {"NOP-Out without data", [](Peer& p) { p.send(ping(p)); }, false, "NopIn itt=70 len=0"},
    {"SCSI Command", [](Peer& p) { p.send_command(test_unit_ready(), kNone, 0); }, false, "Response 00 itt=1"},
    {"SCSI Command with immediate data", [](Peer& p) { p.send_command(write10(0, 1), kWrite, 512, pattern(512)); },
     true, "Response 00 itt=1"},
    {"Task Management", [](Peer& p) { p.send(p.task_management(1, 0, 99)); }, false, "TaskManagementResponse 1 itt=1"},
    {"Text", [](Peer& p) { p.send(p.text_request(), pairs("X-ab=1")); }, true, "TextResponse F X-ab=NotUnderstood"},
    {"Text without data", [](Peer& p) { p.send(p.text_request()); }, false, "TextResponse F "},
    {"SNACK",
     [](Peer& p) {
       iscsi::SnackRequestBhs bhs;
       bhs.initiator_task_tag = 1;
       p.send(bhs);
     },
     false, "Reject 03"},
    {"Login", [](Peer& p) { p.send(p.login_request(0x87), pairs("InitiatorName=iqn.2025-01.example:host")); }, true,
     "Reject 04"},
    {"an opcode that is none",
     [](Peer& p) {
       iscsi::RequestBhs bhs;
       bhs.opcode = 0x1C;
       bhs.initiator_task_tag = 1;
       p.send(bhs, pattern(7));
     },
     true, "Reject 05"},
    {"Logout", [](Peer& p) { p.send(p.logout_request()); }, false, "LogoutResponse 0"},
};

void append_digest(ByteVector& bytes, std::size_t from) {
  base::be32 value = iscsi::digest_of(base::Bytes(bytes).subspan(from));
  base::Bytes raw = base::bytes_of(value);
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

}  // namespace

TEST_SUITE("iscsi digests") {
  TEST_CASE("Every request is understood with right digests") {
    for (Digests digests : kAll) {
      for (const Request& each : kRequests) {
        CAPTURE(std::string(each.name));
        Host host(digests);
        each.send(host.peer);
        CHECK(host.peer.told() == Lines{each.answer});
      }
    }
  }

  TEST_CASE("A wrong header digest ends the connection without a word, whatever PDU it is") {
    for (bool data : {false, true}) {
      for (const Request& each : kRequests) {
        CAPTURE(std::string(each.name));
        Host host({true, data});
        host.peer.spoil_header_digest = true;
        each.send(host.peer);
        CHECK(host.peer.told().empty());
        CHECK(host.peer.finished_flag);
        CHECK(host.array.sessions.size() == 0);
        CHECK(host.array.device.stores[0]->bytes()[1] == 0);
      }
    }
  }

  TEST_CASE("A wrong data digest is rejected with 02h, the PDU counts as not received, and the session goes on") {
    for (bool header : {false, true}) {
      for (const Request& each : kRequests) {
        CAPTURE(std::string(each.name));
        Host host({header, true});
        std::uint32_t before = host.peer.cmd_sn;
        host.peer.spoil_data_digest = true;
        each.send(host.peer);
        host.peer.spoil_data_digest = false;
        if (!each.has_data) {  // and so no digest
          CHECK(host.peer.told() == Lines{each.answer});
          continue;
        }
        Answer answer = host.peer.answer();
        CHECK(answer.line() == "Reject 02");
        CHECK(answer.as<iscsi::RejectBhs>().exp_cmd_sn == before);
        CHECK(host.array.device.stores[0]->bytes()[1] == 0);
        // The same again, right this time.
        host.peer.cmd_sn = before;
        host.peer.task_tag = 0;
        each.send(host.peer);
        CHECK(host.peer.told() == Lines{each.answer});
      }
    }
  }

  TEST_CASE("Data of any length is padded and digested, both ways") {
    for (Digests digests : kAll) {
      Host host(digests);
      for (std::size_t length = 0; length <= 9; ++length) {
        host.peer.send(ping(host.peer), pattern(length, 3));
        Answer pong = host.peer.answer();  // its padding and digests are checked
        CHECK(pong.data == pattern(length, 3));
      }
      // Data-In and sense data of every remainder.
      for (std::uint16_t length = 1; length < 9; ++length) {
        host.peer.send_command(inquiry(length), kRead, length);
        CHECK(host.peer.answer().data.size() == length);
      }
      host.peer.send_command(read10(0x7FFFFF, 1), kRead, 512);
      CHECK(host.peer.answer().data.size() > 2);
    }
  }

  TEST_CASE("Pad bytes may be anything, and are digested") {
    for (bool right : {true, false}) {
      Host host({true, true});
      auto bhs = iscsi::header_as<iscsi::Bhs>(ping(host.peer));
      bhs.data_segment_length = 5;
      base::Bytes head = base::bytes_of(bhs);
      ByteVector bytes(head.begin(), head.end());
      append_digest(bytes, 0);
      std::size_t start = bytes.size();
      for (std::uint8_t byte : {1, 2, 3, 4, 5, 0xAA, 0xBB, 0xCC}) bytes.push_back(byte);
      append_digest(bytes, start);
      if (!right) bytes[start + 7] ^= 1;
      host.peer.send_encoded(bhs, {}, bytes);
      CHECK(host.peer.told() == Lines{right ? "NopIn itt=70 len=5" : "Reject 02"});
    }
  }

  TEST_CASE("A header digest covers additional header segments; in front of data, too") {
    for (bool with_data : {false, true}) {
      for (int words : {1, 2, 5, 255}) {
        for (int spoilt : {-1, 0, words * 4 - 1}) {
          CAPTURE(words);
          CAPTURE(spoilt);
          Host host({true, true});
          auto bhs = iscsi::header_as<iscsi::Bhs>(
              host.peer.command(write10(0, 1), with_data ? kWrite : kNone, with_data ? 512 : 0));
          bhs.total_ahs_length = static_cast<std::uint8_t>(words);
          bhs.data_segment_length = with_data ? 512 : 0;
          base::Bytes head = base::bytes_of(bhs);
          ByteVector bytes(head.begin(), head.end());
          ByteVector segment = pattern(static_cast<std::size_t>(words) * 4, 9);
          bytes.insert(bytes.end(), segment.begin(), segment.end());
          append_digest(bytes, 0);
          if (spoilt >= 0) bytes[iscsi::kBhsLength + static_cast<std::size_t>(spoilt)] ^= 0x10;
          std::size_t start = bytes.size();
          ByteVector data = pattern(with_data ? 512 : 0);
          bytes.insert(bytes.end(), data.begin(), data.end());
          if (with_data) append_digest(bytes, start);
          host.peer.send_encoded(bhs, data, bytes);
          auto told = host.peer.told();
          CHECK(host.peer.finished_flag == (spoilt >= 0));
          if (spoilt >= 0) {
            CHECK(told.empty());
          } else {
            REQUIRE(told.size() == 1);
            CHECK(told[0].ends_with("sense=05/20/00"));
          }
        }
      }
    }
  }

  TEST_CASE("Every kind of PDU of the target carries its digests") {
    for (Digests digests : kAll) {
      Host host(digests);
      Peer& peer = host.peer;
      std::set<iscsi::Opcode> kinds;
      auto take = [&] {
        for (const Answer& each : peer.answers()) kinds.insert(each.code());
      };
      peer.send_command(read10(0, 3), kRead, 1536);
      peer.send_command(write10(0, 2), kWrite, 1024);
      peer.send_command(read10(0x7FFFFF, 1), kRead, 512);
      peer.send(ping(peer), pattern(3));
      peer.send(peer.task_management(1, 0, 99));
      peer.send(peer.text_request(), pairs("SendTargets=All"));
      iscsi::SnackRequestBhs snack;
      snack.initiator_task_tag = 1;
      peer.send(snack);
      peer.connection().request_logout(std::chrono::seconds(1));
      take();
      peer.send(peer.logout_request());
      take();
      using enum iscsi::Opcode;
      CHECK(kinds == std::set{nop_in, scsi_response, task_management_response, text_response, data_in, logout_response,
                              r2t, async_message, reject});
    }
  }

  TEST_CASE("The last Login Response has no digest; the request after it has") {
    Array array(Host::small());
    Peer peer(array);
    Answer last = peer.login(pairs("HeaderDigest=CRC32C", "DataDigest=CRC32C"));
    CHECK(last.text().find("HeaderDigest=CRC32C DataDigest=CRC32C") != std::string::npos);
    CHECK((peer.header_digest && peer.data_digest));
    peer.header_digest = false;  // sent without
    peer.send(ping(peer), pattern(4));
    peer.send(ping(peer), pattern(4));
    CHECK(peer.finished_flag);
  }
}
