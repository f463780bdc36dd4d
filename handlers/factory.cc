#include "handlers/factory.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string>

#include "handlers/file_store.h"
#include "handlers/memory_store.h"

namespace handlers {
namespace {

/// The largest capacity byte offsets can express without becoming negative as off_t.
constexpr std::uint64_t kLargestStore = std::uint64_t{1} << 62;

void check_whole_blocks(std::uint64_t size, std::string_view spec, std::uint32_t block_length) {
  if (size == 0 || size % block_length != 0) {
    throw OpenError(fmt::format("store '{}': {} bytes is not a positive multiple of the block length {}", spec, size,
                                block_length));
  }
}

std::unique_ptr<BackingStore> open_memory(std::string_view arguments, std::string_view spec,
                                          const OpenContext& context) {
  std::uint64_t size = parse_size(arguments);
  check_whole_blocks(size, spec, context.block_length);
  return std::make_unique<MemoryStore>(size, context.pool ? context.pool : MemoryPool::create());
}

std::unique_ptr<BackingStore> open_file(std::string_view arguments, std::string_view spec, const OpenContext& context) {
  // Options stand at the end, so that a path may hold commas.
  FileStoreOptions options;
  options.block_length = context.block_length;
  options.pool = context.pool ? context.pool : MemoryPool::create();
  for (;;) {
    std::size_t comma = arguments.rfind(',');
    if (comma == std::string_view::npos) break;
    std::string_view option = arguments.substr(comma + 1);
    if (option == "ro") {
      options.read_only = true;
    } else if (option.starts_with("size=")) {
      options.create_size = parse_size(option.substr(5));
      check_whole_blocks(*options.create_size, spec, context.block_length);
    } else {
      break;
    }
    arguments = arguments.substr(0, comma);
  }
  options.path = std::string(arguments);
  if (options.path.empty())
    throw OpenError(fmt::format("store '{}': no path; expected file:PATH[,ro][,size=SIZE]", spec));
  return std::make_unique<FileStore>(std::move(options));
}

struct Kind {
  std::string_view prefix;
  std::unique_ptr<BackingStore> (*open)(std::string_view arguments, std::string_view spec, const OpenContext& context);
};
constexpr Kind kKinds[] = {
    {"memory:", open_memory},
    {"file:", open_file},
};

}  // namespace

std::unique_ptr<BackingStore> open_store(std::string_view spec, const OpenContext& context) {
  for (const Kind& kind : kKinds) {
    if (spec.starts_with(kind.prefix)) return kind.open(spec.substr(kind.prefix.size()), spec, context);
  }
  throw OpenError(fmt::format("store '{}': expected memory:SIZE or file:PATH[,ro][,size=SIZE]", spec));
}

std::uint64_t parse_size(std::string_view text) {
  static constexpr std::string_view kUnits = "KMGTP";
  std::uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  std::size_t power = unit.size() == 1 ? kUnits.find(unit[0]) + 1 : 0;
  if (error == std::errc::invalid_argument || unit.size() > 1 || (unit.size() == 1 && power == 0)) {
    throw OpenError(fmt::format("size '{}': expected a whole number with K, M, G, T or P behind it, like 64G", text));
  }
  for (; power > 0 && error == std::errc{}; --power) {
    if (number > kLargestStore / 1024) error = std::errc::result_out_of_range;
    number *= 1024;
  }
  if (error != std::errc{} || number > kLargestStore) {
    throw OpenError(fmt::format("size '{}': more than the largest store, 4096P", text));
  }
  return number;
}

}  // namespace handlers
