// Fuzzes the parameter list of POPULATE TOKEN for both block lengths: ranges that are accepted are whole blocks inside
// the logical unit, do not overlap and keep the profile's limits.
#include "test/fuzz/token_list_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  scsi::DeviceProfile profile;
  base::Bytes list(data, size);
  for (std::uint32_t block_length : {512u, 4096u}) {
    const scsi::LogicalUnit& lu = fuzz::unit(block_length);
    auto request = scsi::parse_populate_token(list, lu, profile);
    if (!request) {
      fuzz::check_refusal(request.error(), size);
      continue;
    }
    fuzz::check_ranges(request->ranges, lu, profile);
    fuzz::require(request->inactivity_timeout_s != 0 &&
                  request->inactivity_timeout_s <= profile.maximum_inactivity_timeout_s);
    const auto* type = tokens::find_rod_type(profile.rod_types, static_cast<std::uint32_t>(request->rod_type));
    fuzz::require(type && type->point_in_time && type->token_out);
  }
  return 0;
}
