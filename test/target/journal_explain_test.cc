// "Why was this copy not offloaded?" in words.
//
// Not tested, and why: each sentence of advice (they are a table).
#include "target/journal_explain.h"

#include <doctest/doctest.h>

#include "test/target/journal_world.h"

using namespace std::chrono_literals;
using test::JournalWorld;

namespace {

std::string explained(const JournalWorld& w, const target::ExplainQuestion& question = {}) {
  return target::explain(w.journal, question, w.clock.now());
}

}  // namespace

TEST_CASE("a token that expired is named with its life") {
  JournalWorld w;
  auto token = w.token_of(1);
  w.clock.advance(72s);
  w.write_using(2, token);
  w.clock.advance(1s);
  w.write_using(3, token);
  CHECK(explained(w) ==
        "WRITE USING TOKEN from iqn.2026-11.org.example:host to LUN 1 (lun1): 05/23/07 ILLEGAL REQUEST, INVALID TOKEN "
        "OPERATION, TOKEN EXPIRED, 2 times since 1 s ago, last just now\n"
        "    because: token 1 expired 13 s ago: inactivity timeout 60 s, never used since it was made by POPULATE "
        "TOKEN from iqn.2026-11.org.example:host\n"
        "    73 s ago: token 1 represents 32768 bytes of lun0, inactivity timeout 60 s, made by POPULATE TOKEN from "
        "iqn.2026-11.org.example:host\n"
        "    13 s ago: token 1 expired: inactivity timeout 60 s, never used since it was made by POPULATE TOKEN from "
        "iqn.2026-11.org.example:host\n");
}

TEST_CASE("a cut is told with when it was made, and a limit with its name") {
  JournalWorld w;
  auto token = w.token_of(1);
  w.arrays.set_unreachable({{"lun0", "lun1", {}}});
  w.clock.advance(5s);
  w.write_using(2, token);
  const std::string cut = explained(w);
  CHECK(cut.contains("because: lun0 cannot be reached from lun1\n"));
  CHECK(cut.contains("    5 s ago: lun0 and lun1 cannot reach each other\n"));

  JournalWorld full(std::string(test::kTwoDisks) + "[tokens]\nmaximum_tokens = 1\n");
  full.token_of(1);
  CHECK_THROWS(full.token_of(2));
  CHECK(explained(full).contains("a limit is reached: maximum_tokens"));
}

TEST_CASE("a question about one host or one LUN is answered for that one") {
  JournalWorld w;
  auto token = w.token_of(1);
  w.write_using(2, token, 65);
  CHECK(explained(w, {.initiator = JournalWorld::kHost}).contains("WRITE USING TOKEN"));
  CHECK(explained(w, {.lun = scsi::Lun{1}}).contains("WRITE USING TOKEN"));
  CHECK(explained(w, {.logical_unit = "lun1"}).contains("WRITE USING TOKEN"));
  CHECK_FALSE(explained(w, {.lun = scsi::Lun{0}}).contains("WRITE USING TOKEN from"));
  CHECK(explained(w, {.initiator = "iqn.other"}).contains("No such initiator has logged in."));
}

TEST_CASE("where nothing was refused it says how far the host came") {
  JournalWorld w;
  w.journal.clear();
  CHECK(explained(w).contains("No such initiator has logged in."));
  w.server.attach({JournalWorld::kHost, {}, w.server.config().target_name, 1});
  CHECK(explained(w).contains("did not ask for VPD page 8Fh"));
  w.send(0, {0x12, 1, 0x8F, 1, 0, 0}, {}, 256);
  CHECK(explained(w).contains("just now: VPD page 8Fh offers ODX. It sent no POPULATE TOKEN"));
  auto token = w.token_of(1);
  CHECK(explained(w).contains("no WRITE USING TOKEN came"));
  w.write_using(2, token);
  CHECK(explained(w).contains("that copy was offloaded"));
}

TEST_CASE("an array without ODX is told as such") {
  JournalWorld w(std::string(test::kTwoDisks) + "[tokens]\nodx = false\n[copy]\nextended_copy = false\n");
  w.send(0, {0x12, 1, 0x8F, 1, 0, 0}, {}, 256);
  CHECK(explained(w).contains("the array says that it cannot offload copies"));
}
