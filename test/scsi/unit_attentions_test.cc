// Unit attention conditions per I_T nexus (SAM-5 5.14).
//
// Not tested, and why: when each is established stands beside the command or function that does it.
#include <doctest/doctest.h>

#include "scsi/unit_attentions.h"

namespace scsi {
namespace {

constexpr NexusId kOne{1};
constexpr NexusId kTwo{2};
using enum AdditionalSense;

std::vector<AdditionalSense> all(UnitAttentions& attentions, NexusId nexus) {
  std::vector<AdditionalSense> codes;
  while (auto sense = attentions.take(nexus)) {
    CHECK(sense->key == SenseKey::unit_attention);
    codes.push_back(sense->code);
  }
  return codes;
}

struct TwoNexuses {
  UnitAttentions attentions;
  TwoNexuses() {
    for (NexusId nexus : {kOne, kTwo}) {
      attentions.attach(nexus, power_on_reset_or_bus_device_reset_occurred);
      attentions.take(nexus);
    }
  }
};

TEST_CASE_FIXTURE(TwoNexuses, "conditions are reported once each, in the order of precedence") {
  attentions.establish(kOne, mode_parameters_changed);
  attentions.establish(kOne, capacity_data_has_changed);
  attentions.establish(kOne, mode_parameters_changed);
  CHECK(all(attentions, kOne) == std::vector{capacity_data_has_changed, mode_parameters_changed});
  CHECK(all(attentions, kTwo).empty());
}

TEST_CASE_FIXTURE(TwoNexuses, "a reset stands for everything pending beside it, before and after") {
  attentions.establish(kOne, mode_parameters_changed);
  attentions.establish(kOne, bus_device_reset_function_occurred);
  attentions.establish(kOne, i_t_nexus_loss_occurred);
  attentions.establish(kOne, capacity_data_has_changed);
  CHECK(all(attentions, kOne) == std::vector{bus_device_reset_function_occurred});
}

TEST_CASE_FIXTURE(TwoNexuses, "a condition for all but one nexus leaves that one alone") {
  attentions.establish_for_all(mode_parameters_changed, kOne);
  CHECK(all(attentions, kOne).empty());
  CHECK(all(attentions, kTwo) == std::vector{mode_parameters_changed});
}

TEST_CASE_FIXTURE(TwoNexuses, "what is cleared is not reported, and the rest stays") {
  attentions.establish(kOne, reported_luns_data_has_changed);
  attentions.establish(kOne, mode_parameters_changed);
  attentions.clear(kOne, reported_luns_data_has_changed);
  attentions.clear(kOne, capacity_data_has_changed);
  CHECK(all(attentions, kOne) == std::vector{mode_parameters_changed});
}

TEST_CASE_FIXTURE(TwoNexuses, "a nexus that is gone has no conditions, and gets none") {
  attentions.establish(kOne, mode_parameters_changed);
  attentions.detach(kOne);
  attentions.establish(kOne, mode_parameters_changed);
  CHECK(all(attentions, kOne).empty());
  attentions.establish_for_all(capacity_data_has_changed);
  CHECK(all(attentions, kTwo) == std::vector{capacity_data_has_changed});
}

}  // namespace
}  // namespace scsi
