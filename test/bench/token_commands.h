// Commands with tokens, as the clients of the benchmarks send them one at a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "host/scsi_layouts.h"
#include "iscsi_client.h"

namespace bench {

using Buffer = std::vector<std::uint8_t>;

inline double microseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

/// The parameter list of POPULATE TOKEN or WRITE USING TOKEN with one range; `header` but for its lengths.
template <typename Header>
Buffer token_list(Header header, std::uint64_t lba, std::uint64_t blocks) {
  host::RangeDescriptor range{lba, static_cast<std::uint32_t>(blocks), 0};
  header.data_length = static_cast<std::uint16_t>(sizeof header + sizeof range - sizeof header.data_length);
  header.range_descriptors_length = static_cast<std::uint16_t>(sizeof range);
  Buffer list;
  base::ByteWriter writer(list);
  writer.layout(header);
  writer.layout(range);
  return list;
}

inline host::TokenOperationCdb token_cdb(std::uint8_t service_action, std::uint32_t list_identifier,
                                         const Buffer& list) {
  host::TokenOperationCdb cdb;
  cdb.service_action = service_action;
  cdb.list_identifier = list_identifier;
  cdb.parameter_list_length = static_cast<std::uint32_t>(list.size());
  return cdb;
}

/// Microseconds. Throws when the answer is not GOOD. `data` is what is sent, or takes what comes; `came` how much that
/// was.
inline double execute(Session& unit, base::Bytes cdb, int direction, Buffer& data, std::size_t* came = nullptr) {
  Buffer command(cdb.begin(), cdb.end());
  Task task(
      scsi_create_task(static_cast<int>(command.size()), command.data(), direction, static_cast<int>(data.size())),
      &scsi_free_scsi_task);
  iscsi_data out{data.size(), data.data()};
  auto started = std::chrono::steady_clock::now();
  scsi_task* done =
      iscsi_scsi_command_sync(unit.context, unit.lun, task.get(), direction == SCSI_XFER_WRITE ? &out : nullptr);
  double took = microseconds_since(started);
  if (done == nullptr || task->status != SCSI_STATUS_GOOD) throw std::runtime_error(iscsi_get_error(unit.context));
  if (direction != SCSI_XFER_READ) return took;
  auto size = std::min<std::size_t>(data.size(), static_cast<std::size_t>(task->datain.size));
  std::copy_n(task->datain.data, size, data.begin());
  if (came) *came = size;
  return took;
}

/// RECEIVE ROD TOKEN INFORMATION: the token of that list identifier, and the microseconds it took.
inline std::pair<host::Token, double> receive_token(Session& unit, std::uint32_t list_identifier) {
  host::ReceiveRodTokenInformationCdb cdb;
  Buffer answer(1024);
  cdb.list_identifier = list_identifier;
  cdb.allocation_length = static_cast<std::uint32_t>(answer.size());
  double took = execute(unit, base::bytes_of(cdb), SCSI_XFER_READ, answer);
  auto header =
      base::load<host::TokenInformationHeader>(base::Bytes(answer).first(sizeof(host::TokenInformationHeader)));
  std::size_t at = sizeof header + header.sense_field_length + sizeof(base::be32);
  if (at + sizeof(host::RodTokenDescriptor) > answer.size()) throw std::runtime_error("no token came");
  auto descriptor =
      base::load<host::RodTokenDescriptor>(base::Bytes(answer).subspan(at, sizeof(host::RodTokenDescriptor)));
  return {descriptor.token, took};
}

}  // namespace bench
