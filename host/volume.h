// A volume as Windows knows it: a place on a disk, the file system mounted there if any, and the state that decides
// what an offload request gets: mounted or not, shut down, offload supported or no longer, filters attached.
//
// It does not judge requests (OffloadEngine) and owns no handles (IoManager). Thread: the driver's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/byte_range_locks.h"
#include "host/file_system.h"
#include "host/partitions.h"
#include "host/volume_device.h"

namespace host {

/// A minifilter attached to a volume. SupportedFeatures of its service key: bit 0 offload read, bit 1 offload write.
struct Filter {
  std::string name;
  std::uint32_t supported_features = 0;
  /// It opted in and yet refuses this volume's offloads, as filters are told to: with STATUS_NOT_SUPPORTED.
  bool blocks = false;
};
inline constexpr std::uint32_t kSupportsOffloadRead = 0x1;
inline constexpr std::uint32_t kSupportsOffloadWrite = 0x2;

/// What all opens of one file share, whichever its streams.
struct OpenFile {
  std::shared_ptr<FileStream> deleted{};  ///< the unnamed stream, when marked: the file goes at the last close
  unsigned opens = 0;
};

/// What all opens of one stream share.
struct OpenStream {
  std::shared_ptr<FileStream> stream;
  std::shared_ptr<OpenFile> file;
  ByteRangeLocks locks{};
  bool deleted = false;  ///< this named stream is marked; removed at its last close
  unsigned opens = 0;
  bool delete_pending() const { return deleted || file->deleted; }
};

class Volume {
 public:
  enum class State : std::uint8_t { mounted, shut_down, dismounted };
  /// host::ntfs::mount, or nothing where that was not built. Called only for a volume recognised as NTFS.
  using Mounter = std::function<NtResult<std::unique_ptr<FileSystem>>(VolumeDevice& device, bool read_only)>;

  /// Recognises what is there and mounts it when it is NTFS, read-only when `read_only` or when the disk is write
  /// protected. A volume with another file system, or none, is there too: only the volume itself can be opened.
  /// Fails with what the driver or the mounter said.
  static NtResult<std::unique_ptr<Volume>> mount(ClassDriver& driver, const Partition& place, const Mounter& mounter,
                                                 bool read_only = false);
  /// The same for a place whose content is known.
  static NtResult<std::unique_ptr<Volume>> with(ClassDriver& driver, const Partition& place, FileSystemKind kind,
                                                const Mounter& mounter, bool read_only = false);
  ~Volume();

  FileSystemKind kind() const { return kind_; }
  FileSystem* file_system();  ///< nothing when none is mounted
  VolumeDevice& device() { return device_; }
  State state() const { return state_; }
  bool read_only() const;

  /// FSCTL_DISMOUNT_VOLUME: at once, whatever is open; open files stay and answer VOLUME_DISMOUNTED. That is also the
  /// answer of these three when it was dismounted before.
  NtStatus dismount();
  /// What happens to a mounted volume when the system shuts down: all is flushed, writes are TOO_LATE from now on.
  NtStatus shut_down();
  /// Looks whether the disk still holds this volume, as Windows does after a change of medium; when not, dismounts
  /// without another write, and answers VOLUME_DISMOUNTED.
  NtStatus verify();

  void attach(Filter filter) { filters_.push_back(std::move(filter)); }
  bool detach(const std::string& name);  ///< false: none of that name
  const std::vector<Filter>& filters() const { return filters_; }

  // IsOffloadReadSupported and IsOffloadWriteSupported (MS-FSA 2.1.1.1): true at mount, cleared by the storage's
  // answer.
  bool offload_read_supported = true;
  bool offload_write_supported = true;

  /// An offload write that begins beyond the valid data length gets STATUS_BEYOND_VDL (MS-FSA) instead of
  /// STATUS_INVALID_PARAMETER (MS-FSCC).
  bool beyond_vdl_status = false;

  /// The one OpenStream of a FileStream; made when it is not there.
  std::shared_ptr<OpenStream> share(std::shared_ptr<FileStream> stream);

 private:
  Volume(ClassDriver& driver, const Partition& place);

  VolumeDevice device_;
  FileSystemKind kind_ = FileSystemKind::none;
  std::unique_ptr<FileSystem> file_system_;
  State state_ = State::mounted;
  std::vector<Filter> filters_;
  std::map<const FileStream*, std::weak_ptr<OpenStream>> open_streams_;
  std::map<std::uint64_t, std::weak_ptr<OpenFile>> open_files_;  ///< by file number
};

}  // namespace host
