#include <fmt/format.h>

#include <algorithm>

#include "test/scsi/reservation_fixture.h"
#include "test/sim/simulation.h"

namespace sim {

namespace {

constexpr std::uint8_t kTypes[] = {1, 3, 5, 6, 7, 8};

const char* name_of(std::uint8_t action) {
  switch (action) {
    case test::kReserve: return "RESERVE";
    case test::kRelease: return "RELEASE";
    case test::kClear: return "CLEAR";
    case test::kPreempt: return "PREEMPT";
    case test::kPreemptAndAbort: return "PREEMPT AND ABORT";
    default: return "REGISTER AND IGNORE EXISTING KEY";
  }
}

/// Of a nexus; it never changes.
std::uint64_t key_of(std::size_t nexus) { return 0xA000 + nexus; }

}  // namespace

/// A reservation does not stay for long: the others are to do something, too.
void Simulation::make_reservation(Operation& operation) {
  const ReservationModel& model = reservations_[operation.lun];
  static constexpr std::uint8_t kActions[] = {test::kRegisterAndIgnore, test::kRegisterAndIgnore,
                                              test::kRegisterAndIgnore, test::kReserve,
                                              test::kReserve,           test::kRelease,
                                              test::kPreempt,           test::kPreemptAndAbort,
                                              test::kPreemptAndAbort,   test::kClear};
  operation.action = kActions[pick(std::size(kActions))];
  operation.type = kTypes[pick(std::size(kTypes))];
  if (model.type() != 0 && one_in(2)) {
    operation.action = one_in(3) ? test::kClear : test::kRelease;
    while (!model.holds(operation.nexus)) operation.nexus = (operation.nexus + 1) % nexuses_.size();
  }
  if (operation.action == test::kRelease && model.type() != 0) operation.type = model.type();
  operation.victim = (operation.nexus + 1 + pick(nexuses_.size() - 1)) % nexuses_.size();
  std::uint64_t key = key_of(operation.nexus), new_key = 0;
  if (operation.action == test::kPreempt || operation.action == test::kPreemptAndAbort)
    new_key = key_of(operation.victim);
  if (operation.action == test::kRegisterAndIgnore && !one_in(6)) new_key = key;
  operation.registers = new_key != 0;
  operation.data_out = test::pr_list(key, new_key);
  std::ranges::copy(test::pr_out(operation.action, operation.type), operation.task.cdb.begin());
  operation.text = fmt::format(" {} type {} victim {}{}", name_of(operation.action), operation.type, operation.victim,
                               operation.registers ? "" : " no new key");
}

/// Whether it ends with RESERVATION CONFLICT before anything else of it is looked at.
bool Simulation::conflicts(const Operation& operation) const {
  const ReservationModel& model = reservations_[operation.lun];
  switch (operation.kind) {
    case Kind::read:
    case Kind::populate_token: return !model.may_read(operation.nexus);
    case Kind::write:
    case Kind::unmap:
    case Kind::write_same:
    case Kind::compare_and_write:
    case Kind::write_using_token:
    case Kind::copy_operation_abort: return !model.may_write(operation.nexus);
    case Kind::persistent_reserve_out:
      return operation.action != test::kRegisterAndIgnore && !model.registered(operation.nexus);
    default: return false;
  }
}

/// It is done at once; only PREEMPT AND ABORT waits for what it ends.
void Simulation::begin_reservation(Operation& operation) {
  ReservationModel& model = reservations_[operation.lun];
  std::size_t nexus = operation.nexus;
  ReservationModel::Result result;
  switch (operation.action) {
    case test::kReserve: result = model.reserve(nexus, operation.type); break;
    case test::kRelease: result = model.release(nexus); break;
    case test::kClear: result = model.clear(nexus); break;
    case test::kPreempt:
    case test::kPreemptAndAbort: result = model.preempt(nexus, operation.victim, operation.type); break;
    default: result = operation.registers ? model.enter(nexus) : model.leave(nexus); break;
  }
  operation.conflict = !result;
  if (!result) return;
  for (const ReservationModel::Attention& attention : *result)
    if (nexuses_[attention.nexus].attached) model_.establish(attention.nexus, operation.lun, attention.code);
  if (operation.action != test::kPreemptAndAbort || !nexuses_[operation.victim].attached) return;
  for (Operation* other : in_flight_) {
    if (other->lun != operation.lun || other->nexus != operation.victim || other->unseen) continue;
    operation.targets.push_back(other->number);
    stop(*other);
  }
}

}  // namespace sim
