// Every key of RFC 7143, 13: its answer, its result, its place.
//
// Not tested, and why: names, AuthMethod, CHAP and SendTargets, which are not negotiated (login_test.cc,
// discovery_test.cc).
#include "target/iscsi/negotiation.h"

#include <doctest/doctest.h>

#include <set>

using namespace iscsi;
using namespace std::string_literals;

namespace {

struct Outcome {
  std::string answers;  ///< with '|' after each pair; "error: ..." when the exchange ended
  Parameters parameters;
};

Outcome exchange(std::string_view text, NegotiationStage stage = NegotiationStage::operational, bool discovery = false,
                 Limits limits = {}) {
  Negotiation negotiation(limits, discovery);
  auto pairs = parse_text(text);
  REQUIRE(pairs);
  std::string answers;
  auto good = negotiation.exchange(*pairs, stage, answers);
  if (!good) return {"error: " + good.error(), negotiation.parameters()};
  for (char& c : answers)
    if (c == '\0') c = '|';
  return {answers, negotiation.parameters()};
}

std::string answer(std::string_view offer) { return exchange(offer).answers; }

/// What is offered, and what has to come back.
struct Row {
  const char* offer;
  const char* answer;
};
constexpr Row kAnswers[] = {
    {"HeaderDigest=None", "HeaderDigest=None|"},
    {"HeaderDigest=CRC32C", "HeaderDigest=CRC32C|"},
    {"HeaderDigest=None,CRC32C", "HeaderDigest=None|"},
    {"HeaderDigest=CRC32C,None", "HeaderDigest=CRC32C|"},
    {"HeaderDigest=X-foo,CRC32C", "HeaderDigest=CRC32C|"},
    {"HeaderDigest=X-foo", "HeaderDigest=Reject|"},
    {"HeaderDigest=", "HeaderDigest=Reject|"},
    {"HeaderDigest=crc32c", "HeaderDigest=Reject|"},
    {"DataDigest=CRC32C,None", "DataDigest=CRC32C|"},
    {"DataDigest=none", "DataDigest=Reject|"},
    {"MaxConnections=32", "MaxConnections=4|"},
    {"MaxConnections=1", "MaxConnections=1|"},
    {"MaxConnections=0", "MaxConnections=Reject|"},
    {"MaxConnections=65536", "MaxConnections=Reject|"},
    {"InitialR2T=Yes", "InitialR2T=Yes|"},
    {"InitialR2T=No", "InitialR2T=No|"},
    {"InitialR2T=no", "InitialR2T=Reject|"},
    {"ImmediateData=Yes", "ImmediateData=Yes|"},
    {"ImmediateData=No", "ImmediateData=No|"},
    {"ImmediateData=True", "ImmediateData=Reject|"},
    {"MaxRecvDataSegmentLength=65536", "MaxRecvDataSegmentLength=262144|"},
    {"MaxRecvDataSegmentLength=512", "MaxRecvDataSegmentLength=262144|"},
    {"MaxRecvDataSegmentLength=511", "MaxRecvDataSegmentLength=Reject|"},
    {"MaxRecvDataSegmentLength=16777216", "MaxRecvDataSegmentLength=Reject|"},
    {"MaxBurstLength=262144", "MaxBurstLength=262144|"},
    {"MaxBurstLength=16776192", "MaxBurstLength=1048576|"},
    {"MaxBurstLength=0x20000", "MaxBurstLength=131072|"},
    {"MaxBurstLength=511", "MaxBurstLength=Reject|"},
    {"FirstBurstLength=65536", "FirstBurstLength=65536|"},
    {"FirstBurstLength=ten", "FirstBurstLength=Reject|"},
    {"DefaultTime2Wait=0", "DefaultTime2Wait=0|"},
    {"DefaultTime2Wait=2", "DefaultTime2Wait=2|"},
    {"DefaultTime2Wait=3601", "DefaultTime2Wait=Reject|"},
    {"DefaultTime2Retain=60", "DefaultTime2Retain=0|"},
    {"MaxOutstandingR2T=16", "MaxOutstandingR2T=8|"},
    {"MaxOutstandingR2T=1", "MaxOutstandingR2T=1|"},
    {"MaxOutstandingR2T=0", "MaxOutstandingR2T=Reject|"},
    {"DataPDUInOrder=No", "DataPDUInOrder=Yes|"},
    {"DataPDUInOrder=Yes", "DataPDUInOrder=Yes|"},
    {"DataSequenceInOrder=No", "DataSequenceInOrder=Yes|"},
    {"ErrorRecoveryLevel=2", "ErrorRecoveryLevel=0|"},
    {"ErrorRecoveryLevel=3", "ErrorRecoveryLevel=Reject|"},
    {"TaskReporting=FastAbort,RFC3720", "TaskReporting=RFC3720|"},
    {"TaskReporting=FastAbort", "TaskReporting=Reject|"},
    {"iSCSIProtocolLevel=2", "iSCSIProtocolLevel=1|"},
    {"iSCSIProtocolLevel=0", "iSCSIProtocolLevel=0|"},
    {"iSCSIProtocolLevel=32", "iSCSIProtocolLevel=Reject|"},
    {"IFMarker=Yes", "IFMarker=No|"},
    {"OFMarker=No", "OFMarker=No|"},
    {"IFMarkInt=2048~8192", "IFMarkInt=Reject|"},
    {"OFMarkInt=2048", "OFMarkInt=Reject|"},
    {"TargetAddress=192.0.2.1", "TargetAddress=Reject|"},
    {"TargetAlias=x", "TargetAlias=Reject|"},
    {"TargetPortalGroupTag=1", "TargetPortalGroupTag=Reject|"},
    {"AuthMethod=None", "AuthMethod=Reject|"},
    {"SendTargets=All", "SendTargets=Reject|"},
    {"InitiatorAlias=somebody", ""},
    {"X#NodeArchitecture=x86", ""},
    {"X-com.example=1", "X-com.example=NotUnderstood|"},
    {"headerdigest=None", "headerdigest=NotUnderstood|"},
    // A peer that answers what it was never asked has nothing to negotiate.
    {"TargetPortalGroupTag=NotUnderstood", ""},
    {"MaxBurstLength=Irrelevant", ""},
    {"X-com.example=Reject", ""},
};

}  // namespace

TEST_SUITE("iscsi negotiation") {
  TEST_CASE("Each key is answered by its result function") {
    for (const Row& row : kAnswers) {
      CAPTURE(row.offer);
      CHECK(answer(row.offer) == row.answer);
    }
  }

  TEST_CASE("Every key of the table is offered somewhere in this suite's table or handled elsewhere") {
    std::set<std::string_view> names;
    for (const KeyRow& row : key_table()) {
      CHECK(names.insert(row.name).second);
      CHECK(row.name.size() <= kMaxKeyLength);
      CHECK(find_key(row.name) == &row);
      CHECK((row.function == KeyFunction::target_only) == (row.use == 0));
      CHECK(row.low <= row.high);
    }
    CHECK(find_key("maxburstlength") == nullptr);
  }

  TEST_CASE("What nobody offers has the standard's default") {
    Parameters silent = exchange("").parameters;
    CHECK(!silent.yes(Key::header_digest));
    CHECK(!silent.yes(Key::data_digest));
    CHECK(silent.yes(Key::initial_r2t));
    CHECK(silent.yes(Key::immediate_data));
    CHECK(silent.number(Key::max_recv_data_segment_length) == 8192);
    CHECK(silent.number(Key::max_burst_length) == 262144);
    CHECK(silent.number(Key::first_burst_length) == 65536);
    CHECK(silent.number(Key::default_time2wait) == 2);
    CHECK(silent.number(Key::default_time2retain) == 20);
    CHECK(silent.number(Key::max_outstanding_r2t) == 1);
    CHECK(silent.number(Key::max_connections) == 1);
    CHECK(silent.number(Key::error_recovery_level) == 0);
  }

  TEST_CASE("A rejected offer leaves the default in force") {
    Parameters after = exchange("MaxBurstLength=1").parameters;
    CHECK(after.number(Key::max_burst_length) == 262144);
  }

  TEST_CASE("FirstBurstLength is held to MaxBurstLength after all keys, whatever their order") {
    for (std::string text :
         {"FirstBurstLength=262144\0MaxBurstLength=65536\0"s, "MaxBurstLength=65536\0FirstBurstLength=262144\0"s}) {
      Outcome outcome = exchange(text);
      CHECK(outcome.parameters.number(Key::first_burst_length) == 65536);
      CHECK(outcome.answers.find("FirstBurstLength=65536|") != std::string::npos);
      CHECK(outcome.answers.find("MaxBurstLength=65536|") != std::string::npos);
    }
    Limits small;
    small.max_burst_length = 4096;
    CHECK(exchange("MaxBurstLength=262144", NegotiationStage::operational, false, small)
              .parameters.number(Key::first_burst_length) == 4096);
  }

  TEST_CASE("Our settings take part in every result") {
    Limits limits;
    limits.initial_r2t = true;
    limits.immediate_data = false;
    limits.max_outstanding_r2t = 2;
    limits.max_recv_data_segment_length = 16384;
    auto answers = [&](std::string_view offer) {
      return exchange(offer, NegotiationStage::operational, false, limits).answers;
    };
    CHECK(answers("InitialR2T=No") == "InitialR2T=Yes|");
    CHECK(answers("ImmediateData=Yes") == "ImmediateData=No|");
    CHECK(answers("MaxOutstandingR2T=5") == "MaxOutstandingR2T=2|");
    CHECK(answers("MaxRecvDataSegmentLength=8192") == "MaxRecvDataSegmentLength=16384|");
  }

  TEST_CASE("Answers stand in the order of the offers and only for what was offered") {
    CHECK(answer("ErrorRecoveryLevel=2\0X-a=1\0InitialR2T=No\0InitiatorAlias=me\0"s) ==
          "ErrorRecoveryLevel=0|X-a=NotUnderstood|InitialR2T=No|");
  }

  TEST_CASE("A key negotiated a second time ends the negotiation; a declaration may be repeated") {
    Limits limits;
    Negotiation negotiation(limits, false);
    std::string first = "InitialR2T=No\0MaxRecvDataSegmentLength=512\0"s;
    auto once = parse_text(first);
    std::string answers;
    REQUIRE(negotiation.exchange(*once, NegotiationStage::operational, answers));
    auto declared = parse_text("MaxRecvDataSegmentLength=1024");
    CHECK(negotiation.exchange(*declared, NegotiationStage::operational, answers));
    CHECK(negotiation.parameters().number(Key::max_recv_data_segment_length) == 1024);
    auto twice = parse_text("InitialR2T=No");
    CHECK(!negotiation.exchange(*twice, NegotiationStage::operational, answers));
  }

  TEST_CASE("In a discovery session keys about data are irrelevant") {
    for (const KeyRow& row : key_table()) {
      if (!(row.use & kNotInDiscovery)) continue;
      std::string name(row.name);
      CAPTURE(name);
      CHECK(exchange(name + "=1", NegotiationStage::operational, true).answers == name + "=Irrelevant|");
    }
    // Those whose section of RFC 7143 has no "Irrelevant when: SessionType=Discovery".
    for (const char* same : {"HeaderDigest=CRC32C", "DataDigest=CRC32C", "DefaultTime2Wait=3", "DefaultTime2Retain=0",
                             "ErrorRecoveryLevel=0", "IFMarker=No", "OFMarker=No"})
      CHECK(exchange(same, NegotiationStage::operational, true).answers == std::string(same) + "|");
    CHECK(exchange("ErrorRecoveryLevel=2", NegotiationStage::operational, true).answers == "ErrorRecoveryLevel=0|");
    CHECK(exchange("MaxRecvDataSegmentLength=65536", NegotiationStage::operational, true).answers ==
          "MaxRecvDataSegmentLength=262144|");
  }

  TEST_CASE("In a login that adds a connection keys of the whole session are irrelevant, and are taken from it") {
    Limits limits;
    Negotiation adding(limits, false, false);
    for (const KeyRow& row : key_table()) {
      if (!(row.use & kLeadingOnly)) continue;
      std::string name(row.name);
      CAPTURE(name);
      std::string answers;
      std::string offer = name + "=1";
      auto offered = parse_text(offer);
      REQUIRE(adding.exchange(*offered, NegotiationStage::operational, answers));
      CHECK(answers == name + "=Irrelevant" + '\0');
    }
    std::string answers;
    std::string offers = "HeaderDigest=CRC32C\0MaxRecvDataSegmentLength=1024\0"s;
    auto own = parse_text(offers);
    REQUIRE(adding.exchange(*own, NegotiationStage::operational, answers));
    adding.take_session_wide(exchange("MaxBurstLength=8192\0HeaderDigest=None\0"s).parameters);
    CHECK(adding.parameters().number(Key::max_burst_length) == 8192);
    CHECK(adding.parameters().yes(Key::header_digest));
    CHECK(adding.parameters().number(Key::max_recv_data_segment_length) == 1024);
  }

  TEST_CASE("A key in the wrong stage is rejected") {
    using enum NegotiationStage;
    CHECK(exchange("MaxBurstLength=65536", security).answers == "MaxBurstLength=Reject|");
    CHECK(exchange("HeaderDigest=None", security).answers == "HeaderDigest=Reject|");
    CHECK(exchange("HeaderDigest=None", full_feature).answers == "HeaderDigest=Reject|");
    CHECK(exchange("InitiatorName=iqn.2025-01.example:x", full_feature).answers == "InitiatorName=Reject|");
    CHECK(exchange("AuthMethod=None", security).answers == "");
    Outcome declared = exchange("MaxRecvDataSegmentLength=4096", full_feature);
    CHECK(declared.answers == "");
    CHECK(declared.parameters.number(Key::max_recv_data_segment_length) == 4096);
  }
}
