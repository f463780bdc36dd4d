// What a request can be made to meet: another end of file, a locked range, a file whose deletion is pending, a volume
// dismounted under the open handle, a handle already closed.
// Owns the other handles that keep the situation until the request has been answered.
// Thread: one.
#pragma once

#include <span>
#include <string>

#include "fsctl/device.h"
#include "fsctl/options.h"
#include "fsctl/output.h"

namespace fsctl {

/// The options that every request on a file takes.
std::span<const OptionRow> file_options();

class Situation {
 public:
  /// Opens `path` as --access and --share say, and brings about what the options ask for, in the order of
  /// file_options(). Notes each step in the record. Throws Failure(usage) before anything is opened, or
  /// Failure(preparation).
  Situation(const Arguments& arguments, const std::wstring& path, ACCESS_MASK default_access, Record& record);

  /// The handle of the request; of --close-first, its number, of which nothing is left.
  HANDLE handle() const { return number_; }

 private:
  void lock(const std::wstring& path, const std::wstring& value, Record& record);
  void dismount(const std::wstring& path, Record& record);

  Handle file_;
  HANDLE number_ = nullptr;
  Handle other_;
  Handle deleting_;
};

}  // namespace fsctl
