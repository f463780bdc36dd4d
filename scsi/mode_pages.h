// The mode pages of one logical unit (SPC-4 7.5, SBC-3 6.5): current, changeable and default values.
//
// Knows values, not CDBs: MODE SENSE and MODE SELECT are in mode_commands.cc. Nothing is saved. Thread: the loop's.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "scsi/sense.h"

namespace scsi {

/// PAGE CONTROL field of MODE SENSE (SPC-4 table 186).
enum class PageControl : std::uint8_t { current = 0, changeable = 1, defaults = 2, saved = 3 };

class ModePages {
 public:
  ModePages();

  /// A page whole, with its PAGE CODE and PAGE LENGTH bytes.
  struct Page {
    std::uint8_t code = 0;
    base::Bytes defaults{};
    base::Bytes changeable{};  ///< ones where MODE SELECT may change a bit
    std::vector<std::uint8_t> current{};

    base::Bytes values(PageControl control) const;
  };

  /// All pages, ascending by code.
  std::span<const Page> pages() const { return pages_; }

  /// Sets the current values of the page `wanted` holds. Errors: 05/26/00 at `offset` plus the place in the page, when
  /// the page is not known, its length is wrong, or a bit differs that cannot be changed (SPC-4 6.12).
  std::expected<void, Sense> select(base::Bytes wanted, std::size_t offset);

  bool same_values(const ModePages& other) const;

  /// A logical unit reset brings the default values back (SPC-4 5.9).
  void reset();

  bool write_cache_enabled() const;      ///< WCE: without it CommandContext::start() flushes after every change
  bool descriptor_format_sense() const;  ///< D_SENSE
  bool software_write_protect() const;   ///< SWP

 private:
  const Page& page(std::uint8_t code) const;

  std::vector<Page> pages_;
};

/// PAGE CODE field of a mode page or a MODE SENSE CDB; the other bits of the byte are PS and SPF, or PC.
inline constexpr std::uint8_t kModePageCodeMask = 0x3F;

}  // namespace scsi
