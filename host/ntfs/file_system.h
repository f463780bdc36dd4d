// SPDX-License-Identifier: GPL-2.0-or-later
// FileSystem on a volume mounted by libntfs-3g: paths to files and streams.
// Thread: the file system's.
#pragma once

#include <memory>
#include <optional>

#include "host/file_system.h"
#include "host/ntfs/file.h"
#include "host/ntfs/volume.h"

namespace host::ntfs {

class NtfsFileSystem final : public FileSystem {
 public:
  explicit NtfsFileSystem(std::shared_ptr<Volume> volume);
  ~NtfsFileSystem() override { volume_->unmount(); }

  Information information() const override;
  NtResult<std::shared_ptr<FileStream>> open(const StreamName& name, Disposition disposition) override;
  NtResult<std::vector<DirectoryEntry>> list(std::string_view path) override;
  NtStatus create_directory(std::string_view path) override;
  NtStatus flush() override { return volume_->flush(); }
  NtStatus unmount() override { return volume_->unmount(); }
  void abandon() override { volume_->abandon(); }
  NtResult<bool> still_there() override { return volume_->still_there(); }

 private:
  /// Where a path leads: its directory is there, the last name need not be.
  struct Place {
    MFT_REF directory = FILE_root;
    DiskName name{};  ///< empty: the root directory
    std::optional<MFT_REF> found{};
    bool metadata = false;
  };

  NtResult<Place> find(std::string_view path);
  NtResult<MFT_REF> create(const Place& place, mode_t type);
  NtResult<std::shared_ptr<FileStream>> open_stream(File& file, const DiskName& name, Disposition disposition,
                                                    bool new_file);
  DirectoryEntry describe(MFT_REF reference, std::string name);

  std::shared_ptr<Volume> volume_;
  Information information_;
};

}  // namespace host::ntfs
