#include "test/iscsi/conversation.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

#include "target/iscsi/digest.h"

namespace test {
namespace {

std::string name_of(iscsi::Opcode code) {
  using enum iscsi::Opcode;
  switch (code) {
    case nop_in: return "NopIn";
    case scsi_response: return "Response";
    case task_management_response: return "TaskManagementResponse";
    case login_response: return "LoginResponse";
    case text_response: return "TextResponse";
    case data_in: return "DataIn";
    case logout_response: return "LogoutResponse";
    case r2t: return "R2T";
    case async_message: return "Async";
    case reject: return "Reject";
    default: return fmt::format("opcode {:02X}h", static_cast<unsigned>(code));
  }
}

std::string residual(std::uint8_t flags, std::uint32_t count) {
  if (flags & iscsi::kResidualOverflow) return fmt::format(" O={}", count);
  if (flags & iscsi::kResidualUnderflow) return fmt::format(" U={}", count);
  return count == 0 ? "" : " residual without a flag";
}

std::string sense_of(const ByteVector& data) {
  if (data.empty()) return "";
  if (data.size() < 20 || base::load<base::be16>(data) != data.size() - 2) return " malformed sense";
  return fmt::format(" sense={:02X}/{:02X}/{:02X}", data[4] & 0x0F, data[14], data[15]);
}

}  // namespace

std::string Answer::text() const {
  std::string joined;
  for (std::uint8_t byte : data) joined.push_back(byte == 0 ? ' ' : static_cast<char>(byte));
  if (!joined.empty() && joined.back() == ' ') joined.pop_back();
  return joined;
}

std::string Answer::line() const {
  std::string head = name_of(code());
  std::string final = bhs.flags & iscsi::kFinal ? " F" : "";
  switch (code()) {
    case iscsi::Opcode::data_in: {
      auto h = as<iscsi::DataInBhs>();
      bool status = h.flags & iscsi::kDataInStatus;
      return fmt::format("{}{}{} itt={} sn={} offset={} len={}{}", head, final, status ? " S" : "",
                         h.initiator_task_tag.value(), h.data_sn.value(), h.buffer_offset.value(), data.size(),
                         status ? residual(h.flags, h.residual_count) : "");
    }
    case iscsi::Opcode::scsi_response: {
      auto h = as<iscsi::ScsiResponseBhs>();
      return fmt::format("{} {:02X} itt={}{}{}", head, h.status, h.initiator_task_tag.value(),
                         residual(h.flags, h.residual_count), sense_of(data));
    }
    case iscsi::Opcode::r2t: {
      auto h = as<iscsi::R2tBhs>();
      return fmt::format("{} itt={} sn={} offset={} len={}", head, h.initiator_task_tag.value(), h.r2t_sn.value(),
                         h.buffer_offset.value(), h.desired_data_transfer_length.value());
    }
    case iscsi::Opcode::login_response: {
      auto h = as<iscsi::LoginResponseBhs>();
      return fmt::format("{} {:02X} status={:04X} {}", head, h.flags, h.status.value(), text());
    }
    case iscsi::Opcode::text_response:
      return fmt::format("{}{}{} {}", head, final, bhs.flags & iscsi::kContinue ? " C" : "", text());
    case iscsi::Opcode::reject: return fmt::format("{} {:02X}", head, as<iscsi::RejectBhs>().reason);
    case iscsi::Opcode::task_management_response:
      return fmt::format("{} {} itt={}", head, as<iscsi::TaskManagementResponseBhs>().response,
                         bhs.initiator_task_tag.value());
    case iscsi::Opcode::logout_response: return fmt::format("{} {}", head, as<iscsi::LogoutResponseBhs>().response);
    case iscsi::Opcode::async_message: return fmt::format("{} {}", head, as<iscsi::AsyncMessageBhs>().async_event);
    case iscsi::Opcode::nop_in:
      return fmt::format("{} itt={:X} len={}", head, bhs.initiator_task_tag.value(), data.size());
    default: return head;
  }
}

std::vector<std::string> lines(const std::vector<Answer>& answers) {
  std::vector<std::string> all;
  for (const Answer& each : answers) all.push_back(each.line());
  return all;
}

Array::Array(DeviceOptions options) : device(options), directory(), sessions(directory.limits) {
  iscsi::TargetNode node;
  node.name = kTarget;
  node.device_server = &device.server;
  node.portals = {{"192.0.2.1", 3260}};
  directory.targets.push_back(std::make_shared<iscsi::TargetNode>(std::move(node)));
}

Peer::Peer(Array& array, std::uint16_t portal_group_tag) : array_(array) {
  iscsi::ConnectionContext context{array.directory, array.sessions, array.entropy};
  connection_ = std::make_unique<iscsi::Connection>(
      context, iscsi::ConnectionInfo{"198.51.100.9:40000", {"192.0.2.77", 3260, portal_group_tag}}, *this,
      array.wire.now());
}

Peer::~Peer() = default;

void Peer::finished(iscsi::Connection&, bool flush) {
  CHECK(!finished_flag);
  finished_flag = true;
  flushed = flush;
}

void Peer::feed(base::Bytes bytes) {
  checker_.sent_raw();
  deliver(bytes);
}

void Peer::send_encoded(const iscsi::Bhs& bhs, const ByteVector& data, base::Bytes bytes) {
  checker_.sent(bhs, data);
  deliver(bytes);
}

void Peer::deliver(base::Bytes bytes) {
  while (!bytes.empty()) {
    std::array<iovec, iscsi::Connection::kMostReceiveBuffers> buffers{};
    std::size_t used = connection_->receive_buffers(buffers);
    if (used == 0) return;
    std::size_t count = 0;
    for (const iovec& buffer : std::span(buffers).first(used)) {
      std::size_t here = std::min({bytes.size(), buffer.iov_len, chunk - count});
      std::copy_n(bytes.begin(), here, static_cast<std::uint8_t*>(buffer.iov_base));
      bytes = bytes.subspan(here);
      count += here;
    }
    connection_->received(count, array_.wire.now());
  }
}

ByteVector Peer::encode(iscsi::Bhs bhs, const ByteVector& data) const {
  bhs.data_segment_length = static_cast<std::uint32_t>(data.size());
  base::Bytes head = base::bytes_of(bhs);
  ByteVector out(head.begin(), head.end());
  auto digest = [&](std::size_t from, bool spoil) {
    base::be32 value = iscsi::digest_of(base::Bytes(out).subspan(from));
    base::Bytes raw = base::bytes_of(value);
    out.insert(out.end(), raw.begin(), raw.end());
    if (spoil) out.back() ^= 1;
  };
  if (header_digest && full_feature_) digest(0, spoil_header_digest);
  std::size_t start = out.size();
  out.insert(out.end(), data.begin(), data.end());
  while ((out.size() - start) % 4 != 0) out.push_back(0);
  if (data_digest && full_feature_ && !data.empty()) digest(start, spoil_data_digest);
  return out;
}

std::vector<Answer> Peer::answers() {
  ByteVector stream;
  while (connection_->output_size() > 0) {
    std::array<iovec, 7> parts{};
    std::size_t count = connection_->output(parts);
    std::size_t taken = 0;
    for (std::size_t i = 0; i < count; ++i) {
      auto* from = static_cast<const std::uint8_t*>(parts[i].iov_base);
      stream.insert(stream.end(), from, from + parts[i].iov_len);
      taken += parts[i].iov_len;
    }
    connection_->sent(taken);
  }
  std::vector<Answer> all;
  base::Bytes rest = stream;
  auto take = [&](std::size_t count) {
    REQUIRE(rest.size() >= count);
    base::Bytes taken = rest.first(count);
    rest = rest.subspan(count);
    return taken;
  };
  while (!rest.empty()) {
    Answer answer;
    answer.bhs = base::load<iscsi::Bhs>(take(iscsi::kBhsLength));
    CHECK(answer.bhs.total_ahs_length == 0);
    if (header_digest && full_feature_)
      CHECK(base::load<base::be32>(take(4)) == iscsi::digest_of(base::bytes_of(answer.bhs)));
    std::size_t length = answer.bhs.data_segment_length;
    std::size_t padded = (length + 3) / 4 * 4;
    base::Bytes data = take(padded);
    answer.data.assign(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(length));
    CHECK(std::all_of(data.begin() + static_cast<std::ptrdiff_t>(length), data.end(), [](auto b) { return b == 0; }));
    if (data_digest && full_feature_ && length > 0) CHECK(base::load<base::be32>(take(4)) == iscsi::digest_of(data));
    if (answer.code() == iscsi::Opcode::login_response) {
      auto login = answer.as<iscsi::LoginResponseBhs>();
      if (login.status == 0 && (login.flags & 0x83) == 0x83) {
        full_feature_ = true;
        tsih = login.tsih;
        header_digest = answer.text().find("HeaderDigest=CRC32C") != std::string::npos;
        data_digest = answer.text().find("DataDigest=CRC32C") != std::string::npos;
      }
    }
    bool status = answer.code() != iscsi::Opcode::r2t &&
                  !(answer.code() == iscsi::Opcode::data_in && !(answer.bhs.flags & iscsi::kDataInStatus)) &&
                  !(answer.code() == iscsi::Opcode::nop_in && answer.bhs.initiator_task_tag == iscsi::kReservedTag);
    std::uint32_t stat_sn = answer.as<iscsi::ScsiResponseBhs>().stat_sn;
    if (status) {
      if (!first_) CHECK(stat_sn == exp_stat_sn);
      exp_stat_sn = stat_sn + 1;
      first_ = false;
    } else if (answer.code() != iscsi::Opcode::data_in) {
      CHECK(stat_sn == exp_stat_sn);
    }
    std::string broken = checker_.received(answer.bhs, answer.data);
    CHECK_MESSAGE(broken.empty(), answer.line(), ": ", broken);
    all.push_back(std::move(answer));
  }
  return all;
}

Answer Peer::answer() {
  std::vector<Answer> all = answers();
  REQUIRE(all.size() == 1);
  return all.front();
}

iscsi::LoginRequestBhs Peer::login_request(std::uint8_t flags) const {
  iscsi::LoginRequestBhs bhs;
  bhs.flags = flags;
  bhs.isid = isid;
  bhs.tsih = tsih;
  bhs.initiator_task_tag = 0x1000;
  bhs.cid = cid;
  bhs.cmd_sn = cmd_sn;
  bhs.exp_stat_sn = exp_stat_sn;
  return bhs;
}

Answer Peer::login_step(std::uint8_t flags, const ByteVector& text) {
  send(login_request(flags), text);
  return answer();
}

Answer Peer::login(const ByteVector& keys) {
  ByteVector text =
      pairs("InitiatorName=iqn.2025-01.example:host", "TargetName=iqn.2025-01.example:target", "SessionType=Normal");
  text.insert(text.end(), keys.begin(), keys.end());
  Answer last = login_step(0x87, text);
  CHECK(last.as<iscsi::LoginResponseBhs>().status == 0);
  CHECK(connection_->full_feature());
  return last;
}

Answer Peer::discover() {
  Answer last = login_step(0x87, pairs("InitiatorName=iqn.2025-01.example:host", "SessionType=Discovery"));
  CHECK(connection_->full_feature());
  return last;
}

iscsi::ScsiCommandBhs Peer::command(ByteVector cdb, std::uint8_t flags, std::uint32_t expected_length,
                                    std::uint16_t lun) {
  iscsi::ScsiCommandBhs bhs;
  bhs.flags = static_cast<std::uint8_t>(flags | 1);  // SIMPLE
  bhs.lun = scsi::encode_lun(scsi::Lun{lun});
  bhs.initiator_task_tag = ++task_tag;
  bhs.expected_data_transfer_length = expected_length;
  bhs.cmd_sn = cmd_sn;
  bhs.exp_stat_sn = exp_stat_sn;
  std::copy(cdb.begin(), cdb.end(), bhs.cdb.begin());
  return bhs;
}

std::uint32_t Peer::send_command(ByteVector cdb, std::uint8_t flags, std::uint32_t expected_length,
                                 const ByteVector& immediate, std::uint16_t lun) {
  send(command(std::move(cdb), flags, expected_length, lun), immediate);
  ++cmd_sn;
  return task_tag;
}

void Peer::send_data_out(std::uint32_t itt, std::uint32_t ttt, std::uint32_t data_sn, std::uint32_t offset,
                         const ByteVector& data, bool final) {
  iscsi::DataOutBhs bhs;
  bhs.flags = final ? iscsi::kFinal : std::uint8_t{0};
  bhs.initiator_task_tag = itt;
  bhs.target_transfer_tag = ttt;
  bhs.data_sn = data_sn;
  bhs.buffer_offset = offset;
  send(bhs, data);
}

iscsi::TaskManagementRequestBhs Peer::task_management(std::uint8_t function, std::uint16_t lun,
                                                      std::uint32_t referenced, std::uint32_t ref_cmd_sn) {
  iscsi::TaskManagementRequestBhs bhs;
  bhs.function = iscsi::kFinal | function;
  bhs.lun = scsi::encode_lun(scsi::Lun{lun});
  bhs.initiator_task_tag = ++task_tag;
  bhs.referenced_task_tag = referenced;
  bhs.cmd_sn = cmd_sn;
  bhs.ref_cmd_sn = ref_cmd_sn;
  return bhs;
}

iscsi::TextRequestBhs Peer::text_request(std::uint8_t flags, std::uint32_t ttt) {
  iscsi::TextRequestBhs bhs;
  bhs.flags = flags;
  bhs.initiator_task_tag = ttt == iscsi::kReservedTag ? ++task_tag : task_tag;
  bhs.target_transfer_tag = ttt;
  bhs.cmd_sn = cmd_sn++;
  return bhs;
}

iscsi::LogoutRequestBhs Peer::logout_request(std::uint8_t reason) {
  iscsi::LogoutRequestBhs bhs;
  bhs.reason = iscsi::kFinal | reason;
  bhs.initiator_task_tag = ++task_tag;
  bhs.cid = cid;
  bhs.cmd_sn = cmd_sn++;
  return bhs;
}

void Peer::clear_attentions() {
  for (std::uint16_t lun : {0, 1}) send_command(test_unit_ready(), iscsi::kFinal, 0, {}, lun);
  for (const Answer& each : answers()) CHECK(each.as<iscsi::ScsiResponseBhs>().status == 2);
}

ByteVector pattern(std::size_t count, std::uint8_t seed) {
  ByteVector bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 251 + seed);
  return bytes;
}

ByteVector test_unit_ready() { return {0x00, 0, 0, 0, 0, 0}; }

ByteVector read10(std::uint32_t lba, std::uint16_t blocks) {
  ByteVector cdb(10);
  cdb[0] = 0x28;
  base::store(base::MutableBytes(cdb).subspan(2), base::be32(lba));
  base::store(base::MutableBytes(cdb).subspan(7), base::be16(blocks));
  return cdb;
}

ByteVector write10(std::uint32_t lba, std::uint16_t blocks) {
  ByteVector cdb = read10(lba, blocks);
  cdb[0] = 0x2A;
  return cdb;
}

ByteVector inquiry(std::uint16_t allocation_length) {
  ByteVector cdb(6);
  cdb[0] = 0x12;
  base::store(base::MutableBytes(cdb).subspan(3), base::be16(allocation_length));
  return cdb;
}

}  // namespace test
