// One Windows host, driven by lines of JSON: a request on standard input, an answer on standard output. For tests that
// are written in another language and look at the array from outside.
//
// A request is {"do": NAME, ...}; the answer has what the request found out and, where there is one, its "status" as
// {"name", "value"}. A request that makes no sense is answered {"error": TEXT}. Numbers stand for disks, volumes,
// handles and references. Bytes are in hex. Everything open is closed when standard input ends.
#include <fmt/format.h>
#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>
#include <charconv>
#include <cstdio>
#include <deque>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cli/host_side.h"
#include "host/io_manager.h"
#include "host/ntfs/mount.h"
#include "host/partitions.h"
#include "host/volume.h"

namespace {

namespace json = boost::json;
using json::object;

std::vector<std::uint8_t> from_hex(std::string_view text) {
  std::vector<std::uint8_t> bytes(text.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char* pair = text.data() + 2 * i;
    if (std::from_chars(pair, pair + 2, bytes[i], 16).ptr != pair + 2) throw std::runtime_error("not hex");
  }
  return bytes;
}

host::Disposition disposition_of(std::string_view name) {
  if (name == "open") return host::Disposition::open;
  if (name == "create") return host::Disposition::create;
  if (name == "open_or_create") return host::Disposition::open_or_create;
  if (name == "overwrite_or_create") return host::Disposition::overwrite_or_create;
  throw std::runtime_error(fmt::format("no disposition {}", name));
}

object answer(host::NtStatus status) { return {{"status", cli::to_json(status)}}; }

/// What a request says, with defaults for what it does not.
class Request {
 public:
  explicit Request(const object& fields) : fields_(fields) {}

  template <typename T>
  T get(std::string_view key) const {
    return json::value_to<T>(fields_.at(key));
  }
  template <typename T>
  T get(std::string_view key, T otherwise) const {
    const json::value* found = fields_.if_contains(key);
    return found ? json::value_to<T>(*found) : std::move(otherwise);
  }
  bool has(std::string_view key) const { return fields_.contains(key); }

 private:
  const object& fields_;
};

class Host {
 public:
  explicit Host(const cli::CommonOptions& options) : side_(options) {}

  object handle(const Request& request) {
    const auto name = request.get<std::string>("do");
    const auto found = kActions.find(name);
    if (found == kActions.end()) throw std::runtime_error(fmt::format("nothing is called {}", name));
    return (this->*found->second)(request);
  }

 private:
  using Action = object (Host::*)(const Request&);
  static const std::map<std::string, Action, std::less<>> kActions;

  // Disks.

  object connect(const Request& request) {
    auto opened = side_.open(request.get<std::string>("url"));
    if (!opened) return std::move(opened.error().body);
    disks_.push_back((*opened)->driver.get());
    const host::Disk& disk = disks_.back()->disk();
    return {{"disk", disks_.size() - 1},
            {"block_length", disk.block_length},
            {"blocks", disk.blocks},
            {"write_protected", disk.write_protected},
            {"odx", disk.rod_limits.has_value()},
            {"no_odx_reason", disk.no_odx_reason}};
  }

  object partitions(const Request& request) {
    auto table = host::read_partition_table(disk(request));
    if (!table) return answer(table.error());
    json::array partitions;
    for (const host::Partition& each : table->partitions)
      partitions.push_back(object{{"number", each.number}, {"first_byte", each.first_byte}, {"length", each.length}});
    object result = answer(host::NtStatus::success);
    result["partitions"] = std::move(partitions);
    result["problems"] = json::value_from(table->problems);
    return result;
  }

  /// What the class driver sent since this was last asked.
  object trace(const Request& request) {
    json::array commands;
    for (const host::TraceEntry& entry : disk(request).take_trace()) commands.push_back(cli::to_json(entry, "", ""));
    return {{"commands", std::move(commands)}};
  }

  // Volumes.

  object mount(const Request& request) {
    host::ClassDriver& driver = disk(request);
    host::Partition place{0, 0, driver.disk().bytes()};
    if (const auto number = request.get<unsigned>("partition", 0)) {
      auto table = host::read_partition_table(driver);
      if (!table) return answer(table.error());
      auto found = std::ranges::find(table->partitions, number, &host::Partition::number);
      if (found == table->partitions.end()) throw std::runtime_error(fmt::format("no partition {}", number));
      place = *found;
    }
    auto mounted = host::Volume::mount(driver, place, host::ntfs::mount, request.get<bool>("read_only", false));
    if (!mounted) return answer(mounted.error());
    volumes_.push_back(std::move(*mounted));
    object result = answer(host::NtStatus::success);
    result["volume"] = volumes_.size() - 1;
    result["kind"] = host::name(volumes_.back()->kind());
    result["read_only"] = volumes_.back()->read_only();
    return result;
  }

  /// The volume object goes, as when its disk is removed; nothing on it may be open.
  object unmount(const Request& request) {
    volumes_.at(request.get<std::size_t>("volume")).reset();
    return {};
  }

  object dismount(const Request& request) { return answer(volume(request).dismount()); }
  object shut_down(const Request& request) { return answer(volume(request).shut_down()); }
  object flush(const Request& request) { return answer(volume(request).file_system()->flush()); }
  object verify(const Request& request) { return answer(volume(request).verify()); }

  object attach(const Request& request) {
    volume(request).attach({request.get<std::string>("name"), request.get<std::uint32_t>("supported_features", 0),
                            request.get<bool>("blocks", false)});
    return {};
  }

  object detach(const Request& request) {
    return {{"detached", volume(request).detach(request.get<std::string>("name"))}};
  }

  object features_mode(const Request& request) {
    io_manager_.filter_supported_features_mode = request.get<std::uint32_t>("value");
    return {};
  }

  object offload_supported(const Request& request) {
    const host::Volume& of = volume(request);
    return {{"read", of.offload_read_supported}, {"write", of.offload_write_supported}};
  }

  // Handles.

  object open(const Request& request) {
    host::OpenOptions options;
    options.access = request.get<std::uint32_t>("access", host::kFileReadData | host::kFileWriteData);
    options.disposition = disposition_of(request.get<std::string>("disposition", "open"));
    options.transacted = request.get<bool>("transacted", false);
    return opened(io_manager_.open(
        volume(request), {request.get<std::string>("path"), request.get<std::string>("stream", "")}, options));
  }

  object open_volume(const Request& request) {
    return opened(io_manager_.open_volume(
        volume(request), request.get<std::uint32_t>("access", host::kFileReadData | host::kFileWriteData)));
  }

  static object opened(const host::NtResult<host::Handle>& result) {
    if (!result) return answer(result.error());
    object found = answer(host::NtStatus::success);
    found["handle"] = *result;
    return found;
  }

  object close(const Request& request) { return answer(io_manager_.close(handle_of(request))); }

  object reference(const Request& request) {
    auto file = io_manager_.reference(handle_of(request));
    if (!file) return answer(host::NtStatus::invalid_handle);
    references_.push_back(std::move(file));
    object result = answer(host::NtStatus::success);
    result["reference"] = references_.size() - 1;
    return result;
  }

  object fs_control(const Request& request) {
    const auto input = from_hex(request.get<std::string>("input"));
    const auto code = request.get<std::uint32_t>("code");
    const auto output_length = request.get<std::size_t>("output_length");
    host::FsctlReply reply =
        request.has("reference")
            ? io_manager_.fs_control(references_.at(request.get<std::size_t>("reference")), code, input, output_length)
            : io_manager_.fs_control(handle_of(request), code, input, output_length);
    object result = answer(reply.status);
    result["output"] = cli::hex(reply.output);
    result["reason"] = reply.reason;
    return result;
  }

  object read(const Request& request) {
    std::vector<std::uint8_t> bytes(request.get<std::size_t>("length"));
    auto count = io_manager_.read(handle_of(request), request.get<std::uint64_t>("offset"), bytes);
    if (!count) return answer(count.error());
    bytes.resize(*count);
    object result = answer(host::NtStatus::success);
    result["data"] = cli::hex(bytes);
    return result;
  }

  object write(const Request& request) {
    return answer(io_manager_.write(handle_of(request), request.get<std::uint64_t>("offset"),
                                    from_hex(request.get<std::string>("data"))));
  }

  object set_end_of_file(const Request& request) {
    return answer(io_manager_.set_end_of_file(handle_of(request), request.get<std::uint64_t>("length")));
  }

  object mark_deleted(const Request& request) { return answer(io_manager_.mark_deleted(handle_of(request))); }

  object lock(const Request& request) {
    return answer(io_manager_.lock(handle_of(request), request.get<std::uint64_t>("offset"),
                                   request.get<std::uint64_t>("length"), request.get<bool>("exclusive")));
  }

  object unlock(const Request& request) {
    return answer(io_manager_.unlock(handle_of(request), request.get<std::uint64_t>("offset"),
                                     request.get<std::uint64_t>("length")));
  }

  object sizes(const Request& request) {
    const host::StreamSizes sizes = stream(request).sizes();
    return {{"end_of_file", sizes.end_of_file},
            {"valid_data_length", sizes.valid_data_length},
            {"allocation", sizes.allocation}};
  }

  object extents(const Request& request) {
    auto found = stream(request).extents(request.get<std::uint64_t>("offset"), request.get<std::uint64_t>("length"));
    if (!found) return answer(found.error());
    json::array list;
    for (const host::Extent& each : *found) {
      object extent{{"file_offset", each.file_offset}, {"length", each.length}, {"volume_offset", nullptr}};
      if (each.volume_offset) extent["volume_offset"] = *each.volume_offset;
      list.push_back(std::move(extent));
    }
    object result = answer(host::NtStatus::success);
    result["extents"] = std::move(list);
    return result;
  }

  // What numbers stand for.

  host::ClassDriver& disk(const Request& request) { return *disks_.at(request.get<std::size_t>("disk")); }

  host::Volume& volume(const Request& request) {
    host::Volume* found = volumes_.at(request.get<std::size_t>("volume")).get();
    if (!found) throw std::runtime_error("the volume was unmounted");
    return *found;
  }

  static host::Handle handle_of(const Request& request) { return request.get<host::Handle>("handle"); }

  host::FileStream& stream(const Request& request) {
    auto file = io_manager_.reference(handle_of(request));
    if (!file || !file->open) throw std::runtime_error("no open stream");
    return *file->open->stream;
  }

  // In the order in which each needs those before it.
  cli::HostSide side_;
  std::deque<host::ClassDriver*> disks_;
  std::vector<std::unique_ptr<host::Volume>> volumes_;
  host::IoManager io_manager_;
  std::vector<std::shared_ptr<host::FileObject>> references_;
};

const std::map<std::string, Host::Action, std::less<>> Host::kActions = {
    {"connect", &Host::connect},
    {"partitions", &Host::partitions},
    {"trace", &Host::trace},
    {"mount", &Host::mount},
    {"unmount", &Host::unmount},
    {"dismount", &Host::dismount},
    {"shut_down", &Host::shut_down},
    {"verify", &Host::verify},
    {"flush", &Host::flush},
    {"attach", &Host::attach},
    {"detach", &Host::detach},
    {"features_mode", &Host::features_mode},
    {"offload_supported", &Host::offload_supported},
    {"open", &Host::open},
    {"open_volume", &Host::open_volume},
    {"close", &Host::close},
    {"reference", &Host::reference},
    {"fs_control", &Host::fs_control},
    {"read", &Host::read},
    {"write", &Host::write},
    {"set_end_of_file", &Host::set_end_of_file},
    {"mark_deleted", &Host::mark_deleted},
    {"lock", &Host::lock},
    {"unlock", &Host::unlock},
    {"sizes", &Host::sizes},
    {"extents", &Host::extents},
};

}  // namespace

int main(int argc, char** argv) {
  cli::CommonOptions options;
  if (argc > 1) options.initiator_name = argv[1];
  Host host(options);
  std::string line;
  while (std::getline(std::cin, line)) {
    object result;
    try {
      const json::value request = json::parse(line);
      result = host.handle(Request(request.as_object()));
    } catch (const std::exception& problem) {
      result = {{"error", problem.what()}};
    }
    std::cout << json::serialize(result) << std::endl;
  }
  return 0;
}
