// The configuration of an array as a script writes it: the keys of odxd.toml as Lua tables, judged by the same reader.
// Thread: any.
#pragma once

#include <boost/json/value.hpp>
#include <string>

#include "target/config.h"

namespace scenario {

struct FileAccess {
  std::string image_dir{};  ///< where stores in files may lie; empty: nowhere
};

/// `table` is a table with the keys of odxd.toml, or a list of stores ("memory:1G"). One key more is there: `luns`, a
/// list of stores or of tables as in `target.lun`, stands for one target. What is
/// not said is such that a run repeats: each array has an id, from `number`, and the memory a limit. Throws
/// ScriptError, also for files that are not granted and for peers.
target::Config config_from(const boost::json::value& table, const FileAccess& access, unsigned number);

}  // namespace scenario
