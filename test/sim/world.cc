#include "test/sim/world.h"

#include <stdexcept>

#include "tokens/token_manager.h"

namespace sim {

namespace {

constexpr std::uint64_t kTightMemory = 160 << 10;

scsi::DeviceProfile profile_of(const Limits& limits, const Traits& traits) {
  scsi::DeviceProfile profile;
  profile.maximum_range_descriptors = static_cast<std::uint16_t>(limits.range_descriptors);
  profile.maximum_token_transfer_bytes = limits.transfer_bytes;
  profile.optimal_transfer_bytes = limits.transfer_bytes;
  profile.maximum_inactivity_timeout_s = limits.maximum_inactivity_timeout_s;
  profile.default_inactivity_timeout_s = limits.default_inactivity_timeout_s;
  profile.token_lifetime_s = limits.lifetime_s;
  profile.maximum_token_lifetime_s = limits.lifetime_s;
  profile.maximum_tokens = static_cast<std::uint32_t>(limits.tokens);
  profile.maximum_copy_operations = static_cast<std::uint32_t>(limits.operations);
  profile.maximum_copy_results = static_cast<std::uint32_t>(limits.results);
  profile.background = traits.background;
  profile.source_write_cancels = traits.source_write_cancels;
  profile.copy_duration = traits.copy_duration;
  profile.populate_duration = traits.populate_duration;
  return profile;
}

}  // namespace

void RandomExecutor::step(std::size_t index, bool to_the_end) {
  Job job = std::move(jobs_.at(index));
  jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(index));
  if (job.work) {
    Failures before = std::exchange(failures_, {});
    job.work();
    job.work = nullptr;
    job.failures = std::exchange(failures_, std::move(before));
    if (!to_the_end) {
      jobs_.insert(jobs_.begin() + static_cast<std::ptrdiff_t>(index), std::move(job));
      return;
    }
  }
  failures_.insert(failures_.end(), job.failures.begin(), job.failures.end());
  job.done();
}

World::World(std::uint64_t seed, const Limits& limits, const Traits& traits)
    : entropy(seed),
      copies(profile_of(limits, traits), clock, entropy),
      server({"iqn.2025-01.example:target", 1}, clock, &executor, copies) {
  auto memory = handlers::MemoryPool::create();
  auto old_data = handlers::MemoryPool::create(traits.tight ? kTightMemory : handlers::MemoryBudget::kUnlimited);
  auto in_memory = [&](std::uint64_t size) { return std::make_unique<handlers::MemoryStore>(size, memory); };
  auto in_file = [&](std::uint64_t size, std::uint32_t block_length) {
    handlers::FileStoreOptions options;
    options.path = folder_.file(std::to_string(stores.size()) + ".img");
    options.create_size = size;
    options.block_length = block_length;
    options.pool = old_data;
    return std::make_unique<handlers::FileStore>(options);
  };
  add("memory512", 512, true, in_memory(384 << 10));
  add("memory4096", 4096, true, in_memory(3 << 20));
  add("memory512thick", 512, false, in_memory(192 << 10));
  add("file512", 512, true, in_file(256 << 10, 512));
  add("file4096", 4096, false, in_file(1536 << 10, 4096));
}

void World::add(const std::string& name, std::uint32_t block_length, bool thin,
                std::unique_ptr<handlers::BackingStore> store) {
  auto watched = std::make_unique<WatchedStore>(std::move(store), stores.size(), failures);
  auto number = static_cast<std::uint16_t>(stores.size());
  stores.push_back(watched.get());
  scsi::LogicalUnitConfig config;
  config.name = name;
  config.identity.serial = name;
  config.identity.naa = {0x60, 5, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(number)};
  config.block_length = block_length;
  config.thin = thin;
  server.add(scsi::Lun{number}, std::make_shared<scsi::LogicalUnit>(config, std::move(watched)));
}

Bytes World::content(std::size_t lun, handlers::ByteRange range) {
  base::Segments out;
  if (!stores[lun]->bare().read(range, out)) throw std::runtime_error("the store below the faults failed");
  return out.to_vector();
}

Bytes World::content(std::size_t lun, const Ranges& ranges) {
  Bytes data;
  std::uint64_t block = lu(lun).block_length();
  for (const Range& range : ranges) {
    Bytes part = content(lun, {range.lba * block, range.blocks * block});
    data.insert(data.end(), part.begin(), part.end());
  }
  return data;
}

}  // namespace sim
