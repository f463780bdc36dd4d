#include "test/iscsi/pdu_checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace test {
namespace {

using iscsi::header_as;
using iscsi::kReservedTag;
using iscsi::Opcode;

struct Range {
  std::uint8_t offset;
  std::uint8_t length;
};

/// What RFC 7143, 11 says of a target's PDU whatever it is sent for.
struct Rule {
  Opcode opcode;
  std::uint8_t flags_set;      ///< bits of byte 1 that are always one
  std::uint8_t flags_allowed;  ///< and those that may be
  std::vector<Range> reserved;
};

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all{
      {Opcode::nop_in, 0x80, 0x80, {{2, 2}, {36, 12}}},
      // Bidirectional residuals and SNACK have no place at ErrorRecoveryLevel 0 without bidirectional commands.
      {Opcode::scsi_response, 0x80, 0x86, {{8, 12 - 4}, {20, 4}, {40, 4}}},
      {Opcode::task_management_response, 0x80, 0x80, {{3, 1}, {8, 8}, {20, 4}, {36, 12}}},
      {Opcode::login_response, 0x00, 0xCF, {{2, 2}, {20, 4}, {38, 10}}},
      {Opcode::text_response, 0x00, 0xC0, {{2, 2}, {36, 12}}},
      {Opcode::data_in, 0x00, 0x87, {{2, 1}, {8, 8}}},
      {Opcode::logout_response, 0x80, 0x80, {{3, 1}, {8, 8}, {20, 4}, {36, 4}, {44, 4}}},
      {Opcode::r2t, 0x80, 0x80, {{2, 2}}},
      {Opcode::async_message, 0x80, 0x80, {{2, 2}, {20, 4}, {44, 4}}},
      {Opcode::reject, 0x80, 0x80, {{3, 1}, {8, 8}, {20, 4}, {36, 12}}},
  };
  return all;
}

/// The number that `key` has in text of zero-ended pairs.
std::optional<std::uint32_t> number_of(const PduChecker::Data& data, std::string_view key) {
  std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  std::size_t at = text.find(std::string(key) + '=');
  if (at == std::string_view::npos || (at > 0 && text[at - 1] != '\0')) return std::nullopt;
  text.remove_prefix(at + key.size() + 1);
  std::uint32_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  bool whole = end == text.data() + text.size() || *end == '\0';
  return error == std::errc{} && whole ? std::optional(number) : std::nullopt;
}

bool before(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }

}  // namespace

void PduChecker::sent(const iscsi::Bhs& bhs, const Data& data) {
  if (bhs.code() == Opcode::login_request || bhs.code() == Opcode::text_request)
    if (auto number = number_of(data, "MaxRecvDataSegmentLength")) declared_ = number;
  if (bhs.code() != Opcode::scsi_command) return;
  auto command = header_as<iscsi::ScsiCommandBhs>(bhs);
  tasks_[bhs.initiator_task_tag].sent.push_back({command.expected_data_transfer_length, command.flags});
}

std::string PduChecker::received(const iscsi::Bhs& bhs, const Data& data) {
  auto rule = std::ranges::find(rules(), static_cast<Opcode>(bhs.opcode), &Rule::opcode);
  if (rule == rules().end()) return fmt::format("opcode byte {:02X}h is no target's", bhs.opcode);
  if ((bhs.flags & rule->flags_set) != rule->flags_set || (bhs.flags & ~rule->flags_allowed) != 0)
    return fmt::format("opcode {:02X}h: flags {:02X}h", bhs.opcode, bhs.flags);
  auto raw = base::bytes_of(bhs);
  for (const Range& each : rule->reserved)
    for (std::uint8_t byte : raw.subspan(each.offset, each.length))
      if (byte != 0) return fmt::format("opcode {:02X}h: reserved bytes from {} are not 0", bhs.opcode, each.offset);
  if (std::string broken = window(bhs); !broken.empty()) return broken;
  switch (bhs.code()) {
    case Opcode::data_in: return data_in(bhs, data.size());
    case Opcode::r2t: return data.empty() ? r2t(bhs) : "R2T with data";
    case Opcode::scsi_response: return response(bhs, data);
    case Opcode::login_response: return login_response(bhs, data);
    case Opcode::text_response: return text_response(bhs, data);
    case Opcode::nop_in: return nop_in(bhs, data);
    default: return other(bhs, data);
  }
}

/// ExpCmdSN and MaxCmdSN stand at the same place in every PDU of a target (RFC 7143, 4.2.2.1).
std::string PduChecker::window(const iscsi::Bhs& bhs) {
  auto h = header_as<iscsi::ScsiResponseBhs>(bhs);
  std::uint32_t expected = h.exp_cmd_sn, max = h.max_cmd_sn;
  if (before(max + 1, expected)) return fmt::format("MaxCmdSN {} below ExpCmdSN {} - 1", max, expected);
  // A connection that is reinstated learns the session's numbers with the last Login Response.
  bool judged = bhs.code() != Opcode::login_response;
  if (judged && exp_cmd_sn_ && before(expected, *exp_cmd_sn_)) return "ExpCmdSN went back";
  if (judged && max_cmd_sn_ && before(max, *max_cmd_sn_)) return "MaxCmdSN went back";
  exp_cmd_sn_ = expected;
  max_cmd_sn_ = max;
  return "";
}

PduChecker::Task* PduChecker::find(std::uint32_t tag) {
  auto found = tasks_.find(tag);
  return found == tasks_.end() ? nullptr : &found->second;
}

std::string PduChecker::data_in(const iscsi::Bhs& bhs, std::size_t length) {
  auto h = header_as<iscsi::DataInBhs>(bhs);
  bool status = h.flags & iscsi::kDataInStatus, final = h.flags & iscsi::kFinal;
  if (status && !final) return "Data-In with S and without F";
  if (!status && (h.flags & 0x06 || h.status != 0 || h.stat_sn != 0 || h.residual_count != 0))
    return "Data-In without S has fields of a status";
  if (h.target_transfer_tag != kReservedTag) return "Data-In with a Target Transfer Tag";
  if (length == 0) return "Data-In without data";
  Task* task = find(bhs.initiator_task_tag);
  if (!task) return raw_ ? "" : "Data-In of a task nobody asked for";
  if (!raw_ && length > segment_) return fmt::format("Data-In of {} bytes, {} were declared", length, segment_);
  if (h.data_sn == 0) task->data_sn = task->data_in = task->in_burst = 0;
  if (h.data_sn != task->data_sn) return "DataSN is not the next";
  if (h.buffer_offset != task->data_in) return "Data-In does not follow the one before it";
  ++task->data_sn;
  task->data_in += static_cast<std::uint32_t>(length);
  task->in_burst += static_cast<std::uint32_t>(length);
  if (!raw_ && task->in_burst > burst_) return "a sequence of Data-In longer than MaxBurstLength";
  if (final) task->in_burst = 0;
  if (!status) return "";
  std::string broken = residual(*task, h.flags, h.residual_count);
  tasks_.erase(bhs.initiator_task_tag);
  return broken;
}

std::string PduChecker::r2t(const iscsi::Bhs& bhs) {
  auto h = header_as<iscsi::R2tBhs>(bhs);
  if (h.target_transfer_tag == kReservedTag) return "R2T without a Target Transfer Tag";
  if (h.desired_data_transfer_length == 0) return "R2T for nothing";
  if (!raw_ && h.desired_data_transfer_length > burst_) return "R2T longer than MaxBurstLength";
  Task* task = find(bhs.initiator_task_tag);
  if (!task) return raw_ ? "" : "R2T of a task nobody asked for";
  if (h.r2t_sn == 0) task->r2t_sn = 0;
  if (h.r2t_sn != task->r2t_sn) return "R2TSN is not the next";
  ++task->r2t_sn;
  std::uint64_t end = std::uint64_t{h.buffer_offset} + h.desired_data_transfer_length;
  bool within = std::ranges::any_of(task->sent, [&](const Sent& each) {
    return (each.flags & iscsi::kCommandWrite) != 0 && end <= each.expected_length;
  });
  return within ? "" : "R2T beyond the Expected Data Transfer Length";
}

/// RFC 7143, 11.4.5: what was expected is what came, or what was taken, and the residual.
std::string PduChecker::residual(Task& task, std::uint8_t flags, std::uint32_t count) const {
  bool over = flags & iscsi::kResidualOverflow, under = flags & iscsi::kResidualUnderflow;
  if (over && under) return "residual overflow and underflow at once";
  if ((over || under) != (count != 0)) return "a residual count without its flag, or the other way round";
  bool explained = std::ranges::any_of(task.sent, [&](const Sent& each) {
    if (under && count > each.expected_length) return false;
    if (!(each.flags & iscsi::kCommandRead) || (each.flags & iscsi::kCommandWrite)) return task.data_in == 0;
    return task.data_in == (under ? each.expected_length - count : each.expected_length);
  });
  return explained ? "" : "data and residual do not make the Expected Data Transfer Length";
}

std::string PduChecker::response(const iscsi::Bhs& bhs, const Data& data) {
  auto h = header_as<iscsi::ScsiResponseBhs>(bhs);
  if (h.response != 0) return "a response code other than completed at target";
  static constexpr std::uint8_t kStatuses[] = {0x00, 0x02, 0x04, 0x08, 0x18, 0x28, 0x30, 0x40};
  if (std::ranges::find(kStatuses, h.status) == std::end(kStatuses)) return "no status of SAM-5";
  if (h.status == 2 && data.empty()) return "CHECK CONDITION without sense data";
  if (!data.empty() && (data.size() < 2 || base::load<base::be16>(data) != data.size() - 2)) return "SenseLength";
  if (!raw_ && data.size() > segment_) return "sense data longer than was declared";
  Task* task = find(bhs.initiator_task_tag);
  if (!task) return raw_ ? "" : "the response of a task nobody asked for";
  bool sure = task->sent.size() == 1;
  if (sure && h.exp_data_sn != task->data_sn + task->r2t_sn) return "ExpDataSN is not the number of Data-In and R2T";
  // Data-In that was sent before CHECK CONDITION counts as moved, whatever the residual says of the whole.
  std::string broken = residual(*task, h.flags, h.residual_count);
  tasks_.erase(bhs.initiator_task_tag);
  return broken;
}

std::string PduChecker::login_response(const iscsi::Bhs& bhs, const Data& data) {
  auto h = header_as<iscsi::LoginResponseBhs>(bhs);
  bool transit = h.flags & iscsi::kTransit, more = h.flags & iscsi::kContinue;
  int current = h.flags >> 2 & 3, next = h.flags & 3;
  if (transit && more) return "Login Response with T and C";
  if (current > 1 || next == 2) return "Login Response with a reserved stage";
  if (transit ? next <= current : next != 0) return "Login Response with a wrong NSG";
  if (data.size() > iscsi::kDefaultMaxRecvDataSegmentLength) return "Login Response longer than 8192 bytes";
  bool elsewhere = h.status >> 8 == 1;  // with a TargetAddress (RFC 7143, 11.13.5)
  if (h.status != 0) return transit || data.empty() == elsewhere ? "Login Response that refuses and goes on" : "";
  if (auto number = number_of(data, "MaxBurstLength")) burst_ = *number;
  bool refused = std::string_view(reinterpret_cast<const char*>(data.data()), data.size())
                     .find("MaxRecvDataSegmentLength=Reject") != std::string_view::npos;
  if (refused) declared_.reset();
  if (!transit || next != 3) return "";
  if (h.tsih == 0) return "TSIH 0 in the last Login Response";
  if (declared_) segment_ = *declared_;
  declared_.reset();
  return "";
}

std::string PduChecker::text_response(const iscsi::Bhs& bhs, const Data& data) {
  auto h = header_as<iscsi::TextResponseBhs>(bhs);
  bool final = h.flags & iscsi::kFinal, more = h.flags & iscsi::kContinue;
  if (final && more) return "Text Response with F and C";
  if (final != (h.target_transfer_tag == kReservedTag)) return "Text Response whose Target Transfer Tag and F disagree";
  if (!raw_ && data.size() > std::max(segment_, declared_.value_or(0))) return "Text Response longer than was declared";
  bool refused = std::string_view(reinterpret_cast<const char*>(data.data()), data.size())
                     .find("MaxRecvDataSegmentLength=Reject") != std::string_view::npos;
  if (declared_ && !more && !refused) segment_ = *declared_;
  if (!more) declared_.reset();
  return "";
}

std::string PduChecker::nop_in(const iscsi::Bhs& bhs, const Data& data) const {
  auto h = header_as<iscsi::NopInBhs>(bhs);
  if (!raw_ && data.size() > segment_) return "NOP-In longer than was declared";
  if (h.initiator_task_tag != kReservedTag)
    return h.target_transfer_tag == kReservedTag ? "" : "the answer to a ping with a Target Transfer Tag";
  // A ping of the target's own must be answerable (RFC 7143, 11.19.1).
  if (h.target_transfer_tag == kReservedTag) return "a NOP-In with neither tag";
  return data.empty() ? "" : "a ping of the target's own with data";
}

std::string PduChecker::other(const iscsi::Bhs& bhs, const Data& data) const {
  if (bhs.code() == Opcode::reject) {
    if (bhs.initiator_task_tag != kReservedTag) return "Reject with a task tag";
    std::uint8_t reason = header_as<iscsi::RejectBhs>(bhs).reason;
    if (reason < 2 || reason > 0x0C || reason == 0x0B) return "Reject with a reserved reason";
    return data.size() == iscsi::kBhsLength ? "" : "Reject without the header it is about";
  }
  if (!data.empty()) return "data in a PDU that has none";
  if (bhs.code() == Opcode::async_message) {
    if (bhs.initiator_task_tag != kReservedTag) return "Async Message with a task tag";
    auto h = header_as<iscsi::AsyncMessageBhs>(bhs);
    return h.async_event <= 5 && h.async_vcode == 0 ? "" : "Async Message with a reserved event";
  }
  if (bhs.code() == Opcode::logout_response)
    return header_as<iscsi::LogoutResponseBhs>(bhs).response <= 3 ? "" : "Logout Response with a reserved response";
  std::uint8_t response = header_as<iscsi::TaskManagementResponseBhs>(bhs).response;
  return response <= 6 || response == 255 ? "" : "a reserved task management response";
}

}  // namespace test
