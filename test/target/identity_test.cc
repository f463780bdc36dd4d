// Identity: no two arrays share a serial or a designator, and what is configured or a file stays who it is.
//
// Not tested, and why: that two files on one machine get different creation times (the file system's business).
#include "target/identity.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

#include "target/iscsi/name.h"

namespace {

using target::ArrayIdentity;
using target::LunSource;

constexpr std::uint64_t kSeed = 20261120;
const std::vector<LunSource> kTwoMemoryLuns{{"lun0", {}}, {"lun1", {}}};

bool equal(const scsi::LogicalUnitIdentity& a, const scsi::LogicalUnitIdentity& b) {
  return a.serial == b.serial && a.naa == b.naa && a.eui64 == b.eui64;
}

/// A file that is gone when the scope ends.
class TemporaryFile {
 public:
  TemporaryFile() : fd_(mkstemp(path_)) { REQUIRE(fd_ >= 0); }
  ~TemporaryFile() {
    close(fd_);
    unlink(path_);
  }
  const char* path() const { return path_; }

 private:
  char path_[24] = "/tmp/odx-identityXXXXXX";
  int fd_;
};

}  // namespace

TEST_CASE("two default arrays never share an id, a serial or a designator") {
  base::SeededEntropy entropy(kSeed);
  MESSAGE("seed " << kSeed);
  std::set<std::string> serials, ids;
  std::set<std::array<std::uint8_t, 16>> naas;
  constexpr std::size_t kArrays = 1000;
  for (std::size_t i = 0; i < kArrays; ++i) {
    ArrayIdentity identity("", kTwoMemoryLuns, entropy);
    CHECK_FALSE(identity.stable());
    ids.insert(identity.id());
    for (const LunSource& lun : kTwoMemoryLuns) {
      serials.insert(identity.logical_unit(lun).serial);
      naas.insert(identity.logical_unit(lun).naa);
    }
  }
  CHECK(ids.size() == kArrays);
  CHECK(serials.size() == 2 * kArrays);
  CHECK(naas.size() == 2 * kArrays);
}

TEST_CASE("a configured id gives the same names at every start, and each LUN its own") {
  base::SeededEntropy entropy(kSeed);
  ArrayIdentity first("lab", kTwoMemoryLuns, entropy);
  ArrayIdentity second("lab", kTwoMemoryLuns, entropy);
  ArrayIdentity other("lab2", kTwoMemoryLuns, entropy);
  CHECK(first.stable());
  CHECK(first.target_name() == "iqn.2026-11.org.odx:lab");
  CHECK(equal(first.logical_unit(kTwoMemoryLuns[0]), second.logical_unit(kTwoMemoryLuns[0])));
  CHECK_FALSE(equal(first.logical_unit(kTwoMemoryLuns[0]), first.logical_unit(kTwoMemoryLuns[1])));
  CHECK_FALSE(equal(first.logical_unit(kTwoMemoryLuns[0]), other.logical_unit(kTwoMemoryLuns[0])));
}

TEST_CASE("designators are NAA 6h and EUI-64 with a locally administered company id, and a serial fits VPD 80h") {
  base::SeededEntropy entropy(kSeed);
  ArrayIdentity identity("", kTwoMemoryLuns, entropy);
  auto lun = identity.logical_unit(kTwoMemoryLuns[0]);
  CHECK(lun.naa[0] == 0x60);
  CHECK(lun.naa[1] == 0x24);
  CHECK(lun.naa[2] == 0xF4);
  CHECK((lun.naa[3] & 0xF0) == 0x40);
  CHECK(lun.eui64[0] == 0x02);
  CHECK(lun.eui64[1] == 0x4F);
  CHECK(lun.eui64[2] == 0x44);
  CHECK(lun.eui64 != identity.logical_unit(kTwoMemoryLuns[1]).eui64);
  CHECK(lun.serial.size() == 20);
  CHECK(lun.vendor.size() <= 8);
}

TEST_CASE("an id that is not configured makes a valid iSCSI name") {
  base::SeededEntropy entropy(kSeed);
  std::string name = ArrayIdentity("", kTwoMemoryLuns, entropy).target_name();
  CHECK(iscsi::normalised_name(name) == name);
}

TEST_CASE("an array of files is the same at every start, also when a LUN is added, and another machine's differs") {
  TemporaryFile file;
  auto here = target::file_identity(file.path(), "machine-a");
  auto again = target::file_identity(file.path(), "machine-a");
  auto there = target::file_identity(file.path(), "machine-b");
  REQUIRE(here);
  CHECK(here == again);
  CHECK(here != there);

  base::SeededEntropy entropy(kSeed);
  ArrayIdentity first("", {{"lun0", here}}, entropy);
  ArrayIdentity second("", {{"lun0", again}}, entropy);
  CHECK(first.stable());
  CHECK(first.id() == second.id());
  ArrayIdentity mixed("", {{"lun0", here}, {"lun1", {}}}, entropy);
  CHECK_FALSE(mixed.stable());
  CHECK(equal(first.logical_unit({"lun0", here}), mixed.logical_unit({"disk", here})));
  CHECK_FALSE(equal(first.logical_unit({"lun0", here}), first.logical_unit({"lun0", there})));
}

TEST_CASE("a file is nobody's without a machine id, and when it is not there") {
  TemporaryFile file;
  CHECK_FALSE(target::file_identity(file.path(), ""));
  CHECK_FALSE(target::file_identity("/nonexistent/disk.img", "machine-a"));
}

TEST_CASE("a device is known by the path that names it, whenever its node was made") {
  CHECK(target::file_identity("/dev/null", "m") == "m:device:/dev/null");
  CHECK(target::file_identity("/dev/../dev/null", "m") == "m:device:/dev/null");
}

TEST_CASE("two names of one file are one file") {
  TemporaryFile file;
  std::string link = std::string(file.path()) + ".link";
  REQUIRE(symlink(file.path(), link.c_str()) == 0);
  CHECK(target::file_identity(link, "m") == target::file_identity(file.path(), "m"));
  unlink(link.c_str());
}
