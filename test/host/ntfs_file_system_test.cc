// FileSystem on NTFS: what host/file_system.h promises, on volumes that mkntfs and libntfs-3g made, over sectors of 512
// and 4096 bytes and several cluster lengths. What is written is looked at by a new mount, and by ntfsfix.
//
// Not tested, and why: files encrypted, deduplicated or transacted by Windows: they are marked so, nobody but Windows
// can make them. Times to the second: the library takes them from the system's clock.
#include "host/file_system.h"

#include <doctest/doctest.h>

#include "test/host/ntfs_volume.h"

namespace {

using host::Disposition;
using host::NtStatus;
using test::LeaksOfTheLibrary;
using test::NtfsFile;
using test::NtfsImage;
using test::NtfsVolume;
using test::Octets;

using Kind = NtfsFile::Kind;

constexpr std::uint64_t KiB = 1 << 10;
constexpr std::uint64_t MiB = 1 << 20;

struct Geometry {
  std::uint32_t sector, cluster;
};
constexpr Geometry kGeometries[] = {{512, 512}, {512, 4096}, {512, 65536}, {4096, 4096}, {4096, 65536}};

std::vector<NtfsFile> files_of_each_sort(std::uint32_t cluster) {
  std::vector<NtfsFile> files = {
      {.path = "plain", .size = 1 * MiB},
      {.path = "odd", .size = 100001},
      {.path = "deep/er/file", .size = 64 * KiB},
      {.path = "pieces", .size = 2 * MiB, .runs = 9},
      {.path = "partly", .size = 1 * MiB, .valid_data_length = 307300},
      {.path = "nothing valid", .size = 1 * MiB, .valid_data_length = 0},
      {.path = "tiny", .size = 100},
      {.path = "small", .size = 600},
      {.path = "empty", .size = 0},
      {.path = "plain:stream", .size = 200 * KiB},
      {.path = "plain:small", .size = 20},
      {.path = "holes", .kind = Kind::sparse, .size = 1 * MiB},
      {.path = "marked", .kind = Kind::deduplicated, .size = 64 * KiB},
      {.path = "txf", .kind = Kind::transacted, .size = 64 * KiB},
      {.path = "\xC3\x9Cml\xC3\xA4ut \xF0\x9F\x98\x80", .size = 3000},
      {.path = "many", .kind = Kind::directory, .children = 300},
  };
  if (cluster <= 4096) files.push_back({.path = "packed", .kind = Kind::compressed, .size = 1 * MiB});
  if (cluster == 512) files.push_back({.path = "splinters", .size = 1 * MiB, .runs = 600});
  return files;
}

std::pair<std::string, std::string> split(const std::string& path) {
  const auto colon = path.find(':');
  return {path.substr(0, colon), colon == std::string::npos ? "" : path.substr(colon + 1)};
}

Octets pattern(std::size_t size, std::uint8_t first) {
  Octets bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(first + i * 7 + i / 256);
  return bytes;
}

void check_content(NtfsVolume& volume, const test::NtfsFileMade& made) {
  CAPTURE(made.file.path);
  const auto [path, name] = split(made.file.path);
  auto stream = volume.open(path, name);
  CHECK(stream->sizes().end_of_file == made.file.size);
  CHECK(stream->sizes().valid_data_length == made.valid_data_length);
  CHECK(stream->kind().resident == made.resident);
  CHECK(test::sha256_hex(volume.read_all(*stream)) == made.sha256);
  auto extents = stream->extents(0, ~0ull).value();
  REQUIRE(extents.size() == made.runs.size());
  std::uint64_t allocated = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    CHECK(extents[i] == host::Extent{made.runs[i].file_offset, made.runs[i].volume_offset, made.runs[i].length});
    if (extents[i].volume_offset) allocated += extents[i].length;
  }
  if (!made.resident) CHECK(stream->sizes().allocation == allocated);
  if (made.resident || made.file.kind == Kind::compressed) return;
  Octets raw = volume.raw(*stream);
  CHECK(raw.size() == (extents.empty() ? 0 : extents.back().file_offset + extents.back().length));
  raw.resize(static_cast<std::size_t>(made.file.size));
  std::fill(raw.begin() + static_cast<std::ptrdiff_t>(made.valid_data_length), raw.end(), std::uint8_t{0});
  CHECK(test::sha256_hex(raw) == made.sha256);
}

}  // namespace

TEST_SUITE("host/ntfs: reading") {
  TEST_CASE("sizes, extents and bytes of each sort of file are those that were made") {
    for (const Geometry& geometry : kGeometries) {
      CAPTURE(geometry.sector);
      CAPTURE(geometry.cluster);
      NtfsVolume volume({.sector_length = geometry.sector,
                         .cluster_length = geometry.cluster,
                         .files = files_of_each_sort(geometry.cluster)});
      volume.mount(true);
      for (const test::NtfsFileMade& made : volume.made.files)
        if (made.file.kind != Kind::directory) check_content(volume, made);
      CHECK(volume.file_system->list("many").value().size() == 300);
      volume.check();
      CHECK(volume.disk->writes == 0);
    }
  }

  TEST_CASE("in a partition of a GPT or MBR disk everything lies where it should") {
    for (auto table : {NtfsImage::Table::gpt, NtfsImage::Table::mbr})
      for (std::uint32_t sector : {512u, 4096u}) {
        NtfsVolume volume(
            {.sector_length = sector, .table = table, .files = {{.path = "file", .size = MiB, .runs = 3}}});
        volume.mount();
        check_content(volume, volume.made.files[0]);
      }
  }

  TEST_CASE("kinds") {
    NtfsVolume volume({.files = {{.path = "plain", .size = 64 * KiB},
                                 {.path = "tiny", .size = 10},
                                 {.path = "c", .kind = Kind::compressed, .size = 64 * KiB},
                                 {.path = "s", .kind = Kind::sparse, .size = 64 * KiB},
                                 {.path = "e", .kind = Kind::encrypted, .size = 64 * KiB},
                                 {.path = "d", .kind = Kind::deduplicated, .size = 64 * KiB},
                                 {.path = "t", .kind = Kind::transacted, .size = 64 * KiB},
                                 {.path = "dir", .kind = Kind::directory}}});
    volume.mount();
    using host::StreamKind;
    CHECK(volume.open("plain")->kind() == StreamKind{});
    CHECK(volume.open("tiny")->kind() == StreamKind{.resident = true});
    CHECK(volume.open("c")->kind() == StreamKind{.compressed = true});
    CHECK(volume.open("s")->kind() == StreamKind{.sparse = true});
    CHECK(volume.open("e")->kind() == StreamKind{.encrypted = true});
    CHECK(volume.open("d")->kind() == StreamKind{.deduplicated = true});
    CHECK(volume.open("t")->kind() == StreamKind{.transacted = true});
    CHECK(volume.open("dir")->kind() == StreamKind{.directory = true});
    CHECK(volume.open("")->kind().directory);
    for (const char* name : {"$MFT", "$Bitmap", "$LogFile", "$MFTMirr", "$Boot"}) {
      CAPTURE(name);
      CHECK(volume.open(name)->kind().metadata);
      CHECK(volume.open(name)->write(0, Octets(512)) == NtStatus::access_denied);
      CHECK(volume.open(name)->set_end_of_file(0) == NtStatus::access_denied);
      CHECK(volume.open(name)->remove() == NtStatus::access_denied);
    }
    CHECK(volume.open("$Secure", "$SDS")->kind().metadata);
    CHECK(volume.open("$Extend")->kind().directory);
    Octets byte(1);
    CHECK(volume.open("dir")->read(0, byte).error() == NtStatus::invalid_device_request);
    CHECK(volume.open("e")->read(0, byte).error() == NtStatus::access_denied);
  }

  TEST_CASE("extents are cut to the range asked for, rounded out to clusters") {
    NtfsVolume volume({.files = {{.path = "f", .size = 64 * KiB, .runs = 4}}});
    volume.mount(true);
    auto f = volume.open("f");
    const auto all = f->extents(0, 64 * KiB).value();
    REQUIRE(all.size() == 4);
    const auto some = f->extents(20 * KiB + 1, 14 * KiB).value();  // 20 to 36 KiB
    REQUIRE(some.size() == 2);
    CHECK(some[0] == host::Extent{20 * KiB, *all[1].volume_offset + 4 * KiB, 12 * KiB});
    CHECK(some[1] == host::Extent{32 * KiB, all[2].volume_offset, 4 * KiB});
    CHECK(f->extents(64 * KiB, 4 * KiB).value().empty());
    CHECK(f->extents(~0ull, ~0ull).value().empty());
    CHECK(f->extents(0, 0).value().empty());
    CHECK(f->extents(63 * KiB, ~0ull).value().size() == 1);
  }

  TEST_CASE("reads end at the end of the file") {
    NtfsVolume volume({.files = {{.path = "f", .size = 5000}}});
    volume.mount(true);
    auto f = volume.open("f");
    Octets buffer(1000);
    CHECK(f->read(4500, buffer).value() == 500);
    CHECK(f->read(5000, buffer).value() == 0);
    CHECK(f->read(~0ull, buffer).value() == 0);
  }
}

TEST_SUITE("host/ntfs: names") {
  TEST_CASE("case does not matter, and both opens share one object") {
    NtfsVolume volume({.files = {{.path = "Dir/File.TXT", .size = 5000}, {.path = "Dir/File.TXT:Named", .size = 9}}});
    volume.mount();
    CHECK(volume.open("dir/file.txt") == volume.open("DIR/FILE.txt"));
    CHECK(volume.open("dir/file.txt", "nAMED") == volume.open("dir/file.txt", "Named"));
    CHECK(volume.open("dir/file.txt") != volume.open("dir/file.txt", "Named"));
    CHECK(volume.open("dir/file.txt")->file_number() == volume.open("dir/file.txt", "Named")->file_number());
    CHECK(volume.open("dir/file.txt")->file_number() != volume.open("dir")->file_number());
    CHECK(volume.open("dir") == volume.open("DIR"));
    CHECK(volume.open("Dir/File.TXT")->stream_names().value() == std::vector<std::string>{"", "Named"});
  }

  TEST_CASE("names are listed as they were given, and case still does not matter afterwards") {
    NtfsVolume volume({.files = {{.path = "Dir/FILE.TXT", .size = 5}}});
    volume.mount();
    REQUIRE(volume.file_system->open({"dir/Long Name", ""}, Disposition::create));
    const auto entries = volume.file_system->list("DIR").value();
    REQUIRE(entries.size() == 2);
    CHECK(entries[0].name == "FILE.TXT");
    CHECK(entries[1].name == "Long Name");
    CHECK(volume.open("dir/file.txt") == volume.open("Dir/FILE.TXT"));
    CHECK(volume.file_system->list("").value().front().name == "Dir");
  }

  TEST_CASE("what is not there") {
    NtfsVolume volume({.files = {{.path = "dir/file", .size = 5}}});
    volume.mount();
    const auto error = [&](const char* path, const char* stream = "", Disposition how = Disposition::open) {
      auto opened = volume.file_system->open({path, stream}, how);
      return opened ? NtStatus::success : opened.error();
    };
    CHECK(error("none") == NtStatus::object_name_not_found);
    CHECK(error("none/none") == NtStatus::object_path_not_found);
    CHECK(error("dir/file/none") == NtStatus::object_path_not_found);
    CHECK(error("dir/file", "none") == NtStatus::object_name_not_found);
    CHECK(error("a//b") == NtStatus::object_path_not_found);
    CHECK(error("a*b") == NtStatus::object_name_invalid);
    CHECK(error("..") == NtStatus::object_name_invalid);
    CHECK(error("dir/./file") == NtStatus::object_name_invalid);
    CHECK(error("dir/file", "a:b") == NtStatus::object_name_invalid);
    CHECK(error(std::string(256, 'x').c_str()) == NtStatus::object_name_invalid);
    CHECK(error("dir/file", "", Disposition::create) == NtStatus::object_name_collision);
    CHECK(error("dir", "", Disposition::create) == NtStatus::object_name_collision);
    CHECK(error("dir", "", Disposition::overwrite_or_create) == NtStatus::file_is_a_directory);
    CHECK(error("dir", "stream") == NtStatus::not_supported);
    CHECK(error("$Extend/x", "", Disposition::create) == NtStatus::access_denied);
    CHECK(volume.file_system->list("dir/file").error() == NtStatus::not_a_directory);
    CHECK(volume.file_system->list("none").error() == NtStatus::object_name_not_found);
    CHECK(volume.file_system->create_directory("dir") == NtStatus::object_name_collision);
    CHECK(volume.open("dir")->remove() == NtStatus::directory_not_empty);
    volume.check();
  }

  TEST_CASE("files, streams and directories come, are listed, and go") {
    NtfsVolume volume({});
    auto& file_system = volume.mount();
    const auto free_before = file_system.information().free_bytes;
    CHECK(file_system.create_directory("a") == NtStatus::success);
    for (int i = 0; i < 100; ++i)
      volume.open("a/file " + std::to_string(i), "", Disposition::create)->write(0, pattern(5000, 1));
    volume.open("a/file 7", "extra", Disposition::open_or_create)->write(0, pattern(9000, 2));
    auto entries = file_system.list("a").value();
    CHECK(entries.size() == 100);
    CHECK(entries[0].sizes.end_of_file == 5000);
    CHECK_FALSE(entries[0].directory);
    CHECK(file_system.list("").value().size() == 1);

    volume.mount();
    CHECK(volume.read_all(*volume.open("a/file 7", "extra")) == pattern(9000, 2));
    CHECK(volume.open("a/file 7", "extra")->remove() == NtStatus::success);
    CHECK(volume.open("a/file 7")->stream_names().value().size() == 1);
    auto open = volume.open("a/file 9");
    for (int i = 0; i < 100; ++i) CHECK(volume.open("a/file " + std::to_string(i))->remove() == NtStatus::success);
    CHECK(open->write(0, Octets(1)) == NtStatus::file_deleted);
    CHECK(volume.file_system->list("a").value().empty());
    CHECK(volume.open("a")->remove() == NtStatus::success);
    CHECK(volume.file_system->list("").value().empty());
    CHECK(volume.file_system->information().free_bytes + 512 * KiB > free_before);  // $MFT may have grown
    volume.check();
  }
}

TEST_SUITE("host/ntfs: writing") {
  TEST_CASE("SetEndOfFile allocates, is never sparse, and leaves the valid data length") {
    for (const Geometry& geometry : kGeometries) {
      CAPTURE(geometry.cluster);
      NtfsVolume volume({.sector_length = geometry.sector, .cluster_length = geometry.cluster});
      volume.mount();
      auto f = volume.open("f", "", Disposition::create);
      CHECK(f->set_end_of_file(3 * MiB + 5) == NtStatus::success);
      CHECK(f->sizes().end_of_file == 3 * MiB + 5);
      CHECK(f->sizes().valid_data_length == 0);
      CHECK(f->sizes().allocation == (3 * MiB + 5 + geometry.cluster - 1) / geometry.cluster * geometry.cluster);
      CHECK(f->kind() == host::StreamKind{});
      const auto extents = f->extents(0, ~0ull).value();
      for (const host::Extent& extent : extents) CHECK(extent.volume_offset.has_value());
      CHECK(volume.read_all(*f) == Octets(3 * MiB + 5));

      // As an offload write does it: the array writes the clusters, and then the length is raised.
      const Octets data = pattern(3 * MiB, 3);
      const auto offloaded = f->extents(0, 3 * MiB).value();
      for (const host::Extent& extent : offloaded) {
        const auto piece = base::Bytes(data).subspan(
            extent.file_offset, std::min<std::size_t>(extent.length, data.size() - extent.file_offset));
        CHECK(volume.device->write(*extent.volume_offset, piece) == NtStatus::success);
      }
      CHECK(f->set_valid_data_length(1 * MiB) == NtStatus::success);
      volume.mount();
      f = volume.open("F");
      Octets expected = data;
      std::fill(expected.begin() + MiB, expected.end(), std::uint8_t{0});
      expected.resize(3 * MiB + 5);
      CHECK(volume.read_all(*f) == expected);
      CHECK(f->set_valid_data_length(~0ull) == NtStatus::success);
      CHECK(f->sizes().valid_data_length == 3 * MiB + 5);
      CHECK(f->set_end_of_file(100) == NtStatus::success);
      CHECK(f->sizes().valid_data_length == 100);
      CHECK(f->set_end_of_file(volume.file_system->information().maximum_file_size + 1) == NtStatus::invalid_parameter);
      CHECK(f->set_end_of_file(1ull << 40) == NtStatus::disk_full);
      CHECK(f->sizes().end_of_file == 100);
      volume.check();
    }
  }

  TEST_CASE("the valid data length is raised by one write, on a volume that is clean before and after") {
    NtfsVolume volume({.files = {{.path = "f", .size = MiB, .valid_data_length = 0}, {.path = "r", .size = 100}}});
    volume.mount();
    auto f = volume.open("f");
    const auto before = f->basic_information();
    volume.disk->writes = 0;
    CHECK(f->set_valid_data_length(64 * KiB) == NtStatus::success);
    CHECK(volume.disk->writes == 1);
    CHECK(f->basic_information().last_write_time > before.last_write_time);
    CHECK(volume.open("r")->set_valid_data_length(50) == NtStatus::success);
    CHECK(volume.open("r")->sizes().valid_data_length == 100);
    volume.file_system->abandon();  // as if the host died here
    CHECK_FALSE(volume.marked_dirty());
    volume.mount();
    CHECK(volume.open("f")->sizes().valid_data_length == 64 * KiB);
    CHECK(volume.open("f")->basic_information().last_write_time > before.last_write_time);
    volume.check();
  }

  TEST_CASE("with the length in an extension record it takes two writes") {
    NtfsVolume volume(
        {.cluster_length = 512, .files = {{.path = "f", .size = 2 * MiB, .valid_data_length = 0, .runs = 900}}});
    volume.mount();
    auto f = volume.open("f");
    volume.disk->writes = 0;
    CHECK(f->set_valid_data_length(MiB) == NtStatus::success);
    CHECK(volume.disk->writes <= 2);
    volume.mount();
    CHECK(volume.open("f")->sizes().valid_data_length == MiB);
    volume.check();
  }

  TEST_CASE("beyond a valid data length inside a sector, that sector is zeros on the disk") {
    for (std::uint32_t sector : {512u, 4096u}) {
      NtfsVolume volume({.sector_length = sector, .files = {{.path = "f", .size = 64 * KiB}}});
      volume.mount();
      auto f = volume.open("f");
      CHECK(f->set_end_of_file(10000) == NtStatus::success);
      CHECK(f->set_end_of_file(64 * KiB) == NtStatus::success);
      CHECK(f->sizes().valid_data_length == 10000);
      const Octets raw = volume.raw(*f);
      const std::size_t end = (10000 + sector - 1) / sector * sector;
      CHECK(std::all_of(raw.begin() + 10000, raw.begin() + static_cast<std::ptrdiff_t>(end),
                        [](std::uint8_t byte) { return byte == 0; }));
    }
  }

  TEST_CASE("a resident stream leaves its record when it no longer fits, and others of the file with it") {
    NtfsVolume volume({});
    volume.mount();
    auto f = volume.open("f", "", Disposition::create);
    std::vector<std::shared_ptr<host::FileStream>> others;
    for (int i = 0; i < 4; ++i) {
      others.push_back(volume.open("f", "s" + std::to_string(i), Disposition::create));
      CHECK(others.back()->write(0, pattern(90, static_cast<std::uint8_t>(i))) == NtStatus::success);
    }
    for (std::size_t size = 50; size <= 1200; size += 50) {
      CHECK(f->write(size - 50, pattern(50, static_cast<std::uint8_t>(size))) == NtStatus::success);
      for (std::size_t i = 0; i < others.size(); ++i)
        CHECK(volume.read_all(*others[i]) == pattern(90, static_cast<std::uint8_t>(i)));
    }
    CHECK_FALSE(f->kind().resident);
    volume.mount();
    CHECK(volume.open("f")->sizes().end_of_file == 1200);
    for (std::size_t i = 0; i < others.size(); ++i)
      CHECK(volume.read_all(*volume.open("f", "s" + std::to_string(i))) == pattern(90, static_cast<std::uint8_t>(i)));
    volume.check();
  }

  TEST_CASE("a write far behind the end allocates what lies between and makes it zeros") {
    NtfsVolume volume({});
    volume.mount();
    auto f = volume.open("f", "", Disposition::create);
    CHECK(f->write(300000, pattern(100, 1)) == NtStatus::success);
    CHECK_FALSE(f->kind().sparse);
    Octets expected(300000);
    const Octets tail = pattern(100, 1);
    expected.insert(expected.end(), tail.begin(), tail.end());
    CHECK(volume.read_all(*f) == expected);
    volume.mount();
    CHECK(volume.read_all(*volume.open("f")) == expected);
    volume.check();
  }

  TEST_CASE("compressed and sparse files are written as a user sees them") {
    NtfsVolume volume({.files = {{.path = "c", .kind = Kind::compressed, .size = 300000},
                                 {.path = "s", .kind = Kind::sparse, .size = 300000}}});
    for (const char* name : {"c", "s"}) {
      volume.mount();
      auto f = volume.open(name);
      Octets expected = volume.read_all(*f);
      const Octets piece = pattern(50000, 9);
      for (std::size_t at : {100000u, 280000u, 400000u}) {
        CHECK(f->write(at, piece) == NtStatus::success);
        expected.resize(std::max(expected.size(), at + piece.size()));
        std::ranges::copy(piece, expected.begin() + static_cast<std::ptrdiff_t>(at));
        CHECK(volume.read_all(*f) == expected);
      }
      CHECK(f->set_end_of_file(123456) == NtStatus::success);
      expected.resize(123456);
      CHECK(f->set_end_of_file(200000) == NtStatus::success);
      expected.resize(200000);
      volume.mount();
      CHECK(volume.read_all(*volume.open(name)) == expected);
    }
    volume.check();
  }

  TEST_CASE("overwriting makes a plain, empty file of any sort") {
    NtfsVolume volume({.files = {{.path = "c", .kind = Kind::compressed, .size = 300000},
                                 {.path = "s", .kind = Kind::sparse, .size = 300000},
                                 {.path = "e", .kind = Kind::encrypted, .size = 300000},
                                 {.path = "p", .size = 300000, .runs = 5},
                                 {.path = "r", .size = 100}}});
    volume.mount();
    for (const char* name : {"c", "s", "e", "p", "r"}) {
      CAPTURE(name);
      auto f = volume.open(name, "", Disposition::overwrite_or_create);
      CHECK(f->kind() == host::StreamKind{.resident = true});
      CHECK(f->sizes().end_of_file == 0);
      CHECK(f->write(0, pattern(100000, 4)) == NtStatus::success);
      CHECK(f->kind() == host::StreamKind{});
    }
    volume.mount();
    for (const char* name : {"c", "s", "e", "p", "r"}) CHECK(volume.read_all(*volume.open(name)) == pattern(100000, 4));
    volume.check();
  }

  TEST_CASE("a full volume: what does not fit changes nothing, and what fits in pieces is found") {
    NtfsVolume volume({.size = 24 * MiB, .cluster_length = 512});
    auto& file_system = volume.mount();
    std::vector<std::string> names;
    NtStatus status = NtStatus::success;
    while (status == NtStatus::success) {
      names.push_back("f" + std::to_string(names.size()));
      auto f = volume.open(names.back(), "", Disposition::create);
      status = f->set_end_of_file(32 * KiB);
      if (status != NtStatus::success) CHECK(f->sizes().end_of_file == 0);
    }
    CHECK(status == NtStatus::disk_full);
    for (std::size_t i = 0; i < names.size(); i += 2) CHECK(volume.open(names[i])->remove() == NtStatus::success);
    const auto free = file_system.information().free_bytes;
    CHECK(free > 4 * MiB);
    auto big = volume.open("big", "", Disposition::create);
    CHECK(big->set_end_of_file(free + MiB) == NtStatus::disk_full);
    CHECK(big->sizes().end_of_file == 0);
    CHECK(big->set_end_of_file(free / 4 * 3) == NtStatus::success);
    CHECK(big->extents(0, ~0ull).value().size() > 20);
    volume.check();
  }

  TEST_CASE("times and attributes") {
    NtfsVolume volume({.files = {{.path = "d/f", .size = 5000}}});
    volume.mount();
    const host::BasicInformation wanted{133'000'000'000'000'001, 133'000'000'000'000'002, 133'000'000'000'000'003,
                                        133'000'000'000'000'004, 0x3};
    for (const char* path : {"d/f", "d"}) {
      CHECK(volume.open(path)->set_basic_information(wanted) == NtStatus::success);
      volume.mount();
      const auto read = volume.open(path)->basic_information();
      CHECK(read.creation_time == wanted.creation_time);
      CHECK(read.last_access_time == wanted.last_access_time);
      CHECK(read.last_write_time == wanted.last_write_time);
      CHECK(read.change_time == wanted.change_time);
      CHECK((read.attributes & 0x27) == 0x3);
    }
    CHECK((volume.open("d")->basic_information().attributes & 0x10) != 0);
    CHECK(volume.open("d/f")->set_basic_information({.last_write_time = 5}) == NtStatus::success);
    CHECK(volume.open("d/f")->basic_information().creation_time == wanted.creation_time);
    CHECK(volume.open("d/f")->basic_information().last_write_time == 5);
    CHECK(volume.open("d/f")->write(0, Octets(1)) == NtStatus::success);
    CHECK(volume.open("d/f")->basic_information().last_write_time > 5);
    volume.check();
  }

  TEST_CASE("attributes that nobody has a name for are kept, and mean nothing") {
    NtfsVolume volume({.files = {{.path = "f", .size = 5000}}});
    volume.mount();
    // FileAttributes of the $STANDARD_INFORMATION, which is the first attribute of the record.
    const auto flags = [&, number = volume.open("f")->file_number()] {
      constexpr std::size_t kMft = 4 * 4096;  // where mkntfs puts it
      constexpr std::size_t kRecord = 1024;
      const base::MutableBytes record =
          base::MutableBytes(volume.disk->bytes)
              .subspan(volume.made.volume_offset + kMft + (number & 0xFFFFFFFFFFFF) * kRecord, kRecord);
      const std::size_t attribute = base::load<base::le16>(base::Bytes(record).subspan(0x14));
      REQUIRE(base::load<base::le32>(base::Bytes(record).subspan(attribute)) == 0x10);
      return record.subspan(attribute + base::load<base::le16>(base::Bytes(record).subspan(attribute + 0x14)) + 0x20,
                            4);
    };
    volume.file_system.reset();
    base::store(flags(), base::le32(0xF8F00020));
    volume.mount();
    auto stream = volume.open("f");
    CHECK(stream->kind() == host::StreamKind{});
    CHECK(stream->basic_information().attributes == 0x20);
    CHECK(stream->write(0, Octets(1)) == NtStatus::success);
    CHECK(stream->set_basic_information({.attributes = 0x2}) == NtStatus::success);
    CHECK(stream->set_end_of_file(100000) == NtStatus::success);
    CHECK(stream->set_valid_data_length(100000) == NtStatus::success);
    CHECK(stream->basic_information().attributes == 0x22);
    stream.reset();
    volume.file_system.reset();
    CHECK(base::load<base::le32>(flags()) == 0xF8F00022);
    volume.mount();
    CHECK(volume.open("f", "", Disposition::overwrite_or_create)->basic_information().attributes == 0x22);
  }
}

TEST_SUITE("host/ntfs: the volume") {
  TEST_CASE("information") {
    NtfsVolume volume({.cluster_length = 65536,
                       .label = "L\xC3\xA4"
                                "bel"});
    const auto information = volume.mount().information();
    CHECK(information.name == "NTFS");
    CHECK(information.label ==
          "L\xC3\xA4"
          "bel");
    CHECK(information.sector_length == 512);
    CHECK(information.cluster_length == 65536);
    CHECK(information.maximum_file_size == (1ull << 48) - 64 * KiB);
    CHECK(information.free_bytes > 32 * MiB);
    CHECK(information.free_bytes < 64 * MiB);
    CHECK_FALSE(information.read_only);
    CHECK(information.serial != 0);
  }

  TEST_CASE("a write protected disk is mounted read-only and sent no write") {
    NtfsVolume volume({.files = {{.path = "f", .size = 5000}}});
    test::ImageDisk disk(volume.disk->bytes, 512, true);
    auto whole = disk.whole();
    auto file_system = host::ntfs::mount(whole, false).value();
    CHECK(file_system->information().read_only);
    auto f = file_system->open({"f"}, Disposition::open).value();
    CHECK(f->write(0, Octets(1)) == NtStatus::media_write_protected);
    CHECK(f->set_end_of_file(1) == NtStatus::media_write_protected);
    CHECK(f->set_valid_data_length(5000) == NtStatus::media_write_protected);
    CHECK(f->set_basic_information({}) == NtStatus::media_write_protected);
    CHECK(f->remove() == NtStatus::media_write_protected);
    CHECK(file_system->create_directory("d") == NtStatus::media_write_protected);
    CHECK(file_system->open({"g"}, Disposition::create).error() == NtStatus::media_write_protected);
    CHECK(file_system->unmount() == NtStatus::success);
    CHECK(disk.writes == 0);
  }

  TEST_CASE("dismounted, streams say so; abandoned, nothing more is written") {
    for (bool abandon : {false, true}) {
      NtfsVolume volume({.files = {{.path = "f", .size = 5000}}});
      auto& file_system = volume.mount();
      auto f = volume.open("f");
      CHECK(f->write(0, pattern(100, 1)) == NtStatus::success);  // leaves the times to be written
      volume.disk->writes = 0;
      volume.disk->flushes = 0;
      if (abandon)
        file_system.abandon();
      else
        CHECK(file_system.unmount() == NtStatus::success);
      CHECK((volume.disk->writes == 0) == abandon);
      CHECK((volume.disk->flushes == 0) == abandon);
      Octets byte(1);
      CHECK(f->read(0, byte).error() == NtStatus::volume_dismounted);
      CHECK(f->write(0, byte) == NtStatus::volume_dismounted);
      CHECK(f->extents(0, 1).error() == NtStatus::volume_dismounted);
      CHECK(f->flush() == NtStatus::volume_dismounted);
      CHECK(f->stream_names().error() == NtStatus::volume_dismounted);
      CHECK(file_system.open({"f"}, Disposition::open).error() == NtStatus::volume_dismounted);
      CHECK(file_system.still_there().value() == false);
      volume.check();
    }
  }

  TEST_CASE("streams may outlive the file system") {
    NtfsVolume volume({.files = {{.path = "f", .size = 5000}}});
    volume.mount();
    auto f = volume.open("f");
    volume.file_system.reset();
    CHECK(f->flush() == NtStatus::volume_dismounted);
    CHECK(f->sizes().end_of_file == 0);
    CHECK(f->kind() == host::StreamKind{});
  }

  TEST_CASE("another volume in the same place is noticed") {
    NtfsVolume volume({});
    auto& file_system = volume.mount();
    CHECK(file_system.still_there().value());
    volume.disk->bytes[72] ^= 1;
    CHECK_FALSE(file_system.still_there().value());
    volume.disk->bytes[72] ^= 1;
    CHECK(file_system.still_there().value());
    volume.disk->fail = initiator::Result{.transport = initiator::Transport::timed_out};
    CHECK(file_system.still_there().error() == NtStatus::io_timeout);
    file_system.abandon();
    volume.disk->fail.reset();
  }

  TEST_CASE("what the driver says comes through: lost connection, time-out, medium error") {
    struct Row {
      initiator::Result result;
      NtStatus status;
    };
    for (const Row& row : {Row{{.transport = initiator::Transport::connection_lost}, NtStatus::device_not_connected},
                           Row{{.transport = initiator::Transport::timed_out}, NtStatus::io_timeout},
                           Row{test::check(3, 0x11, 0), NtStatus::device_data_error}}) {
      NtfsVolume volume({.files = {{.path = "f", .size = 100000}, {.path = "d/g", .size = 1}}});
      volume.disk->fail = row.result;
      CHECK(host::ntfs::mount(*volume.device, false).error() == row.status);
      volume.disk->fail.reset();
      auto& file_system = volume.mount();
      auto f = volume.open("f");
      volume.disk->fail = row.result;
      Octets bytes(1000);
      CHECK(f->read(0, bytes).error() == row.status);
      CHECK(f->write(0, bytes) == row.status);
      CHECK(f->set_end_of_file(200000) == row.status);
      CHECK(f->set_valid_data_length(100000) == row.status);
      CHECK(file_system.open({"d/g"}, Disposition::open).error() == row.status);
      CHECK(file_system.open({"new"}, Disposition::create).error() == row.status);
      CHECK(file_system.list("d").error() == row.status);
      CHECK(file_system.unmount() == row.status);
      volume.disk->fail.reset();
    }
  }

  TEST_CASE("a host that dies while it allocates leaves a volume marked for chkdsk, at every write") {
    [[maybe_unused]] const LeaksOfTheLibrary leaks;
    NtfsImage image{.size = 16 * MiB, .files = {{.path = "f", .size = 5000}, {.path = "g", .size = 100000}}};
    NtfsVolume volume(image);
    const Octets clean = volume.disk->bytes;
    unsigned died = 0;
    for (unsigned count = 0;; ++count) {
      volume.disk->bytes = clean;
      volume.mount();
      auto f = volume.open("f");
      auto g = volume.open("g");
      volume.disk->writes_left = count;
      const NtStatus grown = f->set_end_of_file(3 * MiB);
      const NtStatus removed = grown == NtStatus::success ? g->remove() : grown;
      const bool cut = *volume.disk->writes_left == 0 && removed != NtStatus::success;
      volume.file_system->abandon();
      volume.disk->writes_left.reset();
      f.reset();
      g.reset();
      if (!cut) break;
      ++died;
      // Nothing of the operation was written, or the mark is on the disk. Between the two copies of the record that
      // holds the mark ($MFT, $MFTMirr) the library does not mount the volume, and ntfsfix or chkdsk has to look at it.
      bool noticed = true;
      try {
        noticed = volume.marked_dirty();
      } catch (const std::exception&) {
        CAPTURE(count);
        CHECK(volume.repair());
      }
      if (!noticed) CHECK((count == 0 || grown == NtStatus::success));
    }
    CHECK(died >= 6);
    CHECK_FALSE(volume.marked_dirty());
    volume.check();
  }

  TEST_CASE("a volume that was dirty stays so") {
    NtfsVolume volume({.size = 16 * MiB, .files = {{.path = "f", .size = 5000}}});
    volume.mount();
    volume.open("f");
    auto f = volume.open("f");
    volume.disk->writes_left = 5;
    f->set_end_of_file(MiB);
    volume.file_system->abandon();
    volume.disk->writes_left.reset();
    f.reset();
    REQUIRE(volume.marked_dirty());
    volume.mount();
    CHECK(volume.open("g", "", Disposition::create)->write(0, pattern(5000, 1)) == NtStatus::success);
    CHECK(volume.marked_dirty());
  }

  TEST_CASE("a volume on which something failed half-way stays dirty, whatever succeeds afterwards") {
    NtfsVolume volume({.size = 16 * MiB, .files = {{.path = "f", .size = 5000}}});
    volume.mount();
    auto f = volume.open("f");
    NtStatus said = NtStatus::device_data_error;
    SUBCASE("with an error that only a disk gives") {}
    SUBCASE("with one that a file system gives too, before it has changed anything") {
      volume.disk->no_write_left = test::check(7, 0x20, 2);
      said = NtStatus::access_denied;
    }
    volume.disk->writes_left = 5;
    CHECK(f->set_end_of_file(MiB) == said);
    volume.disk->writes_left.reset();
    CHECK(volume.open("g", "", Disposition::create)->write(0, pattern(5000, 1)) == NtStatus::success);
    f.reset();
    CHECK(volume.marked_dirty());
  }

  TEST_CASE("a log that is not closed, or a Windows that hibernates on it, is not written over") {
    for (bool hibernated : {false, true}) {
      NtfsVolume volume({});
      volume.mount();
      if (hibernated) {
        Octets header(4096);
        std::ranges::copy(base::bytes_of(std::string_view("hibr")), header.begin());
        CHECK(volume.open("hiberfil.sys", "", Disposition::create)->write(0, header) == NtStatus::success);
      } else {
        const auto log = volume.open("$LogFile")->extents(0, 4096).value();
        const auto at = static_cast<std::ptrdiff_t>(*log.at(0).volume_offset);
        volume.file_system.reset();
        std::ranges::copy(base::bytes_of(std::string_view("RSTR")), volume.disk->bytes.begin() + at);
      }
      volume.file_system.reset();
      volume.disk->writes = 0;
      CHECK(host::ntfs::mount(*volume.device, false).error() == NtStatus::volume_dirty);
      CHECK(host::ntfs::mount(*volume.device, true).has_value());
      CHECK(volume.disk->writes == 0);
    }
  }
}
