// What the FSCTL engine needs of a file system: streams, where their bytes lie on the volume, how much of them is
// valid. One implementation, host/ntfs (GPL, optional), and one of the tests.
//
// No handles, locks or share modes: those belong to IoManager. Not thread-safe: one thread for all file systems of a
// process.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "host/nt_status.h"

namespace host {

template <typename T>
using NtResult = std::expected<T, NtStatus>;

/// A piece of a stream on the volume, in whole clusters.
struct Extent {
  std::uint64_t file_offset = 0;
  std::optional<std::uint64_t> volume_offset{};  ///< nothing: a hole, no clusters
  std::uint64_t length = 0;
  bool operator==(const Extent&) const = default;
};

/// What decides whether a stream can be offloaded (MS-FSA 2.1.5.10.20, 2.1.5.10.21).
struct StreamKind {
  bool directory = false;
  bool metadata = false;  ///< a stream of the file system's own: $MFT, $Bitmap, $Secure:$SDS
  bool sparse = false;    ///< marked so, whether it has holes or not
  bool compressed = false;
  bool encrypted = false;
  bool resident = false;      ///< inside its file record: no clusters
  bool deduplicated = false;  ///< IO_REPARSE_TAG_DEDUP
  bool transacted = false;    ///< $TXF_DATA
  bool operator==(const StreamKind&) const = default;
};

struct StreamSizes {
  std::uint64_t end_of_file = 0;
  /// At most end_of_file; what follows reads as zeros. Where it ends inside a sector and before the end of the file,
  /// the rest of that sector is zeros on the disk too: an offload read takes whole sectors.
  std::uint64_t valid_data_length = 0;
  std::uint64_t allocation = 0;  ///< of a stream with clusters: their bytes, without holes
};

/// FILE_ATTRIBUTE_* (MS-FSCC 2.6).
enum FileAttribute : std::uint32_t {
  kFileAttributeReadonly = 0x1,
  kFileAttributeHidden = 0x2,
  kFileAttributeSystem = 0x4,
  kFileAttributeArchive = 0x20,
  kFileAttributeNormal = 0x80,
  kFileAttributeTemporary = 0x100,
  kFileAttributeSparseFile = 0x200,
  kFileAttributeReparsePoint = 0x400,
  kFileAttributeCompressed = 0x800,
  kFileAttributeOffline = 0x1000,
  kFileAttributeNotContentIndexed = 0x2000,
  kFileAttributeEncrypted = 0x4000,
};

/// FILETIME (MS-DTYP 2.3.3): 100 ns since 1601.
inline constexpr std::uint64_t kFileTimeTicksPerSecond = 10'000'000;
inline constexpr std::uint64_t kSecondsFrom1601To1970 = 11'644'473'600;

/// FILE_BASIC_INFORMATION (MS-FSCC 2.4.7).
struct BasicInformation {
  std::uint64_t creation_time = 0;
  std::uint64_t last_access_time = 0;
  std::uint64_t last_write_time = 0;
  std::uint64_t change_time = 0;
  std::uint32_t attributes = 0;  ///< of FileAttribute
};

/// One data stream of one file, or a directory. All that have it open share the object.
class FileStream {
 public:
  virtual ~FileStream() = default;

  /// Of the file the stream belongs to; no other file of the volume has it, nor one that takes its place later
  /// (FILE_INTERNAL_INFORMATION, MS-FSCC 2.4.27).
  virtual std::uint64_t file_number() const = 0;
  virtual StreamKind kind() const = 0;
  virtual StreamSizes sizes() const = 0;
  /// Those that hold [offset, offset + length), in file order, cut to that range rounded out to clusters, and to the
  /// end of the last cluster or hole. Empty for a resident stream.
  virtual NtResult<std::vector<Extent>> extents(std::uint64_t offset, std::uint64_t length) = 0;

  /// As many bytes as there are before end of file; beyond the valid data length they are zeros. Holes, compressed and
  /// resident streams are read as a user would see them.
  virtual NtResult<std::size_t> read(std::uint64_t offset, base::MutableBytes out) = 0;
  /// Grows the stream when needed; bytes between the old valid data length and `offset` become zeros.
  virtual NtStatus write(std::uint64_t offset, base::Bytes data) = 0;
  /// SetEndOfFile: growing allocates clusters (never sparse) and leaves the valid data length.
  virtual NtStatus set_end_of_file(std::uint64_t length) = 0;
  /// Raises it in place after an offload write; allocates nothing, updates the times, and has been given to the
  /// disk when it returns; the disk may hold it in its cache until flush(). Never above end_of_file.
  virtual NtStatus set_valid_data_length(std::uint64_t length) = 0;

  virtual BasicInformation basic_information() const = 0;
  virtual NtStatus set_basic_information(const BasicInformation& information) = 0;
  /// Names of the file's data streams; the unnamed one is "".
  virtual NtResult<std::vector<std::string>> stream_names() const = 0;
  /// Deletes the file, or the named stream. The object is good for nothing afterwards.
  virtual NtStatus remove() = 0;
  /// Everything known of the stream's metadata is on the disk.
  virtual NtStatus flush() = 0;
};

/// Which stream of which file: UTF-8, "/" between names, no leading "/"; an empty path is the root directory.
struct StreamName {
  std::string path;
  std::string stream{};  ///< empty: the unnamed data stream, or the directory
};

/// FILE_OPEN, FILE_CREATE, FILE_OPEN_IF, FILE_OVERWRITE_IF (MS-FSCC, NtCreateFile's CreateDisposition).
enum class Disposition : std::uint8_t {
  open,    ///< OBJECT_NAME_NOT_FOUND when there is none
  create,  ///< OBJECT_NAME_COLLISION when there is one
  open_or_create,
  overwrite_or_create,  ///< cut to no bytes; no longer sparse, compressed or encrypted
};

struct DirectoryEntry {
  std::string name;
  bool directory = false;
  StreamSizes sizes{};
  BasicInformation basic{};
  NtStatus status = NtStatus::success;  ///< of reading the file's record; else only the name is known
};

class FileSystem {
 public:
  struct Information {
    std::string_view name;  ///< "NTFS"
    std::uint64_t serial = 0;
    std::string label{};
    std::uint32_t sector_length = 0;
    std::uint32_t cluster_length = 0;
    std::uint64_t maximum_file_size = 0;
    std::uint64_t free_bytes = 0;
    bool read_only = false;
  };

  virtual ~FileSystem() = default;  ///< unmounts, unless that was done

  virtual Information information() const = 0;
  /// STATUS_OBJECT_NAME_NOT_FOUND, OBJECT_PATH_NOT_FOUND, OBJECT_NAME_INVALID, OBJECT_NAME_COLLISION,
  /// FILE_IS_A_DIRECTORY, DISK_FULL, MEDIA_WRITE_PROTECTED, FILE_CORRUPT_ERROR, or the device's.
  virtual NtResult<std::shared_ptr<FileStream>> open(const StreamName& name, Disposition disposition) = 0;
  /// A file that cannot be read is listed, with its status.
  virtual NtResult<std::vector<DirectoryEntry>> list(std::string_view path) = 0;
  /// STATUS_OBJECT_NAME_COLLISION when something of that name is there.
  virtual NtStatus create_directory(std::string_view path) = 0;
  virtual NtStatus flush() = 0;
  /// Writes what is left and lets go of the volume; streams answer VOLUME_DISMOUNTED from now on.
  virtual NtStatus unmount() = 0;
  /// Lets go without another write: the volume is gone, or no longer ours.
  virtual void abandon() = 0;
  /// Whether the volume on the device is still the one that was mounted (boot sector's serial number).
  virtual NtResult<bool> still_there() = 0;
};

}  // namespace host
