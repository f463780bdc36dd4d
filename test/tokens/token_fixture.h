// Tokens with a virtual clock and seeded entropy, over snapshots that hold nothing but a size.
#pragma once

#include "base/clock.h"
#include "base/entropy.h"
#include "tokens/token_manager.h"

namespace tokens_test {

class SizeOnlySnapshot final : public handlers::Snapshot {
 public:
  explicit SizeOnlySnapshot(std::uint64_t size, int* alive = nullptr) : size_(size), alive_(alive) {
    if (alive_) ++*alive_;
  }
  ~SizeOnlySnapshot() override {
    if (alive_) --*alive_;
  }
  std::uint64_t size_bytes() const override { return size_; }
  handlers::IoResult<void> read(handlers::ByteRange range, base::Segments& out) const override {
    out.append_zeros(range.length);
    return {};
  }
  handlers::IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) const override {
    return handlers::ProvisioningRun{size_ - offset, false};
  }

 private:
  std::uint64_t size_;
  int* alive_;
};

inline tokens::IdentificationCscdDescriptor creator(std::uint8_t last = 0x0A) {
  tokens::IdentificationCscdDescriptor descriptor{};
  descriptor.designator[0] = 0x60;
  descriptor.designator[15] = last;
  descriptor.disk_block_length = 512;
  return descriptor;
}

struct TokenFixture {
  static constexpr std::uint64_t kSeed = 20261120;
  base::VirtualClock clock;
  base::SeededEntropy entropy{kSeed};
  tokens::TokenManager manager;
  int snapshots_alive = 0;

  explicit TokenFixture(tokens::TokenLimits limits = {.lifetime = std::chrono::seconds(600)})
      : manager(limits, clock, entropy) {
    manager.add_creator(creator());
  }

  std::expected<tokens::RodToken, tokens::TokenError> try_create(base::Duration inactivity,
                                                                 std::uint64_t bytes = 1 << 20,
                                                                 tokens::RodSource source = {"lun0", 512}) {
    handlers::SnapshotRef data(new SizeOnlySnapshot(bytes, &snapshots_alive));
    tokens::NewToken token{
        .rod = base::make_ref<const tokens::Rod>(tokens::RodType::point_in_time_default, data, std::move(source)),
        .inactivity_timeout = inactivity,
        .creator = creator()};
    token.block_device.logical_block_length = 512;
    token.target_device_descriptor[0] = 1;
    return manager.create(std::move(token));
  }
  tokens::RodToken create(base::Duration inactivity = std::chrono::seconds(60)) { return *try_create(inactivity); }
};

inline tokens::TokenId id_of(const tokens::RodToken& token) {
  return tokens::TokenId{token.copy_manager_rod_token_identifier.value()};
}

}  // namespace tokens_test
