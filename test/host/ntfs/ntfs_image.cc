// SPDX-License-Identifier: GPL-2.0-or-later
#include "test/host/ntfs/ntfs_image.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <stdexcept>
#include <utility>

#include "host/ntfs/libntfs.h"
#include "host/ntfs/names.h"

extern "C" {
#include <ntfs-3g/lcnalloc.h>
#include <ntfs-3g/reparse.h>
}

namespace test {

namespace {

using host::ntfs::DiskName;
using host::ntfs::to_disk;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error("ntfs_image: " + what + (errno != 0 ? std::string(": ") + std::strerror(errno) : ""));
}
void require(bool good, const std::string& what) {
  if (!good) fail(what);
}

/// Runs a program with `input` on its standard input; its output goes nowhere.
void run(std::vector<std::string> words, const std::string& input = "") {
  std::array<int, 2> pipe_ends{};
  require(pipe(pipe_ends.data()) == 0, "pipe");
  const pid_t child = fork();
  require(child >= 0, "fork");
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(pipe_ends[0], 0);
    dup2(nowhere, 1);
    dup2(nowhere, 2);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  close(pipe_ends[0]);
  const bool written = write(pipe_ends[1], input.data(), input.size()) == static_cast<ssize_t>(input.size());
  close(pipe_ends[1]);
  int status = 0;
  waitpid(child, &status, 0);
  errno = 0;
  require(written && WIFEXITED(status) && WEXITSTATUS(status) == 0, words[0] + " failed");
}

void make_empty_file(const std::string& path, std::uint64_t size) {
  {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
  }
  std::filesystem::resize_file(path, size);
}

/// An MFT record opened for a while.
class OpenInode {
 public:
  explicit OpenInode(ntfs_inode* inode) : inode_(inode) {}
  ~OpenInode() {
    if (inode_ != nullptr) ntfs_inode_close(inode_);
  }
  OpenInode(const OpenInode&) = delete;
  OpenInode& operator=(const OpenInode&) = delete;
  operator ntfs_inode*() const { return inode_; }
  ntfs_inode* operator->() const { return inode_; }
  ntfs_inode* release() { return std::exchange(inode_, nullptr); }

 private:
  ntfs_inode* inode_;
};

struct CloseAttribute {
  void operator()(ntfs_attr* attribute) const { ntfs_attr_close(attribute); }
};
using OpenAttribute = std::unique_ptr<ntfs_attr, CloseAttribute>;

class Builder {
 public:
  Builder(const NtfsImage& image, const std::string& volume_path) : image_(image) {
    ntfs_log_set_handler(ntfs_log_handler_null);
    volume_ = ntfs_mount(volume_path.c_str(), NTFS_MNT_NONE);
    require(volume_ != nullptr, "mount");
  }
  ~Builder() {
    if (volume_ != nullptr) ntfs_umount(volume_, FALSE);
  }
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  std::vector<NtfsFileMade> build() {
    for (const NtfsFile& file : image_.files) {
      if (file.kind == NtfsFile::Kind::directory)
        make_directory(file);
      else
        make_file(file);
    }
    for (runlist* blocker : blockers_) {
      ntfs_cluster_free_from_rl(volume_, blocker);
      std::free(blocker);  // NOLINT: the library's malloc
    }
    std::vector<NtfsFileMade> made;
    for (const NtfsFile& file : image_.files) made.push_back(describe(file));
    const int result = ntfs_umount(std::exchange(volume_, nullptr), FALSE);
    require(result == 0, "unmount");
    return made;
  }

 private:
  struct Path {
    std::vector<std::string> names;
    std::string stream;
  };
  static Path split(const std::string& text) {
    Path path;
    const std::size_t colon = text.find(':');
    if (colon != std::string::npos) path.stream = text.substr(colon + 1);
    std::string rest = text.substr(0, colon);
    while (!rest.empty()) {
      const std::size_t slash = rest.find('/');
      path.names.push_back(rest.substr(0, slash));
      rest = slash == std::string::npos ? "" : rest.substr(slash + 1);
    }
    require(!path.names.empty(), "a file needs a name");
    return path;
  }

  /// The child of that name, made when it is not there. One inode is open at a time but for the directory.
  MFT_REF child(MFT_REF directory, const std::string& text, mode_t type) {
    const DiskName name = to_disk(text);
    OpenInode parent(ntfs_inode_open(volume_, directory));
    require(parent != nullptr, "open directory above " + text);
    const u64 found = ntfs_inode_lookup_by_name(parent, name.data(), static_cast<int>(name.size()));
    if (found != static_cast<u64>(-1)) return found;
    ntfs_inode* made = ntfs_create(parent, 0, name.data(), static_cast<u8>(name.size()), type);
    require(made != nullptr, "create " + text);
    const MFT_REF reference = MK_MREF(made->mft_no, le16_to_cpu(made->mrec->sequence_number));
    require(ntfs_inode_close_in_dir(made, parent) == 0, "close " + text);
    return reference;
  }

  MFT_REF place(const Path& path, mode_t type) {
    MFT_REF at = FILE_root;
    for (std::size_t i = 0; i < path.names.size(); ++i)
      at = child(at, path.names[i], i + 1 < path.names.size() ? S_IFDIR : type);
    return at;
  }

  void make_directory(const NtfsFile& file) {
    const MFT_REF directory = place(split(file.path), S_IFDIR);
    for (unsigned i = 0; i < file.children; ++i) {
      std::string name = std::to_string(i);
      name.insert(0, 5 - std::min<std::size_t>(5, name.size()), '0');
      child(directory, name, S_IFREG);
    }
  }

  OpenAttribute open_data(ntfs_inode* inode, DiskName& name) {
    return OpenAttribute(
        ntfs_attr_open(inode, AT_DATA, name.empty() ? AT_UNNAMED : name.data(), static_cast<u32>(name.size())));
  }

  void make_file(const NtfsFile& file) {
    const Path path = split(file.path);
    OpenInode inode(ntfs_inode_open(volume_, place(path, S_IFREG)));
    require(inode != nullptr, "open " + file.path);
    DiskName stream = to_disk(path.stream);
    if (!stream.empty())
      require(ntfs_attr_add(inode, AT_DATA, stream.data(), static_cast<u8>(stream.size()), nullptr, 0) == 0,
              "add stream " + file.path);
    if (file.kind == NtfsFile::Kind::compressed) set_file_flag(inode, FILE_ATTR_COMPRESSED);
    if (file.kind == NtfsFile::Kind::sparse) set_file_flag(inode, FILE_ATTR_SPARSE_FILE);
    {
      OpenAttribute data = open_data(inode, stream);
      require(data != nullptr, "open data of " + file.path);
      fill(file, data.get());
    }
    mark(file, inode);
    ntfs_inode_mark_dirty(inode);
    NInoFileNameSetDirty(static_cast<ntfs_inode*>(inode));
    require(ntfs_inode_close(inode.release()) == 0, "close " + file.path);
  }

  static void set_file_flag(ntfs_inode* inode, FILE_ATTR_FLAGS flag) {
    inode->flags = static_cast<FILE_ATTR_FLAGS>(inode->flags | flag);
    NInoFileNameSetDirty(inode);
    ntfs_inode_mark_dirty(inode);
  }

  void write(ntfs_attr* data, const std::vector<std::uint8_t>& content, std::size_t from, std::size_t to) {
    require(ntfs_attr_pwrite(data, static_cast<s64>(from), static_cast<s64>(to - from), content.data() + from) ==
                static_cast<s64>(to - from),
            "write");
  }

  void fill(const NtfsFile& file, ntfs_attr* data) {
    const auto content = ntfs_content(image_.seed, file);
    const std::size_t valid = std::min<std::size_t>(file.valid_data_length.value_or(content.size()), content.size());
    // A stream is what its file is, as NTFS has it.
    const bool compressed = (data->ni->flags & FILE_ATTR_COMPRESSED) != 0;
    require(!file.valid_data_length || !(compressed || file.kind == NtfsFile::Kind::sparse),
            "a valid data length for compressed or sparse " + file.path);
    if (compressed) {
      if (!content.empty()) write(data, content, 0, content.size());
      require(NAttrNonResident(data) == 0 || ntfs_attr_pclose(data) == 0, "close compressed");
      return;
    }
    if (file.kind == NtfsFile::Kind::sparse) {
      require(ntfs_attr_truncate(data, static_cast<s64>(content.size())) == 0, "make sparse");
      const std::size_t quarter = content.size() / 4;
      write(data, content, 0, quarter);
      write(data, content, content.size() - quarter, content.size());
      return;
    }
    grow(data, content.size(), file.runs);
    if (valid > 0) write(data, content, 0, valid);
  }

  /// In pieces, the cluster after each taken away so that the next has to lie elsewhere.
  void grow(ntfs_attr* data, std::size_t size, unsigned runs) {
    const std::size_t cluster = image_.cluster_length;
    const std::size_t clusters = (size + cluster - 1) / cluster;
    const std::size_t pieces = std::max<std::size_t>(1, std::min<std::size_t>(runs, clusters));
    for (std::size_t i = 1; i <= pieces; ++i) {
      const std::size_t end = i == pieces ? size : clusters * i / pieces * cluster;
      require(ntfs_attr_truncate_solid(data, static_cast<s64>(end)) == 0, "allocate");
      if (i == pieces || NAttrNonResident(data) == 0) continue;
      require(ntfs_attr_map_whole_runlist(data) == 0, "map runs");
      const runlist_element* last = data->rl;
      while (last[1].length > 0) ++last;
      runlist* blocker = ntfs_cluster_alloc(volume_, 0, 1, last->lcn + last->length, DATA_ZONE);
      require(blocker != nullptr, "allocate between pieces");
      blockers_.push_back(blocker);
    }
  }

  void mark(const NtfsFile& file, ntfs_inode* inode) {
    if (file.kind == NtfsFile::Kind::encrypted) {
      require(ntfs_attr_set_flags(inode, AT_DATA, AT_UNNAMED, 0, ATTR_IS_ENCRYPTED, ATTR_IS_ENCRYPTED) == 0,
              "mark encrypted");
      set_file_flag(inode, FILE_ATTR_ENCRYPTED);
    }
    if (file.kind == NtfsFile::Kind::deduplicated) {
      constexpr std::array<char, 24> kDedup = {0x13, 0, 0, static_cast<char>(0x80), 16};  // tag, length of the data
      require(ntfs_set_ntfs_reparse_data(inode, kDedup.data(), kDedup.size(), 0) == 0, "mark deduplicated");
    }
    if (file.kind == NtfsFile::Kind::transacted) {
      DiskName name = to_disk("$TXF_DATA");
      std::array<u8, 56> value{};
      require(ntfs_attr_add(inode, AT_LOGGED_UTILITY_STREAM, name.data(), static_cast<u8>(name.size()), value.data(),
                            value.size()) == 0,
              "mark transacted");
    }
  }

  NtfsFileMade describe(const NtfsFile& file) {
    NtfsFileMade made{.file = file};
    if (file.kind == NtfsFile::Kind::directory) return made;
    const Path path = split(file.path);
    OpenInode inode(ntfs_inode_open(volume_, place(path, S_IFREG)));
    require(inode != nullptr, "open again " + file.path);
    DiskName stream = to_disk(path.stream);
    OpenAttribute data = open_data(inode, stream);
    require(data != nullptr, "open data again of " + file.path);
    require(static_cast<std::uint64_t>(data->data_size) == file.size, "give its size to " + file.path);
    made.resident = NAttrNonResident(data.get()) == 0;
    made.valid_data_length = static_cast<std::uint64_t>(data->initialized_size);
    auto content = ntfs_content(image_.seed, file);
    // A file that was resident at first may have zeros as valid data behind what was written.
    const std::uint64_t written = std::min<std::uint64_t>(
        {made.valid_data_length, file.valid_data_length.value_or(content.size()), content.size()});
    std::fill(content.begin() + static_cast<std::ptrdiff_t>(written), content.end(), std::uint8_t{0});
    made.sha256 = sha256_hex(content);
    if (made.resident) return made;
    require(ntfs_attr_map_whole_runlist(data.get()) == 0, "map runs again");
    for (const runlist_element* run = data->rl; run->length > 0; ++run) {
      const auto bytes = [&](s64 clusters) { return static_cast<std::uint64_t>(clusters) * image_.cluster_length; };
      NtfsRun one{.file_offset = bytes(run->vcn), .length = bytes(run->length)};
      if (run->lcn >= 0) one.volume_offset = bytes(run->lcn);
      made.runs.push_back(one);
    }
    return made;
  }

  const NtfsImage& image_;
  ntfs_volume* volume_ = nullptr;
  std::vector<runlist*> blockers_;
};

/// Writes the table with fdisk and says where its one partition lies.
void partition(const NtfsImage& image, NtfsImageMade& made) {
  constexpr std::uint64_t kFirst = 1 << 20, kBehind = 1 << 20;
  require(image.size > kFirst + kBehind, "too small for a partition table");
  made.volume_offset = kFirst;
  made.volume_length = image.size - kFirst - kBehind;
  const std::string first = std::to_string(made.volume_offset / image.sector_length);
  const std::string last = std::to_string((made.volume_offset + made.volume_length) / image.sector_length - 1);
  const bool gpt = image.table == NtfsImage::Table::gpt;
  const std::string commands =
      gpt ? "g\nn\n1\n" + first + "\n" + last + "\nt\n11\nw\n" : "o\nn\np\n1\n" + first + "\n" + last + "\nt\n7\nw\n";
  run({"fdisk", "-b", std::to_string(image.sector_length), image.path}, commands);
}

/// Copies what is not zero, so that the image stays sparse.
void copy_into(const std::string& volume_path, const std::string& image_path, std::uint64_t offset) {
  std::ifstream from(volume_path, std::ios::binary);
  std::fstream to(image_path, std::ios::binary | std::ios::in | std::ios::out);
  std::vector<char> piece(64 << 10);
  for (std::uint64_t at = offset; from; at += piece.size()) {
    from.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    const auto count = static_cast<std::size_t>(from.gcount());
    if (std::all_of(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(count), [](char c) { return c == 0; }))
      continue;
    to.seekp(static_cast<std::streamoff>(at));
    to.write(piece.data(), static_cast<std::streamsize>(count));
  }
  errno = 0;
  require(to.good(), "copy the volume into the image");
}

}  // namespace

std::vector<std::uint8_t> ntfs_content(std::uint64_t seed, const NtfsFile& file) {
  std::uint64_t hash = 14695981039346656037ull ^ seed;  // FNV-1a
  for (const char c : file.path) hash = (hash ^ static_cast<std::uint8_t>(c)) * 1099511628211ull;
  std::mt19937_64 random(hash);
  std::vector<std::uint8_t> content(static_cast<std::size_t>(file.size));
  for (std::size_t i = 0; i < content.size(); i += 8) {
    const std::uint64_t word = random();
    for (std::size_t j = i; j < std::min(i + 8, content.size()); ++j)
      content[j] = static_cast<std::uint8_t>(word >> (8 * (j - i)));
  }
  constexpr std::size_t kBlock = 4096, kRepeated = 64;
  if (file.kind == NtfsFile::Kind::compressed)
    for (std::size_t i = 0; i < content.size(); ++i)
      if (i % kBlock >= kRepeated) content[i] = content[i - kRepeated];
  if (file.kind == NtfsFile::Kind::sparse) {
    const auto quarter = static_cast<std::ptrdiff_t>(content.size() / 4);
    std::fill(content.begin() + quarter, content.end() - quarter, std::uint8_t{0});
  }
  return content;
}

std::string sha256_hex(const std::vector<std::uint8_t>& bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  require(EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1, "SHA-256");
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < length; ++i) {
    text += kDigits[digest[i] >> 4];
    text += kDigits[digest[i] & 15];
  }
  return text;
}

NtfsImageMade make_ntfs_image(const NtfsImage& image) {
  make_empty_file(image.path, image.size);
  NtfsImageMade made{.volume_offset = 0, .volume_length = image.size};
  const bool partitioned = image.table != NtfsImage::Table::none;
  if (partitioned) partition(image, made);
  const std::string volume_path = partitioned ? image.path + ".volume" : image.path;
  if (partitioned) make_empty_file(volume_path, made.volume_length);
  run({"mkntfs", "-F", "-Q", "-q", "-s", std::to_string(image.sector_length), "-c",
       std::to_string(image.cluster_length), "-p", std::to_string(made.volume_offset / image.sector_length), "-H",
       "255", "-S", "63", "-L", image.label, volume_path});
  made.files = Builder(image, volume_path).build();
  if (partitioned) {
    copy_into(volume_path, image.path, made.volume_offset);
    std::filesystem::remove(volume_path);
  }
  return made;
}

bool dirty_flag(const std::string& volume_path) {
  ntfs_log_set_handler(ntfs_log_handler_null);
  ntfs_volume* volume = ntfs_mount(volume_path.c_str(), NTFS_MNT_RDONLY);
  require(volume != nullptr, "mount");
  const bool dirty = (volume->flags & VOLUME_IS_DIRTY) != 0;
  ntfs_umount(volume, FALSE);
  return dirty;
}

std::uint64_t parse_size(const std::string& text) {
  std::size_t used = 0;
  std::uint64_t number = std::stoull(text, &used);
  const std::string unit = text.substr(used);
  if (unit == "K") number <<= 10;
  if (unit == "M") number <<= 20;
  if (unit == "G") number <<= 30;
  if (!unit.empty() && unit != "K" && unit != "M" && unit != "G") throw std::invalid_argument("no size: " + text);
  return number;
}

NtfsFile parse_ntfs_file(const std::string& text) {
  constexpr std::array<std::string_view, 7> kKinds = {"plain",        "compressed", "sparse",   "encrypted",
                                                      "deduplicated", "transacted", "directory"};
  NtfsFile file;
  std::size_t at = text.find(',');
  file.path = text.substr(0, at);
  while (at != std::string::npos) {
    const std::size_t end = text.find(',', at + 1);
    const std::string part = text.substr(at + 1, end == std::string::npos ? end : end - at - 1);
    at = end;
    const std::size_t equals = part.find('=');
    const std::string key = part.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : part.substr(equals + 1);
    if (key == "size")
      file.size = parse_size(value);
    else if (key == "vdl")
      file.valid_data_length = parse_size(value);
    else if (key == "runs")
      file.runs = static_cast<unsigned>(std::stoul(value));
    else if (key == "children")
      file.children = static_cast<unsigned>(std::stoul(value));
    else if (auto kind = std::ranges::find(kKinds, value); key == "kind" && kind != kKinds.end())
      file.kind = static_cast<NtfsFile::Kind>(kind - kKinds.begin());
    else
      throw std::invalid_argument("not understood: " + part);
  }
  return file;
}

}  // namespace test
