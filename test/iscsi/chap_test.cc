// CHAP: responses, one-way and mutual logins, everything that has to fail. What it guards stands in
// chap_rules_test.cc.
//
// Not tested, and why: that comparisons take constant time (CRYPTO_memcmp does); OpenSSL in FIPS mode, where MD5 is
// missing.
#include <doctest/doctest.h>

#include "test/iscsi/chap_conversation.h"

using namespace test;
using iscsi::chap_response;
using iscsi::ChapAlgorithm;

TEST_SUITE("iscsi CHAP") {
  TEST_CASE("Responses are the hash of identifier, secret and challenge") {
    // Independently computed: printf '\x0asecret\x01\x02\x03' | openssl dgst -md5 (-sha1, -sha256, -sha3-256).
    ByteVector challenge{1, 2, 3};
    CHECK(hex(chap_response(ChapAlgorithm::md5, 10, "secret", challenge)) == "0xfdf5c3165db3520a51f735f5a98bd4f9");
    CHECK(hex(chap_response(ChapAlgorithm::sha1, 10, "secret", challenge)) ==
          "0xaeaaf444d343d80a8b8b744e7740a699b63b6bd8");
    CHECK(hex(chap_response(ChapAlgorithm::sha256, 10, "secret", challenge)) ==
          "0xd566b73639673ecea3cd66ac530ee9b2b0473839e6bc354a98ea9a65f9a70d84");
    CHECK(hex(chap_response(ChapAlgorithm::sha3_256, 10, "secret", challenge)) ==
          "0x070f2f8e1905045bce69fea8d5f70dd4045b091dd55d4a3e59917c7b65e293a4");
  }

  TEST_CASE("The right secret logs in with every algorithm, the first of the list that we know") {
    struct Row {
      const char* offered;
      ChapAlgorithm chosen;
      std::size_t challenge_length;
    };
    for (const Row& row : {Row{"5", ChapAlgorithm::md5, 16}, Row{"6,5", ChapAlgorithm::sha1, 20},
                           Row{"7,6,5", ChapAlgorithm::sha256, 32}, Row{"8", ChapAlgorithm::sha3_256, 32},
                           Row{"99,7", ChapAlgorithm::sha256, 32}}) {
      CAPTURE(row.offered);
      Array array;
      require_chap(array);
      Peer peer(array);
      Challenge challenge = begin(peer, row.offered);
      CHECK(challenge.bytes.size() == row.challenge_length);
      CHECK(respond(peer, kUser, right(challenge, row.chosen)).line() == "LoginResponse 81 status=0000 ");
      CHECK(peer.login_step(0x87, {}).line() == "LoginResponse 87 status=0000 ");
      CHECK(peer.connection().full_feature());
    }
  }

  TEST_CASE("No algorithm in common ends the login") {
    Array array;
    require_chap(array);
    Peer peer(array);
    peer.login_step(0x00, pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target",
                                "AuthMethod=CHAP"));
    CHECK(status_of(peer.login_step(0x00, pairs("CHAP_A=1,2,abc"))) == 0x0201);
    CHECK(peer.finished_flag);
  }

  TEST_CASE("Wrong name, wrong secret and malformed answers are the same 0201h") {
    struct Row {
      const char* what;
      std::string name;
      std::string (*response)(const Challenge&);
    };
    const Row rows[] = {
        {"wrong name", "stranger", [](const Challenge& c) { return right(c); }},
        {"empty name", "", [](const Challenge& c) { return right(c); }},
        {"wrong secret", kUser,
         [](const Challenge& c) { return hex(chap_response(ChapAlgorithm::md5, c.identifier, "wrong", c.bytes)); }},
        {"another identifier", kUser,
         [](const Challenge& c) {
           return hex(chap_response(ChapAlgorithm::md5, static_cast<std::uint8_t>(c.identifier + 1), kSecret, c.bytes));
         }},
        {"too short", kUser, [](const Challenge&) { return std::string("0x00"); }},
        {"not binary", kUser, [](const Challenge&) { return std::string("hello"); }},
        {"longer than 1024 bytes", kUser, [](const Challenge&) { return "0x" + std::string(2050, '1'); }},
    };
    for (const Row& row : rows) {
      CAPTURE(row.what);
      Array array;
      require_chap(array);
      Peer peer(array);
      Challenge challenge = begin(peer);
      Answer answer = respond(peer, row.name, row.response(challenge));
      CHECK(answer.line() == "LoginResponse 00 status=0201 ");
      CHECK(peer.finished_flag);
    }
  }

  TEST_CASE("A response in base64 is as good") {
    Array array;
    require_chap(array);
    Peer peer(array);
    Challenge challenge = begin(peer);
    ByteVector bytes = chap_response(ChapAlgorithm::md5, challenge.identifier, kSecret, challenge.bytes);
    constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text = "0b";
    bytes.resize(18);  // 16 bytes: five whole groups and one byte more
    for (std::size_t i = 0; i < 18; i += 3) {
      std::uint32_t group = bytes[i] * 65536u + bytes[i + 1] * 256u + bytes[i + 2];
      for (std::uint32_t place : {262144u, 4096u, 64u, 1u}) text.push_back(kAlphabet[group / place % 64]);
    }
    text.replace(text.size() - 2, 2, "==");
    CHECK(status_of(respond(peer, kUser, text)) == 0);
  }

  TEST_CASE("Names that look like binary values are names") {
    Array array;
    array.target().authentication.initiator = iscsi::ChapCredentials{"0xhost", kSecret};
    Peer peer(array);
    CHECK(status_of(respond(peer, "0xhost", right(begin(peer)))) == 0);
  }

  TEST_CASE("Without CHAP nobody gets past a target that wants it") {
    Array array;
    require_chap(array);
    const char* const name = "InitiatorName=iqn.2025-01.example:host";
    const char* const to = "TargetName=iqn.2025-01.example:target";
    struct Row {
      const char* what;
      std::uint8_t flags;
      ByteVector text;
    };
    for (const Row& row :
         {Row{"AuthMethod=None", 0x81, pairs(name, to, "AuthMethod=None")}, Row{"no AuthMethod", 0x81, pairs(name, to)},
          Row{"straight to operational", 0x04, pairs(name, to)}, Row{"straight to full feature", 0x87, pairs(name, to)},
          Row{"security to full feature", 0x83, pairs(name, to)},
          Row{"CHAP_N first", 0x81, pairs(name, to, "AuthMethod=CHAP", "CHAP_N=host", "CHAP_R=0x00")}}) {
      CAPTURE(row.what);
      Peer peer(array);
      CHECK(status_of(peer.login_step(row.flags, row.text)) == 0x0201);
      CHECK(peer.finished_flag);
    }
  }

  TEST_CASE("Asking to leave the stage before the proof is answered by staying in it") {
    Array array;
    require_chap(array);
    Peer peer(array);
    Answer method = peer.login_step(0x81, pairs("InitiatorName=iqn.2025-01.example:host",
                                                "TargetName=iqn.2025-01.example:target", "AuthMethod=CHAP"));
    CHECK(method.bhs.flags == 0x00);
    Answer challenge = peer.login_step(0x81, pairs("CHAP_A=5"));
    CHECK(challenge.bhs.flags == 0x00);
    CHECK(value_of(challenge, "CHAP_A") == "5");
  }

  TEST_CASE("Mutual authentication proves our secret too") {
    Array array;
    require_chap(array, true);
    Peer peer(array);
    Challenge challenge = begin(peer);
    ByteVector ours = pattern(1024);
    Answer answer = respond(peer, kUser, right(challenge), std::string("CHAP_I=17"), "CHAP_C=" + hex(ours));
    CHECK(answer.bhs.flags == 0x81);
    CHECK(value_of(answer, "CHAP_N") == kOurName);
    CHECK(value_of(answer, "CHAP_R") == hex(chap_response(ChapAlgorithm::md5, 17, kOurSecret, ours)));
  }

  TEST_CASE("Mutual authentication that would give something away is refused") {
    struct Row {
      const char* what;
      bool mutual;
      std::string identifier;
      std::string (*challenge)(const Challenge&);
    };
    const Row rows[] = {
        {"our challenge reflected", true, "17", [](const Challenge& c) { return hex(c.bytes); }},
        {"nothing configured", false, "17", [](const Challenge&) { return std::string("0x0102"); }},
        {"an identifier above 255", true, "256", [](const Challenge&) { return std::string("0x0102"); }},
        {"no identifier", true, "", [](const Challenge&) { return std::string("0x0102"); }},
        {"no challenge", true, "17", [](const Challenge&) { return std::string(); }},
        {"a challenge above 1024 bytes", true, "17", [](const Challenge&) { return "0x" + std::string(2050, '1'); }},
    };
    for (const Row& row : rows) {
      CAPTURE(row.what);
      Array array;
      require_chap(array, row.mutual);
      Peer peer(array);
      Challenge challenge = begin(peer);
      Answer answer =
          respond(peer, kUser, right(challenge), "CHAP_I=" + row.identifier, "CHAP_C=" + row.challenge(challenge));
      CHECK(answer.line() == "LoginResponse 00 status=0201 ");
    }
    Array array;
    require_chap(array, true);
    array.target().authentication.target->secret = kSecret;
    Peer peer(array);
    Challenge challenge = begin(peer);
    CHECK(status_of(respond(peer, kUser, right(challenge), std::string("CHAP_I=1"), std::string("CHAP_C=0x0102"))) ==
          0x0201);
  }

  TEST_CASE("Discovery has credentials of its own") {
    Array array;
    array.directory.discovery.initiator = iscsi::ChapCredentials{"finder", "discovery-secret"};
    Peer without(array);
    CHECK(status_of(without.login_step(
              0x87, pairs("InitiatorName=iqn.2025-01.example:host", "SessionType=Discovery"))) == 0x0201);
    Peer peer(array);
    CHECK(peer.login_step(0x00,
                          pairs("InitiatorName=iqn.2025-01.example:host", "SessionType=Discovery", "AuthMethod=CHAP"))
              .text() == "AuthMethod=CHAP");
    Answer answer = peer.login_step(0x00, pairs("CHAP_A=5"));
    auto identifier = static_cast<std::uint8_t>(*iscsi::parse_number(value_of(answer, "CHAP_I")));
    ByteVector challenge = *iscsi::parse_binary(value_of(answer, "CHAP_C"), 1024);
    std::string response = hex(chap_response(ChapAlgorithm::md5, identifier, "discovery-secret", challenge));
    CHECK(status_of(peer.login_step(0x83, pairs("CHAP_N=finder", "CHAP_R=" + response))) == 0);
    CHECK(peer.connection().full_feature());
    // The target itself asks for nothing.
    Peer normal(array);
    normal.login();
  }

  TEST_CASE("Challenges differ") {
    Array array;
    require_chap(array);
    Peer a(array), b(array);
    CHECK(begin(a).bytes != begin(b).bytes);
  }
}
