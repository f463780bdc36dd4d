// Who the array and its logical units are: ids from which iSCSI names, serials and NAA designators follow, so that no
// two arrays on one network look like two paths to one disk.
//
// An array's id is, in this order: what is configured; when every LUN is a file, a hash of the machine and the files;
// else random for this start. A LUN of a file follows from the machine and the file unless an id is configured, and
// any other LUN from the array's id and the LUN's name.
//
// A file is known by the machine (/etc/machine-id), its absolute path without symbolic links, and when its file
// system tells, the time it was created: a copied container image has the machine and the path in common with its
// original, but not that. A device is known by the machine and the path it is named by. Without a machine id a file is
// nobody's, and what follows is random.
// Thread: the one that starts the program.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/entropy.h"
#include "scsi/logical_unit.h"

namespace target {

/// What a LUN is made of, as far as its identity goes.
struct LunSource {
  std::string name;                   ///< LunConfig::name
  std::optional<std::string> file{};  ///< file_identity() of the file it lives in; nothing when it has none
};

class ArrayIdentity {
 public:
  /// `configured` is empty when no id is configured.
  ArrayIdentity(const std::string& configured, const std::vector<LunSource>& luns, base::Entropy& entropy);

  /// Valid in an iSCSI name: what was configured, or 12 hexadecimal digits.
  const std::string& id() const { return id_; }
  /// Whether the next start with the same configuration gives the same id.
  bool stable() const { return stable_; }

  /// "iqn.2026-11.org.odx:ID".
  std::string target_name() const;

  /// The serial: 20 hexadecimal digits. The designator: NAA 6h (SPC-4 7.8.6.6.5) with the company id 02-4F-44 and 100
  /// bits of SHA-256. That company id is of the kind IEEE Std 802c leaves to local administration (second digit 2:
  /// AAI), never registered to anybody, as we own none. The EUI-64 (SPC-4 7.8.6.5.2): the same company id and 40 other
  /// bits. `before`: how many others, of other data, this process has had by the same name; what follows from a file
  /// stays as it is.
  scsi::LogicalUnitIdentity logical_unit(const LunSource& lun, unsigned before = 0) const;

 private:
  std::string id_;
  bool configured_;
  bool stable_ = true;
};

/// What a regular file or block device is known by, given the machine's id; nothing when the machine has none or the
/// file cannot be examined.
std::optional<std::string> file_identity(const std::string& path, std::string_view machine_id);

/// The content of /etc/machine-id; empty when there is none or it is not initialised (machine-id(5)).
std::string system_machine_id();

}  // namespace target
