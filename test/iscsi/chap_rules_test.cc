// What CHAP guards against: guessing who may log in, keys out of their order, forms that are none, proof that was not
// given, an initiator with another's secret.
//
// Not tested, and why: that comparisons take constant time (CRYPTO_memcmp does); base::SystemEntropy, of which there is
// nothing to see but that challenges differ.
#include <doctest/doctest.h>

#include <array>
#include <set>

#include "test/iscsi/chap_conversation.h"

using namespace test;
using iscsi::chap_response;
using iscsi::ChapAlgorithm;
using iscsi::ChapCredentials;

namespace {

const std::string kOther = "iqn.2025-01.example:other";
const char* const kOthersSecret = "others-secret-00";
constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string base64(const ByteVector& bytes) {
  std::string text = "0b";
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = i; k < i + 3; ++k) group = group * 256 + (k < bytes.size() ? bytes[k] : 0);
    for (std::uint32_t place : {262144u, 4096u, 64u, 1u}) text.push_back(kAlphabet[group / place % 64]);
  }
  std::size_t pads = (3 - bytes.size() % 3) % 3;
  text.replace(text.size() - pads, pads, pads, '=');
  return text;
}

std::string upper_case(std::string text) {
  for (std::size_t i = 2; i < text.size(); ++i) text[i] = static_cast<char>(std::toupper(text[i]));
  return text;
}

std::string answer_to(const Challenge& challenge, const char* secret) {
  return hex(chap_response(ChapAlgorithm::md5, challenge.identifier, secret, challenge.bytes));
}

/// All bytes of a PDU that came back.
ByteVector bytes_of(const Answer& answer) {
  base::Bytes header = base::bytes_of(answer.bhs);
  ByteVector bytes(header.begin(), header.end());
  bytes.insert(bytes.end(), answer.data.begin(), answer.data.end());
  return bytes;
}

/// Each initiator with a secret of its own.
void require_each(Array& array) {
  array.target().authentication_of[std::string(kInitiator)] = {.initiator = ChapCredentials{kUser, kSecret}};
  array.target().authentication_of[kOther] = {.initiator = ChapCredentials{"other", kOthersSecret}};
}

/// The first steps of a login to the target, or a discovery session, up to AuthMethod=CHAP.
void choose_chap(Peer& peer) {
  peer.login_step(0x00, pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target",
                              "AuthMethod=CHAP"));
}

bool refused(Peer& peer, const Answer& answer) {
  return answer.line() == "LoginResponse 00 status=0201 " && peer.finished_flag;
}

}  // namespace

TEST_SUITE("iscsi CHAP rules") {
  TEST_CASE("Nobody learns who may log in: every wrong login is answered with the same bytes in as many steps") {
    struct Row {
      const char* what;
      std::string initiator;
      std::string name;
      std::string (*response)(const Challenge&);
    };
    const auto wrong = [](const Challenge& c) { return answer_to(c, "wrong"); };
    const auto good = [](const Challenge& c) { return answer_to(c, kSecret); };
    const std::string host(kInitiator);
    const Row rows[] = {
        {"wrong secret", host, kUser, wrong},
        {"unknown name, wrong secret", host, "stranger", wrong},
        {"unknown name, right secret", host, "stranger", good},
        {"longer name", host, std::string(kUser) + "2", good},
        {"malformed response", host, kUser, [](const Challenge&) { return std::string("0xzz"); }},
        {"response of another length", host, kUser, [](const Challenge&) { return std::string("0x0102"); }},
        {"another's secret", host, "other", [](const Challenge& c) { return answer_to(c, kOthersSecret); }},
        {"own secret as another initiator", kOther, kUser, good},
        {"an initiator without a secret", "iqn.2025-01.example:stranger", kUser, good},
        {"the name that nobody has", "iqn.2025-01.example:stranger", "nobody",
         [](const Challenge& c) { return answer_to(c, "no-secret-at-all"); }},
    };
    std::optional<std::array<ByteVector, 3>> expected;
    for (const Row& row : rows) {
      CAPTURE(row.what);
      Array array;  // whose randomness repeats
      require_each(array);
      Peer peer(array);
      std::array<ByteVector, 3> told;
      told[0] = bytes_of(peer.login_step(
          0x00, pairs("InitiatorName=" + row.initiator, "TargetName=iqn.2025-01.example:target", "AuthMethod=CHAP")));
      Answer answer = peer.login_step(0x00, pairs("CHAP_A=5"));
      told[1] = bytes_of(answer);
      Challenge challenge{static_cast<std::uint8_t>(*iscsi::parse_number(value_of(answer, "CHAP_I"))),
                          *iscsi::parse_binary(value_of(answer, "CHAP_C"), 1024)};
      Answer last = respond(peer, row.name, row.response(challenge));
      told[2] = bytes_of(last);
      CHECK(refused(peer, last));
      if (!expected) expected = told;
      CHECK(told == *expected);
    }
  }

  TEST_CASE("Whether an initiator is on the list shows only to who has proved something") {
    for (bool listed : {true, false}) {
      CAPTURE(listed);
      Array array;
      require_chap(array);
      array.target().allowed_initiators = {listed ? std::string(kInitiator) : kOther};
      Peer guessing(array);
      CHECK(refused(guessing, respond(guessing, kUser, answer_to(begin(guessing), "wrong"))));
      Peer without(array);
      CHECK(status_of(without.login_step(0x81, pairs("InitiatorName=iqn.2025-01.example:host",
                                                     "TargetName=iqn.2025-01.example:target", "AuthMethod=None"))) ==
            0x0201);
      Peer knowing(array);
      CHECK(status_of(respond(knowing, kUser, right(begin(knowing)))) == (listed ? 0 : 0x0202));
    }
  }

  TEST_CASE("Each initiator proves its own secret; the rest the one for all, where there is one") {
    for (bool for_all : {false, true}) {
      Array array;
      require_each(array);
      if (for_all) array.target().authentication.initiator = ChapCredentials{"all", "secret-of-all-00"};
      auto status = [&](const std::string& initiator, const std::string& name, const char* secret) {
        Peer peer(array);
        return status_of(respond(peer, name, answer_to(begin(peer, "5", initiator), secret)));
      };
      CHECK(status(std::string(kInitiator), kUser, kSecret) == 0);
      CHECK(status(kOther, "other", kOthersSecret) == 0);
      CHECK(status(kOther, kUser, kSecret) == 0x0201);
      CHECK(status("iqn.2025-01.example:third", "all", "secret-of-all-00") == (for_all ? 0 : 0x0201));
      CHECK(status(kOther, "all", "secret-of-all-00") == 0x0201);
    }
    Array array;
    require_each(array);
    Peer without(array);
    CHECK(status_of(without.login_step(0x87, pairs("InitiatorName=iqn.2025-01.example:third",
                                                   "TargetName=iqn.2025-01.example:target"))) == 0x0201);
  }

  TEST_CASE("Keys before or after their step end the login") {
    struct Row {
      const char* what;
      int steps;  ///< 0: AuthMethod is chosen, 1: challenged, 2: proved
      ByteVector text;
    };
    const std::string response = "CHAP_R=0x00112233445566778899aabbccddeeff";
    const Row rows[] = {
        {"a name at first", 0, pairs("CHAP_N=host")},
        {"a response at first", 0, pairs(response)},
        {"all at once", 0, pairs("CHAP_A=5", "CHAP_N=host", response)},
        {"a challenge at first", 0, pairs("CHAP_I=1", "CHAP_C=0x01")},
        {"a challenge with the algorithm", 0, pairs("CHAP_A=5", "CHAP_I=1", "CHAP_C=0x01")},
        {"no algorithm", 0, pairs("CHAP_A=")},
        {"the algorithm again", 1, pairs("CHAP_A=5")},
        {"the algorithm with the response", 1, pairs("CHAP_A=5", "CHAP_N=host", response)},
        {"nothing", 1, {}},
        {"a name alone", 1, pairs("CHAP_N=host")},
        {"a response alone", 1, pairs(response)},
        {"a challenge alone", 1, pairs("CHAP_I=1", "CHAP_C=0x01")},
        {"the algorithm after the proof", 2, pairs("CHAP_A=5")},
        {"the proof again", 2, pairs("CHAP_N=host", response)},
        {"a challenge after the proof", 2, pairs("CHAP_I=1", "CHAP_C=0x01")},
    };
    for (const Row& row : rows) {
      CAPTURE(row.what);
      Array array;
      require_chap(array);
      Peer peer(array);
      if (row.steps == 0) choose_chap(peer);
      if (row.steps > 0) {
        Challenge challenge = begin(peer);
        // Without T, so that the stage goes on.
        if (row.steps > 1)
          CHECK(status_of(peer.login_step(0x00, pairs("CHAP_N=host", "CHAP_R=" + right(challenge)))) == 0);
      }
      CHECK(refused(peer, peer.login_step(0x81, row.text)));
    }
  }

  TEST_CASE("CHAP_A lists numbers; the first that is known counts, and what is no number does not") {
    for (const char* list : {"5", "5,5", "0x5", "99,5", "MD5,5", ",5", "5,", "0,255,256,18446744073709551616,5"}) {
      CAPTURE(list);
      Array array;
      require_chap(array);
      Peer peer(array);
      Challenge challenge = begin(peer, list);
      CHECK(status_of(respond(peer, kUser, right(challenge))) == 0);
    }
    for (const char* list : {"MD5", "4", "9", "05x", " 5", "5 ", "5;6", "-5", "+5", ",", "261", "0x", "0b5"}) {
      CAPTURE(list);
      Array array;
      require_chap(array);
      Peer peer(array);
      choose_chap(peer);
      CHECK(refused(peer, peer.login_step(0x00, pairs("CHAP_A=" + std::string(list)))));
    }
  }

  TEST_CASE("A response may be hexadecimal or base64, in either case of the prefix and of the digits") {
    std::string (*const forms[])(const ByteVector&) = {
        [](const ByteVector& b) { return hex(b); },
        [](const ByteVector& b) { return upper_case(hex(b)); },
        [](const ByteVector& b) { return "0X" + hex(b).substr(2); },
        [](const ByteVector& b) { return base64(b); },
        [](const ByteVector& b) { return "0B" + base64(b).substr(2); },
    };
    for (auto form : forms)
      for (auto algorithm : {ChapAlgorithm::md5, ChapAlgorithm::sha1, ChapAlgorithm::sha256, ChapAlgorithm::sha3_256}) {
        Array array;
        require_chap(array);
        Peer peer(array);
        Challenge challenge = begin(peer, std::to_string(static_cast<int>(algorithm)));
        ByteVector response = chap_response(algorithm, challenge.identifier, kSecret, challenge.bytes);
        CHECK(status_of(respond(peer, kUser, form(response))) == 0);
      }
  }

  TEST_CASE("A response in no form, or of another length, is wrong") {
    std::string (*const forms[])(const ByteVector&) = {
        [](const ByteVector&) { return std::string(); },
        [](const ByteVector&) { return std::string("0x"); },
        [](const ByteVector&) { return std::string("0b"); },
        [](const ByteVector& b) { return hex(b).substr(2); },
        [](const ByteVector& b) { return base64(b).substr(2); },
        [](const ByteVector& b) { return " " + hex(b); },
        [](const ByteVector& b) { return hex(b) + " "; },
        [](const ByteVector& b) { return hex(b) + "0"; },
        [](const ByteVector& b) { return hex(b) + "00"; },
        [](const ByteVector& b) { return "0x00" + hex(b).substr(2); },
        [](const ByteVector& b) { return hex(b).substr(0, hex(b).size() - 2); },
        [](const ByteVector& b) { return base64(b) + "="; },
        [](const ByteVector& b) { return base64(b).substr(0, base64(b).size() - 1); },
        [](const ByteVector& b) { return base64(b) + "AAAA"; },
        [](const ByteVector& b) { return "0x" + base64(b).substr(2); },
        [](const ByteVector&) { return "0x" + std::string(2 * 1024, '0'); },
        [](const ByteVector&) { return "0x" + std::string(2 * 1025, '0'); },
        [](const ByteVector&) { return base64(ByteVector(1025)); },
    };
    std::size_t number = 0;
    for (auto form : forms) {
      CAPTURE(number++);
      Array array;
      require_chap(array);
      Peer peer(array);
      Challenge challenge = begin(peer);
      ByteVector response = chap_response(ChapAlgorithm::md5, challenge.identifier, kSecret, challenge.bytes);
      CHECK(refused(peer, respond(peer, kUser, form(response))));
    }
  }

  TEST_CASE("An initiator's challenge has 1 to 1024 bytes in either form") {
    for (std::size_t length : {0, 1, 2, 15, 16, 17, 255, 256, 1023, 1024, 1025}) {
      CAPTURE(length);
      for (auto form : {&hex, &base64}) {
        Array array;
        require_chap(array, true);
        Peer peer(array);
        Challenge challenge = begin(peer);
        ByteVector theirs = pattern(length, 3);
        Answer answer = respond(peer, kUser, right(challenge), std::string("CHAP_I=255"), "CHAP_C=" + form(theirs));
        if (length == 0 || length > 1024) {
          CHECK(refused(peer, answer));
        } else {
          CHECK(status_of(answer) == 0);
          CHECK(value_of(answer, "CHAP_R") == hex(chap_response(ChapAlgorithm::md5, 255, kOurSecret, theirs)));
        }
      }
    }
  }

  TEST_CASE("An initiator's identifier is one byte") {
    for (const char* identifier : {"0", "7", "255", "0x10", "0XfF", "256", "-1", "", "abc", "0x100", "1 "}) {
      CAPTURE(identifier);
      auto number = iscsi::parse_number(identifier);
      Array array;
      require_chap(array, true);
      Peer peer(array);
      Challenge challenge = begin(peer);
      Answer answer =
          respond(peer, kUser, right(challenge), "CHAP_I=" + std::string(identifier), std::string("CHAP_C=0x0102"));
      CHECK(status_of(answer) == (number && *number < 256 ? 0 : 0x0201));
      if (number && *number < 256)
        CHECK(value_of(answer, "CHAP_R") ==
              hex(chap_response(ChapAlgorithm::md5, static_cast<std::uint8_t>(*number), kOurSecret, {{1, 2}})));
    }
  }

  TEST_CASE("Mutual authentication has to be asked for, unless that is left to the initiator") {
    for (bool required : {true, false}) {
      Array array;
      require_chap(array, true);
      CHECK(array.target().authentication.mutual_required);  // the default
      array.target().authentication.mutual_required = required;
      Peer one_way(array);
      Answer answer = respond(one_way, kUser, right(begin(one_way)));
      CHECK(status_of(answer) == (required ? 0x0201 : 0));
      CHECK(value_of(answer, "CHAP_R").empty());
      Peer mutual(array);
      Answer proof = respond(mutual, kUser, right(begin(mutual)), std::string("CHAP_I=1"), std::string("CHAP_C=0x01"));
      CHECK(value_of(proof, "CHAP_N") == kOurName);
    }
  }

  TEST_CASE("Nothing of ours is proved to an initiator that did not prove itself first") {
    Array array;
    require_chap(array, true);
    Peer peer(array);
    Challenge challenge = begin(peer);
    Answer answer =
        respond(peer, kUser, answer_to(challenge, "wrong"), std::string("CHAP_I=1"), std::string("CHAP_C=0x01"));
    CHECK(refused(peer, answer));
    CHECK(answer.data.empty());
  }

  TEST_CASE("A reflected challenge is seen in either form") {
    for (auto form : {&hex, &base64}) {
      Array array;
      require_chap(array, true);
      Peer peer(array);
      Challenge challenge = begin(peer);
      CHECK(refused(peer, respond(peer, kUser, right(challenge), "CHAP_I=" + std::to_string(challenge.identifier),
                                  "CHAP_C=" + form(challenge.bytes))));
    }
  }

  TEST_CASE("Discovery that wants CHAP tells nothing without it (spdk@16b33d51e8)") {
    struct Row {
      const char* what;
      std::uint8_t flags;
      const char* more;
    };
    for (const Row& row :
         {Row{"no AuthMethod", 0x87, "SessionType=Discovery"}, Row{"None", 0x81, "AuthMethod=None"},
          Row{"None, straight on", 0x83, "AuthMethod=None"}, Row{"CHAP unfinished", 0x83, "AuthMethod=CHAP"},
          Row{"no security stage", 0x04, "A=B"}, Row{"no security stage, straight on", 0x87, "AuthMethod=CHAP"}}) {
      CAPTURE(row.what);
      Array array;
      array.directory.discovery.initiator = ChapCredentials{"finder", "discovery-secret"};
      Peer peer(array);
      ByteVector text = row.more == std::string_view("SessionType=Discovery")
                            ? pairs("InitiatorName=iqn.2025-01.example:host", "SessionType=Discovery")
                            : pairs("InitiatorName=iqn.2025-01.example:host", "SessionType=Discovery", row.more);
      Answer answer = peer.login_step(row.flags, text);
      CHECK_FALSE(peer.connection().full_feature());
      if (row.more == std::string_view("AuthMethod=CHAP") && row.flags == 0x83) {
        CHECK(answer.bhs.flags == 0x00);  // it stays in the stage
        CHECK(status_of(peer.login_step(0x87, {})) != 0);
      } else {
        CHECK(status_of(answer) == 0x0201);
      }
      CHECK_FALSE(peer.connection().full_feature());
      CHECK(answer.text().find("TargetAddress") == std::string::npos);
    }
  }

  TEST_CASE("A target's secret opens no discovery session, nor the other way round") {
    Array array;
    require_chap(array);
    array.directory.discovery.initiator = ChapCredentials{kUser, "discovery-secret"};
    Peer peer(array);
    CHECK(refused(peer, respond(peer, kUser, answer_to(begin(peer), "discovery-secret"))));
  }

  TEST_CASE("A session is not taken over without its secret, whether it is replaced or joined") {
    for (bool by_tsih : {false, true}) {
      CAPTURE(by_tsih);
      Array array;
      require_chap(array);
      Peer first(array);
      respond(first, kUser, right(begin(first)));
      Answer logged_in = first.login_step(0x87, {});
      std::uint16_t tsih = logged_in.as<iscsi::LoginResponseBhs>().tsih;
      REQUIRE(tsih != 0);
      auto another = [&](const char* secret) {
        Peer peer(array);
        peer.tsih = by_tsih ? tsih : std::uint16_t{0};
        Answer answer = respond(peer, kUser, answer_to(begin(peer), secret));
        if (status_of(answer) == 0) answer = peer.login_step(0x87, {});
        return status_of(answer);
      };
      CHECK(another("wrong") == 0x0201);
      Peer without(array);
      without.tsih = by_tsih ? tsih : std::uint16_t{0};
      CHECK(status_of(without.login_step(0x87, pairs("InitiatorName=iqn.2025-01.example:host",
                                                     "TargetName=iqn.2025-01.example:target"))) == 0x0201);
      CHECK_FALSE(first.finished_flag);
      first.send_command(test_unit_ready(), 0x80, 0);
      CHECK(first.answers().size() == 1);
      CHECK(another(kSecret) == 0);
      CHECK(first.finished_flag);
    }
  }

  TEST_CASE("No challenge comes twice, whatever became of the logins before") {
    Array array;
    require_chap(array);
    std::set<ByteVector> challenges;
    std::set<std::uint8_t> identifiers;
    constexpr std::size_t kLogins = 300;
    for (std::size_t i = 0; i < kLogins; ++i) {
      Peer peer(array);
      Challenge challenge = begin(peer);
      challenges.insert(challenge.bytes);
      identifiers.insert(challenge.identifier);
      if (i % 3 == 1) respond(peer, kUser, right(challenge));
      if (i % 3 == 2) respond(peer, kUser, "0x00");
    }
    CHECK(challenges.size() == kLogins);
    CHECK(identifiers.size() > 100);
  }
}
