// SPDX-License-Identifier: GPL-2.0-or-later
// ntfs_image: a disk image with NTFS for tests. --help says how.
#include <array>
#include <boost/json.hpp>
#include <cstring>
#include <iostream>
#include <stdexcept>

#include "test/host/ntfs/ntfs_image.h"

namespace {

constexpr const char* kHelp =
    R"(ntfs_image IMAGE [--size N] [--sector 512|4096] [--cluster N] [--table none|mbr|gpt] [--label TEXT] [--seed N]
           [--file PATH[,size=N][,vdl=N][,runs=N][,kind=KIND][,children=N]]...

Makes the disk image IMAGE (64M unless --size says otherwise) with one NTFS volume: over all of it, or in the one
partition of an MBR or GPT, which begins at 1 MiB and ends 1 MiB before the end. N may end in K, M or G. --sector is
the logical block length of the disk (512), --cluster a power of two from the sector length to 65536 (4096).

--file makes a file and the directories above it, and with PATH "a/b:s" the alternate stream s of a/b. Files are made
in the order given; their content depends on seed and PATH only.
  size=N      length; 0 unless given. Small files are resident, as on Windows.
  vdl=N       valid data length; what follows reads as zeros
  runs=N      allocated in at least N pieces
  kind=KIND   plain (default), compressed (clusters up to 4096 only), sparse (holes in the second and third quarter),
              encrypted, deduplicated, transacted (these three are marked so, over plain data), directory; a stream
              of a compressed file is compressed, and has then neither runs nor a valid data length of its own
  children=N  a directory's: N empty files 00000, 00001, ...

Prints what it made as JSON: path, sector, cluster, volume_offset and volume_length in the image, seed, and for each
file path, kind, size, vdl, resident, runs as [file offset, volume offset or null, length] in bytes, and sha256 of what
a user reads (a directory: path, kind, children). Needs mkntfs (ntfs-3g) and, for a table, fdisk.
)";

constexpr std::array<const char*, 7> kKinds = {"plain",        "compressed", "sparse",   "encrypted",
                                               "deduplicated", "transacted", "directory"};

boost::json::object describe(const test::NtfsFileMade& made) {
  boost::json::object object;
  object["path"] = made.file.path;
  object["kind"] = kKinds[static_cast<std::size_t>(made.file.kind)];
  if (made.file.kind == test::NtfsFile::Kind::directory) {
    object["children"] = made.file.children;
    return object;
  }
  object["size"] = made.file.size;
  object["vdl"] = made.valid_data_length;
  object["resident"] = made.resident;
  boost::json::array runs;
  for (const test::NtfsRun& run : made.runs)
    runs.push_back({run.file_offset, run.volume_offset ? boost::json::value(*run.volume_offset) : nullptr, run.length});
  object["runs"] = std::move(runs);
  object["sha256"] = made.sha256;
  return object;
}

test::NtfsImage parse(int count, char** words) {
  test::NtfsImage image;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word.empty() || word[0] != '-') {
      image.path = word;
      continue;
    }
    if (i + 1 == count) throw std::invalid_argument(word + " needs a value");
    const std::string value = words[++i];
    if (word == "--size")
      image.size = test::parse_size(value);
    else if (word == "--sector")
      image.sector_length = static_cast<std::uint32_t>(test::parse_size(value));
    else if (word == "--cluster")
      image.cluster_length = static_cast<std::uint32_t>(test::parse_size(value));
    else if (word == "--label")
      image.label = value;
    else if (word == "--seed")
      image.seed = std::stoull(value);
    else if (word == "--file")
      image.files.push_back(test::parse_ntfs_file(value));
    else if (word == "--table" && value == "mbr")
      image.table = test::NtfsImage::Table::mbr;
    else if (word == "--table" && value == "gpt")
      image.table = test::NtfsImage::Table::gpt;
    else if (word != "--table" || value != "none")
      throw std::invalid_argument("not understood: " + word + " " + value);
  }
  if (image.path.empty()) throw std::invalid_argument("which image? See --help");
  return image;
}

}  // namespace

int main(int count, char** words) {
  if (count == 2 && std::strcmp(words[1], "--help") == 0) {
    std::cout << kHelp;
    return 0;
  }
  try {
    const test::NtfsImage image = parse(count, words);
    const test::NtfsImageMade made = test::make_ntfs_image(image);
    boost::json::object object;
    object["path"] = image.path;
    object["sector"] = image.sector_length;
    object["cluster"] = image.cluster_length;
    object["volume_offset"] = made.volume_offset;
    object["volume_length"] = made.volume_length;
    object["seed"] = image.seed;
    boost::json::array files;
    for (const test::NtfsFileMade& file : made.files) files.push_back(describe(file));
    object["files"] = std::move(files);
    std::cout << boost::json::serialize(object) << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
