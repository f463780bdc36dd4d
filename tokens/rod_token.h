// The ROD token as it travels: 512 bytes, their layout, and the seal that makes them unforgeable.
//
// A token is a bearer capability (SPC-4 5.17.6): whoever holds the bytes may use them. So they carry 256 bits of
// secure randomness and an HMAC-SHA-256 over everything before it, keyed with a secret that is drawn anew with each
// key epoch (each start of the process) and never leaves it. Nothing in the body says where the data lies.
// Knows no lifetime and no table of tokens: that is TokenManager. Thread: one at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/entropy.h"

namespace tokens {

/// SPC-4 table 110.
enum class RodType : std::uint32_t {
  copy_manager_internal = 0x00000000,
  access_upon_reference = 0x00010000,
  point_in_time_default = 0x00800000,
  point_in_time_change_vulnerable = 0x00800001,
  point_in_time_persistent = 0x00800002,
  point_in_time_any = 0x0080FFFF,
  block_device_zero = 0xFFFF0001,  ///< SBC-4 4.28.4: the well-known token whose data is all zeros
};

/// What a copy manager does with a ROD type: one row per supported type, ascending. Judging tokens, POPULATE TOKEN's
/// ROD TYPE field, ROD CSCD descriptors and VPD 8Fh descriptor 0108h all read it. A type without a row is not
/// supported.
struct RodTypeSupport {
  RodType type;
  bool token_in;       ///< a token of this type may be used
  bool token_out;      ///< a token of this type may be created
  bool point_in_time;  ///< POPULATE TOKEN may name it (SBC-4 5.12)
  bool internal;       ///< EXTENDED COPY may use one without a token (ECPY_INT)
  bool operator==(const RodTypeSupport&) const = default;
};
/// Every type there is something behind.
std::vector<RodTypeSupport> all_rod_types();
/// The row of `type`, or null.
const RodTypeSupport* find_rod_type(std::span<const RodTypeSupport> supported, std::uint32_t type);

/// The Identification Descriptor CSCD descriptor (SPC-4 6.4.5.4), as a token's CREATOR LOGICAL UNIT DESCRIPTOR.
struct IdentificationCscdDescriptor {
  std::uint8_t descriptor_type_code = 0xE4;
  std::uint8_t peripheral_device_type = 0;
  base::be16 relative_initiator_port_identifier;
  std::uint8_t code_set = 1;         ///< binary
  std::uint8_t designator_type = 3;  ///< NAA, association 00b (logical unit)
  std::uint8_t reserved_6 = 0;
  std::uint8_t designator_length = 16;
  std::array<std::uint8_t, 20> designator{};
  std::uint8_t reserved_28 = 0;
  base::be24 disk_block_length;
};
static_assert(sizeof(IdentificationCscdDescriptor) == 32);
static_assert(offsetof(IdentificationCscdDescriptor, designator_length) == 7);
static_assert(offsetof(IdentificationCscdDescriptor, designator) == 8);
static_assert(offsetof(IdentificationCscdDescriptor, disk_block_length) == 29);

/// Device type specific data of a block device's token: READ CAPACITY (16) data from its byte 8, as it was when the
/// token was created (SBC-4 4.28.5).
struct BlockDeviceRodData {
  base::be32 logical_block_length;
  std::uint8_t protection = 0;
  std::uint8_t exponents = 0;                    ///< P_I_EXPONENT, LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT
  base::be16 provisioning_and_lowest_alignment;  ///< LBPME, LBPRZ, LOWEST ALIGNED LOGICAL BLOCK ADDRESS
  std::array<std::uint8_t, 24> reserved_8{};
};
static_assert(sizeof(BlockDeviceRodData) == 32);
static_assert(offsetof(BlockDeviceRodData, provisioning_and_lowest_alignment) == 6);

inline constexpr std::size_t kTargetDeviceDescriptorSize = 128;

/// The vendor specific part (SPC-4 5.17.6.2 demands 256 bits of secure randomness in it).
struct ExtendedRodTokenData {
  std::array<std::uint8_t, 16> key_epoch{};  ///< which secret sealed it; not secret itself
  std::array<std::uint8_t, 32> secure_random{};
  std::array<std::uint8_t, 176> filler{};  ///< random too
  std::array<std::uint8_t, 32> mac{};      ///< HMAC-SHA-256 over all bytes before it
};
static_assert(sizeof(ExtendedRodTokenData) == 256);

/// The 512-byte image (SPC-4 tables 111 and 112).
struct RodToken {
  base::be32 rod_type;
  base::be16 reserved_4;
  base::be16 rod_token_length;
  base::be64 copy_manager_rod_token_identifier;
  IdentificationCscdDescriptor creator_logical_unit_descriptor;
  base::be64 number_of_bytes_represented_high;
  base::be64 number_of_bytes_represented;
  std::array<std::uint8_t, 32> reserved_64{};
  BlockDeviceRodData block_device;
  std::array<std::uint8_t, kTargetDeviceDescriptorSize> target_device_descriptor{};
  ExtendedRodTokenData extended;
};
static_assert(sizeof(RodToken) == 512 && base::WireLayout<RodToken>);
static_assert(offsetof(RodToken, rod_token_length) == 6);
static_assert(offsetof(RodToken, copy_manager_rod_token_identifier) == 8);
static_assert(offsetof(RodToken, creator_logical_unit_descriptor) == 16);
static_assert(offsetof(RodToken, number_of_bytes_represented_high) == 48);
static_assert(offsetof(RodToken, number_of_bytes_represented) == 56);
static_assert(offsetof(RodToken, reserved_64) == 64);
static_assert(offsetof(RodToken, block_device) == 96);
static_assert(offsetof(RodToken, target_device_descriptor) == 128);
static_assert(offsetof(RodToken, extended) == 256);

/// ROD TOKEN LENGTH of every generic type: the bytes after the field.
inline constexpr std::uint16_t kRodTokenLength = 0x01F8;
static_assert(kRodTokenLength == sizeof(RodToken) - offsetof(RodToken, rod_token_length) - sizeof(base::be16));

/// The block device zero token: `FF FF 00 01 00 00 01 F8` and zeros.
RodToken zero_token();

/// Seals tokens and tells whether a seal is ours. One object is one key epoch.
class TokenSeal {
 public:
  /// Draws the epoch and the secret.
  explicit TokenSeal(base::Entropy& entropy);
  ~TokenSeal();
  TokenSeal(const TokenSeal&) = delete;
  TokenSeal& operator=(const TokenSeal&) = delete;

  /// Fills the extended data of `token`, whose other fields are final.
  void seal(RodToken& token, base::Entropy& entropy);

  /// Whether `token` names this key epoch.
  bool same_epoch(const RodToken& token) const;

  /// Whether the seal fits the bytes; compared in constant time.
  bool intact(const RodToken& token);

 private:
  std::array<std::uint8_t, 32> mac_of(const RodToken& token);

  struct Keyed;  // the keyed HMAC state, so that this header needs no OpenSSL
  std::unique_ptr<Keyed> keyed_;
  std::array<std::uint8_t, 16> epoch_{};
};

}  // namespace tokens
