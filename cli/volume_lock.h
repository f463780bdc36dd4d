// Keeps two odx processes of one machine from mounting one volume at the same time, when one of them would write: NTFS
// does not stand that, and nothing else notices. Other machines are not kept out.
//
// A lock is a flock(2) on a file that stays behind, empty. Thread: main's.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace cli {

class VolumeLock {
 public:
  /// `name` says which volume, in letters, digits, "-", "." and "_"; others are replaced. Does not wait: the error says
  /// who holds what, for people.
  static std::expected<VolumeLock, std::string> take(const std::string& name, bool exclusive);
  VolumeLock(VolumeLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  VolumeLock& operator=(VolumeLock&&) = delete;
  ~VolumeLock();

 private:
  explicit VolumeLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace cli
