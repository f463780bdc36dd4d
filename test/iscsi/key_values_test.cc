// Every key with legal and illegal values, in every stage it may or may not be offered in, over the wire; and text that
// is no key=value at all. The answers are worked out here afresh from RFC 7143, 6.1 (how values are written), 6.2 (how
// they are negotiated) and 13 (each key).
//
// Not tested, and why: CHAP's keys (chap_test.cc); SendTargets (discovery_test.cc); what the values then do (the tests
// of data); keys that only the leading connection may offer, in a further one.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "target/iscsi/negotiation.h"
#include "test/iscsi/conversation.h"

using namespace test;
using namespace std::string_literals;

namespace {

enum class Kind { minimum, maximum, declared, both_yes, either_yes, digest, reporting, no, reject, silent, never };

/// A key as RFC 7143, 13 has it, and what this target says (Limits' defaults).
struct Rule {
  const char* name;
  Kind kind;
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  std::uint64_t ours = 0;
  bool normal_only = true;  ///< irrelevant in a discovery session
  bool full_feature = false;
  bool security = false;
};

constexpr Rule kRules[] = {
    {"HeaderDigest", Kind::digest, 0, 0, 0, false},
    {"DataDigest", Kind::digest, 0, 0, 0, false},
    {"MaxConnections", Kind::minimum, 1, 65535, 4},
    {"InitialR2T", Kind::either_yes, 0, 0, 0},
    {"ImmediateData", Kind::both_yes, 0, 0, 1},
    {"MaxRecvDataSegmentLength", Kind::declared, 512, 16777215, 262144, false, true},
    {"MaxBurstLength", Kind::minimum, 512, 16777215, 1048576},
    {"FirstBurstLength", Kind::minimum, 512, 16777215, 262144},
    {"DefaultTime2Wait", Kind::maximum, 0, 3600, 0, false},
    {"DefaultTime2Retain", Kind::minimum, 0, 3600, 0, false},
    {"MaxOutstandingR2T", Kind::minimum, 1, 65535, 8},
    {"DataPDUInOrder", Kind::either_yes, 0, 0, 1},
    {"DataSequenceInOrder", Kind::either_yes, 0, 0, 1},
    {"ErrorRecoveryLevel", Kind::minimum, 0, 2, 0, false},
    {"TaskReporting", Kind::reporting},
    {"iSCSIProtocolLevel", Kind::minimum, 0, 31, 1},
    {"IFMarker", Kind::no, 0, 0, 0, false},
    {"OFMarker", Kind::no, 0, 0, 0, false},
    {"IFMarkInt", Kind::reject, 0, 0, 0, false},
    {"OFMarkInt", Kind::reject, 0, 0, 0, false},
    {"InitiatorAlias", Kind::silent, 0, 0, 0, false, true, true},
    {"X#NodeArchitecture", Kind::silent, 0, 0, 0, false, true, true},
    {"TargetAlias", Kind::never, 0, 0, 0, false},
    {"TargetAddress", Kind::never, 0, 0, 0, false},
    {"TargetPortalGroupTag", Kind::never, 0, 0, 0, false},
};

/// RFC 7143, 6.1: decimal constants start with a digit that is not zero, or are 0; hexadecimal ones with 0x or 0X.
std::optional<std::uint64_t> number(const std::string& value) {
  bool hex = value.starts_with("0x") || value.starts_with("0X");
  std::string digits = hex ? value.substr(2) : value;
  if (digits.empty() || (!hex && digits.size() > 1 && digits[0] == '0')) return std::nullopt;
  std::uint64_t total = 0, base = hex ? 16 : 10;
  for (char c : digits) {
    std::uint64_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<std::uint64_t>(c - '0');
    } else if (hex && c >= 'a' && c <= 'f') {
      digit = static_cast<std::uint64_t>(c - 'a') + 10;
    } else if (hex && c >= 'A' && c <= 'F') {
      digit = static_cast<std::uint64_t>(c - 'A') + 10;
    } else {
      return std::nullopt;
    }
    if (total > (UINT64_MAX - digit) / base) return std::nullopt;
    total = total * base + digit;
  }
  return total;
}

std::vector<std::string> entries(const std::string& list) {
  std::vector<std::string> all{""};
  for (char c : list) {
    if (c == ',') {
      all.emplace_back();
    } else {
      all.back() += c;
    }
  }
  return all;
}

/// The result function's value; "Reject" when the offer is none.
std::string result(const Rule& rule, const std::string& value) {
  auto first_of = [&](const std::set<std::string>& known) {
    for (const std::string& each : entries(value))
      if (known.contains(each)) return each;
    return "Reject"s;
  };
  switch (rule.kind) {
    case Kind::digest: return first_of({"None", "CRC32C"});
    case Kind::reporting: return first_of({"RFC3720"});
    case Kind::both_yes:
    case Kind::either_yes: {
      if (value != "Yes" && value != "No") return "Reject";
      bool theirs = value == "Yes", mine = rule.ours != 0;
      return (rule.kind == Kind::both_yes ? theirs && mine : theirs || mine) ? "Yes" : "No";
    }
    case Kind::minimum:
    case Kind::maximum:
    case Kind::declared: {
      auto offered = number(value);
      if (!offered || *offered < rule.low || *offered > rule.high) return "Reject";
      if (rule.kind == Kind::declared) return std::to_string(rule.ours);
      return std::to_string(rule.kind == Kind::minimum ? std::min(*offered, rule.ours) : std::max(*offered, rule.ours));
    }
    case Kind::no: return "No";
    default: return "Reject";
  }
}

enum class Stage { security, operational, discovery, full_feature };

/// The whole answer to one offer; empty: none.
std::string expected(const Rule& rule, const std::string& value, Stage stage) {
  std::string answer = std::string(rule.name) + '=';
  // Reserved (RFC 7143, 6.2): taken for the answer to something we never asked.
  if (value == "Reject" || value == "Irrelevant" || value == "NotUnderstood") return "";
  if (rule.kind == Kind::never) return answer + "Reject";
  bool used = stage == Stage::security ? rule.security : stage == Stage::full_feature ? rule.full_feature : true;
  if (!used) return answer + "Reject";
  if (rule.kind == Kind::silent) return "";
  if (stage == Stage::discovery && rule.normal_only) return answer + "Irrelevant";
  std::string outcome = result(rule, value);
  // In full-feature phase the target has nothing new to declare.
  if (stage == Stage::full_feature && outcome != "Reject") return "";
  return answer + outcome;
}

using Values = std::vector<std::string>;

const Values kAnyKey{"",
                     "Yes",
                     "No",
                     "yes",
                     "YES",
                     "True",
                     "1",
                     "0",
                     "None",
                     "CRC32C",
                     "Reject",
                     "Irrelevant",
                     "NotUnderstood",
                     "=",
                     ",",
                     " ",
                     "?",
                     std::string(255, 'a'),
                     std::string(256, 'b')};
const Values kDigests{"None,CRC32C",
                      "CRC32C,None",
                      "CRC32C,CRC32C",
                      "None,None",
                      "CRC-32C,None",
                      "MD5,CRC32C",
                      "MD5",
                      "MD5,SHA",
                      ",None",
                      "None,",
                      ",,CRC32C",
                      "none",
                      "crc32c",
                      "None CRC32C",
                      "None;CRC32C",
                      " None",
                      "CRC32C ",
                      "Y-com.example,None",
                      std::string(256, 'x') + ",CRC32C",
                      "CRC32C=None"};
const Values kReporting{"RFC3720",           "ResponseFence", "FastAbort", "FastAbort,ResponseFence,RFC3720",
                        "RFC3720,FastAbort", "rfc3720",       ",RFC3720"};
const Values kNumbers{"00",
                      "007",
                      "-1",
                      "1e3",
                      "0x",
                      "0X",
                      "0xg",
                      "x10",
                      "0bAAAA",
                      "0o17",
                      "ten",
                      "18446744073709551615",
                      "18446744073709551616",
                      "18446744073709551617",
                      "0x10000000000000000",
                      std::string(200, '9'),
                      "0x" + std::string(200, 'f')};

/// The edges of its range, ours and a word's, and ways to write them that are wrong.
Values numbers_for(const Rule& rule) {
  Values values = kNumbers;
  for (std::uint64_t edge : {rule.low - 1, rule.low, rule.low + 1, rule.ours - 1, rule.ours, rule.ours + 1,
                             rule.high - 1, rule.high, rule.high + 1, std::uint64_t{1} << 32}) {
    values.push_back(std::to_string(edge));
    values.push_back(fmt::format("0x{:x}", edge));
  }
  std::string high = std::to_string(rule.high);
  for (std::string each :
       {"0" + high, "+" + high, "-" + high, " " + high, high + " ", high + ".0", high + "k", "0b" + high,
        high + "," + high, high + "~" + high, fmt::format("0X{:X}", rule.high), fmt::format("0x000{:X}", rule.high)})
    values.push_back(std::move(each));
  return values;
}

Values values_for(const Rule& rule) {
  Values values = kAnyKey;
  auto add = [&](const Values& more) { values.insert(values.end(), more.begin(), more.end()); };
  switch (rule.kind) {
    case Kind::minimum:
    case Kind::maximum:
    case Kind::declared: add(numbers_for(rule)); break;
    case Kind::digest: add(kDigests); break;
    case Kind::reporting: add(kReporting); break;
    case Kind::no:
    case Kind::reject: add({"2048", "2048~8192"}); break;
    default: break;
  }
  return values;
}

ByteVector identity(bool discovery) {
  return discovery ? pairs("InitiatorName=iqn.2025-01.example:host", "SessionType=Discovery")
                   : pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target");
}

/// What a stage says to one more pair, or other text: "status 0200" when it ends the login, "Reject 04" in
/// full-feature phase. Sessions are the caller's to renew.
class Asker {
 public:
  Asker() { renew(); }

  std::string ask(Stage stage, const std::string& text) {
    if (stage == Stage::full_feature) return ask_session(text);
    Peer peer(array_);
    ByteVector data = identity(stage == Stage::discovery);
    data.insert(data.end(), text.begin(), text.end());
    Answer answer = peer.login_step(stage == Stage::security ? 0x00 : 0x04, data);
    std::uint16_t status = answer.as<iscsi::LoginResponseBhs>().status;
    CHECK((status != 0) == peer.finished_flag);
    if (status != 0) return fmt::format("status {:04X}", status);
    constexpr std::string_view kGroup = "TargetPortalGroupTag=1\0";
    std::string told(answer.data.begin(), answer.data.end());
    std::string group(kGroup.begin(), kGroup.end());
    if (stage != Stage::discovery) {
      REQUIRE(told.starts_with("TargetPortalGroupTag=1"));
      told.erase(0, group.size() + 1);
    }
    return told;
  }

 private:
  void renew() {
    session_ = std::make_unique<Peer>(array_);
    session_->isid[5] = 0x33;
    session_->login();
  }

  std::string ask_session(const std::string& text) {
    session_->send(session_->text_request(), ByteVector(text.begin(), text.end()));
    Answer answer = session_->answer();
    if (answer.code() == iscsi::Opcode::text_response) return {answer.data.begin(), answer.data.end()};
    --session_->cmd_sn;
    return answer.line();
  }

  Array array_{DeviceOptions{.size_bytes = 8 << 10}};
  std::unique_ptr<Peer> session_;
};

}  // namespace

TEST_SUITE("iscsi key values") {
  TEST_CASE("Every key answers every value in every stage as its result function says") {
    Asker asker;
    std::set<std::string_view> ours;
    int offers = 0;
    for (const Rule& rule : kRules) {
      ours.insert(rule.name);
      for (const std::string& value : values_for(rule)) {
        for (Stage stage : {Stage::security, Stage::operational, Stage::discovery, Stage::full_feature}) {
          std::string offer = std::string(rule.name) + '=' + value;
          CAPTURE(offer);
          CAPTURE(static_cast<int>(stage));
          std::string answer = expected(rule, value, stage);
          if (!answer.empty()) answer += '\0';
          CHECK(asker.ask(stage, offer + '\0') == answer);
          ++offers;
        }
      }
    }
    CHECK(offers > 3500);
    // Those the login phase and discovery take themselves have rows of their own below and elsewhere.
    for (auto name : {"AuthMethod", "SendTargets", "TargetName", "InitiatorName", "SessionType"}) ours.insert(name);
    for (const iscsi::KeyRow& row : iscsi::key_table()) CHECK(ours.contains(row.name));
  }

  TEST_CASE("Who is who, and how it is proved, by value") {
    struct Row {
      const char* what;
      ByteVector text;
      std::uint16_t status;
      const char* answer;
    };
    const char* to = "TargetName=iqn.2025-01.example:target";
    const char* from = "InitiatorName=iqn.2025-01.example:host";
    const std::string group = "TargetPortalGroupTag=1";
    auto with = [&](std::string pair) { return pairs(from, to, pair); };
    const Row rows[] = {
        {"None", with("AuthMethod=None"), 0, "AuthMethod=None TargetPortalGroupTag=1"},
        {"several", with("AuthMethod=CHAP,None"), 0, "AuthMethod=None TargetPortalGroupTag=1"},
        {"a private method too", with("AuthMethod=Z-com.example,KRB5,SRP,CHAP,None"), 0,
         "AuthMethod=None TargetPortalGroupTag=1"},
        {"an empty entry", with("AuthMethod=,None"), 0, "AuthMethod=None TargetPortalGroupTag=1"},
        {"CHAP alone, without secrets", with("AuthMethod=CHAP"), 0x0201, ""},
        {"no method", with("AuthMethod="), 0x0201, ""},
        {"another spelling", with("AuthMethod=none"), 0x0201, ""},
        {"a method nobody has", with("AuthMethod=X"), 0x0201, ""},
        {"Normal", with("SessionType=Normal"), 0, "TargetPortalGroupTag=1"},
        {"Discovery", pairs(from, "SessionType=Discovery"), 0, ""},
        {"normal", with("SessionType=normal"), 0x0209, ""},
        {"no type", with("SessionType="), 0x0209, ""},
        {"a list of types", with("SessionType=Normal,Discovery"), 0x0209, ""},
        {"SendTargets has no place here", with("SendTargets=All"), 0, "TargetPortalGroupTag=1 SendTargets=Reject"},
        {"no initiator", pairs(to), 0x0207, ""},
        {"an empty initiator", pairs("InitiatorName=", to), 0x0200, ""},
        {"a name of 223 bytes", pairs("InitiatorName=iqn.2025-01.a:" + std::string(223 - 14, 'x'), to), 0,
         "TargetPortalGroupTag=1"},
        {"a name of 224 bytes", pairs("InitiatorName=iqn.2025-01.a:" + std::string(224 - 14, 'x'), to), 0x0200, ""},
        {"eui", pairs("InitiatorName=eui.02004567A425678D", to), 0, "TargetPortalGroupTag=1"},
        {"naa", pairs("InitiatorName=naa.52004567BA64678D", to), 0, "TargetPortalGroupTag=1"},
        {"another type of name", pairs("InitiatorName=wwn.52004567BA64678D", to), 0x0200, ""},
        {"upper case", pairs("InitiatorName=IQN.2025-01.EXAMPLE:HOST", "TargetName=IQN.2025-01.Example:TARGET"), 0,
         "TargetPortalGroupTag=1"},
        {"no target", pairs(from), 0x0207, ""},
        {"an empty target", pairs(from, "TargetName="), 0x0203, ""},
        {"another target", pairs(from, "TargetName=iqn.2025-01.example:targe"), 0x0203, ""},
        {"Reject as a name", pairs(from, "TargetName=Reject"), 0x0203, ""},
    };
    Array array(DeviceOptions{.size_bytes = 8 << 10});
    for (const Row& row : rows) {
      CAPTURE(std::string(row.what));
      Peer peer(array);
      Answer answer = peer.login_step(0x00, row.text);
      CHECK(answer.as<iscsi::LoginResponseBhs>().status == row.status);
      CHECK(answer.text() == row.answer);
    }
  }

  TEST_CASE("Text that is no list of pairs ends a login and is rejected in full-feature phase") {
    struct Row {
      std::string text;
      std::string answer;  ///< "!" for refused
    };
    const std::string long_key = "X-" + std::string(61, 'k');
    const Row rows[] = {
        {"", ""},
        {"\0"s, ""},
        {"\0\0\0"s, ""},
        {"X-a=1", "X-a=NotUnderstood\0"s},
        {"X-a=1\0\0\0"s, "X-a=NotUnderstood\0"s},
        {"\0X-a=1\0"s, "X-a=NotUnderstood\0"s},
        {"X-a=1\0\0X-b=2\0"s, "X-a=NotUnderstood\0X-b=NotUnderstood\0"s},
        {"X-a=1\0X-b=2"s, "X-a=NotUnderstood\0X-b=NotUnderstood\0"s},
        {"X-a=1=2\0"s, "X-a=NotUnderstood\0"s},
        {"X-a=\0"s, "X-a=NotUnderstood\0"s},
        {"Y-a=1\0Z-a=1\0X#a=1\0"s, "Y-a=NotUnderstood\0Z-a=NotUnderstood\0X#a=NotUnderstood\0"s},
        {"headerdigest=None\0"s, "headerdigest=NotUnderstood\0"s},
        {"HEADERDIGEST=None\0"s, "HEADERDIGEST=NotUnderstood\0"s},
        {long_key + "=1\0"s, long_key + "=NotUnderstood\0"s},
        {long_key + "k=1\0"s, "!"},
        {"X-a\0"s, "!"},
        {"X-a", "!"},
        {"=\0"s, "!"},
        {"=1\0"s, "!"},
        {"X a=1\0"s, "!"},
        {" X-a=1\0"s, "!"},
        {"X-a =1\0"s, "!"},
        {"X-a\t=1\0"s, "!"},
        {"X,a=1\0"s, "!"},
        {"X-\xC3\xA4=1\0"s, "!"},
        {"X-a=1\0X-a=1\0"s, "!"},
        {"X-a=1\0b\0"s, "!"},
        {"X-a=1\nX-b=2\0"s, "X-a=NotUnderstood\0"s},
    };
    Asker asker;
    for (const Row& row : rows) {
      CAPTURE(row.text);
      bool refused = row.answer == "!";
      for (Stage stage : {Stage::security, Stage::operational, Stage::discovery})
        CHECK(asker.ask(stage, row.text) == (refused ? "status 0200" : row.answer));
      CHECK(asker.ask(Stage::full_feature, row.text) == (refused ? "Reject 04" : row.answer));
    }
  }

  TEST_CASE("Pairs cut at any byte between PDUs that go on are read as if they had come at once") {
    ByteVector text = identity(false);
    ByteVector more = pairs("InitialR2T=No", "X-com.example=?", "MaxBurstLength=0x10000", "DataDigest=None");
    ByteVector all = text;
    all.insert(all.end(), more.begin(), more.end());
    Array array(DeviceOptions{.size_bytes = 8 << 10});
    Peer whole(array);
    std::string wanted = whole.login_step(0x87, all).text();
    for (std::size_t cut = 0; cut <= all.size(); ++cut) {
      CAPTURE(cut);
      auto middle = all.begin() + static_cast<std::ptrdiff_t>(cut);
      Peer peer(array);
      Answer first = peer.login_step(iscsi::kContinue | 0x04, {all.begin(), middle});
      CHECK(first.line() == "LoginResponse 04 status=0000 ");
      CHECK(peer.login_step(0x87, {middle, all.end()}).text() == wanted);
      REQUIRE(peer.connection().full_feature());
      // Likewise after the login.
      ByteVector request = pairs("SendTargets=All", "X-com.example=?", "Y-b=");
      std::size_t at = std::min(cut, request.size());
      auto half = request.begin() + static_cast<std::ptrdiff_t>(at);
      peer.send(peer.text_request(iscsi::kContinue), {request.begin(), half});
      auto empty = peer.answer();
      CHECK(empty.line() == "TextResponse ");
      std::uint32_t tag = empty.as<iscsi::TextResponseBhs>().target_transfer_tag;
      peer.send(peer.text_request(iscsi::kFinal, tag), {half, request.end()});
      CHECK(peer.answer().text() ==
            "TargetName=iqn.2025-01.example:target TargetAddress=192.0.2.1:3260,1 X-com.example=NotUnderstood "
            "Y-b=NotUnderstood");
    }
  }

  TEST_CASE("Text is taken up to 65536 bytes and 256 pairs") {
    auto session_says = [](std::size_t bytes) {
      Array array(DeviceOptions{.size_bytes = 8 << 10});
      Peer peer(array);
      peer.login();
      ByteVector text = pairs("X-a=" + std::string(bytes - 5, 'v'));
      std::uint32_t tag = iscsi::kReservedTag;
      for (std::size_t done = 0; done < text.size();) {
        std::size_t run = std::min<std::size_t>(text.size() - done, 8192);
        bool last = done + run == text.size();
        auto from = text.begin() + static_cast<std::ptrdiff_t>(done);
        peer.send(peer.text_request(last ? iscsi::kFinal : iscsi::kContinue, tag),
                  {from, from + static_cast<std::ptrdiff_t>(run)});
        Answer answer = peer.answer();
        if (answer.code() == iscsi::Opcode::reject) return answer.line();
        tag = answer.as<iscsi::TextResponseBhs>().target_transfer_tag;
        done += run;
        if (last) return answer.text();
      }
      return std::string();
    };
    CHECK(session_says(65536) == "X-a=NotUnderstood");
    CHECK(session_says(65537) == "Reject 04");
    Asker asker;
    std::string many, answers;
    for (int i = 0; i < 256; ++i) {
      many += fmt::format("X-{}=1", i) + '\0';
      answers += fmt::format("X-{}=NotUnderstood", i) + '\0';
    }
    CHECK(asker.ask(Stage::full_feature, many) == answers);
    CHECK(asker.ask(Stage::full_feature, many + "X-256=1\0"s) == "Reject 04");
  }
}
