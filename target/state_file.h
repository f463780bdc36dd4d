// Where what is kept of one logical unit outlives odxd: small files of scsi/state_image.h, one for each kind.
//
// A file is always whole: a new one is written and made durable beside it and takes its name, and the folder is made
// durable. Knows the bytes' meaning only when it is read. Thread: the loop's, except write(), which is a worker's.
#pragma once

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "scsi/state_changes.h"

namespace target {

enum class StateKind { reservations, settings };

/// The system calls whose failures have to be tested. Each behaves as the call of its name, errno included.
class StateFileCalls {
 public:
  virtual ~StateFileCalls() = default;
  virtual long write(int fd, const void* bytes, std::size_t count);
  virtual int fsync(int fd);
  virtual int rename(const char* from, const char* to);
};

class StateFile final : public scsi::StateStore {
 public:
  /// `calls` null: the system's.
  explicit StateFile(std::string path, std::shared_ptr<StateFileCalls> calls = nullptr);

  const std::string& path() const { return path_; }

  /// What it holds, as `parse` takes it; nothing where there is no such file. `what` should be in it, for errors.
  /// Throws std::runtime_error with the path and the reason: it cannot be read, or is not what was written.
  template <typename State>
  std::optional<State> read(std::expected<State, std::string> (*parse)(base::Bytes), std::string_view what) {
    if (!read_bytes(what)) return {};
    std::expected<State, std::string> state = parse(*kept_);
    if (!state) refuse_content(what, state.error());
    return std::move(*state);
  }

  /// Error: the path, the call and why.
  std::expected<void, std::string> write(base::Bytes image) override;

 private:
  /// Into `kept_`. False: there is no file.
  bool read_bytes(std::string_view what);
  [[noreturn]] void refuse_content(std::string_view what, std::string_view reason) const;
  std::expected<void, std::string> replace(base::Bytes image);
  std::expected<void, std::string> write_new(const std::string& path, base::Bytes image);
  std::expected<void, std::string> sync_folder();
  std::unexpected<std::string> error(std::string_view call, const std::string& path) const;

  std::string path_;
  std::shared_ptr<StateFileCalls> calls_;
  std::optional<std::vector<std::uint8_t>> kept_;  ///< absent: there is no file
};

/// The folder for what has no file of its own to stand beside: of one process, by a lock that lasts as long as this.
class StateFolder {
 public:
  /// Makes the folder where there is none. Throws std::runtime_error with the path and the reason.
  explicit StateFolder(std::string path);
  ~StateFolder();
  StateFolder(const StateFolder&) = delete;
  StateFolder& operator=(const StateFolder&) = delete;

  /// The file of the logical unit of that name; whatever the name has beyond letters, digits, '-' and '.' is "_" and
  /// two hexadecimal digits.
  std::string file(std::string_view name, StateKind kind) const;

 private:
  std::string path_;
  int fd_ = -1;
};

/// The file beside an image: PATH.reservations, PATH.settings. Nothing where a file there would not last or not be this
/// process's own: the image is no regular file or its folder cannot be written.
std::optional<std::string> state_file_beside(const std::string& image, StateKind kind);

}  // namespace target
