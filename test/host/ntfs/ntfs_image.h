// SPDX-License-Identifier: GPL-2.0-or-later
// Makes disk images with an NTFS volume and files of every sort on it, by mkntfs, fdisk and libntfs-3g itself: nothing
// of host/ is used, so that what host/ reads was written by somebody else. Needs mkntfs, and fdisk for a partition
// table. Errors are exceptions. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace test {

struct NtfsFile {
  enum class Kind : std::uint8_t { plain, compressed, sparse, encrypted, deduplicated, transacted, directory };
  std::string path;  ///< "a/b" or "a/b:stream"; directories above it are made
  Kind kind = Kind::plain;
  std::uint64_t size = 0;
  std::optional<std::uint64_t> valid_data_length{};  ///< nothing: all of it
  unsigned runs = 1;      ///< at least so many pieces on the volume, as far as there are clusters
  unsigned children = 0;  ///< of a directory: files 00000, 00001, ... of a few bytes
};

struct NtfsImage {
  enum class Table : std::uint8_t { none, mbr, gpt };
  std::string path;
  std::uint64_t size = 64ull << 20;
  std::uint32_t sector_length = 512;
  std::uint32_t cluster_length = 4096;
  Table table = Table::none;
  std::string label = "test";
  std::uint64_t seed = 1;
  std::vector<NtfsFile> files{};
};

struct NtfsRun {
  std::uint64_t file_offset = 0;
  std::optional<std::uint64_t> volume_offset{};  ///< nothing: a hole
  std::uint64_t length = 0;
};

struct NtfsFileMade {
  NtfsFile file;
  bool resident = false;
  std::uint64_t valid_data_length = 0;
  std::vector<NtfsRun> runs{};
  std::string sha256{};  ///< of what a user reads: zeros from the valid data length on
};

struct NtfsImageMade {
  std::uint64_t volume_offset = 0;  ///< of the volume in the image
  std::uint64_t volume_length = 0;
  std::vector<NtfsFileMade> files{};
};

/// What a file holds before it is cut to its valid data length: depends on seed and path only. Of compressed files
/// every 4 KiB repeat one piece of 64 bytes; of sparse files the second and third quarter are holes.
std::vector<std::uint8_t> ntfs_content(std::uint64_t seed, const NtfsFile& file);

std::string sha256_hex(const std::vector<std::uint8_t>& bytes);

NtfsImageMade make_ntfs_image(const NtfsImage& image);

/// Whether a volume in a file is marked for chkdsk (VOLUME_IS_DIRTY).
bool dirty_flag(const std::string& volume_path);

/// "PATH[,size=N][,vdl=N][,runs=N][,kind=KIND][,children=N]"; N with K, M or G.
NtfsFile parse_ntfs_file(const std::string& text);
std::uint64_t parse_size(const std::string& text);

}  // namespace test
