// Fuzzes the file in which saved mode pages and identifying information outlive odxd, as reservation_image_fuzz.cc does
// its own: an input is tried as it is and with the checksum and length its other bytes want. What parses is written
// again to the same settings, and can be taken up.
#include "scsi/unit_settings.h"
#include "test/fuzz/state_image_checks.h"

namespace {

using fuzz::require;

void check(base::Bytes image) {
  auto kept = scsi::parse_settings_image(image);
  if (!kept) {
    require(!kept.error().empty());
    return;
  }
  require(scsi::parse_settings_image(scsi::settings_image(*kept)) == *kept);
  scsi::UnitSettings settings{scsi::ModePages({.saving = true, .thresholds = true})};
  scsi::restore(settings, *kept);
  require(settings.identifying == kept->identifying);
  // What was taken up can be selected, saved and taken up again.
  scsi::ModePages pages = settings.mode_pages;
  for (const auto& page : settings.mode_pages.pages()) require(pages.select(page.current, 0).has_value());
  require(pages.same_values(settings.mode_pages));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::check_as_is_and_sealed({data, size}, check);
  return 0;
}
