// A conversation by hand: an array with two logical units behind a target, and peers that send PDUs to it and look at
// those that come back. The other half of the protocol is written here afresh, so that a mistake is not made twice:
// PDUs are built and cut without the decoder and writer under test.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/entropy.h"
#include "target/iscsi/connection.h"
#include "target/iscsi/pdu.h"
#include "target/iscsi/session_registry.h"
#include "test/iscsi/pdu_checker.h"
#include "test/scsi/device_fixture.h"

namespace test {

using ByteVector = std::vector<std::uint8_t>;

inline constexpr std::string_view kTarget = "iqn.2025-01.example:target";
inline constexpr std::string_view kInitiator = "iqn.2025-01.example:host";

/// A PDU that came back.
struct Answer {
  iscsi::Bhs bhs{};
  ByteVector data{};

  iscsi::Opcode code() const { return bhs.code(); }
  template <typename Layout>
  Layout as() const {
    return iscsi::header_as<Layout>(bhs);
  }
  /// Text pairs, one after the other with a space: "AuthMethod=None TargetPortalGroupTag=1".
  std::string text() const;
  /// Everything a table wants to compare, on one line: "DataIn F S 00 itt=1 sn=0 offset=0 len=512". Sequence numbers
  /// of the connection are not told; ask bhs.
  std::string line() const;
};

std::vector<std::string> lines(const std::vector<Answer>& answers);

/// Several key=value pairs as text: pairs("A=1", "B=2").
template <typename... Pairs>
ByteVector pairs(Pairs... all) {
  std::string text;
  ((text.append(std::string_view(all)), text.push_back('\0')), ...);
  return {text.begin(), text.end()};
}

class Array {
 public:
  explicit Array(DeviceOptions options = {});

  Device device;
  base::VirtualClock wire{};
  base::SeededEntropy entropy{7};
  iscsi::Directory directory;
  iscsi::SessionRegistry sessions;

  iscsi::TargetNode& target() { return *directory.targets.front(); }
};

class Peer final : public iscsi::ConnectionObserver {
 public:
  /// Through a portal of that group.
  explicit Peer(Array& array, std::uint16_t portal_group_tag = 1);
  ~Peer() override;

  // What the event loop is told.
  unsigned output_announced = 0;
  bool finished_flag = false;
  bool flushed = false;

  // How it sends.
  bool header_digest = false;  ///< as the login agreed
  bool data_digest = false;
  std::size_t chunk = SIZE_MAX;  ///< bytes handed over at a time
  bool spoil_header_digest = false;
  bool spoil_data_digest = false;

  // What it sends next; CmdSN and task tags count up by themselves.
  std::uint32_t cmd_sn = 1;
  std::uint32_t exp_stat_sn = 1;
  std::uint32_t task_tag = 0;
  iscsi::Isid isid{0x40, 0, 1, 0x37, 0, 1};
  std::uint16_t tsih = 0;
  std::uint16_t cid = 1;

  iscsi::Connection& connection() { return *connection_; }
  void close() { connection_.reset(); }

  /// Sends raw bytes: what they ask for is not known, and so not compared with what comes back.
  void feed(base::Bytes bytes);
  template <typename Header>
  void send(Header header, const ByteVector& data = {}) {
    auto bhs = iscsi::header_as<iscsi::Bhs>(header);
    send_encoded(bhs, data, encode(bhs, data));
  }
  /// Sends `bytes`, which are to be taken for the PDU of this header and data.
  void send_encoded(const iscsi::Bhs& bhs, const ByteVector& data, base::Bytes bytes);
  /// A PDU as bytes: lengths, padding, digests.
  ByteVector encode(iscsi::Bhs bhs, const ByteVector& data) const;

  /// Takes all output, checks that it is whole PDUs with right digests and padding, follows StatSN, and judges each PDU
  /// (PduChecker).
  std::vector<Answer> answers();
  /// The only PDU of the output.
  Answer answer();
  /// The output as table lines.
  std::vector<std::string> told() { return lines(answers()); }

  // Requests.
  iscsi::LoginRequestBhs login_request(std::uint8_t flags) const;
  /// Sends a Login Request and gives back its response.
  Answer login_step(std::uint8_t flags, const ByteVector& text);
  /// A whole login to the target without authentication, with `keys` in the operational stage; checks success.
  Answer login(const ByteVector& keys = {});
  /// A discovery session.
  Answer discover();

  /// A SCSI Command, not sent yet: flags F and R or W as far as asked.
  iscsi::ScsiCommandBhs command(ByteVector cdb, std::uint8_t flags, std::uint32_t expected_length,
                                std::uint16_t lun = 0);
  /// Sends it with the next task tag and CmdSN.
  std::uint32_t send_command(ByteVector cdb, std::uint8_t flags, std::uint32_t expected_length,
                             const ByteVector& immediate = {}, std::uint16_t lun = 0);
  void send_data_out(std::uint32_t itt, std::uint32_t ttt, std::uint32_t data_sn, std::uint32_t offset,
                     const ByteVector& data, bool final);
  iscsi::TaskManagementRequestBhs task_management(std::uint8_t function, std::uint16_t lun = 0,
                                                  std::uint32_t referenced = iscsi::kReservedTag,
                                                  std::uint32_t ref_cmd_sn = 0);
  iscsi::TextRequestBhs text_request(std::uint8_t flags = iscsi::kFinal, std::uint32_t ttt = iscsi::kReservedTag);
  iscsi::LogoutRequestBhs logout_request(std::uint8_t reason = 0);
  /// Takes the unit attention of a new nexus on both logical units.
  void clear_attentions();

  // iscsi::ConnectionObserver
  void output_ready(iscsi::Connection&) override { ++output_announced; }
  void finished(iscsi::Connection&, bool flush) override;

 private:
  Array& array_;
  void deliver(base::Bytes bytes);

  std::unique_ptr<iscsi::Connection> connection_;
  PduChecker checker_;
  bool first_ = true;
  bool full_feature_ = false;  // digests are in force
};

/// Bytes that tell their place.
ByteVector pattern(std::size_t count, std::uint8_t seed = 0);

// CDBs.
ByteVector test_unit_ready();
ByteVector read10(std::uint32_t lba, std::uint16_t blocks);
ByteVector write10(std::uint32_t lba, std::uint16_t blocks);
ByteVector inquiry(std::uint16_t allocation_length);

}  // namespace test
