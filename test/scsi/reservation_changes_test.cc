// Reservations that persist through power loss (SPC-4 5.12.5): what is written, when, and what is so until it is.
//
// Not tested, and why: bytes (reservation_image_test.cc), files (test/target).
#include "scsi/reservation_changes.h"

#include <doctest/doctest.h>

#include "scsi/reservation_image.h"
#include "scsi/transport_id.h"
#include "test/scsi/extended_copy_fixture.h"
#include "test/scsi/reservation_fixture.h"

namespace {

using scsi::AdditionalSense;
using scsi::ITNexus;
using scsi::NexusId;
using scsi::PersistentState;
using scsi::ReservationType;
using scsi::SenseKey;
using test::Command;
using test::KeptState;
using test::ReservationDevice;
using Data = std::vector<std::uint8_t>;

constexpr std::uint8_t kAptpl = 0x01;
constexpr auto kA = ReservationDevice::kKeyA;
constexpr auto kB = ReservationDevice::kKeyB;

struct Base {
  KeptState::Kept kept{};
};

/// Its first logical unit's reservations persist, in `kept`.
struct Persistent : Base, ReservationDevice {
  Persistent() : ReservationDevice({.kept = &kept}) {}

  Command& send_out(NexusId from, std::uint8_t action, std::uint64_t key, std::uint64_t new_key = 0,
                    std::uint8_t scope_type = 0, std::uint8_t flags = 0) {
    return send(test::pr_out(action, scope_type), test::pr_list(key, new_key, flags), 0, from);
  }
  bool register_aptpl(NexusId from, std::uint64_t key) { return out(from, test::kRegister, 0, key, 0, kAptpl).good(); }
  Data capabilities() { return run(test::pr_in(test::kReportCapabilities)).data(); }
  PersistentState on_disk() const {
    REQUIRE(kept.image);
    auto state = scsi::parse_reservation_image(*kept.image);
    REQUIRE(state);
    return *state;
  }
};

}  // namespace

TEST_CASE_FIXTURE(Persistent, "PTPL_C says that APTPL may be one, PTPL_A that it is") {
  CHECK(capabilities() == Data{0, 8, 0x1D, 0xB0, 0xEA, 0x01, 0, 0});
  REQUIRE(register_aptpl(a, kA));
  CHECK(capabilities() == Data{0, 8, 0x1D, 0xB1, 0xEA, 0x01, 0, 0});
  REQUIRE(enter(b, kB));  // APTPL=0: the last registration counts
  CHECK(capabilities() == Data{0, 8, 0x1D, 0xB0, 0xEA, 0x01, 0, 0});
}

TEST_CASE_FIXTURE(Persistent, "while APTPL is zero nothing is written") {
  REQUIRE(enter(a, kA));
  REQUIRE(reserve(a, kA, ReservationType::write_exclusive));
  REQUIRE(out(a, test::kClear, kA).good());
  CHECK(kept.writes == 0);
}

TEST_CASE_FIXTURE(Persistent, "with APTPL=1 registrations made before persist, and every change after") {
  REQUIRE(enter(b, kB));
  REQUIRE(register_aptpl(a, kA));
  CHECK(on_disk().registrations.size() == 2);
  REQUIRE(reserve(a, kA, ReservationType::write_exclusive));
  CHECK(on_disk().type == ReservationType::write_exclusive);
  CHECK(on_disk().registrations.at(*on_disk().holder).key == kA);
  REQUIRE(out(a, test::kRelease, kA, 0, 1).good());
  CHECK_FALSE(on_disk().type);
  REQUIRE(out(a, test::kReserve, kA, 0, 3).good());
  REQUIRE(out(b, test::kPreempt, kB, kA, 5).good());
  CHECK(on_disk().type == ReservationType::write_exclusive_registrants_only);
  CHECK(on_disk().registrations.size() == 1);
  REQUIRE(out(b, test::kPreemptAndAbort, kB, kB, 6).good());
  CHECK(on_disk().type == ReservationType::exclusive_access_registrants_only);
  REQUIRE(out(b, test::kClear, kB).good());
  CHECK(on_disk() == PersistentState{.activated = true});
}

TEST_CASE_FIXTURE(Persistent, "a registration with APTPL=0 leaves nothing to persist") {
  REQUIRE(register_aptpl(a, kA));
  REQUIRE(out(a, test::kRegisterAndIgnore, 0, kB).good());
  CHECK(on_disk() == PersistentState{});
  REQUIRE(out(a, test::kRegisterAndIgnore, 0, kB, 0, kAptpl).good());
  CHECK(on_disk().registrations.at(0).key == kB);
}

TEST_CASE_FIXTURE(Persistent, "REGISTER AND MOVE says APTPL, too") {
  REQUIRE(enter(a, kA));
  REQUIRE(reserve(a, kA, ReservationType::exclusive_access));
  Data list = test::pr_list(kA, kB);
  list[17] = kAptpl;
  list[19] = 1;
  base::ByteWriter writer(list);
  scsi::write_transport_id(writer, server.nexus(b));
  list[23] = static_cast<std::uint8_t>(list.size() - 24);
  REQUIRE(run(test::pr_out(test::kRegisterAndMove, 0, static_cast<std::uint8_t>(list.size())), list).good());
  CHECK(on_disk().registrations.at(*on_disk().holder).initiator_name == "iqn.2025-01.example:b");
}

TEST_CASE_FIXTURE(Persistent, "what changes nothing that persists is not written") {
  REQUIRE(register_aptpl(a, kA));
  unsigned writes = kept.writes;
  REQUIRE(out(a, test::kRegister, kA, kA, 0, kAptpl).good());
  REQUIRE(out(a, test::kRelease, kA, 0, 1).good());
  CHECK(test::conflicts(out(a, test::kReserve, kB, 0, 1)));
  CHECK(kept.writes == writes);
}

TEST_CASE_FIXTURE(Persistent, "a service action is answered, and is so, when it is written and not before") {
  REQUIRE(register_aptpl(a, kA));
  Command& reserving = send_out(a, test::kReserve, kA, 0, 3);
  CHECK_FALSE(reserving.done());
  CHECK_FALSE(lu().reservations().type());
  CHECK(run({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, {}, 1, b).good());  // lets what is held go
  CHECK(reserving.good());
  CHECK(lu().reservations().type() == ReservationType::exclusive_access);
}

TEST_CASE_FIXTURE(Persistent, "service actions that wait for one that is written are judged after it, in their order") {
  REQUIRE(register_aptpl(a, kA));
  REQUIRE(out(b, test::kRegister, 0, kB, 0, kAptpl).good());
  order.clear();
  Command& first = send_out(a, test::kReserve, kA, 0, 3);
  Command& second = send_out(b, test::kReserve, kB, 0, 3);
  Command& third = send_out(a, test::kRelease, kA, 0, 3);
  Command& fourth = send_out(b, test::kReserve, kB, 0, 1);
  CHECK(executor.held() == 1);
  executor.run_all();
  CHECK(first.good());
  CHECK(test::conflicts(second));
  CHECK(third.good());
  CHECK(fourth.good());
  CHECK(order == std::vector{first.task.tag, second.task.tag, third.task.tag, fourth.task.tag});
  CHECK(on_disk().type == ReservationType::write_exclusive);
}

TEST_CASE_FIXTURE(Persistent, "what cannot be written is 04/44/00, and nothing changes or is told") {
  REQUIRE(register_aptpl(a, kA));
  REQUIRE(out(b, test::kRegister, 0, kB, 0, kAptpl).good());
  REQUIRE(out(b, test::kReserve, kB, 0, 5).good());
  auto before = on_disk();
  std::uint32_t generation = lu().reservations().generation();
  kept.failing = true;
  for (std::uint8_t action :
       {test::kRegister, test::kRegisterAndIgnore, test::kClear, test::kPreempt, test::kPreemptAndAbort}) {
    CAPTURE(static_cast<int>(action));
    CHECK(out(a, action, kA, kB, 1).failed_with(SenseKey::hardware_error, AdditionalSense::internal_target_failure));
  }
  CHECK(
      out(b, test::kRelease, kB, 0, 5).failed_with(SenseKey::hardware_error, AdditionalSense::internal_target_failure));
  CHECK(lu().reservations().persistent_state() == before);
  CHECK(lu().reservations().generation() == generation);
  CHECK(attention(b) == AdditionalSense::none);
  kept.failing = false;
  CHECK(out(a, test::kPreempt, kA, kB, 1).good());
  CHECK(attention(b) == AdditionalSense::registrations_preempted);
}

TEST_CASE_FIXTURE(Persistent,
                  "a nexus that comes or goes while its registration is written is known by what it is then") {
  ITNexus away{"iqn.2025-01.example:away", {}, server.config().target_name, 1};
  Data ids;
  base::ByteWriter writer(ids);
  scsi::write_transport_id(writer, away);
  scsi::write_transport_id(writer, server.nexus(b));
  Data list = test::pr_list(0, kA, 0x08 | kAptpl);
  base::ByteWriter more(list);
  more.u32(static_cast<std::uint32_t>(ids.size())), more.bytes(ids);
  Command& command = send(test::pr_out(test::kRegister, 0, static_cast<std::uint8_t>(list.size())), list);
  NexusId came = server.attach(away);
  server.detach(b);
  executor.run_all();
  REQUIRE(command.good());
  CHECK(lu().reservations().find(came));
  CHECK(lu().reservations().registrations().size() == 3);
  CHECK_FALSE(lu().reservations().find(b));
}

TEST_CASE_FIXTURE(Persistent,
                  "a task that is aborted while its change is written ends when it is, and the change stays") {
  Command& command = send_out(a, test::kRegister, 0, kA, 0, kAptpl);
  bool aborted = false;
  server.manage(scsi::TaskManagementFunction::abort_task, a, scsi::Lun{0}, command.task.tag,
                [&](auto) { aborted = true; });
  CHECK_FALSE(aborted);
  executor.run_all();
  CHECK(aborted);
  CHECK(command.status() == scsi::Status::task_aborted);
  CHECK(lu().reservations().persistent_state() == on_disk());
  CHECK(keys() == std::vector{kA});
}

TEST_CASE("what was kept is taken up: by initiator port and target port, with PRGENERATION 0 (SPC-4 5.12.5)") {
  for (ReservationType type : test::kReservationTypes) {
    CAPTURE(static_cast<int>(type));
    Persistent before;
    REQUIRE(before.register_aptpl(before.a, kA));
    REQUIRE(before.out(before.b, test::kRegister, 0, kB, 0, kAptpl).good());
    REQUIRE(before.reserve(before.b, kB, type));

    Persistent after;
    after.lu().reservations().restore(before.on_disk(), after.server.config().target_name);
    after.server.detach(after.a);
    after.server.detach(after.b);
    NexusId a = after.attach("iqn.2025-01.example:host"), b = after.attach("iqn.2025-01.example:b");
    CHECK(after.lu().reservations().generation() == 0);
    CHECK(after.lu().reservations().persistent_state() == before.on_disk());
    CHECK(after.lu().reservations().may_write(after.lu().reservations().find(b)));
    CHECK(test::conflicts(after.run({0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0}, Data(512), 0, after.c)));
    CHECK(after.capabilities().at(3) == 0xB1);
    CHECK(after.out(b, test::kRelease, kB, 0, static_cast<std::uint8_t>(type)).good());
    after.attention(a);  // RESERVATIONS RELEASED, where it was one for registrants
    CHECK(after.out(a, test::kReserve, kA, 0, 1).good());
    CHECK(after.on_disk().registrations.size() == 2);
  }
}

TEST_CASE("registrations of EXTENDED COPY are written before it goes on, and keep APTPL") {
  KeptState::Kept kept;
  test::Device device({.kept = &kept});
  NexusId other = device.attach("iqn.2025-01.example:other");
  REQUIRE(device.run(test::pr_out(test::kRegister), test::pr_list(0, kB, kAptpl), 0, other).good());
  REQUIRE(device.run(test::pr_out(test::kReserve, 5), test::pr_list(kB), 0, other).good());
  auto cscd = [&](std::uint16_t number) { return test::naa_cscd(device.lu(number).identity().naa, 512, false); };
  test::CopyList list{.cscds = {cscd(1), cscd(0)}, .segments = {test::register_key_segment(0, kA)}};
  auto send = [&] {
    return &device.send(test::ExtendedCopyDevice::cdb(list.format, list.bytes().size()), list.bytes(), 1);
  };
  kept.failing = true;
  Command* command = send();
  CHECK_FALSE(command->done());
  device.executor.run_all();
  CHECK(command->failed_with(SenseKey::copy_aborted, AdditionalSense::third_party_device_failure));
  CHECK_FALSE(device.lu().reservations().find(device.nexus));
  kept.failing = false;
  command = send();
  device.executor.run_all();
  CHECK(command->good());
  CHECK(device.lu().reservations().find(device.nexus));
  CHECK(device.lu().reservations().persist_through_power_loss());
  CHECK(scsi::parse_reservation_image(*kept.image)->registrations.size() == 2);
}

TEST_CASE("a reservation that EXTENDED COPY gives away is written, with the APTPL of its segment") {
  KeptState::Kept kept;
  test::Device device({.kept = &kept});
  NexusId other = device.attach("iqn.2025-01.example:other");
  REQUIRE(device.run(test::pr_out(test::kRegister), test::pr_list(0, kA)).good());
  REQUIRE(device.run(test::pr_out(test::kReserve, 1), test::pr_list(kA)).good());
  auto cscd = [&](std::uint16_t number) { return test::naa_cscd(device.lu(number).identity().naa, 512, false); };
  test::CopyList list{.cscds = {cscd(1), cscd(0)},
                      .segments = {test::source_nexus_segment(kA, kB, device.server.nexus(other), {.flags = 1})}};
  CHECK(device.run(test::ExtendedCopyDevice::cdb(list.format, list.bytes().size()), list.bytes(), 1).good());
  REQUIRE(kept.image);
  auto state = scsi::parse_reservation_image(*kept.image);
  CHECK(state->registrations.at(*state->holder).initiator_name == "iqn.2025-01.example:other");
}
