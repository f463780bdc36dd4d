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

StoreSpec parse_memory(std::string_view arguments, std::string_view) {
  return {.kind = StoreSpec::Kind::memory, .size = parse_size(arguments)};
}

StoreSpec parse_file(std::string_view arguments, std::string_view spec) {
  // Options stand at the end, so that a path may hold commas.
  StoreSpec file{.kind = StoreSpec::Kind::file};
  for (;;) {
    std::size_t comma = arguments.rfind(',');
    if (comma == std::string_view::npos) break;
    std::string_view option = arguments.substr(comma + 1);
    if (option == "ro") {
      file.read_only = true;
    } else if (option.starts_with("size=")) {
      file.size = parse_size(option.substr(5));
    } else {
      break;
    }
    arguments = arguments.substr(0, comma);
  }
  file.path = std::string(arguments);
  if (file.path.empty()) throw OpenError(fmt::format("store '{}': no path; expected file:PATH[,ro][,size=SIZE]", spec));
  return file;
}

std::unique_ptr<BackingStore> open_memory(const StoreSpec& spec, const OpenContext& context) {
  return std::make_unique<MemoryStore>(*spec.size, context.pool ? context.pool : MemoryPool::create());
}

std::unique_ptr<BackingStore> open_file(const StoreSpec& spec, const OpenContext& context) {
  FileStoreOptions options;
  options.path = spec.path;
  options.read_only = spec.read_only;
  options.create_size = spec.size;
  options.block_length = context.block_length;
  options.pool = context.pool ? context.pool : MemoryPool::create();
  return std::make_unique<FileStore>(std::move(options));
}

struct Row {
  std::string_view prefix;
  StoreSpec (*parse)(std::string_view arguments, std::string_view spec);
  std::unique_ptr<BackingStore> (*open)(const StoreSpec& spec, const OpenContext& context);
};
/// By StoreSpec::Kind.
constexpr Row kRows[] = {
    {"memory:", parse_memory, open_memory},
    {"file:", parse_file, open_file},
};

}  // namespace

StoreSpec parse_store(std::string_view spec) {
  for (const Row& row : kRows)
    if (spec.starts_with(row.prefix)) return row.parse(spec.substr(row.prefix.size()), spec);
  throw OpenError(fmt::format("store '{}': expected memory:SIZE or file:PATH[,ro][,size=SIZE]", spec));
}

std::unique_ptr<BackingStore> open_store(std::string_view spec, const OpenContext& context) {
  const StoreSpec parsed = parse_store(spec);
  if (parsed.size) check_whole_blocks(*parsed.size, spec, context.block_length);
  return kRows[static_cast<std::size_t>(parsed.kind)].open(parsed, context);
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
