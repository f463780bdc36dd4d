// From a line of configuration to a store: one row per kind.
//
//   memory:SIZE                     a thin store in memory
//   file:PATH[,ro][,size=SIZE]      a raw image or block device; size= creates a file that does not exist
//
// SIZE is a whole number with an optional K, M, G, T or P (powers of 1024): 512M, 64G, 1T.
// Thread: any.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "handlers/backing_store.h"
#include "handlers/memory_pool.h"
#include "handlers/open_error.h"

namespace handlers {

struct OpenContext {
  base::Ref<MemoryPool> pool;        ///< shared by every store of the process
  std::uint32_t block_length = 512;  ///< a store's size is a whole number of these
};

/// What a line says, before anything is opened.
struct StoreSpec {
  enum class Kind : std::uint8_t { memory, file };
  Kind kind = Kind::memory;
  std::string path{};                   ///< Kind::file
  bool read_only = false;               ///< Kind::file
  std::optional<std::uint64_t> size{};  ///< bytes; always for Kind::memory
};

/// Throws OpenError.
StoreSpec parse_store(std::string_view spec);

/// Throws OpenError.
std::unique_ptr<BackingStore> open_store(std::string_view spec, const OpenContext& context);

/// Bytes. Throws OpenError.
std::uint64_t parse_size(std::string_view text);

}  // namespace handlers
