#include "scsi/mode_pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>

namespace scsi {
namespace {

struct PageHeader {
  std::uint8_t page_code = 0;
  std::uint8_t page_length = 0;
};

/// SBC-3 6.5.8.
struct ReadWriteErrorRecoveryPage {
  PageHeader header{0x01, 0x0A};
  std::array<std::uint8_t, 10> fields{};
};
static_assert(sizeof(ReadWriteErrorRecoveryPage) == 12);

/// SPC-4 7.5.10.
struct DisconnectReconnectPage {
  PageHeader header{0x02, 0x0E};
  std::array<std::uint8_t, 14> fields{};
};
static_assert(sizeof(DisconnectReconnectPage) == 16);

constexpr std::uint8_t kCachingPageCode = 0x08;
constexpr std::uint8_t kWce = 0x04;

/// SBC-3 6.5.5.
struct CachingPage {
  PageHeader header{kCachingPageCode, 0x12};
  std::uint8_t cache_flags = 0;
  std::array<std::uint8_t, 17> fields{};
};
static_assert(sizeof(CachingPage) == 20 && offsetof(CachingPage, cache_flags) == 2);

constexpr std::uint8_t kControlPageCode = 0x0A;
constexpr std::uint8_t kDSense = 0x04;
constexpr std::uint8_t kGltsd = 0x02;
constexpr std::uint8_t kSwp = 0x08;

/// SPC-4 7.5.8. WINDOWS: classpnp zeroes QERR on a disk that offers ODX; it is zero and stays so.
struct ControlPage {
  PageHeader header{kControlPageCode, 0x0A};
  std::uint8_t tst_d_sense = 0;
  std::uint8_t queue_algorithm_qerr = 0;
  std::uint8_t ua_intlck_swp = 0;
  std::uint8_t ato_tas = 0;
  base::be16 obsolete{};
  base::be16 busy_timeout_period{};
  base::be16 extended_self_test_completion_time{};
};
static_assert(sizeof(ControlPage) == 12 && offsetof(ControlPage, ua_intlck_swp) == 4);

/// SPC-4 7.5.11. WINDOWS: disk.sys reads it for failure prediction; no informational exception is ever reported.
struct InformationalExceptionsControlPage {
  PageHeader header{0x1C, 0x0A};
  std::array<std::uint8_t, 10> fields{};
};
static_assert(sizeof(InformationalExceptionsControlPage) == 12);

const ReadWriteErrorRecoveryPage kErrorRecovery{};
const DisconnectReconnectPage kDisconnectReconnect{};
const CachingPage kCaching{.cache_flags = kWce};
const CachingPage kCachingChangeable{.cache_flags = kWce};
const ControlPage kControl{.tst_d_sense = kGltsd};
const ControlPage kControlChangeable{.tst_d_sense = kDSense, .ua_intlck_swp = kSwp};
const InformationalExceptionsControlPage kInformationalExceptions{};

/// A changeable mask whose fields are all zero, with the header of the page.
const ReadWriteErrorRecoveryPage kErrorRecoveryChangeable{};
const DisconnectReconnectPage kDisconnectReconnectChangeable{};
const InformationalExceptionsControlPage kInformationalExceptionsChangeable{};

template <typename Layout>
ModePages::Page make_page(const Layout& defaults, const Layout& changeable) {
  base::Bytes values = base::bytes_of(defaults);
  return {defaults.header.page_code, values, base::bytes_of(changeable), {values.begin(), values.end()}};
}

}  // namespace

base::Bytes ModePages::Page::values(PageControl control) const {
  switch (control) {
    case PageControl::current: return current;
    case PageControl::changeable: return changeable;
    case PageControl::defaults: return defaults;
    case PageControl::saved: break;
  }
  return {};
}

ModePages::ModePages()
    : pages_{make_page(kErrorRecovery, kErrorRecoveryChangeable),
             make_page(kDisconnectReconnect, kDisconnectReconnectChangeable), make_page(kCaching, kCachingChangeable),
             make_page(kControl, kControlChangeable),
             make_page(kInformationalExceptions, kInformationalExceptionsChangeable)} {}

std::expected<void, Sense> ModePages::select(base::Bytes wanted, std::size_t offset) {
  std::uint8_t code = wanted[offsetof(PageHeader, page_code)] & kModePageCodeMask;
  auto found = std::ranges::find(pages_, code, &Page::code);
  if (found == pages_.end()) {
    return std::unexpected(Sense::invalid_field_in_list(offset + offsetof(PageHeader, page_code), 5,
                                                        fmt::format("no mode page {:02X}h", code)));
  }
  if (wanted.size() != found->current.size()) {
    return std::unexpected(Sense::invalid_field_in_list(
        offset + offsetof(PageHeader, page_length), {},
        fmt::format("mode page {:02X}h has {} bytes, not {}", code, found->current.size(), wanted.size())));
  }
  for (std::size_t i = sizeof(PageHeader); i < wanted.size(); ++i) {
    std::uint8_t differing = (wanted[i] ^ found->current[i]) & static_cast<std::uint8_t>(~found->changeable[i]);
    if (differing) {
      return std::unexpected(Sense::invalid_field_in_list(
          offset + i, static_cast<std::uint8_t>(std::bit_width(differing) - 1),
          fmt::format("byte {} of mode page {:02X}h cannot be changed to {:02X}h", i, code, wanted[i])));
    }
  }
  std::copy(wanted.begin() + sizeof(PageHeader), wanted.end(), found->current.begin() + sizeof(PageHeader));
  return {};
}

bool ModePages::same_values(const ModePages& other) const {
  return std::ranges::equal(pages_, other.pages_, {}, &Page::current, &Page::current);
}

void ModePages::reset() {
  for (Page& page : pages_) page.current.assign(page.defaults.begin(), page.defaults.end());
}

const ModePages::Page& ModePages::page(std::uint8_t code) const {
  auto found = std::ranges::find(pages_, code, &Page::code);
  assert(found != pages_.end());
  return *found;
}

bool ModePages::write_cache_enabled() const {
  return base::load<CachingPage>(page(kCachingPageCode).current).cache_flags & kWce;
}

bool ModePages::descriptor_format_sense() const {
  return base::load<ControlPage>(page(kControlPageCode).current).tst_d_sense & kDSense;
}

bool ModePages::software_write_protect() const {
  return base::load<ControlPage>(page(kControlPageCode).current).ua_intlck_swp & kSwp;
}

}  // namespace scsi
