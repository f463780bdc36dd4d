// What a configuration string may say, and why others are refused.
//
// Not tested, and why: values of keys that odxd has, too (test/target/config_test.cc).
#include <fstream>

#include "test/handlers/store_kinds.h"
#include "test/tcmu/plugin_fixture.h"

using namespace test;
using handlers::TemporaryFolder;

namespace {

/// Why the handler refuses the string; empty when it takes it.
std::string refusal(const std::string& text) {
  char* reason = nullptr;
  if (handler().check_config(text.c_str(), &reason)) return {};
  std::string copy = reason;
  std::free(reason);
  return copy;
}

constexpr std::string_view kFile = R"(
[tokens]
maximum_range_descriptors = 9
[[unreachable]]
a = "one"
b = "two"
[[target]]
[[target.lun]]
name = "one"
store = "memory:1M"
[[target.lun]]
name = "two"
store = "memory:1M"
block_size = 4096
)";

std::string write_file(const TemporaryFolder& folder, std::string_view text) {
  std::ofstream(folder.file("array.toml")) << text;
  return folder.file("array.toml");
}

}  // namespace

TEST_SUITE("tcmu configuration") {
  TEST_CASE("the handler is what the daemon's own threads have nothing to do for") {
    tcmu::RunnerHandler& ours = handler();
    CHECK(std::string(ours.subtype) == "odx");
    CHECK(ours.nr_threads == 0);
    for (auto* emulated : ours.emulated) CHECK_FALSE(static_cast<bool>(emulated));
    CHECK_FALSE(ours.is_dbus_handler);
  }

  TEST_CASE("strings that can be used") {
    for (const char* text : {"odx/memory", "odx/file:/a/b.img", "odx/memory;read_only=true",
                             "odx/memory;provisioning=thick", "odx/memory;physical_block_exponent=3;removable=true",
                             "odx/memory;soft_threshold=64K", "odx/memory;initiator=iqn.1991-05.com.microsoft:host1",
                             "odx/memory;initiator=naa.5001405000000001;group=g1", "odx/memory\n"}) {
      CAPTURE(text);
      CHECK(refusal(text) == "");
    }
  }

  TEST_CASE("strings that cannot be used, and the reason") {
    const std::pair<const char*, const char*> table[] = {
        {"od/memory", "expected odx/memory, odx/file:PATH or the path"},
        {"odx", "expected odx/memory, odx/file:PATH or the path"},
        {"odx/", "\"\" is no store; expected odx/memory"},
        {"odx/memory:64M", "has the size that LIO says; expected odx/memory"},
        {"odx/rbd:pool", "\"rbd:pool\" is no store"},
        {"odx/file:", "lun.store is \"file:\"; expected a store"},
        {"odx/file:disk.img", "\"disk.img\" is a relative path; expected an absolute one"},
        {"odx/file:/disk.img,size=1M", "size is what LIO says of the backstore"},
        {"odx/file:/disk.img,ro", "a comma cannot stand in the string; expected ;read_only=true"},
        {"odx/file:/a,b.img", "a comma cannot stand in the string"},
        {"odx/memory;thin", "\"thin\" is no option; expected KEY=VALUE"},
        {"odx/memory;colour=red", "there is no option colour here; expected initiator, group, read_only"},
        {"odx/memory;lun=one", "there is no option lun here"},
        {"odx/memory;size=1M", "size is what LIO says of the backstore"},
        {"odx/memory;naa=6", "naa is what LIO says of the backstore"},
        {"odx/memory;read_only=maybe", "lun.read_only is \"maybe\"; expected true or false"},
        {"odx/memory;read_only=true;read_only=true", "read_only stands twice"},
        {"odx/memory;physical_block_exponent=16", "physical_block_exponent is 16"},
        {"odx/file:/a;self_encrypting=true", "self_encrypting is true; expected false, or a store in memory"},
        {"odx/memory;provisioning=\"\n[[lun]]", "provisioning is"},
        {"odx/memory;initiator=host1", "initiator is \"host1\"; expected a name that starts with iqn., eui. or naa."},
        {"odx/memory;group=g1", "group is for copies, which are offered only with initiator=NAME"},
        {"odx/memory;initiator=naa.5001405000000001;group=", "group is empty"},
        {"odx/memory;tcmur_cmd_time_out=5", "expected LIO's own cmd_time_out"},
        {"odx//none/such.toml;lun=one", "cannot be read"},
    };
    for (auto [text, reason] : table) {
      CAPTURE(text);
      CHECK_MESSAGE(refusal(text).contains(reason), refusal(text));
    }
  }

  TEST_CASE("a LUN of a configuration file has that file's profile, and its pairs") {
    TemporaryFolder folder;
    const std::string owner = ";initiator=iqn.1991-05.com.microsoft:host1";
    const std::string file = "odx/" + write_file(folder, kFile);
    FakeDevice one(file + ";lun=one" + owner, kMiB), two(file + ";lun=two" + owner, kMiB, "2", 4096);
    make_ready(one);
    make_ready(two);
    Outcome limits = one.execute(inquiry_page(0x8F), Bytes(255));
    CHECK(base::load<base::be16>(base::Bytes(limits.data).subspan(4 + 10)).value() == 9);
    Bytes list = populate_list({{0, 8}});
    CHECK(one.execute(out_cdb(0x10, 1, list.size()), list).text() == "status 0");
    Outcome answer = one.execute(in_cdb(0x07, 1, 1024), Bytes(1024));
    answer.data.resize(base::load<base::be32>(answer.data).value() + 4u);
    list = write_list(*CopyResult(answer.data).token, {{0, 1}});
    CHECK(two.execute(out_cdb(0x11, 1, list.size()), list).text() == "05/08/04");

    FakeDevice again(file + ";lun=one" + owner, kMiB);
    CHECK_FALSE(again.opened());
    CHECK(last_error().contains("another backstore is it already"));
  }

  TEST_CASE("what the file says of size and blocks is what LIO says") {
    TemporaryFolder folder;
    const std::string file = "odx/" + write_file(folder, kFile);
    FakeDevice larger(file + ";lun=one", 2 * kMiB);
    CHECK_FALSE(larger.opened());
    CHECK(last_error().contains("has 1048576 bytes, and LIO says 2097152"));
    FakeDevice blocks(file + ";lun=two", kMiB);
    CHECK_FALSE(blocks.opened());
    CHECK(last_error().contains("the file says block_size 4096, and LIO hw_block_size 512"));
  }

  TEST_CASE("what a file says that is not for a backstore of LIO is refused") {
    TemporaryFolder folder;
    const std::pair<std::string_view, std::string_view> table[] = {
        {"memory_limit = \"1G\"\n", "memory_limit is not for a backstore of LIO"},
        {"threads = 2\n", "threads is not for a backstore of LIO"},
        {"[clock]\nmode = \"manual\"\n", "clock is not for a backstore of LIO"},
        {"[control]\nunix = \"/run/odx.sock\"\n", "control is not for a backstore of LIO"},
        {"[journal]\nfile = \"/tmp/journal\"\n", "journal.file is not for a backstore of LIO"},
    };
    for (auto [text, reason] : table) {
      CAPTURE(text);
      const std::string file = "odx/" + write_file(folder, std::string(text) + std::string(kFile));
      CHECK_MESSAGE(refusal(file + ";lun=one").contains(reason), refusal(file + ";lun=one"));
    }
    const std::string closed = std::string(kFile) + "allowed_initiators = [\"iqn.2026-11.org.example:host\"]\n";
    CHECK(refusal("odx/" + write_file(folder, closed) + ";lun=one").contains("allowed_initiators is not for"));
    std::string serial = std::string(kFile) + "serial = \"S1\"\n";
    CHECK(refusal("odx/" + write_file(folder, serial) + ";lun=one").contains("serial or naa is not for"));
    const std::string file = "odx/" + write_file(folder, kFile);
    CHECK(refusal(file).contains("lun is missing"));
    CHECK(refusal(file + ";lun=three").contains("has no LUN of the name \"three\""));
    CHECK(refusal(file + ";lun=one;read_only=true")
              .contains("there is no option read_only here; expected initiator, lun"));
    CHECK(refusal("odx/" + write_file(folder, "nonsense") + ";lun=one").contains("array.toml:1"));
  }
}
