// Wire layouts of the commands that erase a medium and report its defects: FORMAT UNIT, SANITIZE, READ DEFECT DATA
// (SBC-3, SBC-4).
//
// Layouts and field masks only; who reads them stands in format_commands. Thread: any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace scsi {

/// FORMAT UNIT. FMTPINFO and FAST FORMAT have to be 0.
struct FormatUnitCdb {
  std::uint8_t operation_code;
  std::uint8_t flags;
  std::uint8_t vendor_specific;
  std::uint8_t obsolete;
  std::uint8_t fast_format;
  std::uint8_t control;

  static constexpr std::uint8_t kLongList = 0x20;
  static constexpr std::uint8_t kFormatData = 0x10;
  static constexpr std::uint8_t kCompleteList = 0x08;
  static constexpr std::uint8_t kCompleteListBit = 3;
  static constexpr std::uint8_t kDefectListFormat = 0x07;
  static constexpr std::uint8_t kDefectListFormatBit = 2;
};
static_assert(sizeof(FormatUnitCdb) == 6);

/// FORMAT UNIT parameter list: the short header (LONGLIST 0).
struct FormatShortHeader {
  std::uint8_t protection_fields_usage;
  std::uint8_t flags;
  base::be16 defect_list_length;
};
static_assert(sizeof(FormatShortHeader) == 4);

/// The long header; its first two bytes are the short one's.
struct FormatLongHeader {
  std::uint8_t protection_fields_usage;
  std::uint8_t flags;
  std::uint8_t reserved;
  std::uint8_t protection;  ///< P_I_INFORMATION, PROTECTION INTERVAL EXPONENT
  base::be32 defect_list_length;
};
static_assert(sizeof(FormatLongHeader) == 8 && offsetof(FormatLongHeader, defect_list_length) == 4);

struct FormatFlags {
  static constexpr std::uint8_t kProtectionFieldsUsage = 0x07;  ///< of byte 0
  static constexpr std::uint8_t kProtectionFieldsUsageBit = 2;
  static constexpr std::uint8_t kOptionsValid = 0x80;  ///< FOV
  static constexpr std::uint8_t kOptions = 0x78;       ///< DPRY, DCRT, STPF, IP
  static constexpr std::uint8_t kInitializationPattern = 0x08;
  static constexpr std::uint8_t kImmediate = 0x02;
};

/// Initialization pattern descriptor; the pattern follows.
struct InitializationPatternDescriptor {
  std::uint8_t modifier;  ///< SI: every block is written whatever it says
  std::uint8_t type;
  base::be16 pattern_length;

  static constexpr std::uint8_t kDefaultPattern = 0x00;
  static constexpr std::uint8_t kRepeatPattern = 0x01;
};
static_assert(sizeof(InitializationPatternDescriptor) == 4);

/// SANITIZE.
struct SanitizeCdb {
  std::uint8_t operation_code;
  std::uint8_t flags;  ///< above the service action
  std::array<std::uint8_t, 5> reserved;
  base::be16 parameter_list_length;
  std::uint8_t control;

  static constexpr std::uint8_t kImmediate = 0x80;
  static constexpr std::uint8_t kUnrestrictedExit = 0x20;  ///< AUSE
  static constexpr std::uint8_t kUnrestrictedExitBit = 5;
};
static_assert(sizeof(SanitizeCdb) == 10 && offsetof(SanitizeCdb, parameter_list_length) == 7);

enum class SanitizeServiceAction : std::uint8_t {
  overwrite = 0x01,
  block_erase = 0x02,
  cryptographic_erase = 0x03,
  exit_failure_mode = 0x1F,
};

/// Parameter list of the OVERWRITE service action; the initialization pattern follows.
struct SanitizeOverwriteList {
  std::uint8_t flags;
  std::uint8_t reserved;
  base::be16 initialization_pattern_length;

  static constexpr std::uint8_t kInvert = 0x80;
  static constexpr std::uint8_t kTest = 0x60;
  static constexpr std::uint8_t kTestBit = 6;
  static constexpr std::uint8_t kOverwriteCount = 0x1F;
  static constexpr std::uint8_t kOverwriteCountBit = 4;
};
static_assert(sizeof(SanitizeOverwriteList) == 4);

/// READ DEFECT DATA (10).
struct ReadDefectData10Cdb {
  std::uint8_t operation_code;
  std::uint8_t reserved1;
  std::uint8_t lists;  ///< REQ_PLIST, REQ_GLIST, DEFECT LIST FORMAT
  std::array<std::uint8_t, 4> reserved3;
  base::be16 allocation_length;
  std::uint8_t control;
};
static_assert(sizeof(ReadDefectData10Cdb) == 10 && offsetof(ReadDefectData10Cdb, allocation_length) == 7);

/// READ DEFECT DATA (12).
struct ReadDefectData12Cdb {
  std::uint8_t operation_code;
  std::uint8_t lists;
  base::be32 address_descriptor_index;
  base::be32 allocation_length;
  std::uint8_t reserved;
  std::uint8_t control;
};
static_assert(sizeof(ReadDefectData12Cdb) == 12 && offsetof(ReadDefectData12Cdb, allocation_length) == 6);

struct DefectLists {
  static constexpr std::uint8_t kRequested = 0x18;  ///< REQ_PLIST and REQ_GLIST, as PLISTV and GLISTV are returned
  static constexpr std::uint8_t kFormat = 0x07;
  static constexpr std::uint8_t kFormatBit = 2;
};

/// READ DEFECT DATA parameter data without address descriptors.
struct DefectData10Header {
  std::uint8_t reserved;
  std::uint8_t lists;
  base::be16 defect_list_length;
};
struct DefectData12Header {
  std::uint8_t reserved;
  std::uint8_t lists;
  base::be16 generation_code;
  base::be32 defect_list_length;
};
static_assert(sizeof(DefectData10Header) == 4 && sizeof(DefectData12Header) == 8);

}  // namespace scsi
