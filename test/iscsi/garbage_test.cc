// Whatever arrives, a connection answers or closes, and the next one works. A smaller sibling of the fuzz targets, in
// every run.
//
// Not tested, and why: coverage-guided search (test/fuzz/pdu_fuzz.cc, login_fuzz.cc).
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <random>

#include "target/iscsi/serial.h"
#include "test/iscsi/several_peers.h"

using namespace test;

namespace {

/// Random PDUs whose lengths are right more often than not.
ByteVector noise(std::mt19937_64& random, Peer& peer) {
  iscsi::Bhs bhs;
  auto raw = std::bit_cast<std::array<std::uint8_t, 48>>(bhs);
  for (auto& byte : raw) byte = random() % 3 == 0 ? static_cast<std::uint8_t>(random()) : std::uint8_t{0};
  bhs = std::bit_cast<iscsi::Bhs>(raw);
  static constexpr std::uint8_t kOpcodes[] = {0x00, 0x40, 0x01, 0x41, 0x02, 0x42, 0x43, 0x04, 0x44, 0x05, 0x46, 0x10};
  if (random() % 8 != 0) bhs.opcode = kOpcodes[random() % std::size(kOpcodes)];
  if (random() % 4 != 0) bhs.total_ahs_length = 0;
  if (random() % 4 != 0) bhs.lun = {};
  if (random() % 2 == 0) bhs.initiator_task_tag = static_cast<std::uint32_t>(random() % 4);
  auto request = iscsi::header_as<iscsi::RequestBhs>(bhs);
  if (random() % 8 != 0) request.cmd_sn = peer.cmd_sn + static_cast<std::uint32_t>(random() % 3);
  if (random() % 2 == 0) request.target_transfer_tag = static_cast<std::uint32_t>(random() % 8);
  if (random() % 4 == 0) request.target_transfer_tag = iscsi::kReservedTag;
  std::size_t length = random() % 4 == 0 ? random() % 20000 : random() % 3 == 0 ? 512 : 0;
  return peer.encode(iscsi::header_as<iscsi::Bhs>(request), pattern(length, static_cast<std::uint8_t>(random())));
}

/// The command window moves on with what was taken.
void follow(Peer& peer, const std::vector<Answer>& answers) {
  for (const Answer& each : answers) peer.cmd_sn = each.as<iscsi::ScsiResponseBhs>().exp_cmd_sn;
}

}  // namespace

TEST_SUITE("iscsi garbage") {
  TEST_CASE("Random bytes before a login close the connection or are waited out") {
    constexpr std::uint64_t kSeed = 4711;
    MESSAGE("seed ", kSeed);
    std::mt19937_64 random(kSeed);
    Array array;
    for (int round = 0; round < 300; ++round) {
      Peer peer(array);
      for (int i = 0; i < 20 && !peer.finished_flag; ++i) {
        ByteVector bytes(random() % 200);
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
        if (round % 2 && i == 0 && !bytes.empty()) bytes[0] = 0x43;
        peer.feed(bytes);
        peer.answers();
      }
      if (!peer.finished_flag) {
        array.wire.advance(std::chrono::seconds(60));
        peer.connection().tick(array.wire.now());
      }
      REQUIRE(peer.finished_flag);
    }
    CHECK(array.sessions.size() == 0);
    Peer peer(array);
    peer.login();
  }

  TEST_CASE("Random login text is answered or refused") {
    constexpr std::uint64_t kSeed = 4712;
    MESSAGE("seed ", kSeed);
    std::mt19937_64 random(kSeed);
    Array array;
    array.target().authentication.initiator = iscsi::ChapCredentials{"host", "initiator-secret"};
    array.directory.discovery = array.target().authentication;
    static constexpr const char* kPieces[] = {"InitiatorName=iqn.2025-01.example:host",
                                              "TargetName=iqn.2025-01.example:target",
                                              "SessionType=Discovery",
                                              "AuthMethod=CHAP",
                                              "CHAP_A=5",
                                              "CHAP_N=host",
                                              "CHAP_R=0x00112233",
                                              "CHAP_I=5",
                                              "CHAP_C=0b====",
                                              "MaxBurstLength=",
                                              "=",
                                              "X",
                                              "HeaderDigest=CRC32C,,",
                                              "InitialR2T=No"};
    for (int round = 0; round < 2000; ++round) {
      Peer peer(array);
      for (int i = 0; i < 6 && !peer.finished_flag; ++i) {
        ByteVector text;
        for (std::size_t pieces = random() % 6; pieces > 0; --pieces) {
          ByteVector piece = pairs(kPieces[random() % std::size(kPieces)]);
          if (random() % 10 == 0) piece[random() % piece.size()] = static_cast<std::uint8_t>(random());
          text.insert(text.end(), piece.begin(), piece.end());
        }
        static constexpr std::uint8_t kFlags[] = {0x00, 0x04, 0x81, 0x87, 0x83, 0x40, 0x44, 0xFF};
        peer.send(peer.login_request(kFlags[random() % std::size(kFlags)]), text);
        auto answers = peer.answers();
        REQUIRE(answers.size() <= 1);
        REQUIRE((answers.size() == 1 || peer.finished_flag));
      }
      REQUIRE(!peer.connection().full_feature());
    }
  }

  TEST_CASE("Random PDUs in full-feature phase never do harm") {
    constexpr std::uint64_t kSeed = 4713;
    MESSAGE("seed ", kSeed);
    std::mt19937_64 random(kSeed);
    for (bool blocking : {false, true}) {
      DeviceOptions options;
      options.blocking = blocking;
      Array array(options);
      for (int round = 0; round < 150; ++round) {
        Peer peer(array);
        peer.exp_stat_sn = static_cast<std::uint32_t>(random());
        peer.cmd_sn = static_cast<std::uint32_t>(random());
        peer.isid[5] = static_cast<std::uint8_t>(round);
        if (random() % 2) {
          peer.login(pairs("InitialR2T=No", "MaxOutstandingR2T=4"));
        } else {
          peer.login(pairs("HeaderDigest=CRC32C", "DataDigest=CRC32C", "InitialR2T=No"));
        }
        if (random() % 3 == 0) peer.chunk = 1 + random() % 500;
        for (int i = 0; i < 60 && !peer.finished_flag; ++i) {
          peer.spoil_data_digest = random() % 20 == 0;
          peer.feed(noise(random, peer));
          while (array.device.executor.held() > 0 && random() % 2) array.device.executor.run();
          follow(peer, peer.answers());
        }
        if (random() % 2) peer.connection().peer_closed();
        peer.close();
        array.device.executor.run_all();
        REQUIRE(array.sessions.size() == 0);
      }
      Peer peer(array);
      peer.login();
      peer.send_command(test_unit_ready(), 0x80, 0);
      CHECK(peer.answers().size() == 1);
    }
  }

  TEST_CASE("Random PDUs and logins on several connections of a session never do harm") {
    constexpr std::uint64_t kSeed = 4714;
    MESSAGE("seed ", kSeed);
    std::mt19937_64 random(kSeed);
    for (bool blocking : {false, true}) {
      DeviceOptions options;
      options.blocking = blocking;
      Array array(options);
      for (int round = 0; round < 150; ++round) {
        SeveralPeers peers(array, 1 + random() % 4, static_cast<std::uint32_t>(random()),
                           pairs("InitialR2T=No", "MaxOutstandingR2T=4"));
        for (int i = 0; i < 80; ++i) {
          if (random() % 20 == 0 && peers.size() < 12) {
            Peer& added = peers.unconnected(static_cast<std::uint16_t>(1 + random() % 5));
            added.send(added.login_request(0x87),
                       pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target"));
          }
          Peer& peer = peers[random() % peers.size()];
          peer.cmd_sn = peers.cmd_sn;
          peer.feed(noise(random, peer));
          if (random() % 100 == 0 && !peer.finished_flag) peer.connection().peer_closed();
          while (array.device.executor.held() > 0 && random() % 2) array.device.executor.run();
          for (std::size_t at = 0; at < peers.size(); ++at) {
            for (const Answer& each : peers[at].answers()) {
              iscsi::CmdSn expected(each.as<iscsi::ScsiResponseBhs>().exp_cmd_sn);
              if (expected.after(iscsi::CmdSn(peers.cmd_sn))) peers.cmd_sn = expected.value;
            }
          }
        }
        for (std::size_t at = 0; at < peers.size(); ++at) peers[at].close();
        array.device.executor.run_all();
        REQUIRE(array.sessions.size() == 0);
      }
      Peer peer(array);
      peer.login();
    }
  }
}
