// Every store and wrapper the suite runs on, each with what it needs around it. Thread: one.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "handlers/fault_store.h"
#include "handlers/file_store.h"
#include "handlers/memory_store.h"

namespace handlers {

/// A folder of its own, gone with everything in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "odx-test-XXXXXX").string()) {
    if (!mkdtemp(path_.data())) throw std::runtime_error("no temporary folder");
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

struct MemoryKind {
  base::Ref<MemoryPool> pool = MemoryPool::create();
  std::unique_ptr<BackingStore> make(std::uint64_t size) { return std::make_unique<MemoryStore>(size, pool); }
};

struct FileKind {
  TemporaryFolder folder;
  base::Ref<MemoryPool> pool{};  ///< null: each store has its own
  int count = 0;
  std::unique_ptr<BackingStore> make(std::uint64_t size) {
    FileStoreOptions options;
    options.path = folder.file(std::to_string(count++) + ".img");
    options.create_size = size;
    options.pool = pool;
    return std::make_unique<FileStore>(options);
  }
};

template <typename Inner>
struct FaultKind {
  Inner inner;
  std::unique_ptr<BackingStore> make(std::uint64_t size) { return std::make_unique<FaultStore>(inner.make(size)); }
};

using Content = std::vector<std::uint8_t>;

/// Bytes that differ from their neighbours and between seeds.
inline Content content(std::size_t size, unsigned seed) {
  Content bytes(size);
  std::uint32_t state = seed * 2654435761u + 1;
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>((state = state * 1664525u + 1013904223u) >> 24 | 1);
  return bytes;
}

inline Content read_all(BackingStore& store, ByteRange range) {
  base::Segments out;
  if (!store.read(range, out) || out.size() != range.length) throw std::runtime_error("read failed");
  return out.to_vector();
}
inline Content read_all(BackingStore& store) { return read_all(store, {0, store.size_bytes()}); }
inline Content read_all(const Snapshot& snapshot) {
  base::Segments out;
  if (!snapshot.read({0, snapshot.size_bytes()}, out)) throw std::runtime_error("snapshot read failed");
  return out.to_vector();
}

inline SnapshotRef capture(BackingStore& store, std::vector<ByteRange> ranges) {
  auto snapshot = store.capture(ranges);
  if (!snapshot) throw std::runtime_error("capture failed: " + snapshot.error().reason);
  return *snapshot;
}

}  // namespace handlers
