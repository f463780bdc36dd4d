// Persistent reservations in tests: a device with three I_T nexuses, and the commands they send.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "scsi/reservations.h"
#include "test/scsi/device_fixture.h"

namespace test {

// Service actions of PERSISTENT RESERVE OUT (SPC-4 table 219).
inline constexpr std::uint8_t kRegister = 0;
inline constexpr std::uint8_t kReserve = 1;
inline constexpr std::uint8_t kRelease = 2;
inline constexpr std::uint8_t kClear = 3;
inline constexpr std::uint8_t kPreempt = 4;
inline constexpr std::uint8_t kPreemptAndAbort = 5;
inline constexpr std::uint8_t kRegisterAndIgnore = 6;
inline constexpr std::uint8_t kRegisterAndMove = 7;

// Service actions of PERSISTENT RESERVE IN.
inline constexpr std::uint8_t kReadKeys = 0;
inline constexpr std::uint8_t kReadReservation = 1;
inline constexpr std::uint8_t kReportCapabilities = 2;
inline constexpr std::uint8_t kReadFullStatus = 3;

using scsi::ReservationType;
inline constexpr ReservationType kReservationTypes[] = {ReservationType::write_exclusive,
                                                        ReservationType::exclusive_access,
                                                        ReservationType::write_exclusive_registrants_only,
                                                        ReservationType::exclusive_access_registrants_only,
                                                        ReservationType::write_exclusive_all_registrants,
                                                        ReservationType::exclusive_access_all_registrants};

inline std::vector<std::uint8_t> pr_in(std::uint8_t action, std::uint8_t allocation_length = 0xFF) {
  return {0x5E, action, 0, 0, 0, 0, 0, 0, allocation_length, 0};
}
inline std::vector<std::uint8_t> pr_out(std::uint8_t action, std::uint8_t scope_type = 0, std::uint8_t length = 24) {
  return {0x5F, action, scope_type, 0, 0, 0, 0, 0, length, 0};
}
inline std::vector<std::uint8_t> pr_list(std::uint64_t key, std::uint64_t new_key = 0, std::uint8_t flags = 0) {
  std::vector<std::uint8_t> list;
  base::ByteWriter out(list);
  out.u64(key), out.u64(new_key), out.u32(0), out.u8(flags), out.zeros(3);
  return list;
}

/// Three initiators, with the keys they would register.
class ReservationDevice : public Device {
 public:
  explicit ReservationDevice(DeviceOptions options = {.removable = true, .self_encrypting = true}) : Device(options) {
    b = attach("iqn.2025-01.example:b");
    c = attach("iqn.2025-01.example:c");
  }
  static constexpr std::uint64_t kKeyA = 0xAAAA, kKeyB = 0xBBBB, kKeyC = 0xCCCC;
  scsi::NexusId a = nexus, b{}, c{};

  Command& out(scsi::NexusId from, std::uint8_t action, std::uint64_t key, std::uint64_t new_key = 0,
               std::uint8_t scope_type = 0, std::uint8_t flags = 0) {
    return run(pr_out(action, scope_type), pr_list(key, new_key, flags), 0, from);
  }
  bool enter(scsi::NexusId from, std::uint64_t key) { return out(from, kRegister, 0, key).good(); }
  bool reserve(scsi::NexusId from, std::uint64_t key, ReservationType type) {
    return out(from, kReserve, key, 0, static_cast<std::uint8_t>(type)).good();
  }
  std::vector<std::uint64_t> keys() {
    std::vector<std::uint64_t> found;
    for (const auto& [name, registration] : lu().reservations().registrations()) found.push_back(registration.key);
    return found;
  }
  /// What TEST UNIT READY says, which takes one unit attention condition.
  scsi::AdditionalSense attention(scsi::NexusId of) {
    Command& command = run({0, 0, 0, 0, 0, 0}, {}, 0, of);
    return command.good() ? scsi::AdditionalSense::none : command.sense().code;
  }
};

inline bool conflicts(const Command& command) {
  return command.completions == 1 && command.status() == scsi::Status::reservation_conflict;
}

}  // namespace test
