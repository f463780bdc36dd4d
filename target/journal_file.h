// The journal as a file of JSON lines: one for each event, appended.
//
// Lines gather during a turn and are written by a worker, one write at a time, so that a slow disk holds nobody up.
// What cannot be written - the disk is full, or so slow that more than kMostWaiting bytes wait - is left out, with a
// line of kind "lost" where it would have stood, which says how many at the most; the array goes on. Nothing is synced:
// what the system has not written when the machine stops is gone. Thread: the loop's, except the write.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/executor.h"
#include "scsi/journal.h"

namespace target {

class JournalFile {
 public:
  static constexpr std::size_t kMostWaiting = 16u << 20;

  /// Opens or creates the file (mode 0600) and subscribes. `first` is one line that opens this start's part. All
  /// references outlive it, and it outlives what it posted to the executor. Throws StoreError.
  JournalFile(const std::string& path, std::string first, scsi::Journal& journal, base::Executor& executor);
  ~JournalFile();

  /// For the end of each turn: has a worker write what gathered.
  void settle();
  /// For the end: writes what is left at once. No write is under way.
  void finish();

 private:
  void take(const scsi::Event& event);
  void wrote(int error);
  void put_lost();

  struct Output;
  std::unique_ptr<Output> output_;
  base::Executor& executor_;
  std::string waiting_;  ///< whole lines
  std::uint64_t waiting_events_ = 0;
  std::uint64_t writing_events_ = 0;
  std::uint64_t lost_events_ = 0;
  std::string lost_reason_;
  bool writing_ = false;
  bool failing_ = false;  ///< the last write did
  std::shared_ptr<void> subscription_;
};

/// The line that opens a start's part of a file: when that was, for whoever has to place times of the array clock.
std::string journal_start_line(std::chrono::system_clock::time_point now, std::string_view clock_mode,
                               std::string_view version);

}  // namespace target
