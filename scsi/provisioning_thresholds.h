// Logical block provisioning thresholds (SBC-4 4.7.3.7): hosts are told, by 06/38/07, that the storage a thin logical
// unit takes its blocks from is running out.
//
// Counts are of threshold sets (VPD B2h, THRESHOLD EXPONENT). A threshold has been reached when the resource is half a
// set beyond THRESHOLD COUNT, and is armed again when it is half a set on the other side. It is looked at as a command
// comes, which is when a host can be told; so it does not matter which logical unit used the storage up. Only stores
// that know at once what is left have thresholds. Thread: the loop's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "scsi/status.h"

namespace scsi {

class LogicalUnit;

/// Threshold descriptor (SBC-4 6.5.9).
struct ThresholdDescriptor {
  std::uint8_t flags = 0;
  std::uint8_t resource = 0;  ///< THRESHOLD RESOURCE: a parameter code of log page 0Ch
  base::be16 reserved{};
  base::be32 count{};

  static constexpr std::uint8_t kEnabled = 0x80;
  static constexpr std::uint8_t kTypeHighBit = 5;
  static constexpr std::uint8_t kType = 0x38;    ///< THRESHOLD TYPE 000b: a soft threshold at a number of sets
  static constexpr std::uint8_t kArming = 0x07;  ///< THRESHOLD ARMING
  static constexpr std::uint8_t kArmingHighBit = 2;
  static constexpr std::uint8_t kDecreasing = 0x00;
  static constexpr std::uint8_t kIncreasing = 0x01;
  static constexpr std::uint8_t kAvailable = 0x01;
  static constexpr std::uint8_t kUsed = 0x02;

  bool enabled() const { return flags & kEnabled; }
  bool operator==(const ThresholdDescriptor&) const = default;
};
static_assert(sizeof(ThresholdDescriptor) == 8 && offsetof(ThresholdDescriptor, count) == 4);

inline constexpr std::size_t kThresholds = 4;

/// Logical Block Provisioning mode page (1Ch/02h, SBC-4 6.5.9).
struct ProvisioningModePage {
  static constexpr std::uint8_t kPageCode = 0x1C;
  static constexpr std::uint8_t kSubpageCode = 0x02;
  static constexpr std::uint8_t kSitua = 0x01;

  std::uint8_t page_code = kPageCode | 0x40;  ///< SPF
  std::uint8_t subpage_code = kSubpageCode;
  base::be16 page_length = 12 + kThresholds * sizeof(ThresholdDescriptor);
  std::uint8_t flags = 0;
  std::array<std::uint8_t, 11> reserved{};
  std::array<ThresholdDescriptor, kThresholds> thresholds{};
};
static_assert(sizeof(ProvisioningModePage) == 48 && offsetof(ProvisioningModePage, thresholds) == 16);

class ProvisioningThresholds {
 public:
  explicit ProvisioningThresholds(LogicalUnit& lu);

  /// THRESHOLD EXPONENT: a set is 2 to this power logical blocks, 1 MiB or more; 0: there are no thresholds.
  std::uint8_t exponent() const { return exponent_; }
  /// The least number of sets that hold `bytes`.
  std::uint32_t sets(std::uint64_t bytes) const;

  /// Establishes THIN PROVISIONING SOFT THRESHOLD REACHED where a threshold has been reached since the last look: for
  /// every I_T nexus, or with SITUA for `nexus` alone, whose command it is. Called while LBPERE and a threshold are on.
  void look(NexusId nexus);

  /// INFORMATION beside it: the byte offset of the threshold descriptor in the mode page.
  std::uint64_t notified() const { return notified_; }

 private:
  struct Watched {
    ThresholdDescriptor descriptor{};
    bool armed = true;
  };

  /// Whether the resource has just reached it.
  bool reached(Watched& watched) const;

  LogicalUnit& lu_;
  std::uint8_t exponent_ = 0;
  std::uint64_t notified_ = 0;
  std::array<Watched, kThresholds> watched_{};
};

}  // namespace scsi
