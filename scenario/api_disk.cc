// What scripts do with a disk of a host, but for copies.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "scenario/api.h"
#include "scenario/arguments.h"
#include "scenario/pattern.h"

namespace scenario {
namespace {

constexpr std::uint64_t kBytesPerCharge = 64;     // for an instruction
constexpr std::uint64_t kLongestRead = 16 << 20;  // that becomes text of a script

json::object sense_fields(const scsi::Sense& sense) {
  json::object fields{{"sense", scsi::code_text(sense)}};
  if (sense.information) fields["information"] = *sense.information;
  if (sense.field) {
    json::object field{{sense.field->in_cdb ? "cdb" : "list", sense.field->byte}};
    if (sense.field->bit) field["bit"] = *sense.field->bit;
    fields["field"] = std::move(field);
  }
  return fields;
}

json::object describe(const host::TraceEntry& entry) {
  json::object fields{{"command", host::ClassDriver::command_name(entry.cdb)},
                      {"outcome", outcome_text(entry)},
                      {"status", name(entry.nt_status)},
                      {"attempt", entry.attempt},
                      {"seconds", std::chrono::duration<double>(entry.duration).count()}};
  if (auto sense = scsi::decode(entry.sense))
    for (auto& field : sense_fields(*sense)) fields.insert(field);
  return fields;
}

struct PatternRange {
  std::uint64_t seed, offset, length, from;

  PatternRange(const json::value& value, std::string_view of) {
    const Fields fields(value, of, {"seed", "offset", "length", "from"});
    seed = to_size(fields.required("seed"), "seed");
    offset = fields.size("offset").value_or(0);
    length = to_size(fields.required("length"), "length");
    from = fields.size("from").value_or(offset);
  }
};

std::string what_differs(const PatternRange& range, std::uint64_t at, std::uint8_t found, bool zeros) {
  return fmt::format("byte {} (block {} of 512) is {:02X}h{}; expected byte {} of pattern {}", at, at / 512, found,
                     zeros ? ", as all of its block is" : "", range.from + (at - range.offset), range.seed);
}

}  // namespace

void describe_commands(json::object& result, const std::vector<SentCommand>& commands) {
  json::array names, trace;
  for (const auto& [entry, sequence] : commands) {
    names.push_back(json::string(host::ClassDriver::command_name(entry.cdb)));
    trace.push_back(describe(entry));
    if (auto sense = scsi::decode(entry.sense))
      for (auto& field : sense_fields(*sense)) result[field.key()] = field.value();
  }
  result["commands"] = std::move(names);
  result["trace"] = std::move(trace);
}

json::object finish(Disk& disk, host::NtStatus status, const std::string& reason) {
  json::object result{{"status", name(status)}};
  if (!reason.empty()) result["reason"] = reason;
  describe_commands(result, disk.settle());
  return result;
}

void Api::by_pieces(std::uint64_t offset, std::uint64_t length,
                    const std::function<bool(std::uint64_t offset, std::uint64_t length)>& each) {
  constexpr std::uint64_t kLongest = 1 << 20;
  for (std::uint64_t done = 0; done < length; done += kLongest) {
    const std::uint64_t piece = std::min(kLongest, length - done);
    lua_.charge(piece / kBytesPerCharge);
    if (!each(offset + done, piece)) return;
  }
}

void Api::add_disk() {
  add_method("disk", "info", [this](const Arguments& arguments) -> json::value {
    const host::Disk& disk = disk_of(arguments.at(0)).driver().disk();
    json::object info{{"block_length", disk.block_length},
                      {"blocks", disk.blocks},
                      {"bytes", disk.bytes()},
                      {"thin", disk.thin},
                      {"write_protected", disk.write_protected},
                      {"odx", disk.rod_limits.has_value()}};
    if (!disk.rod_limits) {
      info["reason"] = disk.no_odx_reason;
      return info;
    }
    info["maximum_range_descriptors"] = disk.rod_limits->maximum_range_descriptors;
    info["maximum_inactivity_timeout"] = disk.rod_limits->maximum_inactivity_timeout_s;
    info["default_inactivity_timeout"] = disk.rod_limits->default_inactivity_timeout_s;
    info["maximum_transfer"] = disk.rod_limits->maximum_token_transfer_blocks * disk.block_length;
    info["optimal_transfer"] = disk.rod_limits->optimal_transfer_blocks * disk.block_length;
    return info;
  });
  add_method("disk", "start", [this](const Arguments& arguments) -> json::value {
    Disk& disk = disk_of(arguments.at(0));
    return finish(disk, disk.driver().start());
  });
  add_method("disk", "flush", [this](const Arguments& arguments) -> json::value {
    Disk& disk = disk_of(arguments.at(0));
    return finish(disk, disk.driver().flush());
  });
  add_method("disk", "write", [this](const Arguments& arguments) -> json::value {
    Disk& disk = disk_of(arguments.at(0));
    const Fields fields(argument(arguments, 1), "write", {"offset", "data"});
    const std::string data = to_text(fields.required("data"), "write.data");
    return finish(disk, disk.driver().write(fields.size("offset").value_or(0), base::bytes_of(data)));
  });
  add_method("disk", "fill", [this](const Arguments& arguments) -> json::value {
    Disk& disk = disk_of(arguments.at(0));
    const PatternRange range(argument(arguments, 1), "fill");
    host::NtStatus status = host::NtStatus::success;
    std::vector<std::uint8_t> data;
    by_pieces(range.offset, range.length, [&](std::uint64_t offset, std::uint64_t length) {
      data.resize(length);
      fill_pattern(range.seed, range.from + (offset - range.offset), data);
      status = disk.driver().write(offset, data);
      return status == host::NtStatus::success;
    });
    return finish(disk, status);
  });
  add_method("disk", "read", [this](const Arguments& arguments) -> json::value {
    Disk& disk = disk_of(arguments.at(0));
    const Fields fields(argument(arguments, 1), "read", {"offset", "length"});
    const std::uint64_t length = to_size(fields.required("length"), "read.length");
    if (length > kLongestRead) throw ScriptError(fmt::format("read: {} bytes are more than {}", length, kLongestRead));
    lua_.charge(length / kBytesPerCharge);
    std::vector<std::uint8_t> data(length);
    const host::NtStatus status = disk.driver().read(fields.size("offset").value_or(0), data);
    json::object result = finish(disk, status);
    if (status == host::NtStatus::success) result["data"] = base::text_of(data);
    return result;
  });
}

void Api::add_data() {
  add_method("disk", "expect_data", [this](const Arguments& arguments) -> json::value {
    Way& way = disk_of(arguments.at(0)).path().way();
    const PatternRange range(argument(arguments, 1), "expect_data");
    by_pieces(range.offset, range.length, [&](std::uint64_t offset, std::uint64_t length) {
      const auto data = way.content(offset, length);
      auto wrong = first_difference(range.seed, range.from + (offset - range.offset), data);
      if (!wrong) return true;
      const std::size_t block = *wrong / 512 * 512;
      const auto rest = base::Bytes(data).subspan(block, std::min<std::size_t>(512, data.size() - block));
      const bool zeros = std::ranges::all_of(rest, [](std::uint8_t each) { return each == 0; });
      throw ScriptError(what_differs(range, offset + *wrong, data[*wrong], zeros));
    });
    return nullptr;
  });
  add_method("disk", "hash", [this](const Arguments& arguments) -> json::value {
    const Fields fields(argument(arguments, 1), "hash", {"offset", "length"});
    const std::uint64_t length = to_size(fields.required("length"), "hash.length");
    if (length > kLongestRead) throw ScriptError(fmt::format("hash: {} bytes are more than {}", length, kLongestRead));
    lua_.charge(length / kBytesPerCharge);
    return json::string(
        sha256(disk_of(arguments.at(0)).path().way().content(fields.size("offset").value_or(0), length)));
  });
}

void Api::add_commands() {
  add_method("disk", "command", [this](const Arguments& arguments) -> json::value {
    Disk& disk = disk_of(arguments.at(0));
    const Fields fields(argument(arguments, 1), "command", {"cdb", "data", "length", "timeout"});
    const std::string cdb = to_text(fields.required("cdb"), "command.cdb");
    if (cdb.size() < 6 || cdb.size() > 16)
      throw ScriptError(fmt::format("command.cdb has {} bytes; expected 6 to 16", cdb.size()));
    const std::string data = fields.text("data").value_or("");
    const std::uint64_t length = fields.size("length").value_or(0);
    if (length > kLongestRead)
      throw ScriptError(fmt::format("command.length is {}; expected at most {}", length, kLongestRead));
    initiator::Command command{
        {cdb.begin(), cdb.end()}, {data.begin(), data.end()}, static_cast<std::uint32_t>(length)};
    if (auto limit = fields.duration("timeout"))
      command.timeout = std::chrono::duration_cast<std::chrono::milliseconds>(*limit);
    lua_.charge((length + data.size()) / kBytesPerCharge);
    const initiator::Result sent = disk.send(command);
    json::object result{{"residual", sent.residual == initiator::Result::Residual::none ? 0 : sent.residual_count}};
    describe_commands(result, disk.settle());
    const bool delivered = sent.transport == initiator::Transport::delivered;
    const std::string outcome = outcome_text(sent);
    result["status"] =
        delivered ? scsi::describe(static_cast<scsi::Status>(sent.status)) : outcome.substr(0, outcome.find(':'));
    result["data"] = base::text_of(sent.data_in);
    return result;
  });
  add_method("disk", "count", [this](const Arguments& arguments) -> json::value {
    const std::string wanted = to_text(argument(arguments, 1), "the command's name");
    const auto& sent = disk_of(arguments.at(0)).sent();
    return std::ranges::count_if(sent, [&](const SentCommand& command) {
      const std::string name = host::ClassDriver::command_name(command.entry.cdb);
      return name == wanted || name.starts_with(wanted + "(") || name.starts_with(wanted + ",");
    });
  });
  add_method("disk", "sent", [this](const Arguments& arguments) -> json::value {
    json::array list;
    for (const SentCommand& command : disk_of(arguments.at(0)).sent()) list.push_back(describe(command.entry));
    return list;
  });
  add_method("disk", "mark", [this](const Arguments& arguments) -> json::value {
    disk_of(arguments.at(0)).mark();
    return nullptr;
  });
  add_method("disk", "reset", [this](const Arguments& arguments) -> json::value {
    Disk& disk = disk_of(arguments.at(0));
    const bool done = disk.path().way().reset();
    world_.timeline().add(world_.elapsed(), disk.name(), "LOGICAL UNIT RESET");
    return done;
  });
  add_method("disk", "move_to", [this](const Arguments& arguments) -> json::value {
    disk_of(arguments.at(0)).path().move_to(array_of(argument(arguments, 1)));
    return nullptr;
  });
}

}  // namespace scenario
