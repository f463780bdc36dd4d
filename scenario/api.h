// What scripts can call: the functions and methods of docs/scenarios.md, and the objects behind them.
//
// Owns the hosts and their disks; the world and the Lua state belong to whoever runs the script. Every function takes
// what it needs from its arguments and gives back plain values, so that the same script can drive an array in this
// process or one that is reached over the network. Thread: the world's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "scenario/config_table.h"
#include "scenario/host.h"
#include "scenario/lua_state.h"
#include "scenario/world.h"

namespace host {
class MemoryFileSystem;
}  // namespace host

namespace scenario {

class Fields;

/// A volume of a host.
struct MountedVolume {
  Disk* disk = nullptr;
  host::MemoryFileSystem* files = nullptr;  ///< that of scenarios, whose names and sizes are in memory; null: NTFS
  std::unique_ptr<host::Volume> volume{};
};

/// An open handle.
struct OpenedFile {
  MountedVolume* on = nullptr;
  host::Handle handle = 0;
};

class Api {
 public:
  /// References outlive it. Adds everything to `lua`.
  Api(World& world, LuaState& lua, FileAccess access, std::uint64_t seed);
  ~Api();

  /// What scenario functions get as their argument.
  static json::value context();

  /// What went wrong in a function that was called at a time of its own, and was not raised yet.
  std::optional<LuaState::Outcome> take_pending() { return std::exchange(pending_, {}); }

 private:
  using Arguments = std::vector<json::value>;

  void add_globals();
  void add_context();
  void add_events();
  void add_rules();
  void add_array();
  void add_tokens();
  void add_host();
  void add_disk();
  void add_data();
  void add_commands();
  void add_copies();
  void add_volume();
  void add_volume_copies();
  void add_volume_looks();
  void add_files();
  void add_method(const std::string& kind, const std::string& name, LuaState::Function function);

  json::value add_new_array(const Arguments& arguments);
  json::value add_new_host(const Arguments& arguments);
  json::value add_new_disk(const Arguments& arguments);
  json::value add_new_volume(const Arguments& arguments);
  void mount_real(MountedVolume& mounted, const Fields& fields);
  void make_file(MountedVolume& on, const std::string& path, const Fields& fields);
  json::value wait_for_event(const Arguments& arguments);
  void run_at(base::TimePoint when, json::value function);
  /// Calls `each` for pieces of a range, until it says false. The script is charged for each before it is made.
  void by_pieces(std::uint64_t offset, std::uint64_t length,
                 const std::function<bool(std::uint64_t offset, std::uint64_t length)>& each);

  ArrayProcess& array_of(const json::value& object) const;
  Host& host_of(const json::value& object) const;
  Disk& disk_of(const json::value& object) const;
  MountedVolume& volume_of(const json::value& object) const;
  OpenedFile& file_of(const json::value& object) const;

  World& world_;
  LuaState& lua_;
  FileAccess access_;
  std::uint64_t seed_;
  std::uint64_t waited_for_ = 0;  ///< the event that wait_for() came to last
  std::vector<ArrayProcess::Content> contents_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::vector<Disk*> disks_;
  std::vector<std::unique_ptr<MountedVolume>> volumes_;
  std::vector<std::unique_ptr<OpenedFile>> files_;
  std::optional<LuaState::Outcome> pending_{};
};

/// The number of a handle of that kind. Throws ScriptError.
std::uint64_t number_of(const json::value& object, std::string_view kind);

/// `fields.token`: 512 bytes, or "zero" for the well-known one.
host::Token token_of(const Fields& fields);

/// `fields.time_to_live` in whole ones of `unit`, as the 32 bits of a field have it; 0 when it is not there.
std::uint32_t time_to_live(const Fields& fields, base::Duration unit);

/// Adds what the commands of an operation were: `commands` (their names), `trace` (each with its outcome), and of the
/// last sense `sense`, `field` and `information`.
void describe_commands(json::object& result, const std::vector<SentCommand>& commands);

/// What a call of one disk comes to: `status`, `reason` if there is one, and the commands.
json::object finish(Disk& disk, host::NtStatus status, const std::string& reason = {});

/// What `ask` gives, or `otherwise` where the array says that there is no such thing.
json::value unless_missing(const std::function<json::value()>& ask, const json::value& otherwise);

/// `actual` as `expected` says: tables by those of their values that are there, the rest by equality. Nothing, or what
/// differs: "status is \"STATUS_SUCCESS\"; expected \"STATUS_INVALID_TOKEN\"".
std::optional<std::string> difference(const json::value& actual, const json::value& expected, const std::string& path);

}  // namespace scenario
