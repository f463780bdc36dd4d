// The state machine of persistent reservations (SPC-4 5.12): registrations, reservations, and what follows for others.
//
// Not tested, and why: which commands a reservation stops (reservation_conflict_test.cc), parameter lists
// (reservation_commands_test.cc).
#include "scsi/reservations.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/entropy.h"

namespace scsi {
namespace {

using enum ReservationType;
using Nexus = Reservations::Nexus;
using Error = ReservationError;
using Ids = std::vector<NexusId>;

constexpr ReservationType kTypes[] = {write_exclusive,
                                      exclusive_access,
                                      write_exclusive_registrants_only,
                                      exclusive_access_registrants_only,
                                      write_exclusive_all_registrants,
                                      exclusive_access_all_registrants};
bool everybody_holds(ReservationType type) { return static_cast<int>(type) >= 7; }
bool for_registrants(ReservationType type) { return static_cast<int>(type) >= 5; }

Nexus nexus(unsigned number) {
  return {{fmt::format("iqn.2025-01.example:{:04}", number), {}, "iqn.2025-01.example:target", 1},
          static_cast<NexusId>(number)};
}

/// A, B and C, registered with the keys 1, 2 and 3.
struct Three {
  Reservations reservations;
  Nexus a = nexus(1), b = nexus(2), c = nexus(3);

  Three() {
    for (const Nexus& each : {a, b, c})
      REQUIRE(reservations.register_key(each, 0, static_cast<std::uint64_t>(each.id)));
  }
  bool holds(const Nexus& nexus) const {
    const auto* found = reservations.find(nexus.name);
    return found && reservations.holds(*found);
  }
  bool registered(const Nexus& nexus) const { return reservations.find(nexus.name) != nullptr; }
};

/// Whom a result tells `code`, and that it tells nothing else.
Ids told(const Reservations::Result& result, AdditionalSense code) {
  REQUIRE(result);
  Ids ids;
  for (const auto& attention : result->attentions) {
    CHECK(attention.code == code);
    ids.push_back(attention.nexus);
  }
  std::ranges::sort(ids);
  return ids;
}
bool fails(const Reservations::Result& result, Error error) { return !result && result.error() == error; }

TEST_CASE("the types are 1, 3, 5, 6, 7 and 8") {
  std::vector<unsigned> known;
  for (std::uint8_t code = 0; code < 16; ++code)
    if (reservation_type(code)) known.push_back(code);
  CHECK(known == std::vector<unsigned>{1, 3, 5, 6, 7, 8});
}

TEST_CASE("REGISTER wants key 0 of a new nexus and its key of a registered one (SPC-4 table 68)") {
  Reservations reservations;
  CHECK(fails(reservations.register_key(nexus(1), 7, 7), Error::conflict));
  CHECK(reservations.register_key(nexus(1), 0, 0));
  CHECK(reservations.registrations().empty());
  CHECK(reservations.register_key(nexus(1), 0, 7));
  CHECK(fails(reservations.register_key(nexus(1), 0, 8), Error::conflict));
  CHECK(fails(reservations.register_key(nexus(1), 8, 8), Error::conflict));
  CHECK(reservations.register_key(nexus(1), 7, 8));
  CHECK(reservations.find(nexus(1).name)->second.key == 8);
  CHECK(reservations.register_key(nexus(1), 8, 0));
  CHECK(reservations.registrations().empty());
}

TEST_CASE_FIXTURE(Three, "REGISTER AND IGNORE EXISTING KEY registers, changes and removes whatever the key was") {
  CHECK(reservations.register_and_ignore_existing_key(a, 9));
  CHECK(reservations.find(a.name)->second.key == 9);
  CHECK(reservations.register_and_ignore_existing_key(a, 0));
  CHECK_FALSE(registered(a));
  CHECK(reservations.register_and_ignore_existing_key(a, 0));
  CHECK(reservations.register_and_ignore_existing_key(a, 5));
  CHECK(registered(a));
}

TEST_CASE_FIXTURE(Three, "every service action but the registering ones wants the key of the nexus") {
  auto refused = [&](const ITNexus& name, std::uint64_t key) {
    CHECK(fails(reservations.reserve(name, key, write_exclusive), Error::conflict));
    CHECK(fails(reservations.release(name, key, write_exclusive), Error::conflict));
    CHECK(fails(reservations.clear(name, key), Error::conflict));
    CHECK(fails(reservations.preempt(name, key, 2, write_exclusive), Error::conflict));
    CHECK(fails(reservations.register_and_move(name, key, 9, b, false), Error::conflict));
  };
  refused(a.name, 2);
  refused(nexus(4).name, 0);
  CHECK(reservations.generation() == 3);
  CHECK_FALSE(reservations.type());
}

TEST_CASE_FIXTURE(Three, "RESERVE again changes nothing; another type or another nexus conflicts") {
  for (ReservationType type : kTypes) {
    CAPTURE(static_cast<int>(type));
    CHECK(told(reservations.reserve(a.name, 1, type), AdditionalSense::none).empty());
    CHECK(reservations.reserve(a.name, 1, type));
    for (ReservationType other : kTypes)
      if (other != type) CHECK(fails(reservations.reserve(a.name, 1, other), Error::conflict));
    CHECK(reservations.reserve(b.name, 2, type).has_value() == everybody_holds(type));
    CHECK(holds(a));
    CHECK(holds(b) == everybody_holds(type));
    CHECK(reservations.release(a.name, 1, type));
  }
}

TEST_CASE_FIXTURE(Three, "RELEASE tells the other registrants, where the reservation was for registrants") {
  for (ReservationType type : kTypes) {
    CAPTURE(static_cast<int>(type));
    REQUIRE(reservations.reserve(a.name, 1, type));
    CHECK(told(reservations.release(a.name, 1, type), AdditionalSense::reservations_released) ==
          (for_registrants(type) ? Ids{b.id, c.id} : Ids{}));
    CHECK_FALSE(reservations.type());
  }
}

TEST_CASE_FIXTURE(Three, "RELEASE of another type is invalid; by who holds nothing it does nothing") {
  REQUIRE(reservations.reserve(a.name, 1, write_exclusive));
  CHECK(fails(reservations.release(a.name, 1, exclusive_access), Error::invalid_release));
  CHECK(fails(reservations.release(a.name, 1, {}), Error::invalid_release));
  CHECK(reservations.release(b.name, 2, write_exclusive));
  CHECK(reservations.release(b.name, 2, exclusive_access));
  CHECK(reservations.type() == write_exclusive);
}

TEST_CASE("a holder that unregisters releases (SPC-4 5.12.11.3)") {
  for (ReservationType type : kTypes) {
    CAPTURE(static_cast<int>(type));
    Three three;
    REQUIRE(three.reservations.reserve(three.a.name, 1, type));
    auto result = three.reservations.register_key(three.a, 1, 0);
    bool told_others = for_registrants(type) && !everybody_holds(type);
    CHECK(told(result, AdditionalSense::reservations_released) == (told_others ? Ids{three.b.id, three.c.id} : Ids{}));
    CHECK(three.reservations.type().has_value() == everybody_holds(type));
  }
}

TEST_CASE_FIXTURE(Three, "a reservation of all registrants goes with the last of them") {
  REQUIRE(reservations.reserve(a.name, 1, exclusive_access_all_registrants));
  CHECK(reservations.register_key(a, 1, 0));
  CHECK(reservations.register_key(b, 2, 0));
  CHECK(reservations.type());
  CHECK(reservations.register_key(c, 3, 0));
  CHECK_FALSE(reservations.type());
}

TEST_CASE_FIXTURE(Three, "a registrant that unregisters leaves the holder's reservation alone") {
  REQUIRE(reservations.reserve(a.name, 1, write_exclusive_registrants_only));
  CHECK(told(reservations.register_key(b, 2, 0), AdditionalSense::none).empty());
  CHECK(holds(a));
}

TEST_CASE_FIXTURE(Three, "CLEAR removes everything and tells the others that they were preempted") {
  REQUIRE(reservations.reserve(a.name, 1, write_exclusive));
  CHECK(told(reservations.clear(b.name, 2), AdditionalSense::reservations_preempted) == Ids{a.id, c.id});
  CHECK(reservations.registrations().empty());
  CHECK_FALSE(reservations.type());
  CHECK(reservations.find(a.id) == nullptr);
}

TEST_CASE_FIXTURE(Three, "PREEMPT of the holder takes its reservation over and removes who has its key") {
  REQUIRE(reservations.register_key(c, 3, 1));
  REQUIRE(reservations.reserve(a.name, 1, write_exclusive));
  auto result = reservations.preempt(b.name, 2, 1, write_exclusive);
  CHECK(told(result, AdditionalSense::registrations_preempted) == Ids{a.id, c.id});
  CHECK(result->preempted == Ids{a.id, c.id});
  CHECK(holds(b));
  CHECK_FALSE(registered(a));
  CHECK_FALSE(registered(c));
}

TEST_CASE_FIXTURE(Three, "PREEMPT that changes the type tells the registrants that stay") {
  REQUIRE(reservations.reserve(a.name, 1, write_exclusive));
  auto result = reservations.preempt(b.name, 2, 1, exclusive_access_registrants_only);
  REQUIRE(result);
  REQUIRE(result->attentions.size() == 2);
  CHECK(result->attentions[0].nexus == a.id);
  CHECK(result->attentions[0].code == AdditionalSense::registrations_preempted);
  CHECK(result->attentions[1].nexus == c.id);
  CHECK(result->attentions[1].code == AdditionalSense::reservations_released);
  CHECK(reservations.type() == exclusive_access_registrants_only);
}

TEST_CASE_FIXTURE(Three, "PREEMPT of who holds nothing only removes registrations; the type does not matter") {
  REQUIRE(reservations.reserve(a.name, 1, write_exclusive));
  CHECK(told(reservations.preempt(b.name, 2, 3, {}), AdditionalSense::registrations_preempted) == Ids{c.id});
  CHECK(holds(a));
  CHECK(reservations.type() == write_exclusive);
}

TEST_CASE_FIXTURE(Three, "PREEMPT of a key nobody has conflicts; of key 0 it is an error") {
  CHECK(fails(reservations.preempt(a.name, 1, 9, write_exclusive), Error::conflict));
  CHECK(fails(reservations.preempt(a.name, 1, 0, write_exclusive), Error::no_service_action_key));
  REQUIRE(reservations.reserve(b.name, 2, write_exclusive));
  CHECK(fails(reservations.preempt(a.name, 1, 0, write_exclusive), Error::no_service_action_key));
  CHECK(fails(reservations.preempt(a.name, 1, 2, {}), Error::invalid_type));
  CHECK(reservations.generation() == 3);
}

TEST_CASE_FIXTURE(Three, "PREEMPT of its own key gives the holder another type and keeps it registered") {
  REQUIRE(reservations.reserve(a.name, 1, write_exclusive));
  CHECK(told(reservations.preempt(a.name, 1, 1, exclusive_access), AdditionalSense::reservations_released) ==
        Ids{b.id, c.id});
  CHECK(holds(a));
  CHECK(reservations.type() == exclusive_access);
}

TEST_CASE_FIXTURE(Three, "PREEMPT of its own key by who holds nothing unregisters it, untold") {
  auto result = reservations.preempt(a.name, 1, 1, {});
  CHECK(told(result, AdditionalSense::none).empty());
  CHECK(result->preempted.empty());
  CHECK_FALSE(registered(a));
}

TEST_CASE_FIXTURE(Three, "PREEMPT of key 0 removes all others from a reservation of all registrants") {
  REQUIRE(reservations.reserve(a.name, 1, write_exclusive_all_registrants));
  auto result = reservations.preempt(b.name, 2, 0, exclusive_access);
  CHECK(told(result, AdditionalSense::registrations_preempted) == Ids{a.id, c.id});
  CHECK(reservations.type() == exclusive_access);
  CHECK(holds(b));
  CHECK(reservations.registrations().size() == 1);
}

TEST_CASE_FIXTURE(Three, "PREEMPT of one key leaves a reservation of all registrants to the rest, if any") {
  REQUIRE(reservations.reserve(a.name, 1, write_exclusive_all_registrants));
  CHECK(told(reservations.preempt(b.name, 2, 1, {}), AdditionalSense::registrations_preempted) == Ids{a.id});
  CHECK(reservations.type() == write_exclusive_all_registrants);
  REQUIRE(reservations.register_key(c, 3, 2));
  CHECK(reservations.preempt(b.name, 2, 2, {}));
  CHECK(reservations.registrations().empty());
  CHECK_FALSE(reservations.type());
}

TEST_CASE_FIXTURE(Three, "REGISTER AND MOVE gives the reservation to another nexus, registered or not") {
  Nexus d = nexus(4);
  CHECK(fails(reservations.register_and_move(a.name, 1, 9, d, false), Error::no_reservation));
  REQUIRE(reservations.reserve(a.name, 1, exclusive_access));
  CHECK(fails(reservations.register_and_move(b.name, 2, 9, d, false), Error::conflict));
  CHECK(fails(reservations.register_and_move(a.name, 1, 0, d, false), Error::no_service_action_key));
  CHECK(fails(reservations.register_and_move(a.name, 1, 9, a, false), Error::moved_to_itself));
  CHECK(reservations.generation() == 3);
  CHECK(told(reservations.register_and_move(a.name, 1, 9, d, false), AdditionalSense::none).empty());
  CHECK(holds(d));
  CHECK(registered(a));
  CHECK(reservations.type() == exclusive_access);
  CHECK(reservations.register_and_move(d.name, 9, 8, b, true));
  CHECK(holds(b));
  CHECK(reservations.find(b.name)->second.key == 8);
  CHECK_FALSE(registered(d));
}

TEST_CASE_FIXTURE(Three, "REGISTER AND MOVE of a reservation of all registrants conflicts") {
  REQUIRE(reservations.reserve(a.name, 1, write_exclusive_all_registrants));
  CHECK(fails(reservations.register_and_move(a.name, 1, 9, nexus(4), false), Error::conflict));
}

TEST_CASE_FIXTURE(Three, "REGISTER with SPEC_I_PT registers all it names, and not from a registered nexus") {
  std::vector<Nexus> others{nexus(5), nexus(6), b};
  CHECK(fails(reservations.register_key(a, 1, 9, others), Error::already_registered));
  CHECK(reservations.register_key(nexus(4), 0, 9, others));
  for (const Nexus& each : {nexus(4), nexus(5), nexus(6), b}) CHECK(reservations.find(each.name)->second.key == 9);
  CHECK(reservations.generation() == 4);
}

TEST_CASE("PRGENERATION counts what succeeded, but not RESERVE and RELEASE (SPC-4 6.15.2)") {
  Three three;
  Reservations& reservations = three.reservations;
  auto steps = [&, before = reservations.generation()]() mutable {
    auto now = reservations.generation();
    return now - std::exchange(before, now);
  };
  REQUIRE(reservations.reserve(three.a.name, 1, write_exclusive));
  REQUIRE(reservations.release(three.a.name, 1, write_exclusive));
  CHECK(steps() == 0);
  REQUIRE(reservations.register_and_ignore_existing_key(nexus(9), 0));
  CHECK(steps() == 1);
  REQUIRE(reservations.reserve(three.a.name, 1, write_exclusive));
  REQUIRE(reservations.register_and_move(three.a.name, 1, 1, three.b, false));
  CHECK(steps() == 1);
  REQUIRE(reservations.preempt(three.a.name, 1, 3, {}));
  CHECK(steps() == 1);
  REQUIRE(reservations.clear(three.a.name, 1));
  CHECK(steps() == 1);
}

TEST_CASE_FIXTURE(Three, "a registration stays when its nexus goes, and is found again when it comes back") {
  REQUIRE(reservations.reserve(a.name, 1, exclusive_access));
  reservations.detach(a.id);
  CHECK(holds(a));
  CHECK(reservations.find(a.id) == nullptr);
  CHECK_FALSE(reservations.may_write(reservations.find(a.id)));
  auto preempted = reservations.preempt(b.name, 2, 3, {});
  REQUIRE(preempted);
  reservations.attach(static_cast<NexusId>(77), a.name);
  CHECK(reservations.may_write(reservations.find(static_cast<NexusId>(77))));
}

TEST_CASE_FIXTURE(Three, "a second session of one name replaces the first; the first's end then changes nothing") {
  auto second = static_cast<NexusId>(77);
  reservations.attach(second, a.name);
  CHECK(reservations.find(a.id) == nullptr);
  reservations.detach(a.id);
  CHECK(reservations.find(second) == reservations.find(a.name));
}

TEST_CASE_FIXTURE(Three, "a nexus that is not attached is neither told nor to be aborted") {
  reservations.detach(a.id);
  auto result = reservations.preempt(b.name, 2, 1, {});
  CHECK(told(result, AdditionalSense::none).empty());
  CHECK(result->preempted.empty());
  CHECK_FALSE(registered(a));
}

TEST_CASE("registrants beyond the limit are refused, all of them or none") {
  Reservations reservations;
  unsigned number = 0;
  while (reservations.registrations().size() < Reservations::kMaximumRegistrants - 1)
    REQUIRE(reservations.register_key(nexus(++number), 0, 1));
  std::vector<Nexus> one{nexus(5001)};
  CHECK(fails(reservations.register_key(nexus(5000), 0, 1, one), Error::too_many_registrants));
  CHECK(reservations.registrations().size() == Reservations::kMaximumRegistrants - 1);
  CHECK(reservations.register_key(nexus(5000), 0, 1));
  CHECK(fails(reservations.register_key(nexus(5001), 0, 1), Error::too_many_registrants));
  CHECK(fails(reservations.register_and_ignore_existing_key(nexus(5001), 1), Error::too_many_registrants));
  REQUIRE(reservations.reserve(nexus(1).name, 1, write_exclusive));
  CHECK(fails(reservations.register_and_move(nexus(1).name, 1, 1, nexus(5001), false), Error::too_many_registrants));
  CHECK(reservations.register_and_ignore_existing_key(nexus(2), 3));
  CHECK(reservations.register_and_move(nexus(1).name, 1, 1, nexus(5001), true));
}

TEST_CASE("whatever is sent, a reservation has a registered holder and ids are those of registrants") {
  constexpr std::uint64_t kSeed = 5120;
  INFO("seed " << kSeed);
  base::SeededEntropy entropy{kSeed};
  auto below = [&](std::uint64_t limit) { return entropy.u64() % limit; };
  Reservations reservations;
  std::vector<Nexus> nexuses;
  for (unsigned number = 1; number <= 5; ++number) nexuses.push_back(nexus(number));
  unsigned reservations_seen = 0;
  for (int step = 0; step < 20000; ++step) {
    const Nexus& from = nexuses[below(5)];
    const Nexus& other = nexuses[below(5)];
    const auto* registered = reservations.find(from.name);
    std::uint64_t key = below(8) && registered ? registered->second.key : below(4);
    std::uint64_t new_key = below(4);
    ReservationType type = kTypes[below(6)];
    auto before = reservations.registrations();
    Reservations::Result result;
    switch (below(9)) {
      case 0: result = reservations.register_key(from, key, new_key); break;
      case 1: result = reservations.register_and_ignore_existing_key(from, new_key); break;
      case 2: result = reservations.reserve(from.name, key, type); break;
      case 3: result = reservations.release(from.name, key, type); break;
      case 4:
        if (below(4) == 0) result = reservations.clear(from.name, key);
        break;
      case 5: result = reservations.preempt(from.name, key, new_key, type); break;
      case 6: result = reservations.register_and_move(from.name, key, new_key, other, below(2)); break;
      case 7: reservations.detach(from.id); break;
      default: reservations.attach(from.id, from.name); break;
    }
    if (!result) REQUIRE(before.size() == reservations.registrations().size());
    std::size_t holders = 0;
    for (const auto& registrant : reservations.registrations()) {
      holders += reservations.holds(registrant);
      REQUIRE(registrant.second.key != 0);
      NexusId id = registrant.second.attached;
      if (id != NexusId::none) REQUIRE(reservations.find(id) == &registrant);
    }
    REQUIRE((holders > 0) == reservations.type().has_value());
    if (reservations.type()) {
      ++reservations_seen;
      REQUIRE((everybody_holds(*reservations.type()) || holders == 1));
      REQUIRE((holders == 1 || holders == reservations.registrations().size()));
    }
  }
  CHECK(reservations_seen > 5000);
}

}  // namespace
}  // namespace scsi
