// Persistent reservations of one logical unit (SPC-4 5.12): who is registered, who holds what, and what each service
// action of PERSISTENT RESERVE OUT makes of it. Beside them the reservation that RESERVE makes (SPC-2), which they
// exclude (SPC-4 5.12.3).
//
// A state machine: it parses nothing, aborts nothing, writes nothing and tells nobody. A service action either changes
// nothing and is an error, or succeeds and says what follows from it for others. Registrations belong to I_T nexuses by
// their names and outlive sessions and resets; ids of attached nexuses are kept beside them. What is to outlive the
// process goes through reservation_changes.h. Thread: the loop's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <span>
#include <string>
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

/// Whether each registrant holds a reservation of this type.
bool all_registrants(ReservationType type);

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
  not_persisted,          ///< what was to outlive the process could not be written; nothing changed
};

/// What of a logical unit's registrations and reservation outlives a power loss (SPC-4 5.12.5).
struct PersistentState {
  struct Registration {
    std::string initiator_name{};
    std::array<std::uint8_t, 6> isid{};
    std::uint16_t relative_target_port = 1;
    std::uint64_t key = 0;
    bool operator==(const Registration&) const = default;
  };
  bool activated = false;  ///< APTPL; where false there is nothing else
  std::optional<ReservationType> type{};
  std::optional<std::uint32_t> holder{};  ///< index of a registration; absent where all registrants hold, or nobody
  std::vector<Registration> registrations{};
  bool operator==(const PersistentState&) const = default;
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

  Reservations() = default;
  Reservations(const Reservations& other);
  Reservations& operator=(const Reservations&) = delete;

  /// What is to be kept; nothing but that it is nothing while APTPL is 0.
  PersistentState persistent_state() const;
  /// Takes up what was kept, as registrations with the ports of `target_name`; PRGENERATION is 0 (SPC-4 6.15.2.2). Only
  /// while nothing is registered and nobody attached.
  void restore(const PersistentState& state, const std::string& target_name);

  /// APTPL of the last registration: whether registrations and reservation outlive a power loss (SPC-4 5.12.5).
  bool persist_through_power_loss() const { return persist_through_power_loss_; }
  void set_persist_through_power_loss(bool activate) { persist_through_power_loss_ = activate; }

  /// An I_T nexus came, or went: its registration, if any, stays (SPC-4 5.12.1); the reservation it made with RESERVE
  /// goes (SPC-2 5.5.1).
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
  /// SPEC_I_PT is 0. `ports`: the same initiator port with the other target ports (ALL_TG_PT=1), each judged for
  /// itself: where the command would be a conflict, nothing changes. Also what EXTENDED COPY segment type 14h does.
  Result register_key(const Nexus& nexus, std::uint64_t key, std::uint64_t new_key,
                      std::optional<std::span<const Nexus>> others = {}, std::span<const Nexus> ports = {});
  Result register_and_ignore_existing_key(const Nexus& nexus, std::uint64_t new_key, std::span<const Nexus> ports = {});
  Result reserve(const ITNexus& nexus, std::uint64_t key, ReservationType type);
  Result release(const ITNexus& nexus, std::uint64_t key, std::optional<ReservationType> type);
  Result clear(const ITNexus& nexus, std::uint64_t key);
  /// PREEMPT, and PREEMPT AND ABORT before it aborts. `type` matters only where a reservation is preempted.
  Result preempt(const ITNexus& nexus, std::uint64_t key, std::uint64_t victims_key,
                 std::optional<ReservationType> type);
  /// REGISTER AND MOVE; also what EXTENDED COPY segment type 15h does.
  Result register_and_move(const ITNexus& nexus, std::uint64_t key, std::uint64_t new_key, const Nexus& destination,
                           bool unregister);

  // RESERVE and RELEASE (SPC-2), of the whole logical unit. False: RESERVATION CONFLICT.

  bool reserve_unit(NexusId nexus);
  bool release_unit(NexusId nexus);
  /// All there is goes, untold: the logical unit is removed.
  void forget();
  /// Power was lost: all there is goes, unless it is to persist, and PRGENERATION is 0 again (SPC-4 6.15.2.2).
  void lose_power();
  /// A reset came.
  void end_unit_reservation() { unit_holder_ = NexusId::none; }
  bool unit_reserved() const { return unit_holder_ != NexusId::none; }
  bool unit_reserved_by_another(NexusId nexus) const { return unit_reserved() && unit_holder_ != nexus; }

 private:
  /// SPC-4 5.12.3: whose RESERVE and RELEASE are GOOD and change nothing.
  bool unit_commands_do_nothing(NexusId nexus) const;
  /// The registrant of that name and key.
  Registrant* authorized(const ITNexus& nexus, std::uint64_t key);
  Registrant& enter(const Nexus& nexus, std::uint64_t key);
  void erase(const Registrant& registrant);
  /// Registers, or with `new_key` 0 unregisters.
  void put(const Nexus& nexus, std::uint64_t new_key, Consequences& consequences);
  Consequences unregister(const Registrant& registrant);
  Consequences drop_reservation(const Registrant* sender);
  void tell_others(Consequences& consequences, const Registrant* sender, AdditionalSense code) const;

  Registrations registrations_;
  std::map<NexusId, Registrant*> attached_;
  std::optional<ReservationType> type_;
  const Registrant* holder_ = nullptr;
  std::uint32_t generation_ = 0;
  bool persist_through_power_loss_ = false;
  NexusId unit_holder_ = NexusId::none;
};

}  // namespace scsi
