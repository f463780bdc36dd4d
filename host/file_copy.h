// Copies one file as CopyFile does on Windows: an offload read for what is still to copy, offload writes of at most
// 256 MiB until its token is used up, and again; after an error the rest is copied by reading and writing from the
// point reached. All data streams, the attributes and the time of the last write go with it.
//
// It asks only what a program can ask, through IoManager, with the byte buffers of the two FSCTLs. Either end may be a
// file of this machine; that is never offloaded. Directories are the caller's. Thread: IoManager's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "host/io_manager.h"

namespace host {

/// Which volumes and pairs of volumes failed to offload lately. Windows leaves them alone for three minutes
/// ("Offloaded data transfers" of the Windows drivers' documentation), then tries again.
class OffloadMemory {
 public:
  static constexpr base::Duration kSpan = std::chrono::minutes(3);

  explicit OffloadMemory(const base::Clock& clock) : clock_(clock) {}

  void cannot_read(const Volume& source, NtStatus status) { note(&source, nullptr, status); }
  void cannot_write(const Volume& destination, NtStatus status) { note(nullptr, &destination, status); }
  void unreachable(const Volume& source, const Volume& destination, NtStatus status) {
    note(&source, &destination, status);
  }
  /// Why a copy between the two is not offloaded now; nothing when it may be tried. For people.
  std::optional<std::string> remembers(const Volume& source, const Volume& destination) const;

 private:
  struct Note {
    base::TimePoint at;
    NtStatus status;
  };
  void note(const Volume* source, const Volume* destination, NtStatus status) {
    notes_[{source, destination}] = {clock_.now(), status};
  }

  const base::Clock& clock_;
  std::map<std::pair<const Volume*, const Volume*>, Note> notes_;  ///< nothing for one: whatever the other end is
};

/// One end of a copy. With a stream named at either end only that stream is copied, without attributes and time.
struct FilePlace {
  Volume* volume = nullptr;  ///< nothing: a file of this machine
  std::string path;
  std::string stream{};
};

/// Which file: its volume and number, or, without a volume, device and inode of this machine.
using FileIdentity = std::tuple<const Volume*, std::uint64_t, std::uint64_t>;

struct FileCopyOptions {
  bool fail_if_exists = false;              ///< COPY_FILE_FAIL_IF_EXISTS
  bool no_offload = false;                  ///< COPY_FILE_NO_OFFLOAD
  std::uint64_t minimum_offload = 1 << 18;  ///< streams with fewer bytes are copied by reading and writing
  /// What earlier copies of one command made: a later one does not overwrite it (OBJECT_NAME_COLLISION), and adds its
  /// own.
  std::set<FileIdentity>* made = nullptr;
};

/// Why offloading was not tried.
enum class NotTried : std::uint8_t { was_tried, empty, too_small, option, local_file, remembered };

struct StreamOutcome {
  std::string stream;  ///< of the source; empty: the unnamed one
  std::uint64_t size = 0;
  std::uint64_t offloaded_bytes = 0;
  std::uint64_t read_written_bytes = 0;
  std::uint64_t zero_bytes = 0;  ///< the offload read said they are zeros: nothing was written for them
  unsigned tokens = 0;
  NotTried not_tried = NotTried::was_tried;
  NtStatus offload_status = NtStatus::success;  ///< what ended offloading; success: nothing did
  std::string reason{};                         ///< for people: why it was not tried, or what ended it
};

struct FileCopyOutcome {
  NtStatus status = NtStatus::success;
  std::string reason{};  ///< for people, on failure
  std::vector<StreamOutcome> streams{};
  /// Named streams that were left out: a file of this machine has none.
  std::vector<std::string> streams_left_out{};
  bool destination_deleted = false;  ///< of a copy that failed
};

/// COPYFILE2_MESSAGE_CHUNK_FINISHED, as far as it is of use.
struct ChunkFinished {
  std::string_view stream;
  std::uint64_t stream_size = 0;
  std::uint64_t stream_done = 0;
  std::uint64_t length = 0;
  bool offloaded = false;  ///< COPYFILE2_MESSAGE_COPY_OFFLOAD
};
/// False ends the copy with STATUS_CANCELLED, as PROGRESS_CANCEL does.
using OnChunkFinished = std::function<bool(const ChunkFinished&)>;

/// STATUS_FILE_IS_A_DIRECTORY for a directory at either end, STATUS_SHARING_VIOLATION for a file onto itself,
/// STATUS_OBJECT_NAME_COLLISION as options say, STATUS_ACCESS_DENIED over a read-only file and for an encrypted source,
/// STATUS_IO_REPARSE_TAG_NOT_HANDLED for a reparse point at either end, else what the file systems and disks say. A
/// copy that failed after the destination was opened is deleted, when its volume still answers.
FileCopyOutcome copy_file(IoManager& io, OffloadMemory& memory, const FilePlace& from, const FilePlace& to,
                          const FileCopyOptions& options, const OnChunkFinished& progress = {});

}  // namespace host
