// Copies of hosts: offload read, offload write, and what the copy engine makes of them.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "host/offload_copy.h"
#include "scenario/api.h"
#include "scenario/arguments.h"

namespace scenario {
namespace {

/// `ranges` ({{offset, length}, ...}), or `offset` and `length`.
std::vector<host::DataSetRange> ranges_of(const Fields& fields) {
  const json::value* list = fields.find("ranges");
  if (!list) return {{fields.size("offset").value_or(0), to_size(fields.required("length"), "length")}};
  std::vector<host::DataSetRange> ranges;
  const json::array* array = list->if_array();
  if (!array) throw ScriptError(fmt::format("ranges is {}; expected a list of {{offset, length}}", shown(*list)));
  for (const json::value& each : *array) {
    const json::array* pair = each.if_array();
    if (!pair || pair->size() != 2)
      throw ScriptError(fmt::format("ranges holds {}; expected {{offset, length}}", shown(each)));
    ranges.push_back({to_size((*pair)[0], "an offset"), to_size((*pair)[1], "a length")});
  }
  return ranges;
}

constexpr base::Duration kInactivityUnit = std::chrono::seconds(1);  // of INACTIVITY TIMEOUT

}  // namespace

std::uint32_t time_to_live(const Fields& fields, base::Duration unit) {
  const base::Duration asked = fields.duration("time_to_live").value_or(base::Duration{});
  if (asked % unit != base::Duration{} || asked / unit > UINT32_MAX)
    throw ScriptError(fmt::format("time_to_live is {}; expected a multiple of {} s, 2^32 - 1 times that at most",
                                  shown(*fields.find("time_to_live")), std::chrono::duration<double>(unit).count()));
  return static_cast<std::uint32_t>(asked / unit);
}

host::Token token_of(const Fields& fields) {
  const std::string text = to_text(fields.required("token"), "token");
  if (text == "zero") return host::zero_token();
  host::Token token;
  if (text.size() != token.size())
    throw ScriptError(fmt::format("token has {} bytes; expected {}, or \"zero\"", text.size(), token.size()));
  std::ranges::copy(text, token.begin());
  return token;
}

void Api::add_copies() {
  add_method("disk", "offload_read", [this](const Arguments& arguments) -> json::value {
    Disk& disk = disk_of(arguments.at(0));
    const Fields fields(argument(arguments, 1), "offload_read", {"offset", "length", "ranges", "time_to_live"});
    const auto ranges = ranges_of(fields);
    const host::OffloadReadResult read = disk.driver().offload_read(ranges, time_to_live(fields, kInactivityUnit));
    json::object result{{"status", name(read.status)},
                        {"length", read.length_protected},
                        {"truncated", read.range_truncated},
                        {"reason", read.reason}};
    if (read.status == host::NtStatus::success) result["token"] = base::text_of(base::Bytes(read.token));
    describe_commands(result, disk.settle());
    return result;
  });
  add_method("disk", "offload_write", [this](const Arguments& arguments) -> json::value {
    Disk& disk = disk_of(arguments.at(0));
    const Fields fields(argument(arguments, 1), "offload_write",
                        {"token", "token_offset", "offset", "length", "ranges"});
    const auto ranges = ranges_of(fields);
    const host::OffloadWriteResult write =
        disk.driver().offload_write(token_of(fields), fields.size("token_offset").value_or(0), ranges);
    json::object result{{"status", name(write.status)},
                        {"length", write.length_copied},
                        {"truncated", write.range_truncated},
                        {"token_invalid", write.token_invalid},
                        {"reason", write.reason}};
    describe_commands(result, disk.settle());
    return result;
  });
  add_method("disk", "copy_to", [this](const Arguments& arguments) -> json::value {
    Disk& source = disk_of(arguments.at(0));
    Disk& destination = disk_of(argument(arguments, 1));
    const Fields fields(argument(arguments, 2), "copy_to", {"offset", "to", "length", "time_to_live", "fallback"});
    host::CopyRequest request;
    request.source_offset = fields.size("offset").value_or(0);
    request.destination_offset = fields.size("to").value_or(request.source_offset);
    request.length = to_size(fields.required("length"), "length");
    request.time_to_live = time_to_live(fields, kInactivityUnit);
    request.fallback = fields.flag("fallback");
    const host::CopyOutcome copied = host::copy(source.driver(), destination.driver(), request);
    json::object result{{"status", name(copied.status)},     {"offload_status", name(copied.offload_status)},
                        {"reason", copied.reason},           {"offloaded", copied.offloaded_bytes},
                        {"fallback", copied.fallback_bytes}, {"tokens", copied.tokens}};
    describe_commands(result, settle(source, destination));
    return result;
  });
}

}  // namespace scenario
