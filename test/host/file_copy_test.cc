// Copies on two volumes of an in-process array, under a virtual clock, with the file system of the tests.
//
// Not tested, and why: real NTFS, the wire and killed targets (test/cli/cp_test.py, test/host/cp_crash_test.py).
#include "host/file_copy.h"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "host/local_file.h"
#include "host/memory_file_system.h"
#include "test/host/array_of_two_disks.h"
#include "test/host/scripted_target.h"

using namespace host;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t KiB = 1ull << 10;
constexpr std::uint64_t MiB = 1ull << 20;
constexpr std::uint64_t GiB = 1ull << 30;

/// Looks at each command before it goes on; what it gives back is the answer.
class WatchedPath final : public initiator::Initiator {
 public:
  explicit WatchedPath(initiator::Initiator& below) : below_(below) {}
  std::function<std::optional<initiator::Result>(const initiator::Command&)> watch;
  initiator::Result execute(const initiator::Command& command) override {
    if (watch)
      if (auto answer = watch(command)) return *answer;
    return below_.execute(command);
  }
  initiator::WireCounters wire() const override { return {}; }

 private:
  initiator::Initiator& below_;
};

constexpr std::uint8_t kThirdPartyCopyOut = 0x83, kWriteUsingToken = 0x11;

bool is_read(const initiator::Command& command) { return command.cdb[0] == 0x28 || command.cdb[0] == 0x88; }
bool is_write(const initiator::Command& command) { return command.cdb[0] == 0x2A || command.cdb[0] == 0x8A; }
bool is_write_using_token(const initiator::Command& command) {
  return command.cdb[0] == kThirdPartyCopyOut && (command.cdb[1] & 0x1F) == kWriteUsingToken;
}

std::vector<std::uint8_t> pattern(std::size_t size, std::uint8_t seed) {
  std::vector<std::uint8_t> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i / 512 * 13 + i + seed);
  return bytes;
}

/// One volume on each of the array's disks: "a" is copied from, "b" to.
struct TwoVolumes {
  test::ArrayOfTwoDisks array;
  WatchedPath from_path{array.first_path}, to_path{array.second_path};
  ClassDriver from_driver{from_path, array.clock, array.list_identifiers, {}};
  ClassDriver to_driver{to_path, array.clock, array.list_identifiers, {}};
  host::MemoryFileSystem* from_files = nullptr;
  host::MemoryFileSystem* to_files = nullptr;
  std::unique_ptr<Volume> from, to;
  IoManager io;
  OffloadMemory memory{array.clock};
  FileCopyOptions options;
  std::vector<std::pair<std::uint64_t, bool>> chunks;
  std::function<void(const ChunkFinished&)> after_chunk;
  std::uint64_t cancel_at = UINT64_MAX;

  explicit TwoVolumes(scsi::DeviceProfile profile = {}, std::uint32_t second_block_length = 512)
      : array(profile, second_block_length) {
    from = mount(from_driver, from_files);
    to = mount(to_driver, to_files);
  }

  static std::unique_ptr<Volume> mount(ClassDriver& driver, host::MemoryFileSystem*& files) {
    REQUIRE(driver.start() == NtStatus::success);
    const Partition whole{.length = driver.disk().bytes()};
    auto volume = Volume::with(driver, whole, FileSystemKind::ntfs, [&files](VolumeDevice& device, bool) {
      auto made = std::make_unique<host::MemoryFileSystem>(device);
      files = made.get();
      return NtResult<std::unique_ptr<FileSystem>>(std::move(made));
    });
    REQUIRE(volume.has_value());
    driver.take_trace();
    return std::move(*volume);
  }

  FileCopyOutcome copy(const std::string& source = "f", const std::string& destination = "f") {
    chunks.clear();
    from_driver.take_trace();
    to_driver.take_trace();
    return copy_file(io, memory, {from.get(), source}, {to.get(), destination}, options,
                     [this](const ChunkFinished& chunk) {
                       chunks.emplace_back(chunk.length, chunk.offloaded);
                       if (after_chunk) after_chunk(chunk);
                       return chunk.stream_done != cancel_at;
                     });
  }

  std::size_t sent(const ClassDriver& driver, std::string_view command) const {
    std::size_t count = 0;
    for (const TraceEntry& entry : driver.trace()) count += ClassDriver::command_name(entry.cdb).starts_with(command);
    return count;
  }
  static std::vector<std::uint8_t> content(host::MemoryFileSystem& files, const std::string& key) {
    auto stream = files.find(key);
    REQUIRE(stream);
    std::vector<std::uint8_t> bytes(stream->sizes().end_of_file, 0xEE);
    CHECK(stream->read(0, bytes) == bytes.size());
    return bytes;
  }
  bool same(const std::string& key) { return content(*from_files, key) == content(*to_files, key); }
};

using Chunks = std::vector<std::pair<std::uint64_t, bool>>;

}  // namespace

TEST_CASE("a file goes over in chunks of 256 MiB of one token after the other, and no byte is read or written") {
  scsi::DeviceProfile profile;
  profile.optimal_transfer_bytes = 600 * MiB;
  TwoVolumes volumes(profile);
  auto file = volumes.from_files->make_sized("f", 900 * MiB);
  REQUIRE(file->set_valid_data_length(900 * MiB) == NtStatus::success);  // else the writes fill what lies between
  for (std::uint64_t at : {std::uint64_t{0}, 256 * MiB - 4096, 600 * MiB - 4096, 900 * MiB - 8192})
    REQUIRE(file->write(at, pattern(8192, static_cast<std::uint8_t>(at / MiB))) == NtStatus::success);
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::success);
  REQUIRE(outcome.streams.size() == 1);
  CHECK(outcome.streams[0].offloaded_bytes == 900 * MiB);
  CHECK(outcome.streams[0].tokens == 2);
  CHECK(outcome.streams[0].not_tried == NotTried::was_tried);
  CHECK(outcome.streams[0].offload_status == NtStatus::success);
  CHECK(volumes.chunks ==
        Chunks{{256 * MiB, true}, {256 * MiB, true}, {88 * MiB, true}, {256 * MiB, true}, {44 * MiB, true}});
  CHECK(volumes.sent(volumes.from_driver, "READ") == 0);
  CHECK(volumes.sent(volumes.to_driver, "WRITE USING") == 5);
  CHECK(volumes.sent(volumes.to_driver, "WRITE") == 5);
  for (std::uint64_t at : {std::uint64_t{0}, 256 * MiB - 4096, 600 * MiB - 4096, 900 * MiB - 8192}) {
    std::vector<std::uint8_t> there(8192);
    CHECK(volumes.to_files->find("f")->read(at, there) == there.size());
    CHECK(there == pattern(8192, static_cast<std::uint8_t>(at / MiB)));
  }
  CHECK(volumes.to_files->find("f")->sizes().valid_data_length == 900 * MiB);
  CHECK(volumes.to_files->find("f")->pieces.size() == 1);  // made long enough once
}

TEST_CASE("an offload write that ended after four seconds is continued from where it got to") {
  scsi::DeviceProfile profile;
  profile.maximum_range_descriptors = 1;
  TwoVolumes volumes(profile);
  volumes.to_files->volume().fragment_clusters = 256;  // 1 MiB each
  volumes.from_files->make("f", pattern(7 * MiB, 1));
  volumes.to_path.watch = [&](const initiator::Command& command) -> std::optional<initiator::Result> {
    if (is_write_using_token(command)) volumes.array.clock.advance(1500ms);
    return std::nullopt;
  };
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams[0].tokens == 1);
  CHECK(volumes.chunks == Chunks{{3 * MiB, true}, {3 * MiB, true}, {MiB, true}});
  CHECK(volumes.same("f"));
}

TEST_CASE("a token that expires between two writes: the rest is read and written from the point reached") {
  scsi::DeviceProfile profile;
  profile.maximum_range_descriptors = 1;
  TwoVolumes volumes(profile);
  volumes.to_files->volume().fragment_clusters = 256;
  volumes.from_files->make("f", pattern(5 * MiB + 100, 1));
  volumes.to_path.watch = [&](const initiator::Command& command) -> std::optional<initiator::Result> {
    if (is_write_using_token(command)) volumes.array.clock.advance(4s);
    return std::nullopt;
  };
  volumes.after_chunk = [&](const ChunkFinished& chunk) {
    if (chunk.stream_done == 2 * MiB) volumes.array.clock.advance(61s);
  };
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams[0].offloaded_bytes == 2 * MiB);
  CHECK(outcome.streams[0].read_written_bytes == 3 * MiB + 100);
  CHECK(outcome.streams[0].offload_status == NtStatus::invalid_token);
  CHECK(outcome.streams[0].reason.starts_with("offload write"));
  CHECK(volumes.chunks == Chunks{{MiB, true}, {MiB, true}, {MiB, false}, {MiB, false}, {MiB, false}, {100, false}});
  CHECK(volumes.same("f"));
  volumes.to_path.watch = nullptr;
  CHECK(volumes.copy("f", "again").streams[0].not_tried == NotTried::was_tried);  // that was no unreachable pair
}

TEST_CASE("a pair that cannot reach each other is left alone for three minutes, to the tick") {
  TwoVolumes volumes;
  volumes.from_files->make("f", pattern(MiB, 1));
  NtStatus expected = NtStatus::device_unreachable;
  SUBCASE("which the array says") { volumes.array.copy_manager.reachability().cut("a", "b"); }
  SUBCASE("which the array calls an invalid token") {
    expected = NtStatus::invalid_token;
    volumes.array.copy_manager.reachability().set(
        {{"a", "b", scsi::UnreachableRefusal::remote_token_usage_not_supported}});
  }
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams[0].offload_status == expected);
  CHECK(outcome.streams[0].read_written_bytes == MiB);
  CHECK(outcome.streams[0].tokens == 1);
  CHECK(volumes.same("f"));
  const base::TimePoint failed_at = volumes.array.clock.now();
  volumes.array.copy_manager.reachability().set({});

  volumes.array.clock.advance(3min - 1us);
  outcome = volumes.copy();
  CHECK(outcome.streams[0].not_tried == NotTried::remembered);
  CHECK(outcome.streams[0].reason ==
        "the two volumes could not reach each other 179 s ago (" + std::string(name(expected)) + ")");
  CHECK(volumes.sent(volumes.from_driver, "POPULATE") == 0);
  CHECK_FALSE(volumes.memory.remembers(*volumes.to, *volumes.from).has_value());  // the other way is another pair
  CHECK_FALSE(volumes.memory.remembers(*volumes.from, *volumes.from).has_value());

  volumes.array.clock.advance(1us);
  REQUIRE(volumes.array.clock.now() == failed_at + 3min);
  outcome = volumes.copy();
  CHECK(outcome.streams[0].not_tried == NotTried::was_tried);
  CHECK(outcome.streams[0].offloaded_bytes == MiB);
}

TEST_CASE("a volume whose disk does not know offload reads is left alone as a source, whatever the destination") {
  scsi::DeviceProfile profile;
  profile.odx = false;
  TwoVolumes volumes(profile);
  volumes.from_files->make("f", pattern(MiB, 1));
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams[0].offload_status == NtStatus::device_feature_not_supported);
  CHECK(outcome.streams[0].tokens == 0);
  CHECK(volumes.same("f"));
  CHECK(volumes.memory.remembers(*volumes.from, *volumes.from).has_value());
  CHECK_FALSE(volumes.memory.remembers(*volumes.to, *volumes.from).has_value());
  CHECK(volumes.copy().streams[0].not_tried == NotTried::remembered);
}

TEST_CASE("a filter that has not opted in at the destination keeps that volume out") {
  TwoVolumes volumes;
  volumes.to->attach({"scanner", kSupportsOffloadRead});
  volumes.from_files->make("f", pattern(MiB, 1));
  CHECK(volumes.copy().streams[0].offload_status == NtStatus::offload_write_flt_not_supported);
  CHECK(volumes.same("f"));
  CHECK(volumes.memory.remembers(*volumes.from, *volumes.to).has_value());
  CHECK_FALSE(volumes.memory.remembers(*volumes.to, *volumes.from).has_value());
}

TEST_CASE("what a file is makes no difference to its volume: the next one is tried") {
  TwoVolumes volumes;
  volumes.from_files->make("f", pattern(MiB, 1))->stream_kind.compressed = true;
  volumes.from_files->make("g", pattern(MiB, 2));
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams[0].offload_status == NtStatus::offload_read_file_not_supported);
  CHECK(outcome.streams[0].read_written_bytes == MiB);
  CHECK(volumes.same("f"));
  CHECK(volumes.copy("g", "g").streams[0].offloaded_bytes == MiB);
}

TEST_CASE("streams below the minimum are read and written") {
  TwoVolumes volumes;
  volumes.from_files->make("below", pattern(256 * KiB - 1, 1));
  volumes.from_files->make("at", pattern(256 * KiB, 2));
  volumes.from_files->make("small", pattern(5000, 3));
  volumes.from_files->make("nothing");
  FileCopyOutcome outcome = volumes.copy("below", "below");
  CHECK(outcome.streams[0].not_tried == NotTried::too_small);
  CHECK(outcome.streams[0].read_written_bytes == 256 * KiB - 1);
  CHECK(volumes.sent(volumes.from_driver, "POPULATE") == 0);
  CHECK(volumes.copy("at", "at").streams[0].offloaded_bytes == 256 * KiB);
  outcome = volumes.copy("nothing", "nothing");
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams[0].not_tried == NotTried::empty);
  volumes.options.minimum_offload = 0;
  CHECK(volumes.copy("small", "small").streams[0].offloaded_bytes == 5000);
  for (const char* name : {"below", "at", "small", "nothing"}) CHECK(volumes.same(name));
}

TEST_CASE("COPY_FILE_NO_OFFLOAD") {
  TwoVolumes volumes;
  volumes.options.no_offload = true;
  volumes.from_files->make("f", pattern(3 * MiB, 1));
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.streams[0].not_tried == NotTried::option);
  CHECK(volumes.chunks == Chunks{{MiB, false}, {MiB, false}, {MiB, false}});
  CHECK(volumes.same("f"));
}

TEST_CASE("beyond the valid data length there is nothing to copy") {
  TwoVolumes volumes;
  auto file = volumes.from_files->make_sized("f", 2 * MiB);
  std::uint64_t offloaded = 0;
  SUBCASE("none of it valid: no command at all") {}
  SUBCASE("some of it, up to the middle of a sector") {
    REQUIRE(file->write(0, pattern(300 * KiB + 100, 1)) == NtStatus::success);
    offloaded = 300 * KiB + 512;
  }
  SUBCASE("all but one sector") {
    REQUIRE(file->write(0, pattern(2 * MiB - 512, 1)) == NtStatus::success);
    offloaded = 2 * MiB - 512;
  }
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams[0].offloaded_bytes == offloaded);
  CHECK(outcome.streams[0].zero_bytes == 2 * MiB - offloaded);
  CHECK(outcome.streams[0].tokens == (offloaded == 0 ? 0 : 1));
  CHECK(volumes.sent(volumes.to_driver, "WRITE") == (offloaded == 0 ? 0 : 1));
  CHECK(volumes.to_files->find("f")->sizes().valid_data_length == offloaded);
  CHECK(volumes.same("f"));
}

TEST_CASE("what was in an overwritten file does not show through") {
  TwoVolumes volumes;
  volumes.from_files->make_sized("f", MiB);
  volumes.to_files->make("f", pattern(4 * MiB, 9));
  volumes.to_files->make("f:old", pattern(1000, 9));
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::success);
  CHECK(volumes.same("f"));
  CHECK(volumes.to_files->find("f:old") == nullptr);
}

TEST_CASE("all streams go over, each offloaded or not on its own") {
  TwoVolumes volumes;
  volumes.from_files->make("f", pattern(1000, 1));
  volumes.from_files->make("f:big", pattern(MiB, 2));
  volumes.from_files->make("f:small", pattern(100, 3));
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::success);
  REQUIRE(outcome.streams.size() == 3);
  CHECK(outcome.streams[0].not_tried == NotTried::too_small);
  CHECK(outcome.streams[1].stream == "big");
  CHECK(outcome.streams[1].offloaded_bytes == MiB);
  for (const char* name : {"f", "f:big", "f:small"}) CHECK(volumes.same(name));
}

TEST_CASE("one stream can be copied to one stream") {
  TwoVolumes volumes;
  volumes.from_files->make("f", pattern(1000, 1));
  volumes.from_files->make("f:big", pattern(MiB, 2));
  FileCopyOutcome outcome =
      copy_file(volumes.io, volumes.memory, {volumes.from.get(), "f", "big"}, {volumes.to.get(), "g"}, {});
  CHECK(outcome.status == NtStatus::success);
  CHECK(volumes.content(*volumes.to_files, "g") == pattern(MiB, 2));
  CHECK(volumes.to_files->find("g:big") == nullptr);
}

TEST_CASE(
    "a stream copied over a file overwrites the file, and takes its streams away; over another stream it does not") {
  TwoVolumes volumes;
  volumes.from_files->make("f", pattern(1000, 1));
  volumes.from_files->make("f:s", pattern(2000, 2));
  volumes.to_files->make("g", pattern(3000, 3));
  volumes.to_files->make("g:old", pattern(10, 4));
  const FilePlace source{volumes.from.get(), "f", "s"};
  const auto copy = [&](const FilePlace& to) { return copy_file(volumes.io, volumes.memory, source, to, {}).status; };
  CHECK(copy({volumes.to.get(), "g", "new"}) == NtStatus::success);
  CHECK(volumes.to_files->find("g:old") != nullptr);
  CHECK(copy({volumes.to.get(), "g"}) == NtStatus::success);
  CHECK(volumes.content(*volumes.to_files, "g") == pattern(2000, 2));
  CHECK(volumes.to_files->find("g:old") == nullptr);
  CHECK(volumes.to_files->find("g:new") == nullptr);
  CHECK(copy({volumes.from.get(), "f"}) == NtStatus::sharing_violation);  // the source would go with the others
  CHECK(volumes.content(*volumes.from_files, "f") == pattern(1000, 1));
  CHECK(volumes.content(*volumes.from_files, "f:s") == pattern(2000, 2));
}

TEST_CASE("attributes and the time of the last write go over; the copy is not archived yet") {
  TwoVolumes volumes;
  auto file = volumes.from_files->make("f", pattern(MiB, 1));
  constexpr std::uint32_t kReadonly = 0x1, kHidden = 0x2, kArchive = 0x20, kCompressed = 0x800;
  file->basic = {1, 2, 133000000000000000, 4, kReadonly | kHidden | kCompressed};
  CHECK(volumes.copy().status == NtStatus::success);
  const BasicInformation& there = volumes.to_files->find("f")->basic;
  CHECK(there.attributes == (kReadonly | kHidden | kArchive));
  CHECK(there.last_write_time == 133000000000000000);
  CHECK(volumes.copy().status == NtStatus::access_denied);  // over a read-only file
  CHECK(volumes.same("f"));
}

TEST_CASE("what cannot be copied is refused before anything is changed") {
  TwoVolumes volumes;
  volumes.from_files->make("f", pattern(MiB, 1));
  volumes.from_files->make("d")->stream_kind.directory = true;
  volumes.to_files->make("f", pattern(100, 7));
  volumes.to_files->make("d")->stream_kind.directory = true;
  FileCopyOutcome outcome =
      copy_file(volumes.io, volumes.memory, {volumes.from.get(), "f"}, {volumes.from.get(), "f"}, volumes.options);
  CHECK(outcome.status == NtStatus::sharing_violation);
  CHECK(volumes.content(*volumes.from_files, "f") == pattern(MiB, 1));
  CHECK(volumes.copy("d", "x").status == NtStatus::file_is_a_directory);
  CHECK(volumes.copy("f", "d").status == NtStatus::file_is_a_directory);
  volumes.from_files->make("e", pattern(MiB, 1))->stream_kind.encrypted = true;
  CHECK(volumes.copy("e", "f").status == NtStatus::access_denied);
  constexpr std::uint32_t kReparsePoint = 0x400;
  volumes.from_files->make("r", pattern(MiB, 1))->basic.attributes = kReparsePoint;
  CHECK(volumes.copy("r", "f").status == NtStatus::io_reparse_tag_not_handled);
  volumes.to_files->make("r", pattern(100, 7))->basic.attributes = kReparsePoint;
  CHECK(volumes.copy("f", "r").status == NtStatus::io_reparse_tag_not_handled);
  CHECK(volumes.content(*volumes.to_files, "r") == pattern(100, 7));
  CHECK(volumes.copy("missing", "f").status == NtStatus::object_name_not_found);
  CHECK(volumes.copy("f", "no/such/f").status == NtStatus::object_path_not_found);
  volumes.options.fail_if_exists = true;
  CHECK(volumes.copy().status == NtStatus::object_name_collision);
  CHECK(volumes.content(*volumes.to_files, "f") == pattern(100, 7));
  CHECK(volumes.copy("f", "new").status == NtStatus::success);
}

TEST_CASE("a copy that fails is deleted when its volume still answers") {
  TwoVolumes volumes;
  volumes.options.no_offload = true;
  volumes.from_files->make("f", pattern(3 * MiB, 1));
  SUBCASE("the source cannot be read") {
    int reads = 0;
    volumes.from_path.watch = [&](const initiator::Command& command) -> std::optional<initiator::Result> {
      if (is_read(command) && ++reads == 2) return test::check(0x03, 0x11, 0x00);
      return std::nullopt;
    };
    FileCopyOutcome outcome = volumes.copy();
    CHECK(outcome.status == NtStatus::device_data_error);
    CHECK(outcome.reason == "reading the source at byte 1048576");
    CHECK(outcome.destination_deleted);
    CHECK(volumes.to_files->find("f") == nullptr);
  }
  SUBCASE("the destination is gone") {
    volumes.to_path.watch = [&](const initiator::Command& command) -> std::optional<initiator::Result> {
      if (!is_write(command)) return std::nullopt;
      volumes.to_files->volume().gone = true;
      initiator::Result lost;
      lost.transport = initiator::Transport::connection_lost;
      return lost;
    };
    FileCopyOutcome outcome = volumes.copy();
    CHECK(outcome.status == NtStatus::device_not_connected);
    CHECK_FALSE(outcome.destination_deleted);
    CHECK(outcome.reason.ends_with("what was copied could not be deleted"));
  }
  SUBCASE("there is no room") {
    volumes.from_files->make_sized("f", 65 * GiB - 2 * GiB);
    volumes.to_files->volume().next_free = 60 * GiB;
    FileCopyOutcome outcome = volumes.copy();
    CHECK(outcome.status == NtStatus::disk_full);
    CHECK(outcome.destination_deleted);
    CHECK(volumes.chunks.empty());
  }
}

TEST_CASE("a copy that is called off is deleted") {
  TwoVolumes volumes;
  volumes.from_files->make("f", pattern(3 * MiB, 1));
  volumes.options.no_offload = true;
  volumes.cancel_at = 2 * MiB;
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::cancelled);
  CHECK(volumes.chunks.size() == 2);
  CHECK(volumes.to_files->find("f") == nullptr);
}

TEST_CASE("block lengths may differ; a sector that no token can fill is read and written") {
  TwoVolumes volumes({}, 4096);
  volumes.from_files->make("f", pattern(MiB + 700, 1));
  FileCopyOutcome outcome = volumes.copy();
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams[0].offloaded_bytes == MiB);
  CHECK(outcome.streams[0].read_written_bytes == 700);
  CHECK(volumes.same("f"));
  CHECK_FALSE(volumes.memory.remembers(*volumes.from, *volumes.to).has_value());
  std::swap(volumes.from, volumes.to);
  std::swap(volumes.from_files, volumes.to_files);
  outcome = volumes.copy("f", "back");
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams[0].offloaded_bytes == MiB + 700);
  CHECK(volumes.content(*volumes.to_files, "back") == pattern(MiB + 700, 1));
}

TEST_CASE("a file of this machine may be either end, and is never offloaded") {
  std::string folder = "/tmp/odx-file-copy-XXXXXX";
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  const std::string path = folder + "/f", back = folder + "/back";
  const auto content = pattern(3 * MiB + 17, 1);
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(content.data()), 3 * MiB + 17);
  TwoVolumes volumes;
  FileCopyOutcome outcome = copy_file(volumes.io, volumes.memory, {nullptr, path}, {volumes.to.get(), "f"}, {});
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams[0].not_tried == NotTried::local_file);
  CHECK(volumes.content(*volumes.to_files, "f") == content);
  volumes.to_files->make("f:more", pattern(10, 2));
  outcome = copy_file(volumes.io, volumes.memory, {volumes.to.get(), "f"}, {nullptr, back}, {});
  CHECK(outcome.status == NtStatus::success);
  CHECK(outcome.streams_left_out == std::vector<std::string>{"more"});
  auto local = LocalFile::open(back, Disposition::open);
  REQUIRE(local.has_value());
  std::vector<std::uint8_t> there(content.size() + 1);
  CHECK(local->read(0, there) == content.size());
  CHECK(std::equal(content.begin(), content.end(), there.begin()));
  auto original = LocalFile::open(path, Disposition::open);
  CHECK(original->basic_information().last_write_time == local->basic_information().last_write_time);

  CHECK(copy_file(volumes.io, volumes.memory, {nullptr, path}, {nullptr, path}, {}).status ==
        NtStatus::sharing_violation);
  CHECK(copy_file(volumes.io, volumes.memory, {nullptr, folder}, {nullptr, back}, {}).status ==
        NtStatus::file_is_a_directory);
  CHECK(copy_file(volumes.io, volumes.memory, {nullptr, path, "s"}, {nullptr, back}, {}).status ==
        NtStatus::object_name_invalid);
  CHECK(copy_file(volumes.io, volumes.memory, {nullptr, path}, {nullptr, back}, {.fail_if_exists = true}).status ==
        NtStatus::object_name_collision);
  const std::string pipe = folder + "/pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(copy_file(volumes.io, volumes.memory, {nullptr, path}, {nullptr, pipe}, {}).status == NtStatus::access_denied);
  CHECK(copy_file(volumes.io, volumes.memory, {nullptr, pipe}, {nullptr, back}, {}).status == NtStatus::access_denied);
  CHECK(std::filesystem::exists(pipe));

  const std::string link = folder + "/link";
  std::filesystem::create_symlink("f", link);
  const auto stop = [](const ChunkFinished&) { return false; };
  outcome = copy_file(volumes.io, volumes.memory, {volumes.to.get(), "f"}, {nullptr, link}, {}, stop);
  CHECK(outcome.status == NtStatus::cancelled);
  CHECK(std::filesystem::is_symlink(link));
  CHECK(std::filesystem::file_size(path) == 0);
  outcome = copy_file(volumes.io, volumes.memory, {volumes.to.get(), "f"}, {nullptr, path}, {}, stop);
  CHECK_FALSE(std::filesystem::exists(path));
  std::filesystem::remove_all(folder);
}
