// The host's handles, and the way of a request through its layers: object manager, I/O manager, filter manager, file
// system. What a program does with CreateFile, LockFile, SetEndOfFile, DeviceIoControl.
//
// The file system's part of the two FSCTLs is OffloadEngine's. Requests are synchronous; one that a program left
// pending is modelled by reference(): it holds the file object when the handle is gone.
// Thread: one for everything of a host.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/file_system.h"
#include "host/volume.h"

namespace host {

using Handle = std::uint64_t;

/// The bits of ACCESS_MASK that matter here.
enum Access : std::uint32_t {
  kFileReadData = 0x0001,
  kFileWriteData = 0x0002,
  kFileReadAttributes = 0x0080,
  kDelete = 0x00010000,
};

struct OpenOptions {
  std::uint32_t access = kFileReadData;
  Disposition disposition = Disposition::open;
  bool transacted = false;  ///< CreateFileTransacted
};

/// FILE_OBJECT. Outlives its handle as long as a request refers to it.
struct FileObject {
  Volume* volume = nullptr;
  std::shared_ptr<OpenStream> open;  ///< nothing: the volume itself is open (DASD)
  std::uint64_t number = 0;          ///< of the open; what owns locks
  std::uint32_t access = 0;
  bool transacted = false;
  bool named_stream = false;
  bool cleaned_up = false;  ///< FO_CLEANUP_COMPLETE: the last handle is closed
};

/// IO_STATUS_BLOCK and the output buffer: as many bytes as the request returned, none on an error.
struct FsctlReply {
  NtStatus status = NtStatus::success;
  std::vector<std::uint8_t> output{};
  std::string reason{};  ///< for people, on failure: the check that refused, with the values
};

class IoManager {
 public:
  /// HKLM\SYSTEM\CurrentControlSet\Control\FileSystem, FilterSupportedFeaturesMode: 0 filters decide, 1 no offload.
  std::uint32_t filter_supported_features_mode = 0;

  // The volume outlives every handle.

  /// Opens a stream. STATUS_UNRECOGNIZED_VOLUME where only the volume itself can be opened, VOLUME_DISMOUNTED,
  /// DELETE_PENDING, TOO_LATE for what creates or overwrites after a shutdown, or the file system's. A read-only volume
  /// gives write access all the same.
  NtResult<Handle> open(Volume& volume, const StreamName& name, const OpenOptions& options);
  /// The volume itself, whatever it holds.
  NtResult<Handle> open_volume(Volume& volume, std::uint32_t access);
  /// STATUS_INVALID_HANDLE. The last close of a named stream marked deleted deletes it; that of a file, by any of its
  /// streams, whose unnamed stream is marked deletes the file. As long as the volume is mounted; if deleting fails, so
  /// does the close.
  NtStatus close(Handle handle);

  /// ObReferenceObjectByHandle: nothing for a handle that is not open.
  std::shared_ptr<FileObject> reference(Handle handle) const;

  // All that follow answer STATUS_INVALID_HANDLE, ACCESS_DENIED, INVALID_DEVICE_REQUEST on a volume's handle, and
  // VOLUME_DISMOUNTED; those that change something TOO_LATE and MEDIA_WRITE_PROTECTED too. Reads and writes answer
  // FILE_LOCK_CONFLICT.

  /// STATUS_END_OF_FILE from the end of the file on.
  NtResult<std::size_t> read(Handle handle, std::uint64_t offset, base::MutableBytes out);
  NtStatus write(Handle handle, std::uint64_t offset, base::Bytes data);
  NtStatus set_end_of_file(Handle handle, std::uint64_t length);
  /// FileDispositionInformation, for the file if its unnamed stream is open, else for the named stream: needs DELETE
  /// access. STATUS_ACCESS_DENIED for the file system's own.
  NtStatus mark_deleted(Handle handle);
  /// NtLockFile with FailImmediately: STATUS_LOCK_NOT_GRANTED when it conflicts (MS-FSA 2.1.5.8),
  /// INVALID_LOCK_RANGE, INVALID_PARAMETER on a directory.
  NtStatus lock(Handle handle, std::uint64_t offset, std::uint64_t length, bool exclusive);
  NtStatus unlock(Handle handle, std::uint64_t offset, std::uint64_t length);  ///< STATUS_RANGE_NOT_LOCKED

  /// NtFsControlFile. STATUS_INVALID_HANDLE; the rest is checked in the order of docs/windows.md.
  FsctlReply fs_control(Handle handle, std::uint32_t code, base::Bytes input, std::size_t output_length);
  /// The same for a request that already holds its file object (a pending one, or one that came by SMB).
  FsctlReply fs_control(const std::shared_ptr<FileObject>& file, std::uint32_t code, base::Bytes input,
                        std::size_t output_length);

 private:
  /// One of the access rights will do.
  NtResult<std::shared_ptr<FileObject>> usable(Handle handle, std::uint32_t access) const;
  /// The same for what changes the volume.
  NtResult<std::shared_ptr<FileObject>> changeable(Handle handle, std::uint32_t access) const;
  NtResult<Handle> add(FileObject file);

  std::map<Handle, std::shared_ptr<FileObject>> handles_;
  Handle next_handle_ = 4;  // as Windows' are: multiples of four
  std::uint64_t next_number_ = 1;
};

}  // namespace host
