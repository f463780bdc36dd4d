// Not tested, and why: nothing known.
#include "handlers/factory.h"

#include <doctest/doctest.h>

#include "store_kinds.h"

using namespace handlers;

namespace {

/// What open_store says when it refuses, empty when it does not.
std::string refusal(const std::string& spec, std::uint32_t block_length = 512) {
  try {
    open_store(spec, {MemoryPool::create(), block_length});
  } catch (const OpenError& error) {
    return error.what();
  }
  return {};
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a size is a number with a power of 1024") {
  CHECK(parse_size("512") == 512);
  CHECK(parse_size("4K") == 4096);
  CHECK(parse_size("512M") == 512ull << 20);
  CHECK(parse_size("64G") == 64ull << 30);
  CHECK(parse_size("1T") == 1ull << 40);
  CHECK(parse_size("2P") == 2ull << 50);
  for (const char* bad : {"", "G", "64g", "64GB", "-1", "1.5G", " 1", "99999999999999999999", "8192P", "999999999P"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_size(bad), OpenError);
  }
}

TEST_CASE("a memory store is opened with its size") {
  auto store = open_store("memory:1M", {MemoryPool::create()});
  CHECK(store->size_bytes() == 1 << 20);
  CHECK_FALSE(store->may_block());
}

TEST_CASE("a file store is created, opened, and opened read-only") {
  TemporaryFolder folder;
  std::string path = folder.file("a,b.img");
  {
    auto store = open_store("file:" + path + ",size=1M", {MemoryPool::create()});
    CHECK(store->size_bytes() == 1 << 20);
    CHECK(store->may_block());
    CHECK(store->write(0, content(512, 1)));
  }
  auto store = open_store("file:" + path + ",ro", {MemoryPool::create()});
  CHECK(store->read_only());
  CHECK(read_all(*store, {0, 512}) == content(512, 1));
  CHECK(store->write(0, content(512, 2)).error().kind == IoError::Kind::write_protected);
  CHECK(store->unmap({0, 512}).error().kind == IoError::Kind::write_protected);
  CHECK(store->flush());
}

TEST_CASE("a store that cannot be opened says which value broke which rule") {
  TemporaryFolder folder;
  std::string path = folder.file("disk.img");
  CHECK(says(refusal("disk.img"), "expected memory:SIZE or file:PATH"));
  CHECK(says(refusal("memory:"), "expected a whole number"));
  CHECK(says(refusal("memory:0"), "not a positive multiple of the block length 512"));
  CHECK(says(refusal("memory:1000"), "not a positive multiple of the block length 512"));
  CHECK(says(refusal("memory:6K", 4096), "not a positive multiple of the block length 4096"));
  CHECK(says(refusal("file:"), "no path"));
  CHECK(says(refusal("file:" + path), "does not exist; add ,size=SIZE"));
  CHECK(says(refusal("file:" + path), path));
  CHECK(says(refusal("file:" + folder.file("no/disk.img") + ",size=1M"), "its folder does not either"));
  CHECK(says(refusal("file:" + folder.file("")), "cannot be opened: Is a directory"));
  CHECK(says(refusal("file:/dev/null"), "neither a regular file nor a block device"));
  CHECK(says(refusal("file:/proc/self/exe"), "is not writable"));
  CHECK(says(refusal("file:/proc/self/exe"), "use file:/proc/self/exe,ro"));
  CHECK(refusal("file:" + path + ",size=6K").empty());
  CHECK(
      says(refusal("file:" + path, 4096), "has 6144 bytes, which is not a positive multiple of the block length 4096"));
  CHECK(says(refusal("file:" + path + ",size=8K"), "exists and has 6144 bytes, not the 8192 asked for"));
  auto first = open_store("file:" + path, {MemoryPool::create()});
  CHECK(says(refusal("file:" + path), "is locked: another process serves it"));
  CHECK(says(refusal("file:" + path + ",ro"), "is locked: another process serves it for writing"));
}
