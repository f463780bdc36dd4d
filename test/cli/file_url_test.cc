// Not tested, and why: what libiscsi makes of the disk's part (test/initiator).
#include "cli/file_url.h"

#include <doctest/doctest.h>

using cli::parse_file_url;

namespace {

constexpr const char* kDisk = "iscsi://127.0.0.1:3260/iqn.2026-11.example:disks/3";

cli::FileUrl parsed(const std::string& after_disk) {
  auto url = parse_file_url(kDisk + after_disk);
  REQUIRE(url.has_value());
  CHECK(url->disk == kDisk);
  return *url;
}

}  // namespace

TEST_CASE("a file on a volume: partition, path and stream") {
  cli::FileUrl url = parsed("#2/dir/a file:stream");
  CHECK(url.partition == 2u);
  CHECK(url.path == "dir/a file");
  CHECK(url.stream == "stream");
  CHECK_FALSE(url.is_volume);
  CHECK_FALSE(url.ends_in_slash);
  CHECK_FALSE(parsed("#/file").partition.has_value());
  CHECK(parsed("#/file").path == "file");
  CHECK(parsed("#/file").stream.empty());
}

TEST_CASE("both slashes stand between names, and too many of them do no harm") {
  CHECK(parsed("#\\dir\\file").path == "dir/file");
  CHECK(parsed("#1//dir/\\file").path == "dir/file");
  CHECK(parsed("#/dir/").path == "dir");
  CHECK(parsed("#/dir/").ends_in_slash);
  CHECK(parsed("#/").path.empty());
  CHECK_FALSE(parsed("#/").is_volume);
}

TEST_CASE("without a path it is the volume, or the disk") {
  CHECK(parsed("").is_volume);
  CHECK(parsed("#").is_volume);
  CHECK(parsed("#1").is_volume);
  CHECK(parsed("#1").partition == 1u);
}

TEST_CASE("Windows' names of streams") {
  CHECK(parsed("#/file:s:$DATA").stream == "s");
  CHECK(parsed("#/file::$DATA").stream.empty());
}

TEST_CASE("what cannot be meant") {
  for (const char* text : {"#x/file", "#-1/file", "#99999999999/file", "#/dir:s/file", "#/file:a:b", "#/file:", "#/:s"})
    CHECK_FALSE(parse_file_url(std::string(kDisk) + text).has_value());
  CHECK_FALSE(parse_file_url("iscsi://nothing#/file").has_value());
  CHECK_FALSE(parse_file_url("").has_value());
}

TEST_CASE("anything else is a path of this machine") {
  for (const char* text : {"/tmp/a#b:c", "file", "dir/", "C:\\x", "http://x"}) {
    auto url = parse_file_url(text);
    REQUIRE(url.has_value());
    CHECK(url->local());
    CHECK(url->path == text);
    CHECK(url->stream.empty());
  }
}
