// Not tested, and why: share modes and oplocks (there are none); deletion of a file while another of its streams is
// open (opens of one stream know nothing of those of the next).
#include <doctest/doctest.h>

#include "test/host/two_volumes.h"

using namespace host;

namespace {

using enum NtStatus;

struct OneFile : test::TwoVolumes {
  std::shared_ptr<test::MemoryStream> stream = first.files->make("file", test::pattern(8192));
  Handle handle = open(first, "file");
  Handle other = open(first, "file");

  FsctlReply read_all(Handle by) { return read(by, test::read_input(0, 8192)); }
  FsctlReply write_all(Handle by) { return write(by, test::write_input(0, 8192, 0, zero_token())); }
};

NtStatus status_of(const NtResult<Handle>& result) { return result ? success : result.error(); }

}  // namespace

TEST_CASE("handles are multiples of four, and none is used twice") {
  OneFile files;
  CHECK(files.handle % 4 == 0);
  CHECK(files.other % 4 == 0);
  CHECK(files.io.close(files.handle) == success);
  const Handle next = files.open(files.first, "file");
  CHECK(next != files.handle);
  CHECK(next % 4 == 0);
}

TEST_CASE("a handle that was never given out, and one that is closed, are invalid") {
  OneFile files;
  files.io.close(files.handle);
  for (Handle handle : {Handle{0}, Handle{5}, Handle{4000}, files.handle}) {
    std::vector<std::uint8_t> buffer(512);
    CHECK(files.io.close(handle) == invalid_handle);
    CHECK(files.io.read(handle, 0, buffer).error() == invalid_handle);
    CHECK(files.io.write(handle, 0, buffer) == invalid_handle);
    CHECK(files.io.set_end_of_file(handle, 0) == invalid_handle);
    CHECK(files.io.mark_deleted(handle) == invalid_handle);
    CHECK(files.io.lock(handle, 0, 1, true) == invalid_handle);
    CHECK(files.io.unlock(handle, 0, 1) == invalid_handle);
    CHECK(files.io.reference(handle) == nullptr);
    CHECK(files.read_all(handle).status == invalid_handle);
    CHECK(files.write_all(handle).status == invalid_handle);
  }
}

TEST_CASE("each operation needs its access right") {
  OneFile files;
  std::vector<std::uint8_t> buffer(512);
  const Handle reader = files.open(files.first, "file", {kFileReadData});
  const Handle writer = files.open(files.first, "file", {kFileWriteData});
  const Handle looker = files.open(files.first, "file", {kFileReadAttributes});
  CHECK(files.io.read(reader, 0, buffer).has_value());
  CHECK(files.io.read(writer, 0, buffer).error() == access_denied);
  CHECK(files.io.write(reader, 0, buffer) == access_denied);
  CHECK(files.io.write(writer, 0, buffer) == success);
  CHECK(files.io.set_end_of_file(reader, 4096) == access_denied);
  CHECK(files.io.mark_deleted(writer) == access_denied);
  CHECK(files.io.lock(looker, 0, 1, false) == access_denied);
  CHECK(files.io.lock(reader, 0, 1, false) == success);
  CHECK(files.io.unlock(looker, 0, 1) == access_denied);
  CHECK(files.read_all(reader).status == success);
  CHECK(files.read_all(writer).status == access_denied);
  CHECK(files.write_all(looker).status == access_denied);
}

TEST_CASE("control codes: access by their own bits first, then the two that are known") {
  OneFile files;
  const Handle looker = files.open(files.first, "file", {kFileReadAttributes});
  const auto control = [&](Handle handle, std::uint32_t code) { return files.io.fs_control(handle, code, {}, 0); };
  CHECK(control(looker, 0x00098268 ^ 0x100).status == access_denied);
  CHECK(control(files.handle, 0x00098268 ^ 0x100).status == invalid_device_request);
  CHECK(control(looker, 0x00090020).status == invalid_device_request);
  CHECK(control(files.handle, kFsctlOffloadRead).status == buffer_too_small);
}

TEST_CASE("a volume that is not NTFS can only be opened as itself, and has no offloads") {
  test::ArrayOfTwoDisks array;
  array.start();
  IoManager io;
  for (FileSystemKind kind : {FileSystemKind::none, FileSystemKind::fat, FileSystemKind::xfs}) {
    auto volume = std::move(*Volume::with(array.first, {1, 1 << 20, 1 << 30}, kind, {}, false));
    CHECK(status_of(io.open(*volume, {"file"}, {})) == unrecognized_volume);
    const Handle handle = *io.open_volume(*volume, kFileReadData | kFileWriteData);
    const auto input = test::write_input(0, 4096, 0, zero_token());
    CHECK(io.fs_control(handle, kFsctlOffloadWrite, base::bytes_of(input), 16).status == invalid_device_request);
    const auto read = test::read_input(0, 4096);
    CHECK(io.fs_control(handle, kFsctlOffloadRead, base::bytes_of(read), 528).status == invalid_device_request);
    CHECK(array.first.trace().empty());
  }
}

TEST_CASE("a volume's handle reads and writes no file, and has no offloads") {
  OneFile files;
  const Handle handle = *files.io.open_volume(*files.first.volume, test::kAllAccess);
  std::vector<std::uint8_t> buffer(512);
  CHECK(files.io.read(handle, 0, buffer).error() == invalid_device_request);
  CHECK(files.io.write(handle, 0, buffer) == invalid_device_request);
  CHECK(files.io.mark_deleted(handle) == invalid_device_request);
  CHECK(files.read_all(handle).status == invalid_device_request);
  CHECK(files.write_all(handle).status == invalid_device_request);
  CHECK(files.io.close(handle) == success);
}

TEST_CASE("filters: the right bit lets each direction through, mode 1 none, and detaching helps") {
  OneFile files;
  const auto statuses = [&] {
    return std::pair(files.read_all(files.handle).status, files.write_all(files.handle).status);
  };
  const std::pair both(success, success);
  const std::pair neither(offload_read_flt_not_supported, offload_write_flt_not_supported);
  files.first.volume->attach({"good", 3});
  CHECK(statuses() == both);
  files.first.volume->attach({"reads", kSupportsOffloadRead});
  CHECK(statuses() == std::pair(success, offload_write_flt_not_supported));
  files.first.volume->attach({"writes", kSupportsOffloadWrite});
  CHECK(statuses() == neither);
  CHECK(files.first.volume->detach("reads"));
  CHECK(statuses() == std::pair(offload_read_flt_not_supported, success));
  CHECK(files.first.volume->detach("writes"));
  CHECK_FALSE(files.first.volume->detach("writes"));
  CHECK(statuses() == both);
  files.io.filter_supported_features_mode = 1;
  CHECK(statuses() == neither);
  files.io.filter_supported_features_mode = 0;
  files.first.volume->attach({"picky", 3, true});
  CHECK(statuses() == std::pair(not_supported, not_supported));
}

TEST_CASE("reads and writes of a program; end of file") {
  OneFile files;
  const auto data = test::pattern(1000, 7);
  CHECK(files.io.write(files.handle, 8000, data) == success);
  CHECK(files.stream->sizes().end_of_file == 9000);
  std::vector<std::uint8_t> buffer(2000);
  CHECK(files.io.read(files.other, 8000, buffer).value() == 1000);
  CHECK(std::equal(data.begin(), data.end(), buffer.begin()));
  CHECK(files.io.read(files.other, 9000, buffer).error() == end_of_file);
  CHECK(files.io.read(files.other, 9000, {}).value() == 0);
  CHECK(files.io.write(files.handle, ~std::uint64_t{0} - 10, data) == invalid_parameter);
  CHECK(files.io.set_end_of_file(files.handle, 20000) == success);
  CHECK(files.stream->sizes().valid_data_length == 9000);
}

TEST_CASE("locks: exclusive ones keep others from all, shared ones everybody from writing") {
  OneFile files;
  std::vector<std::uint8_t> buffer(512);
  REQUIRE(files.io.lock(files.other, 1024, 512, true) == success);
  CHECK(files.io.read(files.handle, 1024, buffer).error() == file_lock_conflict);
  CHECK(files.io.read(files.handle, 512, buffer).has_value());
  CHECK(files.io.read(files.other, 1024, buffer).has_value());
  CHECK(files.io.write(files.handle, 1535, buffer) == file_lock_conflict);
  CHECK(files.io.write(files.handle, 1536, buffer) == success);
  CHECK(files.io.write(files.other, 1024, buffer) == success);
  CHECK(files.read_all(files.handle).status == file_lock_conflict);
  CHECK(files.write_all(files.handle).status == file_lock_conflict);
  CHECK(files.nothing_sent());
  CHECK(files.read_all(files.other).status == success);
  CHECK(files.write_all(files.other).status == success);
  CHECK(files.read(files.handle, test::read_input(1536, 512)).status == success);

  CHECK(files.io.unlock(files.handle, 1024, 512) == range_not_locked);
  CHECK(files.io.unlock(files.other, 1024, 511) == range_not_locked);
  CHECK(files.io.unlock(files.other, 1024, 512) == success);
  CHECK(files.write_all(files.handle).status == success);

  REQUIRE(files.io.lock(files.handle, 0, 1, false) == success);
  CHECK(files.read_all(files.handle).status == success);
  CHECK(files.read_all(files.other).status == success);
  CHECK(files.write_all(files.handle).status == file_lock_conflict);  // its own
  CHECK(files.write_all(files.other).status == file_lock_conflict);
  CHECK(files.io.write(files.handle, 0, buffer) == file_lock_conflict);
}

TEST_CASE("lock requests: what may lie on what") {
  OneFile files;
  IoManager& io = files.io;
  REQUIRE(io.lock(files.handle, 100, 100, true) == success);
  CHECK(io.lock(files.other, 199, 1, false) == lock_not_granted);
  CHECK(io.lock(files.other, 200, 1, true) == success);
  CHECK(io.lock(files.handle, 150, 1, true) == lock_not_granted);   // exclusive on its own exclusive one
  CHECK(io.lock(files.handle, 100, 100, false) == success);         // shared on its own exclusive one
  CHECK(io.lock(files.handle, 199, 2, false) == lock_not_granted);  // reaches the other's
  CHECK(io.unlock(files.handle, 100, 100) == success);              // the exclusive one goes first
  CHECK(io.lock(files.other, 100, 10, false) == success);
  CHECK(io.lock(files.other, 100, 10, true) == lock_not_granted);
  CHECK(io.unlock(files.handle, 100, 100) == success);
  CHECK(io.unlock(files.handle, 100, 100) == range_not_locked);
}

TEST_CASE("locks of no bytes, and of more than there are") {
  OneFile files;
  IoManager& io = files.io;
  const std::uint64_t last = ~std::uint64_t{0};
  CHECK(io.lock(files.other, last, 2, true) == invalid_lock_range);
  CHECK(io.lock(files.other, 1, last, true) == success);
  CHECK(io.unlock(files.other, 2, last) == invalid_lock_range);
  CHECK(io.unlock(files.other, 1, last) == success);
  CHECK(io.lock(files.other, last, 1, true) == success);

  CHECK(io.lock(files.other, 0, 0, true) == success);  // conflicts with nothing
  CHECK(files.write_all(files.handle).status == success);
  CHECK(io.lock(files.other, 4096, 0, true) == success);  // between two bytes of the range
  CHECK(files.write_all(files.handle).status == file_lock_conflict);
  CHECK(files.write(files.handle, test::write_input(4096, 512, 0, zero_token())).status == success);
  CHECK(files.write(files.handle, test::write_input(3584, 512, 0, zero_token())).status == success);
}

TEST_CASE("closing gives the locks back") {
  OneFile files;
  REQUIRE(files.io.lock(files.other, 0, 1, true) == success);
  CHECK(files.write_all(files.handle).status == file_lock_conflict);
  files.io.close(files.other);
  CHECK(files.write_all(files.handle).status == success);
}

TEST_CASE("directories have no locks") {
  OneFile files;
  REQUIRE(files.first.files->create_directory("folder") == success);
  const Handle folder = files.open(files.first, "folder");
  CHECK(files.io.lock(folder, 0, 1, true) == invalid_parameter);
  CHECK(files.io.unlock(folder, 0, 1) == invalid_parameter);
  CHECK(files.read_all(folder).status == offload_read_file_not_supported);
  CHECK(files.write_all(folder).status == offload_write_file_not_supported);
}

TEST_CASE("a file marked deleted: no offloads, no new opens, gone at the last close") {
  OneFile files;
  CHECK(files.io.mark_deleted(files.other) == success);
  CHECK(files.read_all(files.handle).status == file_deleted);
  CHECK(files.write_all(files.handle).status == file_deleted);
  for (Disposition disposition : {Disposition::open, Disposition::create, Disposition::overwrite_or_create})
    CHECK(status_of(files.io.open(*files.first.volume, {"file"}, {kFileReadData, disposition})) == delete_pending);
  CHECK(files.stream->sizes().end_of_file == 8192);
  CHECK(files.io.close(files.other) == success);
  CHECK(files.first.files->find("file") != nullptr);
  CHECK(files.io.close(files.handle) == success);
  CHECK(files.first.files->find("file") == nullptr);
  CHECK(status_of(files.io.open(*files.first.volume, {"file"}, {})) == object_name_not_found);
}

TEST_CASE("the unnamed stream takes the file with it, and its other streams; a named one goes alone") {
  OneFile files;
  files.first.files->make("file:s", test::pattern(8192));
  const auto open = [&](const std::string& stream, Disposition disposition = Disposition::open) {
    return files.io.open(*files.first.volume, {"file", stream},
                         {kFileReadData | kFileWriteData | kDelete, disposition});
  };
  const Handle named = open("s").value(), again = open("s").value();
  SUBCASE("the file") {
    CHECK(files.io.mark_deleted(files.other) == success);
    CHECK(files.read_all(named).status == file_deleted);
    CHECK(files.write_all(named).status == file_deleted);
    CHECK(status_of(open("s")) == delete_pending);
    CHECK(status_of(open("new", Disposition::create)) == delete_pending);
    CHECK(status_of(open("not there")) == delete_pending);
    for (Handle handle : {files.other, files.handle, again}) CHECK(files.io.close(handle) == success);
    CHECK(files.first.files->find("file") != nullptr);
    CHECK(files.io.close(named) == success);
    CHECK(files.first.files->find("file") == nullptr);
    CHECK(files.first.files->find("file:s") == nullptr);
  }
  SUBCASE("the stream") {
    CHECK(files.io.mark_deleted(named) == success);
    CHECK(status_of(open("s")) == delete_pending);
    CHECK(files.read_all(again).status == file_deleted);
    CHECK(files.read_all(files.handle).status == success);
    for (Handle handle : {named, again}) CHECK(files.io.close(handle) == success);
    CHECK(files.first.files->find("file:s") == nullptr);
    CHECK(files.io.close(files.handle) == success);
    CHECK(files.io.close(files.other) == success);
    CHECK(files.first.files->find("file") != nullptr);
  }
}

TEST_CASE("what cannot be deleted") {
  OneFile files;
  files.stream->stream_kind.metadata = true;
  CHECK(files.io.mark_deleted(files.handle) == access_denied);
  files.stream->stream_kind.metadata = false;
  files.first.files->read_only = true;
  CHECK(files.io.mark_deleted(files.handle) == media_write_protected);
}

TEST_CASE("a request that still holds the file object when the handle is closed: FILE_CLOSED") {
  OneFile files;
  const auto file = files.io.reference(files.handle);
  files.io.close(files.handle);
  files.forget();
  const auto input = test::write_input(0, 4096, 0, zero_token());
  const auto read = test::read_input(0, 4096);
  CHECK(files.io.fs_control(file, kFsctlOffloadWrite, base::bytes_of(input), 16).status == file_closed);
  CHECK(files.io.fs_control(file, kFsctlOffloadRead, base::bytes_of(read), 528).status == file_closed);
  CHECK(files.nothing_sent());
}

TEST_CASE("after shutdown: all is flushed, writes are too late, reads go on") {
  OneFile files;
  files.forget();
  CHECK(files.first.volume->shut_down() == success);
  CHECK(files.stream->flushes == 1);
  CHECK(files.first.files->flushes == 1);
  CHECK(files.names(files.array.first) == test::Names{"SYNCHRONIZE CACHE(10)"});
  CHECK(files.write_all(files.handle).status == too_late);
  CHECK(files.read_all(files.handle).status == success);
  std::vector<std::uint8_t> buffer(512);
  CHECK(files.io.write(files.handle, 0, buffer) == too_late);
  CHECK(files.io.set_end_of_file(files.handle, 0) == too_late);
  CHECK(files.io.mark_deleted(files.handle) == too_late);
  CHECK(files.io.read(files.handle, 0, buffer).has_value());
  CHECK(status_of(files.io.open(*files.first.volume, {"new"}, {kFileReadData, Disposition::create})) == too_late);
  CHECK(status_of(files.io.open(*files.first.volume, {"file"}, {})) == success);
}

TEST_CASE("a dismount happens at once: open files stay and answer VOLUME_DISMOUNTED") {
  OneFile files;
  CHECK(files.io.mark_deleted(files.other) == success);
  CHECK(files.first.volume->dismount() == success);
  CHECK(files.first.volume->file_system() == nullptr);
  std::vector<std::uint8_t> buffer(512);
  CHECK(files.read_all(files.handle).status == volume_dismounted);
  CHECK(files.write_all(files.handle).status == volume_dismounted);
  CHECK(files.io.read(files.handle, 0, buffer).error() == volume_dismounted);
  CHECK(files.io.write(files.handle, 0, buffer) == volume_dismounted);
  CHECK(files.io.lock(files.handle, 0, 1, true) == volume_dismounted);
  CHECK(status_of(files.io.open(*files.first.volume, {"file"}, {})) == volume_dismounted);
  CHECK(files.first.volume->dismount() == volume_dismounted);
  CHECK(files.first.volume->shut_down() == volume_dismounted);
  CHECK(files.first.volume->verify() == volume_dismounted);
  CHECK(files.io.close(files.other) == success);
  CHECK(files.io.close(files.handle) == success);
}

TEST_CASE("verify(): a volume that is no longer the one that was mounted is let go, one that cannot be read is kept") {
  OneFile files;
  CHECK(files.first.volume->verify() == success);
  CHECK(files.write_all(files.handle).status == success);
  files.first.files->is_still_there = std::unexpected(device_not_connected);
  CHECK(files.first.volume->verify() == device_not_connected);
  CHECK(files.write_all(files.handle).status == success);
  files.first.files->is_still_there = false;
  CHECK(files.first.volume->verify() == volume_dismounted);
  CHECK(files.write_all(files.handle).status == volume_dismounted);
}

TEST_CASE("mounted read-only: no writes, and offload reads as before") {
  OneFile files;
  files.first.files->read_only = true;
  CHECK(files.first.volume->read_only());
  CHECK(files.write_all(files.handle).status == media_write_protected);
  CHECK(files.read_all(files.handle).status == success);
  CHECK(files.io.set_end_of_file(files.handle, 0) == media_write_protected);
}

TEST_CASE("a mounter that fails fails the mount, and gets to know of write protection") {
  test::ArrayOfTwoDisks array;
  array.start();
  bool asked_read_only = false;
  const Volume::Mounter mounter = [&](VolumeDevice&, bool read_only) {
    asked_read_only = read_only;
    return NtResult<std::unique_ptr<FileSystem>>(std::unexpected(disk_corrupt_error));
  };
  auto volume = Volume::with(array.first, {1, 0, 1 << 20}, FileSystemKind::ntfs, mounter, true);
  CHECK(volume.error() == disk_corrupt_error);
  CHECK(asked_read_only);
  CHECK(Volume::with(array.first, {1, 0, 1 << 20}, FileSystemKind::refs, mounter, false).has_value());
}
