// Persistent reservations of one logical unit (SPC-4 5.12): who is registered, who holds what, and what each service
// action of PERSISTENT RESERVE OUT makes of it.
//
// A state machine: it parses nothing, aborts nothing and tells nobody. A service action either changes nothing and is
// an error, or succeeds and says what follows from it for others. Registrations belong to I_T nexuses by their names
// and outlive sessions and resets; ids of attached nexuses are kept beside them. Thread: the loop's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "scsi/sense.h"
#include "scsi/status.h"

namespace scsi {

/// SPC-4 table 67; the scope is always the logical unit.
enum class ReservationType : std::uint8_t {
  write_exclusive = 1,
  exclusive_access = 3,
  write_exclusive_registrants_only = 5,
  exclusive_access_registrants_only = 6,
  write_exclusive_all_registrants = 7,
  exclusive_access_all_registrants = 8,
};

/// The type a TYPE field says; nothing for the reserved and obsolete ones.
std::optional<ReservationType> reservation_type(std::uint8_t code);

enum class ReservationError {
  conflict,               ///< RESERVATION CONFLICT
  already_registered,     ///< SPEC_I_PT=1 from a nexus that is (SPC-4 6.16.3)
  too_many_registrants,   ///< 05/55/04
  invalid_release,        ///< 05/26/04
  invalid_type,           ///< a reservation would be made, of a type that there is not
  no_reservation,         ///< none to move
  moved_to_itself,        ///< REGISTER AND MOVE to the nexus that sent it
  no_service_action_key,  ///< the key is 0 where none may be
};

class Reservations {
 public:
  /// Registered I_T nexuses; beyond: 05/55/04. 64 hosts with 16 paths each.
  static constexpr std::size_t kMaximumRegistrants = 1024;

  /// An I_T nexus as service actions name it.
  struct Nexus {
    ITNexus name{};
    NexusId id = NexusId::none;  ///< none: not attached now
  };

  struct Registration {
    std::uint64_t key = 0;
    NexusId attached = NexusId::none;
  };
  using Registrations = std::map<ITNexus, Registration>;
  using Registrant = Registrations::value_type;

  /// What follows from a service action that succeeded.
  struct Consequences {
    struct Attention {
      NexusId nexus;
      AdditionalSense code;
    };
    std::vector<Attention> attentions{};  ///< to be established
    std::vector<NexusId> preempted{};     ///< attached nexuses, the sender excepted, whose registrations were preempted
  };
  using Result = std::expected<Consequences, ReservationError>;

  /// An I_T nexus came, or went: its registration, if any, stays (SPC-4 5.12.1).
  void attach(NexusId id, const ITNexus& name);
  void detach(NexusId id);

  const Registrations& registrations() const { return registrations_; }
  std::optional<ReservationType> type() const { return type_; }
  std::uint32_t generation() const { return generation_; }  ///< PRGENERATION

  const Registrant* find(NexusId id) const;
  const Registrant* find(const ITNexus& name) const;
  bool holds(const Registrant& registrant) const;
  /// Of a reservation with one holder; null where all registrants hold it, or nobody.
  const Registrant* holder() const { return holder_; }

  /// Whether a nexus may send commands that read or that change the logical unit (SPC-4 table 65, SBC-3 table 13), by
  /// its registrant: find() it; null when it is not registered.
  bool may_read(const Registrant* registrant) const;
  bool may_write(const Registrant* registrant) const;

  // The service actions (SPC-4 5.12.7 to 5.12.11). `key` is RESERVATION KEY, `new_key` and `victims_key` are SERVICE
  // ACTION RESERVATION KEY; ReservationError::conflict from all but the second when `key` is not that of the nexus.

  /// REGISTER; `new_key` 0 unregisters. `others`: further nexuses to register with it (SPEC_I_PT=1), nothing when
  /// SPEC_I_PT is 0. Also what EXTENDED COPY segment type 14h does.
  Result register_key(const Nexus& nexus, std::uint64_t key, std::uint64_t new_key,
                      std::optional<std::span<const Nexus>> others = {});
  Result register_and_ignore_existing_key(const Nexus& nexus, std::uint64_t new_key);
  Result reserve(const ITNexus& nexus, std::uint64_t key, ReservationType type);
  Result release(const ITNexus& nexus, std::uint64_t key, std::optional<ReservationType> type);
  Result clear(const ITNexus& nexus, std::uint64_t key);
  /// PREEMPT, and PREEMPT AND ABORT before it aborts. `type` matters only where a reservation is preempted.
  Result preempt(const ITNexus& nexus, std::uint64_t key, std::uint64_t victims_key,
                 std::optional<ReservationType> type);
  /// REGISTER AND MOVE; also what EXTENDED COPY segment type 15h does.
  Result register_and_move(const ITNexus& nexus, std::uint64_t key, std::uint64_t new_key, const Nexus& destination,
                           bool unregister);

 private:
  /// The registrant of that name and key.
  Registrant* authorized(const ITNexus& nexus, std::uint64_t key);
  Registrant& enter(const Nexus& nexus, std::uint64_t key);
  void erase(const Registrant& registrant);
  Consequences unregister(const Registrant& registrant);
  Consequences drop_reservation(const Registrant* sender);
  void tell_others(Consequences& consequences, const Registrant* sender, AdditionalSense code) const;

  Registrations registrations_;
  std::map<NexusId, Registrant*> attached_;
  std::optional<ReservationType> type_;
  const Registrant* holder_ = nullptr;
  std::uint32_t generation_ = 0;
};

}  // namespace scsi
