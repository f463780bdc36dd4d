// PERSISTENT RESERVE IN and OUT as they are on the wire (SPC-4 6.15, 6.16): parameter data, errors with their field
// pointers, unit attention conditions, and what PREEMPT AND ABORT ends.
//
// Not tested, and why: APTPL=1 where reservations persist (reservation_changes_test.cc).
#include <doctest/doctest.h>

#include "scsi/medium.h"
#include "scsi/reservation_commands.h"
#include "scsi/transport_id.h"
#include "scsi/unit_attentions.h"
#include "test/scsi/copy_fixture.h"
#include "test/scsi/reservation_fixture.h"

namespace scsi {
namespace {

using test::Command;
using test::Device;
using test::DeviceOptions;
using test::pr_in;
using test::pr_list;
using test::pr_out;
using test::ReservationDevice;
using Data = std::vector<std::uint8_t>;
using enum ReservationType;
using enum AdditionalSense;

constexpr auto kA = ReservationDevice::kKeyA;
constexpr auto kB = ReservationDevice::kKeyB;
constexpr auto kC = ReservationDevice::kKeyC;

/// A, B and C, registered.
struct Registered : ReservationDevice {
  explicit Registered(DeviceOptions options = {}) : ReservationDevice(options) {
    for (auto [from, key] : {std::pair(a, kA), std::pair(b, kB), std::pair(c, kC)}) REQUIRE(enter(from, key));
  }
};

Data transport_id(const ITNexus& nexus) {
  Data bytes;
  base::ByteWriter writer(bytes);
  write_transport_id(writer, nexus);
  return bytes;
}
/// Format 00b: the initiator device.
Data device_transport_id(std::string_view name, std::uint16_t length) {
  Data bytes = {0x05, 0};
  base::ByteWriter writer(bytes);
  writer.u16(length), writer.bytes(base::bytes_of(name)), writer.zeros(length - name.size());
  return bytes;
}
Data with_transport_ids(Data list, const Data& ids) {
  base::ByteWriter writer(list);
  writer.u32(static_cast<std::uint32_t>(ids.size()));
  writer.bytes(ids);
  return list;
}
Command& send_list(ReservationDevice& device, std::uint8_t action, const Data& list, NexusId from) {
  return device.run(pr_out(action, 0, static_cast<std::uint8_t>(list.size())), list, 0, from);
}
bool wrong_in_list(const Command& command, std::size_t byte, std::optional<std::uint8_t> bit = {}) {
  return command.completions == 1 && command.sense() == Sense::invalid_field_in_list(byte, bit, "");
}

// ---- PERSISTENT RESERVE IN -------------------------------------------------------------------------------------

TEST_CASE_FIXTURE(ReservationDevice, "READ KEYS gives PRGENERATION and all keys, READ RESERVATION nothing at first") {
  CHECK(run(pr_in(test::kReadKeys)).data() == Data(8));
  CHECK(run(pr_in(test::kReadReservation)).data() == Data(8));
  REQUIRE(enter(b, 0x0102030405060708));
  REQUIRE(enter(a, 0x11));
  // By name: ...:b before ...:host.
  CHECK(run(pr_in(test::kReadKeys)).data() ==
        Data{0, 0, 0, 2, 0, 0, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0x11});
  CHECK(run(pr_in(test::kReadKeys), {}, 0, c).data().size() == 24);
}

TEST_CASE_FIXTURE(Registered, "READ KEYS says the whole length, however short the allocation length is") {
  CHECK(run(pr_in(test::kReadKeys, 12)).data() == Data{0, 0, 0, 3, 0, 0, 0, 24, 0, 0, 0, 0});
  CHECK(run(pr_in(test::kReadKeys, 0)).data().empty());
}

TEST_CASE("READ RESERVATION gives the holder's key and the type; the key is 0 where all registrants hold it") {
  for (ReservationType type : test::kReservationTypes) {
    Registered device;
    REQUIRE(device.reserve(device.b, kB, type));
    auto code = static_cast<std::uint8_t>(type);
    std::uint8_t key = code >= 7 ? 0 : 0xBB;
    CHECK(device.run(pr_in(test::kReadReservation)).data() ==
          Data{0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, key, key, 0, 0, 0, 0, 0, code, 0, 0});
  }
}

TEST_CASE_FIXTURE(ReservationDevice,
                  "REPORT CAPABILITIES: CRH, SIP_C, ATP_C, all types, ALLOW COMMANDS 011b, no PTPL_C") {
  CHECK(run(pr_in(test::kReportCapabilities)).data() == Data{0, 8, 0x1C, 0xB0, 0xEA, 0x01, 0, 0});
}

TEST_CASE_FIXTURE(ReservationDevice, "READ FULL STATUS names each registrant, and the holder") {
  CHECK(run(pr_in(test::kReadFullStatus)).data() == Data(8));
  REQUIRE(enter(b, kB));
  REQUIRE(enter(a, kA));
  REQUIRE(reserve(b, kB, write_exclusive_registrants_only));
  Data data = run(pr_in(test::kReadFullStatus)).data();
  base::ByteReader reader(data);
  CHECK(reader.u32() == 2);
  CHECK(reader.u32() == data.size() - 8);
  for (auto [key, holder, name] : {std::tuple(kB, true, "iqn.2025-01.example:b,i,0x000000000000"),
                                   std::tuple(kA, false, "iqn.2025-01.example:host,i,0x000000000000")}) {
    CHECK(reader.u64() == key);
    reader.skip(4);
    CHECK(reader.u8() == holder);
    CHECK(reader.u8() == (holder ? 5 : 0));
    reader.skip(4);
    CHECK(reader.u16() == 1);
    std::uint32_t length = reader.u32();
    CHECK(length % 4 == 0);
    CHECK(reader.u16() == 0x4500);
    CHECK(reader.u16() == length - 4);
    std::string text(base::text_of(reader.take(length - 4)));
    CHECK(text.c_str() == std::string(name));
    CHECK(text.back() == '\0');
  }
  CHECK(reader.ok());
  CHECK(reader.remaining() == 0);
}

TEST_CASE_FIXTURE(Registered, "all registrants are R_HOLDER of a reservation they all hold") {
  REQUIRE(reserve(a, kA, exclusive_access_all_registrants));
  Data data = run(pr_in(test::kReadFullStatus)).data();
  std::size_t holders = 0;
  for (std::size_t at = 8; at < data.size(); at += 24u + base::load<base::be32>(base::Bytes(data).subspan(at + 20)))
    holders += data[at + 12] == 1 && data[at + 13] == 8;
  CHECK(holders == 3);
}

// ---- Lists and their errors ------------------------------------------------------------------------------------

TEST_CASE_FIXTURE(Registered, "PARAMETER LIST LENGTH is 24, and that many bytes come") {
  for (std::uint8_t action = 0; action < 8; ++action) {
    CAPTURE(static_cast<int>(action));
    for (std::uint8_t length : {0, 23})
      CHECK(run(pr_out(action, 1, length), Data(length))
                .failed_with(SenseKey::illegal_request, parameter_list_length_error));
    CHECK(run(pr_out(action, 1), Data(20)).failed_with(SenseKey::illegal_request, parameter_list_length_error));
    if (action == test::kRegisterAndMove) continue;
    CHECK(run(pr_out(action, 1, 28), pr_list(kA)).failed_with(SenseKey::illegal_request, parameter_list_length_error));
  }
  CHECK(run({0x5F, 0, 0, 0, 0, 0x10, 0, 0, 0, 0}, pr_list(kA))
            .failed_with(SenseKey::illegal_request, parameter_list_length_error));
  CHECK(keys().size() == 3);
}

TEST_CASE_FIXTURE(ReservationDevice,
                  "APTPL=1 is refused with its bit where nothing persists, and ignored where it means nothing") {
  CHECK(wrong_in_list(out(a, test::kRegister, 0, kA, 0, 0x01), 20, 0));
  CHECK(wrong_in_list(out(a, test::kRegisterAndIgnore, 0, kA, 0, 0x01), 20, 0));
  REQUIRE(enter(a, kA));
  Data move = pr_list(kA, kB);
  move[17] = 0x01;
  CHECK(wrong_in_list(send_list(*this, test::kRegisterAndMove, move, a), 17, 0));
  CHECK(out(a, test::kReserve, kA, 0, 1, 0x01).good());
}

TEST_CASE_FIXTURE(Registered, "SPEC_I_PT=1 is for REGISTER from a nexus that is not registered") {
  for (std::uint8_t action :
       {test::kReserve, test::kRelease, test::kClear, test::kPreempt, test::kPreemptAndAbort, test::kRegisterAndIgnore})
    CHECK(wrong_in_list(out(a, action, kA, kB, 1, 0x08), 20, 3));
  CHECK(wrong_in_list(send_list(*this, test::kRegister, with_transport_ids(pr_list(kA, kA, 0x08), {}), a), 20, 3));
  CHECK(keys().size() == 3);
}

TEST_CASE_FIXTURE(Registered, "RESERVE and PREEMPT of another scope or type point at the field") {
  auto wrong = [](const Command& command, std::uint8_t bit) {
    return command.sense() == Sense::invalid_field_in_cdb(2, bit, "");
  };
  for (std::uint8_t type : {0, 2, 4, 9, 15}) CHECK(wrong(out(a, test::kReserve, kA, 0, type), 3));
  CHECK(wrong(out(a, test::kReserve, kA, 0, 0x11), 7));
  REQUIRE(reserve(b, kB, write_exclusive));
  for (std::uint8_t action : {test::kPreempt, test::kPreemptAndAbort}) {
    CHECK(wrong(out(a, action, kA, kB, 0x04), 3));
    CHECK(wrong(out(a, action, kA, kB, 0x21), 7));
    CHECK(wrong_in_list(out(a, action, kA, 0, 1), 8));
  }
  CHECK(out(a, test::kPreempt, kA, kC, 0x04).good());  // only registrations: ignored
}

TEST_CASE_FIXTURE(Registered, "RELEASE of another scope or type is 05/26/04, and the reservation stays") {
  REQUIRE(reserve(a, kA, write_exclusive));
  for (std::uint8_t scope_type : {0x03, 0x11, 0x00})
    CHECK(out(a, test::kRelease, kA, 0, scope_type)
              .failed_with(SenseKey::illegal_request, invalid_release_of_persistent_reservation));
  CHECK(lu().reservations().type() == write_exclusive);
}

TEST_CASE_FIXTURE(Registered, "a wrong key is RESERVATION CONFLICT, without sense data") {
  for (std::uint8_t action :
       {test::kRegister, test::kReserve, test::kRelease, test::kClear, test::kPreempt, test::kPreemptAndAbort}) {
    Command& command = out(a, action, kB, kC, 1);
    CHECK(test::conflicts(command));
    CHECK(command.sense() == Sense{});
  }
  CHECK(keys().size() == 3);
}

TEST_CASE("the limit on registrants is 05/55/04") {
  ReservationDevice device;
  for (std::size_t i = 0; i < Reservations::kMaximumRegistrants; ++i)
    REQUIRE(device.lu().reservations().register_key({{std::to_string(i), {}, "t", 1}}, 0, 1));
  CHECK(device.out(device.a, test::kRegister, 0, kA)
            .failed_with(SenseKey::illegal_request, insufficient_registration_resources));
  Data all = device.run({0x5E, test::kReadKeys, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0}).data();
  CHECK(all.size() == 8 + 8 * Reservations::kMaximumRegistrants);
}

TEST_CASE_FIXTURE(ReservationDevice, "more TransportIDs than registrants there can be are 05/55/04") {
  Data ids;
  for (std::size_t i = 0; i <= Reservations::kMaximumRegistrants; ++i) {
    Data id = transport_id({"iqn.2025-01.example:" + std::to_string(i), {}, {}, 1});
    ids.insert(ids.end(), id.begin(), id.end());
  }
  Data list = with_transport_ids(pr_list(0, kA, 0x08), ids);
  auto size = static_cast<std::uint32_t>(list.size());
  Data cdb = {0x5F, test::kRegister, 0, 0, 0};
  base::ByteWriter writer(cdb);
  writer.u32(size), writer.u8(0);
  CHECK(run(cdb, list, 0, a).failed_with(SenseKey::illegal_request, insufficient_registration_resources));
  CHECK(keys().empty());
}

// ---- SPEC_I_PT, ALL_TG_PT, REGISTER AND MOVE -------------------------------------------------------------------

TEST_CASE_FIXTURE(ReservationDevice, "ALL_TG_PT=1 registers the one port there is") {
  CHECK(out(a, test::kRegister, 0, kA, 0, 0x04).good());
  CHECK(keys() == std::vector{kA});
}

/// A target with the ports 1, 2 and 7; A came to port 1, and D is the same initiator port at port 7.
struct SeveralPorts : ReservationDevice {
  SeveralPorts() : ReservationDevice({.further_portal_group_tags = {2, 7}}) {
    d = attach(server.nexus(a).initiator_name, 7);
  }
  NexusId d{};
  bool registered(NexusId like, std::uint16_t port) {
    ITNexus name = server.nexus(like);
    name.target_portal_group_tag = port;
    return lu().reservations().find(name) != nullptr;
  }
};

TEST_CASE_FIXTURE(SeveralPorts, "ALL_TG_PT=1 registers the initiator port with every target port (SPC-4 6.16.3)") {
  for (std::uint8_t action : {test::kRegister, test::kRegisterAndIgnore}) {
    std::uint32_t generation = lu().reservations().generation();
    REQUIRE(out(a, action, 0, kA, 0, 0x04).good());
    CHECK(keys() == std::vector{kA, kA, kA});
    CHECK(lu().reservations().generation() == generation + 1);
    for (std::uint16_t port : {1, 2, 7}) CHECK(registered(a, port));
    CHECK(reserve(d, kA, exclusive_access));  // through port 7, where it is attached
    CHECK(out(d, test::kRelease, kA, 0, 3).good());
    REQUIRE(out(a, action, kA, 0, 0, 0x04).good());
    CHECK(keys().empty());
  }
}

TEST_CASE_FIXTURE(SeveralPorts, "without ALL_TG_PT a registration is one port's, and each port may have its own key") {
  REQUIRE(enter(a, kA));
  CHECK_FALSE(registered(a, 7));
  REQUIRE(enter(d, kB));
  CHECK(keys() == std::vector{kA, kB});
  // As if it had come through each port: where the key is another, that one would have been a conflict.
  REQUIRE(out(a, test::kRegister, kA, kC, 0, 0x04).good());
  CHECK(keys() == std::vector{kC, kB});
  REQUIRE(out(a, test::kRegisterAndIgnore, 0, kA, 0, 0x04).good());
  CHECK(keys() == std::vector{kA, kA, kA});
}

TEST_CASE_FIXTURE(SeveralPorts, "SPEC_I_PT=1 with ALL_TG_PT=1 registers each initiator port with each target port") {
  ITNexus away{"iqn.2025-01.example:away", {0x80, 1, 2, 3, 4, 5}, server.config().target_name, 1};
  ITNexus far{"iqn.2025-01.example:far", {0x40, 0, 0, 0, 0, 1}, server.config().target_name, 1};
  Data ids = transport_id(away);
  for (const Data& more : {transport_id(far), device_transport_id("iqn.2025-01.example:b", 24)})
    ids.insert(ids.end(), more.begin(), more.end());
  REQUIRE(send_list(*this, test::kRegister, with_transport_ids(pr_list(0, kA, 0x0C), ids), a).good());
  CHECK(keys().size() == 12);
  NexusId came = attach("iqn.2025-01.example:b", 2);
  CHECK(lu().reservations().find(came));
  away.target_portal_group_tag = 7;
  CHECK(lu().reservations().find(away));
}

TEST_CASE_FIXTURE(SeveralPorts, "REGISTER AND MOVE goes to a named target port, and READ FULL STATUS says which") {
  REQUIRE(enter(a, kA));
  REQUIRE(reserve(a, kA, write_exclusive));
  Data move = pr_list(kA, kB);
  Data id = transport_id(server.nexus(d));
  move[17] = 0x02;  // UNREG
  move[19] = 7;
  move[23] = static_cast<std::uint8_t>(id.size());
  move.insert(move.end(), id.begin(), id.end());
  Data nowhere = move;
  nowhere[19] = 3;
  CHECK(wrong_in_list(send_list(*this, test::kRegisterAndMove, nowhere, a), 18));
  REQUIRE(send_list(*this, test::kRegisterAndMove, move, a).good());
  REQUIRE(lu().reservations().holder());
  CHECK(lu().reservations().holder()->first == server.nexus(d));
  Data status = run(pr_in(test::kReadFullStatus)).data();
  CHECK(status.at(8 + 19) == 7);
}

TEST_CASE_FIXTURE(ReservationDevice, "SPEC_I_PT=1 registers initiator ports, attached or not, and whole initiators") {
  ITNexus away{"iqn.2025-01.example:away", {0x80, 1, 2, 3, 4, 5}, server.config().target_name, 1};
  Data ids = transport_id(away);
  Data device_id = device_transport_id("iqn.2025-01.example:b", 24);
  ids.insert(ids.end(), device_id.begin(), device_id.end());
  CHECK(send_list(*this, test::kRegister, with_transport_ids(pr_list(0, kA, 0x08), ids), a).good());
  CHECK(keys() == std::vector{kA, kA, kA});
  CHECK(lu().reservations().find(away));
  CHECK(lu().reservations().find(b) == lu().reservations().find(server.nexus(b)));
  CHECK(reserve(b, kA, write_exclusive));
  // The one that was away logs in and is known.
  NexusId back = server.attach(away);
  CHECK(lu().reservations().find(back) == lu().reservations().find(away));
}

TEST_CASE_FIXTURE(ReservationDevice, "TransportIDs that cannot be used are refused at their place") {
  ITNexus b_name = server.nexus(b);
  auto refused = [&](const Data& ids, std::size_t byte, std::optional<std::uint8_t> bit = {}) {
    CHECK(
        wrong_in_list(send_list(*this, test::kRegister, with_transport_ids(pr_list(0, kA, 0x08), ids), a), byte, bit));
  };
  Data good = transport_id(b_name);
  auto changed = [&](std::size_t at, std::uint8_t value) {
    Data id = good;
    id[at] = value;
    return id;
  };
  refused(changed(0, 0x46), 28, 3);                                 // SAS
  refused(changed(0, 0x85), 28, 7);                                 // FORMAT CODE 10b
  refused(Data(good.begin(), good.end() - 4), 28);                  // cut off
  refused({0x45}, 28);                                              // cut in its head
  refused(changed(3, static_cast<std::uint8_t>(good[3] - 1)), 30);  // not a multiple of four
  refused(device_transport_id("iqn.short", 16), 30);
  refused(changed(4, ' '), 32);
  refused(changed(4 + b_name.initiator_name.size(), ';'), 32);  // no ISID
  refused(device_transport_id("iqn.2025-01.example:nobody", 28), 28);
  Data list = with_transport_ids(pr_list(0, kA, 0x08), good);
  list[27] ^= 4;
  CHECK(wrong_in_list(send_list(*this, test::kRegister, list, a), 24));
  CHECK(wrong_in_list(out(a, test::kRegister, 0, kA, 0, 0x08), 24));  // no length at all
  CHECK(keys().empty());
}

/// The list of a REGISTER AND MOVE from A.
Data move_list(const Data& id, std::uint8_t flags = 0, std::uint8_t port = 1, std::uint64_t new_key = kB) {
  Data list;
  base::ByteWriter writer(list);
  writer.u64(kA), writer.u64(new_key), writer.u8(0), writer.u8(flags), writer.u16(port);
  writer.u32(static_cast<std::uint32_t>(id.size()));
  writer.bytes(id);
  return list;
}

TEST_CASE_FIXTURE(ReservationDevice, "REGISTER AND MOVE hands the reservation to the port it names") {
  REQUIRE(enter(a, kA));
  REQUIRE(reserve(a, kA, exclusive_access));
  CHECK(send_list(*this, test::kRegisterAndMove, move_list(transport_id(server.nexus(b)), 0x02), a).good());
  CHECK(keys() == std::vector{kB});
  CHECK(run({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, {}, 0, b).good());
  CHECK(test::conflicts(run({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0})));
  CHECK(attention(b) == none);
}

TEST_CASE_FIXTURE(ReservationDevice, "REGISTER AND MOVE: errors and their fields") {
  REQUIRE(enter(a, kA));
  Data id = transport_id(server.nexus(b));
  auto move = [&](const Data& list) -> Command& { return send_list(*this, test::kRegisterAndMove, list, a); };
  CHECK(move(move_list(id)).sense() == Sense::invalid_field_in_cdb(1, 4, ""));  // no reservation
  REQUIRE(reserve(a, kA, exclusive_access));
  CHECK(wrong_in_list(move(move_list(id, 0, 2)), 18));
  CHECK(wrong_in_list(move(move_list(id, 0, 1, 0)), 8));
  CHECK(wrong_in_list(move(move_list(transport_id(server.nexus(a)))), 24));
  CHECK(wrong_in_list(move(move_list(device_transport_id("iqn.2025-01.example:b", 24))), 24));
  CHECK(wrong_in_list(move(move_list({})), 24));
  Data two = id;
  two.insert(two.end(), id.begin(), id.end());
  CHECK(wrong_in_list(move(move_list(two)), 24));
  Data list = move_list(id);
  list[23] ^= 4;
  CHECK(wrong_in_list(move(list), 20));
  CHECK(lu().reservations().holder() == lu().reservations().find(a));
}

// ---- Unit attention conditions ---------------------------------------------------------------------------------

TEST_CASE_FIXTURE(Registered, "who releases sees no unit attention; other registrants see RESERVATIONS RELEASED") {
  REQUIRE(reserve(a, kA, write_exclusive_registrants_only));
  REQUIRE(out(a, test::kRelease, kA, 0, 5).good());
  CHECK(attention(a) == none);
  CHECK(attention(b) == reservations_released);
  CHECK(attention(b) == none);
  CHECK(attention(c) == reservations_released);
}

TEST_CASE_FIXTURE(Registered, "a holder that unregisters reads the reservation away without a unit attention") {
  REQUIRE(reserve(a, kA, exclusive_access_registrants_only));
  REQUIRE(out(a, test::kRegister, kA, 0).good());
  CHECK(run(pr_in(test::kReadReservation)).data() == Data{0, 0, 0, 4, 0, 0, 0, 0});
  CHECK(attention(b) == reservations_released);
}

TEST_CASE_FIXTURE(Registered, "CLEAR is RESERVATIONS PREEMPTED for the others, PREEMPT is REGISTRATIONS PREEMPTED") {
  REQUIRE(out(a, test::kPreempt, kA, kB).good());
  CHECK(attention(b) == registrations_preempted);
  CHECK(attention(c) == none);
  REQUIRE(out(a, test::kClear, kA).good());
  CHECK(attention(c) == reservations_preempted);
  CHECK(attention(b) == none);
  CHECK(attention(a) == none);
}

// ---- Lifetime --------------------------------------------------------------------------------------------------

TEST_CASE_FIXTURE(Registered, "registrations and the reservation survive I_T nexus loss and are the new session's") {
  REQUIRE(reserve(a, kA, exclusive_access));
  ITNexus name = server.nexus(a);
  server.detach(a);
  Device::Cdb read = {0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  CHECK(test::conflicts(run(read, {}, 0, b)));
  NexusId again = attach(name.initiator_name);
  CHECK(run(read, {}, 0, again).good());
  CHECK(out(again, test::kRelease, kA, 0, 3).good());
}

TEST_CASE_FIXTURE(Registered, "another ISID of the same initiator is another I_T nexus") {
  REQUIRE(reserve(a, kA, exclusive_access));
  NexusId other = server.attach({server.nexus(a).initiator_name, {1}, server.config().target_name, 1});
  CHECK(attention(other) == power_on_reset_or_bus_device_reset_occurred);
  CHECK(test::conflicts(run({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, {}, 0, other)));
}

TEST_CASE_FIXTURE(Registered, "resets leave registrations and the reservation as they are") {
  REQUIRE(reserve(a, kA, write_exclusive));
  for (auto function : {TaskManagementFunction::logical_unit_reset, TaskManagementFunction::target_warm_reset}) {
    server.manage(function, c, Lun{0}, 0, [](TaskManagementResponse) {});
    for (NexusId each : {a, b, c}) attention(each);
    CHECK(keys().size() == 3);
    CHECK(test::conflicts(run({0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0}, {}, 0, b)));
  }
}

TEST_CASE("a logical unit of two targets has one set of registrations, and both targets' nexuses are told") {
  ReservationDevice device;
  DeviceServer second({"iqn.2025-01.example:second", 1}, device.clock, &device.executor, device.copies);
  second.add(Lun{0}, device.server.logical_units().at(Lun{0}));
  NexusId there = second.attach({"iqn.2025-01.example:host", {}, "iqn.2025-01.example:second", 1});
  auto send = [&](const Device::Cdb& cdb, const Data& list = {}) -> Command& {
    Command& command = device.prepare(cdb, 0, there);
    second.admit(command.task);
    if (command.done()) return command;
    command.task.data_out = list;
    second.execute(command.task);
    return command;
  };
  send({0, 0, 0, 0, 0, 0});
  CHECK(send(pr_out(test::kRegister), pr_list(0, kB)).good());
  REQUIRE(device.enter(device.a, kA));
  REQUIRE(device.reserve(device.a, kA, write_exclusive));
  CHECK(test::conflicts(send({0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0})));
  CHECK(device.out(device.a, test::kPreempt, kA, kB).good());
  CHECK(send({0, 0, 0, 0, 0, 0}).failed_with(SenseKey::unit_attention, registrations_preempted));
}

// ---- PREEMPT AND ABORT -----------------------------------------------------------------------------------------

struct Blocking : Registered {
  Blocking() : Registered(options()) {}
  static DeviceOptions options() {
    DeviceOptions options;
    options.blocking = true;
    return options;
  }
  Command& write(NexusId from, std::uint8_t lba) {
    return send({0x2A, 0, 0, 0, 0, lba, 0, 0, 1, 0}, Data(512, 9), 0, from);
  }
  Command& preempt_and_abort(NexusId from, std::uint64_t key, std::uint64_t victims_key) {
    return send(pr_out(test::kPreemptAndAbort, 1), pr_list(key, victims_key), 0, from);
  }
};
bool aborted(const Command& command) { return command.completions == 1 && command.status() == Status::task_aborted; }

TEST_CASE_FIXTURE(Blocking, "PREEMPT AND ABORT is answered when the preempted nexus's tasks have stopped") {
  Command& running = write(b, 0);
  Command& waiting = write(b, 0);
  Command& gathering = prepare({0x2A, 0, 0, 0, 0, 8, 0, 0, 1, 0}, 0, b);
  server.admit(gathering.task);
  Command& others = write(c, 2);
  Command& mine = write(a, 3);
  Command& preempting = preempt_and_abort(a, kA, kB);
  CHECK(aborted(waiting));
  CHECK(aborted(gathering));
  CHECK_FALSE(running.done());
  CHECK_FALSE(preempting.done());
  executor.run(0);
  CHECK(aborted(running));
  CHECK(preempting.good());
  CHECK_FALSE(others.done());
  executor.run_all();
  CHECK(others.good());
  CHECK(mine.good());
  CHECK(attention(b) == registrations_preempted);
  CHECK(attention(b) == none);
  CHECK(attention(c) == none);
}

TEST_CASE_FIXTURE(Blocking,
                  "PREEMPT AND ABORT with nothing to stop is answered at once; one that conflicts stops nothing") {
  CHECK(preempt_and_abort(a, kA, kB).good());
  Command& running = write(c, 0);
  CHECK(test::conflicts(preempt_and_abort(a, kA, kB)));
  CHECK(test::conflicts(preempt_and_abort(a, kB, kC)));
  executor.run_all();
  CHECK(running.good());
}

TEST_CASE_FIXTURE(Blocking, "PREEMPT lets the preempted nexus's tasks go on") {
  Command& running = write(b, 0);
  CHECK(send(pr_out(test::kPreempt, 1), pr_list(kA, kB)).good());
  executor.run_all();
  CHECK(running.good());
}

TEST_CASE_FIXTURE(Blocking, "a PREEMPT AND ABORT that waits can itself be aborted, and ends once") {
  Command& running = write(b, 0);
  Command& preempting = preempt_and_abort(a, kA, kB);
  std::optional<TaskManagementResponse> response;
  server.manage(TaskManagementFunction::logical_unit_reset, c, Lun{0}, 0,
                [&](TaskManagementResponse answer) { response = answer; });
  CHECK_FALSE(preempting.done());
  CHECK_FALSE(response);
  executor.run_all();
  CHECK(aborted(running));
  CHECK(aborted(preempting));
  CHECK(response == TaskManagementResponse::function_complete);
}

TEST_CASE_FIXTURE(Blocking, "PREEMPT AND ABORT of a nexus whose own PREEMPT AND ABORT waits ends both") {
  Command& running = write(c, 0);
  Command& first = preempt_and_abort(b, kB, kC);
  Command& second = preempt_and_abort(a, kA, kB);
  CHECK_FALSE(second.done());
  executor.run_all();
  CHECK(aborted(running));
  CHECK(aborted(first));
  CHECK(second.good());
  CHECK(keys() == std::vector{kA});
}

TEST_CASE("PREEMPT AND ABORT ends the preempted nexus's prevention of medium removal (SPC-4 6.15)") {
  Registered device({.removable = true});
  const Device::Cdb prevent = {0x1E, 0, 0, 0, 0x01, 0};
  REQUIRE(device.run(prevent, {}, 0, device.b).good());
  REQUIRE(device.run(prevent, {}, 0, device.c).good());
  CHECK(device.out(device.a, test::kPreemptAndAbort, kA, kB, 1).good());
  CHECK(device.lu().medium().removal_prevented());
  device.server.detach(device.c);
  CHECK_FALSE(device.lu().medium().removal_prevented());
}

TEST_CASE("PREEMPT AND ABORT stops the preempted nexus's copies, in the foreground and in the background") {
  constexpr std::uint8_t kImmed = 0x01;
  for (std::uint8_t flags : {std::uint8_t{0}, kImmed}) {
    CAPTURE(static_cast<int>(flags));
    Blocking device;
    std::uint8_t& last = device.stores[0]->bytes()[7 * 512];
    last = 7;
    device.write(device.b, 0);
    Data list = test::write_list(tokens::zero_token(), {{0, 8}}, 0, flags);
    Command& copy = device.send(test::out_cdb(0x11, 5, list.size()), list, 0, device.b);
    CHECK(copy.good() == (flags == kImmed));
    Command& preempting = device.preempt_and_abort(device.a, kA, kB);
    CHECK_FALSE(preempting.done());
    device.executor.run_all();
    CHECK(preempting.good());
    CHECK(aborted(copy) == (flags == 0));
    CHECK(last == 7);
    CHECK(device.attention(device.b) == registrations_preempted);
    test::CopyResult result(device.run(test::in_cdb(0x05, 5, 805), {}, 0, device.b).data());
    CHECK(result.header.copy_operation_status == 0x60);
  }
}

}  // namespace
}  // namespace scsi
