// The configuration of an array as a script writes it: the keys of odxd.toml as Lua tables, judged by the same reader;
// and where arrays are.
// Thread: any.
#pragma once

#include <boost/json/value.hpp>
#include <map>
#include <string>
#include <string_view>

#include "host/volume.h"
#include "target/config.h"

namespace scenario {

/// What of the system's files scripts reach.
struct FileAccess {
  std::string image_dir{};                       ///< where stores in files may lie; empty: nowhere
  std::map<std::string, std::string> volumes{};  ///< files with the bytes of a volume, by the names scripts have
  host::Volume::Mounter ntfs{};                  ///< null: NTFS was not built
};

inline constexpr std::string_view kOwnOdxd = "odxd";

/// Where the arrays of a scenario are.
struct LiveOptions {
  std::string control{};  ///< empty: in this process; kOwnOdxd: an odxd for each; else the URL of one that runs
  std::string token{};    ///< that its TCP port asks for
  std::string odxd{};     ///< the program; empty: the one that belongs to this odx
};

/// `table` is a table with the keys of odxd.toml, or a list of stores ("memory:1G"). One key more is there: `luns`, a
/// list of stores or of tables as in `target.lun`, stands for one target. What is
/// not said is such that a run repeats: each array has an id, from `number`, and the memory a limit. Throws
/// ScriptError, also for files that are not granted and for peers.
target::Config config_from(const boost::json::value& table, const FileAccess& access, unsigned number);

/// The same as a file for an odxd of its own, on free ports of 127.0.0.1. Throws ScriptSkip for disks in files.
std::string odxd_toml(const boost::json::value& table, const FileAccess& access, unsigned number);

/// The keys of odxd.toml alone: stores are tables, and `luns` is `target`. Throws ScriptError.
boost::json::object document_of(const boost::json::value& table);

}  // namespace scenario
