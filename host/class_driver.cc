#include "host/class_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "scsi/sense.h"

namespace host {

namespace {

constexpr std::uint8_t kEvpd = 0x01;
constexpr std::uint8_t kLargestInquiry = 0xFF;  // classpnp asks for 255 bytes at most
constexpr std::uint8_t kModeSenseLength = 0xC0;
constexpr std::uint8_t kControlPage = 0x0A;
constexpr std::uint8_t kCachingPage = 0x08;
constexpr std::uint8_t kAllPages = 0x3F;
constexpr std::uint8_t kPageCodeMask = 0x3F;
constexpr std::uint8_t kPageFormat = 0x10;  // PF, MODE SELECT byte 1
constexpr std::uint8_t kSavePages = 0x01;   // SP, MODE SELECT byte 1
constexpr std::uint8_t kParametersSavable = 0x80;
constexpr std::uint8_t kQerrMask = 0x06;
constexpr std::uint8_t kWriteProtect = 0x80;
constexpr std::uint32_t kCapacityBeyond32Bits = 0xFFFFFFFF;
constexpr std::uint64_t kLargestTransfer = 1 << 20;
/// Commands that are not part of an offload (classpnp's own count of retries for them).
constexpr unsigned kOtherRetries = 4;

template <base::WireLayout T>
std::vector<std::uint8_t> cdb_of(const T& layout) {
  base::Bytes bytes = base::bytes_of(layout);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

ClassDriver::ClassDriver(initiator::Initiator& initiator, const base::Clock& clock, ListIdentifiers& list_identifiers,
                         Config config)
    : initiator_(initiator), clock_(clock), list_identifiers_(list_identifiers), config_(std::move(config)) {}

ClassDriver::Outcome ClassDriver::send(initiator::Command command, CommandKind kind, unsigned retries) {
  command.timeout = config_.command_timeout;
  for (unsigned attempt = 0;; ++attempt) {
    // WINDOWS: the last permitted retry goes out untagged, earlier ones SIMPLE.
    command.untagged = attempt > 0 && attempt == retries;
    const base::TimePoint sent = clock_.now();
    initiator::Result result = initiator_.execute(command);
    Interpretation means = interpret(result, kind);
    trace_.push_back({command.cdb, command.data_out.size(), result.data_in.size(), attempt, command.untagged,
                      result.transport, result.status, result.sense, result.reason, sent, clock_.now() - sent,
                      means.status});
    if (!means.retry || attempt >= retries) return {means, std::move(result)};
    if (config_.wait && means.wait > base::Duration::zero()) config_.wait(means.wait);
  }
}

ClassDriver::Outcome ClassDriver::inquire(std::uint8_t page) {
  InquiryCdb cdb;
  cdb.evpd = kEvpd;
  cdb.page_code = page;
  cdb.allocation_length = kLargestInquiry;
  return send({cdb_of(cdb), {}, kLargestInquiry}, CommandKind::query, kOtherRetries);
}

NtStatus ClassDriver::read_capacity() {
  Cdb10 cdb{kReadCapacity10};
  Outcome outcome = send({cdb_of(cdb), {}, sizeof(ReadCapacity10Data)}, CommandKind::query, kOtherRetries);
  if (!outcome.good()) return outcome.means.status;
  if (outcome.result.data_in.size() < sizeof(ReadCapacity10Data)) return NtStatus::device_data_error;
  auto small = base::load<ReadCapacity10Data>(outcome.result.data_in);
  disk_.block_length = small.block_length;
  disk_.blocks = std::uint64_t{small.last_lba} + 1;
  if (small.last_lba == kCapacityBeyond32Bits) {
    disk_.cdb16 = true;
    ReadCapacity16Cdb cdb16;
    cdb16.allocation_length = sizeof(ReadCapacity16Data);
    outcome = send({cdb_of(cdb16), {}, sizeof(ReadCapacity16Data)}, CommandKind::query, kOtherRetries);
    if (!outcome.good()) return outcome.means.status;
    base::ByteReader reader(outcome.result.data_in);
    disk_.blocks = reader.u64() + 1;
    disk_.block_length = reader.u32();
    if (!reader.ok()) return NtStatus::device_data_error;
  }
  return disk_.block_length == 0 ? NtStatus::device_data_error : NtStatus::success;
}

void ClassDriver::discover_copy_offload() {
  constexpr std::uint8_t kSupportedPages = 0x00, kProvisioning = 0xB2, kBlockLimits = 0xB0, kThirdPartyCopy = 0x8F;
  Outcome outcome = inquire(kSupportedPages);
  if (!outcome.good()) {
    disk_.no_odx_reason = "INQUIRY of VPD page 00h failed";
    return;
  }
  auto pages = read_supported_pages(outcome.result.data_in);
  if (!pages) {
    disk_.no_odx_reason = pages.error();
    return;
  }
  disk_.pages = *pages;
  if (pages->provisioning) {
    outcome = inquire(kProvisioning);
    disk_.thin = outcome.good() && read_thin(outcome.result.data_in);
  }
  if (pages->block_limits) inquire(kBlockLimits);  // for UNMAP; offload ranges are not cut by it
  if (!pages->third_party_copy) {
    disk_.no_odx_reason = "VPD page 00h does not list page 8Fh (third-party copy)";
    return;
  }
  outcome = inquire(kThirdPartyCopy);
  if (!outcome.good()) {
    disk_.no_odx_reason = "INQUIRY of VPD page 8Fh failed";
    return;
  }
  auto limits = read_rod_limits(outcome.result.data_in);
  if (limits)
    disk_.rod_limits = *limits;
  else
    disk_.no_odx_reason = limits.error();
}

/// QERR of the control mode page is set to 0 on thin disks and on those with ODX; failures are ignored.
void ClassDriver::clear_queue_error_management() {
  ModeCdb sense_cdb{kModeSense6};
  sense_cdb.page_code = kControlPage;
  sense_cdb.length = kModeSenseLength;
  Outcome outcome = send({cdb_of(sense_cdb), {}, kModeSenseLength}, CommandKind::query, 1);
  std::vector<std::uint8_t>& data = outcome.result.data_in;
  if (!outcome.good() || data.size() < sizeof(ModeHeader)) return;
  auto header = base::load<ModeHeader>(data);
  const std::size_t at = sizeof(ModeHeader) + header.block_descriptor_length;
  if (data.size() < at + sizeof(ControlModePage)) return;
  auto page_bytes = base::MutableBytes(data).subspan(at);
  auto page = base::load<ControlModePage>(page_bytes);
  if ((page.page_code & kPageCodeMask) != kControlPage || (page.queue_flags & kQerrMask) == 0) return;

  ModeCdb select_cdb{kModeSelect6};
  select_cdb.flags = kPageFormat;
  if ((page.page_code & kParametersSavable) != 0) select_cdb.flags |= kSavePages;
  page.page_code &= kPageCodeMask;
  page.queue_flags &= static_cast<std::uint8_t>(~kQerrMask);
  base::store(page_bytes, page);
  const std::size_t length =
      std::min<std::size_t>(data.size(), header.mode_data_length + sizeof header.mode_data_length);
  header.mode_data_length = 0;  // reserved in MODE SELECT (SPC-4 7.5.5)
  base::store(base::MutableBytes(data), header);
  select_cdb.length = static_cast<std::uint8_t>(length);
  data.resize(length);
  send({cdb_of(select_cdb), std::move(data)}, CommandKind::transfer, 1);
}

void ClassDriver::read_write_protection() {
  for (std::uint8_t page : {kAllPages, kCachingPage}) {  // a refusal of 3Fh is followed by 08h
    ModeCdb cdb{kModeSense6};
    cdb.page_code = page;
    cdb.length = kModeSenseLength;
    Outcome outcome = send({cdb_of(cdb), {}, kModeSenseLength}, CommandKind::query, 1);
    if (!outcome.good() || outcome.result.data_in.size() < sizeof(ModeHeader)) continue;
    auto header = base::load<ModeHeader>(outcome.result.data_in);
    disk_.write_protected = (header.device_specific_parameter & kWriteProtect) != 0;
    return;
  }
}

NtStatus ClassDriver::start() {
  disk_ = {};
  if (NtStatus status = read_capacity(); status != NtStatus::success) return status;
  discover_copy_offload();
  if (disk_.rod_limits || disk_.thin) clear_queue_error_management();
  read_write_protection();
  return NtStatus::success;
}

initiator::Command ClassDriver::block_command(std::uint8_t opcode10, std::uint8_t opcode16, std::uint64_t lba,
                                              std::uint32_t blocks) const {
  if (!disk_.cdb16) {
    Cdb10 cdb{opcode10};
    cdb.lba = static_cast<std::uint32_t>(lba);
    cdb.blocks = static_cast<std::uint16_t>(blocks);
    return {cdb_of(cdb)};
  }
  Cdb16 cdb{opcode16};
  cdb.lba = lba;
  cdb.blocks = blocks;
  return {cdb_of(cdb)};
}

NtStatus ClassDriver::read(std::uint64_t offset, base::MutableBytes out) {
  while (!out.empty()) {
    const std::size_t length = std::min<std::uint64_t>(out.size(), kLargestTransfer);
    initiator::Command command = block_command(kRead10, kRead16, offset / disk_.block_length,
                                               static_cast<std::uint32_t>(length / disk_.block_length));
    command.data_in_length = static_cast<std::uint32_t>(length);
    Outcome outcome = send(std::move(command), CommandKind::transfer, kOtherRetries);
    if (!outcome.good()) return outcome.means.status;
    if (outcome.result.data_in.size() != length) return NtStatus::data_overrun;
    std::ranges::copy(outcome.result.data_in, out.begin());
    out = out.subspan(length);
    offset += length;
  }
  return NtStatus::success;
}

NtStatus ClassDriver::write(std::uint64_t offset, base::Bytes data) {
  while (!data.empty()) {
    const std::size_t length = std::min<std::uint64_t>(data.size(), kLargestTransfer);
    initiator::Command command = block_command(kWrite10, kWrite16, offset / disk_.block_length,
                                               static_cast<std::uint32_t>(length / disk_.block_length));
    command.data_out.assign(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(length));
    Outcome outcome = send(std::move(command), CommandKind::transfer, kOtherRetries);
    if (!outcome.good()) return outcome.means.status;
    data = data.subspan(length);
    offset += length;
  }
  return NtStatus::success;
}

NtStatus ClassDriver::flush() {
  Cdb10 cdb{kSynchronizeCache10};
  return send({cdb_of(cdb)}, CommandKind::transfer, kOtherRetries).means.status;
}

initiator::Result ClassDriver::query(std::vector<std::uint8_t> cdb, std::uint32_t data_in_length) {
  return send({std::move(cdb), {}, data_in_length}, CommandKind::query, kOtherRetries).result;
}

std::string ClassDriver::command_name(base::Bytes cdb) {
  constexpr std::uint8_t kServiceActionMask = 0x1F;
  if (cdb.size() < sizeof(InquiryCdb)) return "(no CDB)";
  const std::uint8_t action = cdb[1] & kServiceActionMask;
  switch (cdb[0]) {
    case 0x00: return "TEST UNIT READY";
    case kInquiry: {
      auto inquiry = base::load<InquiryCdb>(cdb);
      if ((inquiry.evpd & kEvpd) == 0) return "INQUIRY";
      return fmt::format("INQUIRY, VPD page {:02X}h", inquiry.page_code);
    }
    case kModeSelect6: return "MODE SELECT(6)";
    case kModeSense6: return fmt::format("MODE SENSE(6), page {:02X}h", cdb[2] & kPageCodeMask);
    case kReadCapacity10: return "READ CAPACITY(10)";
    case kRead10: return "READ(10)";
    case kWrite10: return "WRITE(10)";
    case kSynchronizeCache10: return "SYNCHRONIZE CACHE(10)";
    case kRead16: return "READ(16)";
    case kWrite16: return "WRITE(16)";
    case kServiceActionIn16: return action == kReadCapacity16Action ? "READ CAPACITY(16)" : "SERVICE ACTION IN(16)";
    case kThirdPartyCopyOut:
      if (action == kPopulateTokenAction) return "POPULATE TOKEN";
      return action == kWriteUsingTokenAction ? "WRITE USING TOKEN" : "THIRD-PARTY COPY OUT";
    case kThirdPartyCopyIn:
      return action == kReceiveRodTokenInformationAction ? "RECEIVE ROD TOKEN INFORMATION" : "THIRD-PARTY COPY IN";
    default: return fmt::format("operation code {:02X}h", cdb[0]);
  }
}

}  // namespace host
