// The files in which what is kept of a logical unit outlives odxd; the tests write reservations.
//
// Not tested, and why: what the bytes mean (test/scsi/reservation_image_test.cc); loss of power itself. That a kill at
// any moment leaves one state or the other is in reservations_test.py.
#include "target/state_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "scsi/reservation_image.h"
#include "test/handlers/store_kinds.h"

namespace {

using scsi::PersistentState;
using target::StateFile;
using target::StateFileCalls;
using target::StateFolder;
using target::StateKind;

std::vector<std::uint8_t> image_of(std::uint64_t key) {
  PersistentState state;
  state.activated = true;
  state.registrations = {{"iqn.2025-01.example:a", {}, 1, key}};
  return scsi::reservation_image(state);
}

std::uint64_t key_in(StateFile& file) {
  auto state = file.read(scsi::parse_reservation_image, "persistent reservations");
  return state ? state->registrations.at(0).key : 0;
}

/// Fails the nth call of all, and those after it while `more` are left; notes what was called.
class FailingCalls final : public StateFileCalls {
 public:
  int fail_at = -1;
  int calls = 0;
  std::string order{};

  long write(int fd, const void* bytes, std::size_t count) override {
    if (fails('w', ENOSPC)) return -1;
    return StateFileCalls::write(fd, bytes, count > 7 ? 7 : count);  // short writes are no errors
  }
  int fsync(int fd) override {
    struct stat status{};
    fstat(fd, &status);
    return fails(S_ISDIR(status.st_mode) ? 'd' : 's', EIO) ? -1 : StateFileCalls::fsync(fd);
  }
  int rename(const char* from, const char* to) override {
    return fails('r', EACCES) ? -1 : StateFileCalls::rename(from, to);
  }

 private:
  bool fails(char call, int number) {
    if (order.empty() || order.back() != call) order += call;
    if (calls++ != fail_at) return false;
    errno = number;
    return true;
  }
};

void put(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

}  // namespace

TEST_CASE("a file holds what was written to it last, for its owner only") {
  handlers::TemporaryFolder folder;
  std::string path = folder.file("disk.img.reservations");
  StateFile file(path);
  CHECK_FALSE(file.read(scsi::parse_reservation_image, "persistent reservations"));
  REQUIRE(file.write(image_of(1)));
  REQUIRE(file.write(image_of(2)));
  StateFile again(path);
  CHECK(key_in(again) == 2);
  struct stat status{};
  REQUIRE(stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.file("")), {}) == 1);
}

TEST_CASE("a new file is written and durable before it takes the name, and then the folder is") {
  handlers::TemporaryFolder folder;
  auto calls = std::make_shared<FailingCalls>();
  StateFile file(folder.file("f"), calls);
  REQUIRE(file.write(image_of(1)));
  CHECK(calls->order == "wsrd");
}

TEST_CASE("whatever call fails, the file holds what it held before, and the next write is good") {
  for (bool existing : {false, true}) {
    for (int fail_at = 0;; ++fail_at) {
      CAPTURE(existing);
      CAPTURE(fail_at);
      handlers::TemporaryFolder folder;
      auto calls = std::make_shared<FailingCalls>();
      StateFile file(folder.file("f"), calls);
      if (existing) REQUIRE(file.write(image_of(1)));
      calls->calls = 0;
      calls->fail_at = fail_at;
      auto written = file.write(image_of(2));
      if (written) break;
      CHECK(written.error().starts_with(std::filesystem::path(folder.file("f")).parent_path().string()));
      StateFile again(folder.file("f"));
      CHECK(key_in(again) == (existing ? 1 : 0));
      REQUIRE(file.write(image_of(3)));
      CHECK(key_in(again) == 3);
    }
  }
}

TEST_CASE("a folder that is gone is an error of the write") {
  std::string path;
  {
    handlers::TemporaryFolder folder;
    path = folder.file("f");
  }
  auto written = StateFile(path).write(image_of(1));
  REQUIRE_FALSE(written);
  CHECK(written.error() == path + ".new: open: No such file or directory");
}

TEST_CASE("a file that does not hold reservations is refused by name and reason") {
  handlers::TemporaryFolder folder;
  std::string path = folder.file("f");
  auto refused = [&](const std::string& text) {
    put(path, text);
    try {
      StateFile(path).read(scsi::parse_reservation_image, "persistent reservations");
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string("taken");
  };
  CHECK(refused("") == path + ": does not hold persistent reservations: 0 bytes are too few");
  CHECK(refused(std::string(100, 'x')) ==
        path + ": does not hold persistent reservations: it does not begin as such a file does");
  CHECK(refused(std::string(600 * 1024, 'x')) == path + ": is too long for persistent reservations");
  auto image = image_of(1);
  image[30] ^= 1;
  CHECK(refused({image.begin(), image.end()}) ==
        path + ": does not hold persistent reservations: its checksum is wrong");
}

TEST_CASE("a state folder is made, is one process's, and has a file for each name") {
  handlers::TemporaryFolder folder;
  std::string path = folder.file("a/b");
  {
    StateFolder state(path);
    CHECK(std::filesystem::is_directory(path));
    CHECK(state.file("lun0", StateKind::reservations) == path + "/lun0.reservations");
    CHECK(state.file("../x y_", StateKind::settings) == path + "/_2e._2fx_20y_5f.settings");
    CHECK_THROWS_WITH_AS(StateFolder{path}, (path + ": is in use by another process").c_str(), std::runtime_error);
  }
  StateFolder again(path);
  put(folder.file("file"), "");
  CHECK_THROWS_AS(StateFolder{folder.file("file")}, std::runtime_error);
}

TEST_CASE("what is kept stands beside images that are files") {
  handlers::TemporaryFolder folder;
  std::string image = folder.file("disk.img");
  CHECK_FALSE(target::state_file_beside(image, StateKind::reservations));
  put(image, "x");
  CHECK(target::state_file_beside(image, StateKind::reservations) == image + ".reservations");
  CHECK(target::state_file_beside(image, StateKind::settings) == image + ".settings");
  CHECK_FALSE(target::state_file_beside("/dev/null", StateKind::reservations));
}
