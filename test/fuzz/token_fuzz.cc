// Fuzzes the judging of ROD tokens: 512 bytes from outside, some of them made by flipping bytes of a real token, are
// used with a manager that knows one token. Whatever comes in, only the very bytes of the real token and zero tokens
// may be accepted.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/clock.h"
#include "base/entropy.h"
#include "tokens/token_manager.h"

namespace {

class NoData final : public handlers::Snapshot {
 public:
  std::uint64_t size_bytes() const override { return 1 << 20; }
  handlers::IoResult<void> read(handlers::ByteRange, base::Segments&) const override { return {}; }
  handlers::IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) const override {
    return handlers::ProvisioningRun{size_bytes() - offset, false};
  }
};

struct World {
  base::VirtualClock clock{};
  base::SeededEntropy entropy{1};
  tokens::TokenManager manager{{}, clock, entropy};
  tokens::RodToken token{};

  World() {
    tokens::IdentificationCscdDescriptor creator{};
    creator.designator[0] = 0x60;
    manager.add_creator(creator);
    tokens::NewToken made{.rod = base::make_ref<const tokens::Rod>(tokens::RodType::point_in_time_default,
                                                                   base::make_ref<const NoData>(), tokens::RodSource{}),
                          .creator = creator};
    token = manager.create(std::move(made)).value();
  }
};

void require(bool good) {
  if (!good) std::abort();
}

}  // namespace

/// The first byte says how to read the rest: even, as a token (cut or filled with zeros); odd, as pairs of a position's
/// low byte and a value to xor into the real token, in the upper half when the first byte has its second bit set.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  if (size == 0) return 0;
  base::Bytes input(data + 1, size - 1);
  std::array<std::uint8_t, sizeof(tokens::RodToken)> image{};
  if (data[0] % 2 == 0) {
    std::ranges::copy(input.first(std::min(input.size(), image.size())), image.begin());
  } else {
    std::memcpy(image.data(), &world.token, image.size());
    std::size_t half = (data[0] & 2) != 0 ? image.size() / 2 : 0;
    for (std::size_t i = 0; i + 1 < input.size(); i += 2) image[half + input[i]] ^= input[i + 1];
  }
  auto token = base::load<tokens::RodToken>(image);
  auto use = world.manager.use(token);
  bool zero = token.rod_type == static_cast<std::uint32_t>(tokens::RodType::block_device_zero) &&
              token.rod_token_length == tokens::kRodTokenLength;
  bool real = std::memcmp(image.data(), &world.token, image.size()) == 0;
  require(use.has_value() == (zero || real));
  if (use) require(use->zero() == zero);
  return 0;
}
