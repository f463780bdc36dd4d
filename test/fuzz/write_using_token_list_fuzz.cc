// Fuzzes the parameter list of WRITE USING TOKEN for both block lengths: ranges that are accepted are whole blocks
// inside the logical unit, do not overlap and keep the profile's limits; the token is the list's bytes.
#include <cstring>

#include "scsi/copy_layouts.h"
#include "test/fuzz/token_list_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  scsi::DeviceProfile profile;
  base::Bytes list(data, size);
  for (std::uint32_t block_length : {512u, 4096u}) {
    const scsi::LogicalUnit& lu = fuzz::unit(block_length);
    auto request = scsi::parse_write_using_token(list, lu, profile);
    if (!request) {
      fuzz::check_refusal(request.error(), size);
      continue;
    }
    fuzz::check_ranges(request->ranges, lu, profile);
    fuzz::require(std::memcmp(&request->token, data + offsetof(scsi::WriteUsingTokenList, rod_token),
                              sizeof request->token) == 0);
  }
  return 0;
}
