// A whole session after its login, of one connection or two: any PDUs in full-feature phase, in any split, on stores
// that answer at once or later. The input is a list of records; a record is a control byte, a 48-byte header and a
// length, and is put right as far as its control byte says, so that the search gets past CmdSN, tags and digests.
// Whatever comes, what goes out is whole PDUs with StatSN in order on each connection, and nothing is left behind.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

#include "base/log.h"
#include "target/iscsi/connection.h"
#include "target/iscsi/digest.h"
#include "target/iscsi/pdu.h"
#include "target/iscsi/serial.h"
#include "target/iscsi/session_registry.h"
#include "test/scsi/device_fixture.h"

namespace {

using ByteVector = std::vector<std::uint8_t>;

void require(bool good) {
  if (!good) std::abort();
}

enum Control : std::uint8_t {
  kRightCmdSn = 1,
  kRightTransferTag = 2,
  kKnownTaskTag = 4,
  kRunOneJob = 8,
  kWrongDigest = 16,
  kKnownOpcode = 32,
  kSecondConnection = 64,
  kAcknowledges = 128,  ///< ExpStatSN is that of what was read, which lowers fences
};

enum Option : std::uint8_t {
  kBlocking = 1,
  kDigests = 2,
  kUnsolicited = 4,
  kSmallSegments = 8,
  kSplit = 16,
  kTwo = 32
};

class Host final : public iscsi::ConnectionObserver {
 public:
  Host(std::uint8_t options, test::Device& device) : options_(options), sessions_(directory_.limits) {
    iscsi::TargetNode node;
    node.name = "iqn.2025-01.example:target";
    node.device_server = &device.server;
    directory_.targets.push_back(std::make_shared<iscsi::TargetNode>(node));
    directory_.limits.max_session_data_out = 64 << 10;
    directory_.limits.command_window = 8;
    directory_.limits.immediate_commands = 2;
    for (std::size_t i = 0; i < (options & kTwo ? 2u : 1u); ++i) {
      ends_[i].connection = std::make_unique<iscsi::Connection>(
          iscsi::ConnectionContext{directory_, sessions_, device.entropy},
          iscsi::ConnectionInfo{"fuzz", {"192.0.2.1", 3260}}, *this, base::TimePoint(base::Duration(1)));
      login(ends_[i], static_cast<std::uint16_t>(i));
    }
  }

  bool over() const {
    return std::ranges::all_of(ends_, [](const End& end) { return !end.connection || end.over; });
  }

  void record(std::uint8_t control, iscsi::Bhs bhs, const ByteVector& data) {
    static constexpr std::uint8_t kOpcodes[] = {0x00, 0x01, 0x41, 0x02, 0x42, 0x04, 0x05, 0x05};
    if (control & kKnownOpcode) bhs.opcode = kOpcodes[bhs.opcode % std::size(kOpcodes)];
    if (control & kKnownTaskTag) bhs.initiator_task_tag = bhs.initiator_task_tag % 4;
    auto request = iscsi::header_as<iscsi::RequestBhs>(bhs);
    bool has_cmd_sn = bhs.code() != iscsi::Opcode::data_out;
    if (has_cmd_sn && (control & kRightCmdSn)) request.cmd_sn = cmd_sn_;
    if (!has_cmd_sn && (control & kRightTransferTag)) request.target_transfer_tag = transfer_tag_;
    End& end = (control & kSecondConnection) && ends_[1].connection ? ends_[1] : ends_[0];
    if (control & kAcknowledges) request.exp_stat_sn = end.stat_sn;
    feed(end, encode(end, iscsi::header_as<iscsi::Bhs>(request), data, control));
    drain();
  }

  /// Takes all output and looks at it.
  void drain() {
    for (End& end : ends_)
      if (end.connection) drain(end);
  }

  void close() {
    for (End& end : ends_) end.connection.reset();
  }
  std::size_t sessions() const { return sessions_.size(); }

  void output_ready(iscsi::Connection&) override {}
  void finished(iscsi::Connection& connection, bool) override {
    for (End& end : ends_) {
      if (end.connection.get() != &connection) continue;
      require(!end.over);
      end.over = true;
    }
  }

 private:
  struct End {
    std::unique_ptr<iscsi::Connection> connection{};
    bool over = false;
    bool logged_in = false;
    bool stat_sn_known = false;
    std::uint32_t stat_sn = 0;
  };

  void login(End& end, std::uint16_t cid) {
    iscsi::LoginRequestBhs bhs;
    bhs.flags = 0x87;
    bhs.cmd_sn = cmd_sn_;
    bhs.cid = cid;
    bhs.tsih = tsih_;
    std::string text = "InitiatorName=iqn.2025-01.example:host";
    text.push_back('\0');
    auto add = [&](std::string_view pair) { text.append(pair).push_back('\0'); };
    add("TargetName=iqn.2025-01.example:target");
    if (options_ & kDigests) {
      add("HeaderDigest=CRC32C");
      add("DataDigest=CRC32C");
    }
    if (options_ & kUnsolicited) add("InitialR2T=No");
    if (options_ & kSmallSegments) add("MaxRecvDataSegmentLength=512");
    add("MaxOutstandingR2T=3");
    add("MaxBurstLength=8192");
    add("MaxConnections=2");
    feed(end, encode(end, iscsi::header_as<iscsi::Bhs>(bhs), {text.begin(), text.end()}, 0));
    drain();
    require(end.connection->full_feature());
    end.logged_in = true;
  }

  void feed(End& end, base::Bytes bytes) {
    while (!bytes.empty() && !end.over) {
      base::MutableBytes buffer = end.connection->receive_buffer();
      if (buffer.empty()) return;
      std::size_t count = std::min(bytes.size(), buffer.size());
      if (options_ & kSplit) count = std::min<std::size_t>(count, 1 + (++splits_ * 7) % 61);
      std::copy_n(bytes.begin(), count, buffer.begin());
      end.connection->received(count, base::TimePoint(base::Duration(2)));
      bytes = bytes.subspan(count);
    }
  }

  void drain(End& end) {
    ByteVector out;
    while (end.connection->output_size() > 0) {
      std::array<iovec, 5> parts{};
      std::size_t count = end.connection->output(parts);
      require(count > 0);
      std::size_t sent = 0;
      for (std::size_t i = 0; i < count; ++i) {
        auto* from = static_cast<const std::uint8_t*>(parts[i].iov_base);
        out.insert(out.end(), from, from + parts[i].iov_len);
        sent += parts[i].iov_len;
      }
      end.connection->sent(sent);
    }
    std::size_t digest = end.logged_in && (options_ & kDigests) ? 4 : 0;
    base::Bytes rest = out;
    while (!rest.empty()) {
      require(rest.size() >= 48 + digest);
      auto bhs = base::load<iscsi::Bhs>(rest);
      std::size_t length = bhs.data_segment_length;
      std::size_t total = 48 + digest + (length + 3) / 4 * 4 + (length > 0 ? digest : 0);
      require(rest.size() >= total);
      look_at(end, bhs);
      rest = rest.subspan(total);
    }
  }

  void look_at(End& end, const iscsi::Bhs& bhs) {
    auto status = iscsi::header_as<iscsi::ScsiResponseBhs>(bhs);
    bool data_in = bhs.code() == iscsi::Opcode::data_in;
    if (data_in && !(bhs.flags & iscsi::kDataInStatus)) return;
    if (end.stat_sn_known) require(status.stat_sn == end.stat_sn);
    if (bhs.code() == iscsi::Opcode::r2t) {
      transfer_tag_ = iscsi::header_as<iscsi::R2tBhs>(bhs).target_transfer_tag;
      return;
    }
    // A ping of the target's own does not use it up (RFC 7143, 11.19).
    if (bhs.code() == iscsi::Opcode::nop_in && bhs.initiator_task_tag == iscsi::kReservedTag) return;
    end.stat_sn_known = true;
    end.stat_sn = status.stat_sn + 1;
    if (!end.logged_in) tsih_ = iscsi::header_as<iscsi::LoginResponseBhs>(bhs).tsih;
    // What one connection was told later may be read from another first.
    iscsi::CmdSn expected(status.exp_cmd_sn);
    if (expected.after(iscsi::CmdSn(cmd_sn_))) cmd_sn_ = expected.value;
  }

  ByteVector encode(const End& end, iscsi::Bhs bhs, const ByteVector& data, std::uint8_t control) const {
    bool digests = end.logged_in && (options_ & kDigests);
    bhs.total_ahs_length = 0;
    bhs.data_segment_length = static_cast<std::uint32_t>(data.size());
    base::Bytes head = base::bytes_of(bhs);
    ByteVector out(head.begin(), head.end());
    auto digest = [&](std::size_t from, bool wrong) {
      base::be32 value = iscsi::digest_of(base::Bytes(out).subspan(from));
      base::Bytes raw = base::bytes_of(value);
      out.insert(out.end(), raw.begin(), raw.end());
      if (wrong) out.back() ^= 1;
    };
    if (digests) digest(0, false);
    std::size_t start = out.size();
    out.insert(out.end(), data.begin(), data.end());
    while ((out.size() - start) % 4 != 0) out.push_back(0);
    if (digests && !data.empty()) digest(start, (control & kWrongDigest) != 0);
    return out;
  }

  std::uint8_t options_;
  iscsi::Directory directory_;
  iscsi::SessionRegistry sessions_;
  std::array<End, 2> ends_;
  std::uint16_t tsih_ = 0;
  std::uint32_t cmd_sn_ = 0xFFFFFFF0;
  std::uint32_t transfer_tag_ = 0;
  std::size_t splits_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::log::set_level(base::log::Level::off);
  base::ByteReader reader(base::Bytes(data, size));
  std::uint8_t options = reader.u8();
  test::DeviceOptions device_options;
  device_options.size_bytes = 32 << 10;
  device_options.blocking = (options & kBlocking) != 0;
  test::Device device(device_options);
  Host host(options, device);
  while (reader.remaining() > 0 && !host.over()) {
    std::uint8_t control = reader.u8();
    auto bhs = reader.layout<iscsi::Bhs>();
    std::size_t length = reader.u16() % 20000;
    ByteVector bytes(length, control);
    base::Bytes given = reader.take(std::min<std::size_t>(length, std::min<std::size_t>(reader.remaining(), 64)));
    std::copy(given.begin(), given.end(), bytes.begin());
    if (control & kRunOneJob && device.executor.held() > 0) device.executor.run(control % device.executor.held());
    host.record(control, bhs, bytes);
  }
  device.executor.run_all();
  host.drain();
  host.close();
  device.executor.run_all();
  require(host.sessions() == 0);
  return 0;
}
