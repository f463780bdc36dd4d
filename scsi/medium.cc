#include "scsi/medium.h"

namespace scsi {

Sense Medium::condition() const {
  Sense sense;
  if (removed_) {
    sense = {SenseKey::illegal_request, AdditionalSense::logical_unit_not_supported};
    sense.rule = "the logical unit was removed";
  } else if (operation_ != Operation::none) {
    bool format = operation_ == Operation::format;
    sense = {SenseKey::not_ready, format ? AdditionalSense::logical_unit_not_ready_format_in_progress
                                         : AdditionalSense::logical_unit_not_ready_sanitize_in_progress};
    sense.progress = progress_;
    sense.rule = format ? "FORMAT UNIT is in progress" : "SANITIZE is in progress";
  } else if (!present_) {
    sense = {SenseKey::not_ready, AdditionalSense::medium_not_present};
    sense.rule = "the medium was ejected by START STOP UNIT";
  } else if (damage_ == Damage::format_corrupted) {
    sense = {SenseKey::medium_error, AdditionalSense::medium_format_corrupted};
    sense.rule = "the last FORMAT UNIT failed";
  } else if (damage_ != Damage::none) {
    sense = {SenseKey::medium_error, AdditionalSense::sanitize_command_failed};
    sense.rule = "the last SANITIZE failed";
  }
  return sense;
}

void Medium::remove() {
  removed_ = true;
  stop_operation();
  changed();
}

void Medium::set_present(bool present) {
  present_ = present;
  changed();
}

void Medium::begin(Operation operation) {
  operation_ = operation;
  progress_ = 0;
  changed();
}

void Medium::end(Damage damage) {
  operation_ = Operation::none;
  damage_ = damage;
  changed();
}

void Medium::forget_damage() {
  damage_ = Damage::none;
  changed();
}

}  // namespace scsi
