// A configuration that is read again while odxd serves: what of it can change at run time does, and when anything else
// in it is another, nothing changes at all.
//
// Judges first, then does; what is compared is what the arrays are by now. A new key that can change has its line in
// the judgement of where it stands, and in apply(). Reads no file. Thread: the loop's.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "target/arrays.h"
#include "target/config.h"

namespace iscsi {
class SessionRegistry;
}

namespace target {

class Reload {
 public:
  /// Judges what makes `arrays`, of a process that was started with `started`, what `wanted` says, and opens the stores
  /// of new LUNs. Throws ChangeError, which names everything that needs a restart, and StoreError: nothing has changed
  /// then, but that a file may have been made for a new LUN. `arrays` outlives the object. `foreign`: LUNs that go
  /// even where one of the same store is wanted in their place.
  Reload(const Config& started, const Config& wanted, Arrays& arrays,
         std::function<bool(const Array::ExportedLun&)> foreign = nullptr);

  /// Does it. Throws StoreError when a file cannot be made longer; nothing has changed then. Sessions with targets that
  /// are gone are asked to log out, and dropped after `grace`. Returns what changed, one line each. Once.
  std::vector<std::string> apply(iscsi::SessionRegistry& sessions, std::chrono::seconds grace);

  /// A LUN that is there since apply(), by its target's name and number.
  struct Place {
    std::string target;
    std::uint16_t number = 0;
  };
  const std::vector<Place>& added() const { return added_; }

 private:
  struct Addition {
    std::string target;
    std::size_t array = 0;
    LunConfig config;
  };
  struct Resize {
    Place place;
    std::uint64_t size_bytes = 0;
    std::string written{};  ///< where, for errors
    bool outside = false;   ///< the file or device has that size already
  };
  struct Protection {
    Place place;
    bool read_only = false;
  };
  struct Kept {
    Place place;
    LunConfig config;  ///< with the name it has
    std::string name_in_file;
  };

  void judge_process(const Config& started);
  void judge_targets();
  void judge_ports(const TargetConfig& target);
  void judge_luns(const TargetConfig& target);
  void judge_kept(const TargetConfig& target, const LunConfig& lun, const Arrays::OfferedLun& now);
  void judge_size(const LunConfig& lun, const Arrays::OfferedLun& now, const Place& place);
  void judge_names() const;
  void grow();
  void remove(iscsi::SessionRegistry& sessions, std::chrono::seconds grace);
  void change();
  void add();
  void needs_restart(std::string what) { restart_.push_back(std::move(what)); }

  Arrays& arrays_;
  Config wanted_;
  std::function<bool(const Array::ExportedLun&)> foreign_;
  std::vector<std::string> restart_;
  std::vector<std::string> gone_targets_;
  std::vector<TargetConfig> new_targets_;
  std::vector<Place> gone_luns_;
  std::vector<Addition> additions_;
  std::vector<Array::OpenLun> opened_;  ///< of the additions, in their order
  std::vector<Resize> resizes_;
  std::vector<Protection> protections_;
  std::vector<Kept> kept_;
  std::vector<Place> added_;
  std::vector<std::string> changes_;
};

}  // namespace target
