// What hosts set of a logical unit: mode pages and identifying information; and that what is to be kept of it is
// written before it is so, as scsi/state_changes.h says. Thread: the loop's, except the image, which knows no thread.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "scsi/command_table.h"
#include "scsi/mode_pages.h"
#include "scsi/state_changes.h"

namespace scsi {

/// SET IDENTIFYING INFORMATION: what an application keeps here.
struct IdentifyingInformation {
  static constexpr std::size_t kMaximumLength = 512;  ///< of each; SPC-4 6.46 asks for 64 and 256

  std::vector<std::uint8_t> identifier{};
  std::vector<std::uint8_t> text{};
  bool operator==(const IdentifyingInformation&) const = default;
};

struct UnitSettings {
  ModePages mode_pages;
  IdentifyingInformation identifying{};
};

/// What of the settings outlives the process.
struct KeptSettings {
  std::vector<SavedModePage> saved_pages{};
  IdentifyingInformation identifying{};
  bool operator==(const KeptSettings&) const = default;
};

KeptSettings kept_settings(const UnitSettings& settings);
void restore(UnitSettings& settings, const KeptSettings& kept);

/// In the frame of scsi/state_image.h.
std::vector<std::uint8_t> settings_image(const KeptSettings& kept);
/// The settings an image holds; else what is wrong with it, in a few words.
std::expected<KeptSettings, std::string> parse_settings_image(base::Bytes image);

class SettingsChanges {
 public:
  /// Made on a copy first, then on the settings as they are by then. Whether anything is another now.
  using Change = std::move_only_function<std::expected<bool, Sense>(UnitSettings&)>;
  using Done = std::move_only_function<void(std::expected<bool, Sense>)>;

  /// `store` null: nothing is kept.
  SettingsChanges(UnitSettings& settings, std::unique_ptr<StateStore> store)
      : settings_(settings), changes_(std::move(store), "settings") {}

  bool can_keep() const { return changes_.can_keep(); }
  bool busy() const { return changes_.busy(); }

  /// Makes `change` after those that were submitted before, then calls `done`, perhaps from inside. `executor` null:
  /// writing does not block. Error of its own: 04/44/00, what was to be kept could not be written.
  void submit(base::Executor* executor, Change change, Done done);

 private:
  UnitSettings& settings_;
  StateChanges changes_;
};

/// The last act of a body, which returns without an error afterwards: makes `change` in its turn, establishes `changed`
/// for every other I_T nexus if it did, and finishes the task.
void change_settings(CommandContext& context, AdditionalSense changed, SettingsChanges::Change change);

}  // namespace scsi
