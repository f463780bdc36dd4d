// Globals, the context, hosts: what is neither an array nor a disk.
#include "scenario/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <utility>

#include "scenario/arguments.h"
#include "scenario/pattern.h"
#include "target/config_ports.h"

namespace scenario {
namespace {

constexpr std::uint64_t kCallCost = 100;  // instructions, for whatever a call does here

std::string bytes_of_hex(std::string_view text) {
  std::string bytes;
  std::string digits;
  for (char each : text) {
    if (each == ' ' || each == '\n' || each == '\t') continue;
    digits += each;
    if (digits.size() < 2) continue;
    std::uint8_t byte = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + 2, byte, 16);
    if (error != std::errc{} || end != digits.data() + 2) break;
    bytes += static_cast<char>(byte);
    digits.clear();
  }
  if (!digits.empty())
    throw ScriptError(fmt::format("bytes: {} is no pair of hexadecimal digits", shown(json::string(digits))));
  return bytes;
}

bool known_status(std::string_view text) {
  return std::ranges::any_of(host::named_statuses(), [&](const auto& each) { return each.name == text; });
}

bool truthy(const json::value& value) { return !value.is_null() && value != json::value(false); }

bool same_number(const json::value& a, const json::value& b) {
  return a.is_number() && b.is_number() && a.to_number<double>() == b.to_number<double>();
}

}  // namespace

std::uint64_t number_of(const json::value& object, std::string_view kind) {
  const json::object* fields = object.if_object();
  const json::value* is = fields ? fields->if_contains(kHandleKind) : nullptr;
  if (!is || *is != json::value(json::string(kind)))
    throw ScriptError(
        fmt::format("{} where a {} is expected (write object:method(), not object.method())", shown(object), kind));
  return static_cast<std::uint64_t>(to_number(fields->at(kHandleId), kind, 0, INT64_MAX));
}

std::optional<std::string> difference(const json::value& actual, const json::value& expected, const std::string& path) {
  const std::string name = path.empty() ? "it" : path;
  if (const json::object* wanted = expected.if_object(); wanted && !wanted->contains(kHandleKind)) {
    const json::object* fields = actual.if_object();
    if (!fields) return fmt::format("{} is {}; expected {}", name, shown(actual), shown(expected));
    for (const auto& field : *wanted) {
      const json::value* value = fields->if_contains(field.key());
      const std::string inner =
          path.empty() ? std::string(field.key()) : fmt::format("{}.{}", path, std::string_view(field.key()));
      if (auto text = difference(value ? *value : json::value(), field.value(), inner)) return text;
    }
    return std::nullopt;
  }
  if (const json::array* wanted = expected.if_array()) {
    const json::array* values = actual.if_array();
    if (!values || values->size() != wanted->size())
      return fmt::format("{} is {}; expected {}", name, shown(actual), shown(expected));
    for (std::size_t i = 0; i < wanted->size(); ++i)
      if (auto text = difference((*values)[i], (*wanted)[i], fmt::format("{}[{}]", path, i + 1))) return text;
    return std::nullopt;
  }
  if (const json::string* wanted = expected.if_string();
      wanted && wanted->starts_with("STATUS_") && !known_status(*wanted))
    throw ScriptError(fmt::format("{} is no NTSTATUS there is a name for", shown(expected)));
  if (actual == expected || same_number(actual, expected)) return std::nullopt;
  return fmt::format("{} is {}; expected {}", name, shown(actual), shown(expected));
}

Api::Api(World& world, LuaState& lua, FileAccess access, std::uint64_t seed)
    : world_(world), lua_(lua), access_(std::move(access)), seed_(seed) {
  add_globals();
  add_context();
  add_events();
  add_rules();
  add_array();
  add_tokens();
  add_host();
  add_disk();
  add_data();
  add_commands();
  add_copies();
  add_volume();
  add_files();
}

json::value Api::context() { return handle("scenario", 0); }

/// What a callback did wrong is raised by the call during which it ran: nobody else is there to tell.
void Api::add_method(const std::string& kind, const std::string& name, LuaState::Function function) {
  lua_.add_method(kind, name, [this, kind, function = std::move(function)](const Arguments& arguments) {
    lua_.charge(kCallCost);
    number_of(argument(arguments, 0), kind);
    json::value result = function(arguments);
    auto pending = take_pending();
    if (pending && pending->kind == LuaState::Outcome::Kind::skipped) throw ScriptSkip(pending->message);
    if (pending) throw ScriptError("a function that ran meanwhile failed: " + pending->message);
    return result;
  });
}

ArrayProcess& Api::array_of(const json::value& object) const { return *world_.arrays().at(number_of(object, "array")); }
Host& Api::host_of(const json::value& object) const { return *hosts_.at(number_of(object, "host")); }
Disk& Api::disk_of(const json::value& object) const { return *disks_.at(number_of(object, "disk")); }

void Api::add_globals() {
  lua_.add_function("expect", [](const Arguments& arguments) -> json::value {
    const json::value& text = argument(arguments, 2);
    const std::string before = text.is_null() ? "" : to_text(text, "expect: the text") + ": ";
    if (arguments.size() < 2) {
      if (!truthy(argument(arguments, 0)))
        throw ScriptError(fmt::format("{} where something is expected", shown(argument(arguments, 0))));
    } else if (auto wrong = difference(arguments[0], arguments[1], "")) {
      throw ScriptError(before + *wrong);
    }
    return argument(arguments, 0);
  });
  lua_.add_function("bytes", [](const Arguments& arguments) -> json::value {
    return json::string(bytes_of_hex(to_text(argument(arguments, 0), "bytes")));
  });
  lua_.add_function("size",
                    [](const Arguments& arguments) -> json::value { return to_size(argument(arguments, 0), "size"); });
  lua_.add_function("seconds", [](const Arguments& arguments) -> json::value {
    return std::chrono::duration<double>(to_duration(argument(arguments, 0), "seconds")).count();
  });
  lua_.add_function("pattern", [this](const Arguments& arguments) -> json::value {
    constexpr std::uint64_t kLongest = 16 << 20;
    const std::uint64_t length = to_size(argument(arguments, 1), "pattern: the length");
    if (length > kLongest)
      throw ScriptError(
          fmt::format("pattern: {} bytes are more than {}; disk:fill() has no such limit", length, kLongest));
    lua_.charge(length / 16);
    std::string data(length, '\0');
    const json::value& from = argument(arguments, 2);
    fill_pattern(to_size(argument(arguments, 0), "pattern: the seed"),
                 from.is_null() ? 0 : to_size(from, "pattern: from"),
                 {reinterpret_cast<std::uint8_t*>(data.data()), data.size()});
    return json::string(data);
  });
  lua_.add_function("sha256", [](const Arguments& arguments) -> json::value {
    return json::string(sha256(base::bytes_of(to_text(argument(arguments, 0), "sha256"))));
  });
  lua_.add_function("print", [this](const Arguments& arguments) -> json::value {
    std::string line;
    for (const json::value& each : arguments)
      line += (line.empty() ? "" : " ") + (each.is_string() ? std::string(each.get_string()) : shown(each));
    world_.timeline().add(world_.elapsed(), "script", line);
    return nullptr;
  });
}

void Api::run_at(base::TimePoint when, json::value function) {
  number_of(function, kFunctionKind);
  world_.at(when, [this, function = std::move(function)] {
    LuaState::Outcome outcome = lua_.call(function);
    if (outcome.kind != LuaState::Outcome::Kind::good && !pending_) pending_ = std::move(outcome);
  });
}

void Api::add_context() {
  add_method("scenario", "array", [this](const Arguments& arguments) { return add_new_array(arguments); });
  add_method("scenario", "host", [this](const Arguments& arguments) { return add_new_host(arguments); });
  add_method("scenario", "advance", [this](const Arguments& arguments) -> json::value {
    world_.advance(to_duration(argument(arguments, 1), "the time"));
    return nullptr;
  });
  add_method("scenario", "advance_to_next", [this](const Arguments&) -> json::value {
    const bool moved = world_.step();
    world_.settle();
    return moved;
  });
  add_method("scenario", "now", [this](const Arguments&) -> json::value {
    return std::chrono::duration<double>(world_.elapsed()).count();
  });
  add_method("scenario", "at", [this](const Arguments& arguments) -> json::value {
    const base::Duration time = to_duration(argument(arguments, 1), "the time");
    if (time < world_.elapsed()) throw ScriptError("the time has passed; it is counted from the scenario's start");
    run_at(World::time_at(time), argument(arguments, 2));
    return nullptr;
  });
  add_method("scenario", "after", [this](const Arguments& arguments) -> json::value {
    run_at(world_.clock().now() + to_duration(argument(arguments, 1), "the time"), argument(arguments, 2));
    return nullptr;
  });
  add_method("scenario", "skip", [](const Arguments& arguments) -> json::value {
    throw ScriptSkip(to_text(argument(arguments, 1), "the reason"));
  });
  add_method("scenario", "live", [this](const Arguments&) -> json::value { return world_.live(); });
  add_method("scenario", "seed", [this](const Arguments&) -> json::value { return static_cast<std::int64_t>(seed_); });
}

json::value Api::add_new_host(const Arguments& arguments) {
  const Fields fields(argument(arguments, 1), "host", {"name", "initiator", "portal_group", "chap"});
  const std::size_t number = hosts_.size() + 1;
  const std::string name = fields.text("name").value_or(fmt::format("host {}", number));
  const std::string initiator = fields.text("initiator").value_or(fmt::format("iqn.2026-11.example:host{}", number));
  const auto group = fields.number("portal_group", 1, target::kMaxPortalGroup).value_or(1);
  std::optional<initiator::IscsiSession::Chap> chap;
  if (const json::value* keys = fields.find("chap")) {
    const Fields proof(*keys, "host.chap", {"name", "secret"});
    chap = {to_text(proof.required("name"), "host.chap.name"), to_text(proof.required("secret"), "host.chap.secret")};
  }
  hosts_.push_back(std::make_unique<Host>(world_, name, initiator, static_cast<std::uint8_t>(number),
                                          static_cast<std::uint16_t>(group), std::move(chap)));
  return handle("host", hosts_.size() - 1);
}

json::value Api::add_new_disk(const Arguments& arguments) {
  Host& host = host_of(arguments.at(0));
  ArrayProcess& array = array_of(argument(arguments, 1));
  const json::value& which = argument(arguments, 2);
  const Fields fields(argument(arguments, 3), "disk", {"name", "target", "timeout", "start"});
  std::string target = fields.text("target").value_or("");
  std::optional<std::uint16_t> number;
  if (which.is_number()) number = static_cast<std::uint16_t>(to_number(which, "the LUN", 0, 16383));
  if (!number) to_text(which, "the LUN, by its number or name,");
  const json::value luns = array.control("GET", "/v1/luns");
  for (const json::value& lun : luns.at("luns").get_array()) {
    const auto of_target = json::value_to<std::string>(lun.at("target"));
    const auto lun_number = lun.at("number").to_number<std::uint16_t>();
    if (!target.empty() && target != of_target) continue;
    if (number ? lun_number != *number : lun.at("name") != which) continue;
    number = lun_number;
    target = of_target;
    break;
  }
  if (target.empty() || !number) throw ScriptError(fmt::format("{} has no LUN {}", array.name(), shown(which)));
  const std::string name = fields.text("name").value_or(fmt::format("disk {}", disks_.size() + 1));
  Disk& disk =
      host.add_disk(name, array, target, *number, fields.duration("timeout").value_or(std::chrono::seconds(60)));
  disks_.push_back(&disk);
  if (!fields.find("start") || fields.flag("start")) {
    const host::NtStatus status = disk.driver().start();
    disk.settle();
    disk.mark();
    if (status != host::NtStatus::success)
      throw ScriptError(fmt::format("{} does not start: {}", name, host::name(status)));
  }
  return handle("disk", disks_.size() - 1);
}

void Api::add_host() {
  add_method("host", "disk", [this](const Arguments& arguments) { return add_new_disk(arguments); });
  add_method("host", "log_out", [this](const Arguments& arguments) -> json::value {
    host_of(arguments.at(0)).log_out(array_of(argument(arguments, 1)));
    return nullptr;
  });
  add_method("host", "initiator", [this](const Arguments& arguments) -> json::value {
    return json::string(host_of(arguments.at(0)).iscsi_name());
  });
}

}  // namespace scenario
