// The mode pages of one logical unit (SPC-4 7.5, SBC-3 6.5): current, changeable, default and saved values.
//
// Knows values, not CDBs: MODE SENSE and MODE SELECT are in mode_commands.cc. That saved values outlive the process is
// unit_settings.h's. Thread: the loop's.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "scsi/sense.h"

namespace scsi {

/// PAGE CONTROL field of MODE SENSE (SPC-4 table 186).
enum class PageControl : std::uint8_t { current = 0, changeable = 1, defaults = 2, saved = 3 };

struct ModePageName {
  std::uint8_t code = 0;
  std::uint8_t subpage = 0;  ///< 0: a page of the page_0 format
  auto operator<=>(const ModePageName&) const = default;
};

/// The saved values of one page, whole, as it is in a MODE SELECT list.
struct SavedModePage {
  ModePageName name{};
  std::vector<std::uint8_t> values{};
  bool operator==(const SavedModePage&) const = default;
};

class ModePages {
 public:
  struct Options {
    bool saving = false;               ///< what can be changed can be saved (PS)
    bool thresholds = false;           ///< has the Logical Block Provisioning page, and LBPERE
    std::uint32_t soft_threshold = 0;  ///< default of the first: available threshold sets; 0: it is disabled
  };
  explicit ModePages(const Options& options);

  /// A page whole, from its PAGE CODE byte on.
  struct Page {
    ModePageName name{};
    std::vector<std::uint8_t> defaults{};
    std::vector<std::uint8_t> changeable{};  ///< ones where MODE SELECT may change a bit
    std::vector<std::uint8_t> saved{};       ///< as `defaults` before there was a save
    std::vector<std::uint8_t> current{};
    bool saveable = false;  ///< PS

    base::Bytes values(PageControl control) const;
  };

  /// All pages, ascending by name.
  std::span<const Page> pages() const { return pages_; }
  /// Null: there is none.
  const Page* find(ModePageName name) const;

  /// The current values of a page that there is.
  template <base::WireLayout T>
  T current_as(ModePageName name) const {
    return base::load<T>(find(name)->current);
  }

  /// Sets the current values of the page `wanted` holds. Errors: 05/26/00 at `offset` plus the place in the page, when
  /// the page is not known, its length is wrong, or a bit differs that cannot be changed (SPC-4 6.12), or a threshold
  /// is none.
  std::expected<void, Sense> select(base::Bytes wanted, std::size_t offset);

  /// The current values of all saveable pages become the saved ones (SPC-4 6.12, SP).
  void save();
  /// What save() saved last; nothing before.
  std::vector<SavedModePage> saved_pages() const;
  /// Takes up what was saved, as saved and current values: the bits that can be changed of pages that there are.
  void restore(std::span<const SavedModePage> saved);

  /// Whether neither current nor saved values differ.
  bool same_values(const ModePages& other) const;

  /// A logical unit reset brings the saved values back, else the default ones (SPC-4 5.9).
  void reset();

  bool write_cache_enabled() const { return wce_; }  ///< WCE: without it changes are flushed before their answer
  bool descriptor_format_sense() const { return d_sense_; }  ///< D_SENSE
  bool software_write_protect() const { return swp_; }       ///< SWP
  /// LBPERE is one, and a threshold is enabled.
  bool thresholds_enabled() const { return thresholds_enabled_; }

 private:
  void current_changed();

  std::vector<Page> pages_;
  bool ever_saved_ = false;
  // Looked at by every command.
  bool wce_ = true;
  bool d_sense_ = false;
  bool swp_ = false;
  bool thresholds_enabled_ = false;
};

/// First bytes of a mode page (SPC-4 7.5.7): the page_0 format, and the sub_page format, where SPF is one.
struct ModePageHeader {
  std::uint8_t page_code = 0;
  std::uint8_t page_length = 0;
};
struct ModeSubpageHeader {
  std::uint8_t page_code = 0;
  std::uint8_t subpage_code = 0;
  base::be16 page_length{};
};
static_assert(sizeof(ModePageHeader) == 2 && sizeof(ModeSubpageHeader) == 4);

/// PAGE CODE field of a mode page or a MODE SENSE CDB; the other bits of the byte are PS and SPF, or PC.
inline constexpr std::uint8_t kModePageCodeMask = 0x3F;
inline constexpr std::uint8_t kModePageSpf = 0x40;
inline constexpr std::uint8_t kModePagePs = 0x80;

}  // namespace scsi
