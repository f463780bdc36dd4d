// The ready-made profiles, and that docs/profiles.md lists them.
//
// Not tested, and why: that a product behaves so (docs/profiles.md names the source of each figure).
#include "scsi/profiles.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "test/scsi/device_fixture.h"

namespace scsi {
namespace {

TEST_CASE("the first profile is the default one, and names are found exactly") {
  CHECK(profiles().front().name == "instant");
  CHECK(find_profile("instant")->maximum_token_transfer_bytes == DeviceProfile{}.maximum_token_transfer_bytes);
  CHECK_FALSE(find_profile(""));
  CHECK_FALSE(find_profile("Instant"));
  std::set<std::string_view> names;
  for (const NamedProfile& each : profiles()) {
    CHECK(names.insert(each.name).second);
    CHECK_FALSE(each.summary.empty());
  }
}

TEST_CASE("in every profile the limits agree with each other") {
  for (const auto& [name, summary, profile] : profiles()) {
    CAPTURE(name);
    CHECK(profile.default_inactivity_timeout_s <= profile.maximum_inactivity_timeout_s);
    CHECK(profile.minimum_token_lifetime_s <= profile.token_lifetime_s);
    CHECK(profile.token_lifetime_s <= profile.maximum_token_lifetime_s);
    CHECK((profile.maximum_token_transfer_bytes == 0 ||
           profile.optimal_transfer_bytes <= profile.maximum_token_transfer_bytes));
    CHECK(profile.optimal_transfer_bytes <= 256ull << 20);  // windows-host: OPTIMAL TRANSFER COUNT
    const auto* made =
        tokens::find_rod_type(profile.rod_types, static_cast<std::uint32_t>(profile.populate_token_type));
    REQUIRE(made);
    CHECK(made->token_out);
    CHECK(made->point_in_time);
    CHECK(std::ranges::is_sorted(profile.rod_types, {}, &tokens::RodTypeSupport::type));
    CHECK(tokens::find_rod_type(profile.rod_types, static_cast<std::uint32_t>(tokens::RodType::block_device_zero)));
  }
}

TEST_CASE("every profile makes a device whose VPD pages can be read") {
  for (const auto& [name, summary, profile] : profiles()) {
    CAPTURE(name);
    test::DeviceOptions options;
    options.profile = profile;
    test::Device device(options);
    for (std::uint8_t page : {0x00, 0xB0}) CHECK(device.run({0x12, 1, page, 0, 0xFF, 0}).status() == Status::good);
    bool has_page = device.run({0x12, 1, 0x8F, 0xFF, 0xFF, 0}).status() == Status::good;
    CHECK((has_page || !profile.odx));
  }
}

TEST_CASE("docs/profiles.md has a row for every profile, with its summary") {
  std::ifstream file(ODX_SOURCE_ROOT "/docs/profiles.md");
  REQUIRE(file);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  for (const NamedProfile& each : profiles()) {
    CAPTURE(each.name);
    CHECK(text.contains(fmt::format("| `{}` | {} |", each.name, each.summary)));
  }
}

}  // namespace
}  // namespace scsi
