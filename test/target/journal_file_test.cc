// The journal's file: what is appended, when, and what becomes of events that cannot be written.
//
// Not tested, and why: a disk that is full for a while in the middle of a line (it would take one; /dev/full is always
// full).
#include "target/journal_file.h"

#include <doctest/doctest.h>

#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "base/log.h"
#include "target/array.h"
#include "test/handlers/store_kinds.h"
#include "test/scsi/device_fixture.h"

using scsi::Event;
using target::JournalFile;

namespace {

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct JournalFileFixture {
  base::VirtualClock clock;
  scsi::Journal journal{clock};
  test::HeldExecutor executor;
};

}  // namespace

TEST_CASE("events are appended by a worker, one write at a time, a line each") {
  JournalFileFixture f;
  handlers::TemporaryFolder folder;
  const std::string path = folder.file("journal.jsonl");
  {
    JournalFile file(path, "{\"kind\":\"start\"}\n", f.journal, f.executor);
    f.journal.record({.reason = "one"});
    f.journal.record({.reason = "two"});
    CHECK(contents(path).empty());
    file.settle();
    f.journal.record({.reason = "three"});
    file.settle();
    CHECK(f.executor.held() == 1);
    f.executor.run_all();
    CHECK(contents(path).ends_with("\"two\"}\n"));
    file.settle();
    f.executor.run_all();
    file.settle();
    CHECK(f.executor.held() == 0);
    f.journal.record({.reason = "four"});
    file.finish();
  }
  f.journal.record({.reason = "nobody listens"});
  CHECK(contents(path) ==
        "{\"kind\":\"start\"}\n"
        "{\"sequence\":1,\"time_us\":0,\"kind\":\"command\",\"reason\":\"one\"}\n"
        "{\"sequence\":2,\"time_us\":0,\"kind\":\"command\",\"reason\":\"two\"}\n"
        "{\"sequence\":3,\"time_us\":0,\"kind\":\"command\",\"reason\":\"three\"}\n"
        "{\"sequence\":4,\"time_us\":0,\"kind\":\"command\",\"reason\":\"four\"}\n");
  struct stat status{};
  REQUIRE(stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);

  JournalFile again(path, "{\"kind\":\"start\"}\n", f.journal, f.executor);
  again.finish();
  CHECK(contents(path).ends_with("\"four\"}\n{\"kind\":\"start\"}\n"));
}

TEST_CASE("where a disk is full or too slow the array goes on, and the file says what is missing") {
  base::log::set_level(base::log::Level::off);
  JournalFileFixture f;
  JournalFile full("/dev/full", "", f.journal, f.executor);
  for (int i = 0; i < 100; ++i) {
    f.journal.record({.reason = "lost"});
    full.settle();
    f.executor.run_all();
  }
  full.finish();
  CHECK(f.journal.last() == 100);

  JournalFileFixture slow;
  handlers::TemporaryFolder folder;
  const std::string path = folder.file("journal.jsonl");
  JournalFile file(path, "", slow.journal, slow.executor);
  slow.journal.record({.reason = "first"});
  file.settle();  // and the disk does not answer
  const std::string large(1 << 20, 'x');
  for (int i = 0; i < 20; ++i) slow.journal.record({.reason = large});
  slow.executor.run_all();
  file.settle();
  slow.executor.run_all();
  slow.journal.record({.reason = "last"});
  file.finish();
  const std::string text = contents(path);
  CHECK(text.size() < JournalFile::kMostWaiting + (2 << 20));
  CHECK(text.contains("{\"kind\":\"lost\",\"events\":4,\"reason\":\"the disk is too slow\"}\n{\"sequence\":22,"));
}

TEST_CASE("a file that cannot be opened is an error of the start") {
  JournalFileFixture f;
  CHECK_THROWS_WITH_AS(JournalFile("/nowhere/journal.jsonl", "", f.journal, f.executor),
                       "journal.file: /nowhere/journal.jsonl: No such file or directory", target::StoreError);
}

TEST_CASE("a start has a line that says when") {
  using std::chrono::sys_days;
  auto when = sys_days(std::chrono::year(2026) / 11 / 26) + std::chrono::seconds(3661);
  CHECK(target::journal_start_line(when, "scaled:60", "1.2") ==
        "{\"kind\":\"start\",\"started\":\"2026-11-26T01:01:01Z\",\"clock\":\"scaled:60\",\"version\":\"1.2\"}\n");
}
