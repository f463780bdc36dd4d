// The disks of all arrays as they were at one moment, by name, and the way back: to one of them, or to what odxd was
// when it started. Owns what was captured; the arrays are others'.
//
// Only LUNs in memory are captured, whole, which takes no time and no memory until they change: what is in a file stays
// as it is, and the file system's own snapshots are better at it. Going back is a loss of power for the LUNs concerned
// (scsi::DeviceServer::power_cycle()), with sessions that stay: their hosts are told. Thread: the loop's.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "handlers/backing_store.h"
#include "target/arrays.h"

namespace target {

class Snapshots {
 public:
  static constexpr std::size_t kMaximum = 256;  ///< beyond: ChangeError

  /// All outlive the object.
  Snapshots(Arrays& arrays, const base::Clock& clock, base::Executor& executor)
      : arrays_(arrays), clock_(clock), executor_(executor) {}

  struct Lun {
    std::string target;
    std::uint16_t number = 0;
    std::string name;
    std::array<std::uint8_t, 16> naa{};
    std::uint32_t block_length = 0;
    std::uint64_t size_bytes = 0;
    std::string why_not{};         ///< empty: its data is in the snapshot
    handlers::SnapshotRef data{};  ///< null where it is not
  };
  struct Snapshot {
    std::string name;
    std::uint64_t number = 0;  ///< in the order they were taken
    base::TimePoint taken;
    std::vector<Lun> luns;
  };

  /// In the order of their names.
  const std::map<std::string, Snapshot>& all() const { return snapshots_; }
  /// Throws ChangeError: the name is taken, there are too many, a LUN is being formatted or memory has run out.
  const Snapshot& take(const std::string& name);
  /// False: there is none.
  bool remove(const std::string& name) { return snapshots_.erase(name) != 0; }

  /// Called in a later turn, when it is done and the memory of all tokens is free, with what could not be: memory that
  /// has run out.
  using Done = std::move_only_function<void(std::vector<std::string> failures)>;

  /// The LUNs of the snapshot whose data is in it have that data and that size again. All tokens of all arrays are
  /// unknown from then on (05/23/04), and results of copies dropped. Throws ChangeError, and nothing happens: one of
  /// them is not there any more, or another with its number; one is being formatted.
  void restore(const std::string& name, Done done);

  /// A power cycle of every LUN: those in memory are empty, all tokens unknown. Throws ChangeError, and nothing
  /// happens: one is being formatted.
  void clear(Done done);

 private:
  using Change = std::move_only_function<std::vector<std::string>()>;
  void power_cycle(const std::vector<Arrays::OfferedLun>& luns, Change change, Done done);
  void free_forgotten_tokens(Done done, std::vector<std::string> failures);
  /// The one of the snapshot, as it is by now: null where it is another by its designator, blocks or kind of store.
  Arrays::OfferedLun find(const Lun& lun) const;
  std::string put_back(const Lun& lun) const;

  Arrays& arrays_;
  const base::Clock& clock_;
  base::Executor& executor_;
  std::map<std::string, Snapshot> snapshots_;
  std::uint64_t taken_ = 0;
};

}  // namespace target
