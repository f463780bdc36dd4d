#include "scsi/mode_pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstddef>

#include "scsi/provisioning_thresholds.h"

namespace scsi {
namespace {

constexpr ModePageName kErrorRecoveryPage{0x01, 0};
constexpr ModePageName kDisconnectReconnectPage{0x02, 0};
constexpr ModePageName kCachingPage{0x08, 0};
constexpr ModePageName kControlPage{0x0A, 0};
constexpr ModePageName kControlExtensionPage{0x0A, 0x01};
constexpr ModePageName kPowerConditionPage{0x1A, 0};
constexpr ModePageName kInformationalExceptionsPage{0x1C, 0};
constexpr ModePageName kProvisioningPage{ProvisioningModePage::kPageCode, ProvisioningModePage::kSubpageCode};

/// SBC-4 6.5.10.
struct ReadWriteErrorRecovery {
  ModePageHeader header{kErrorRecoveryPage.code, 0x0A};
  std::array<std::uint8_t, 5> fields{};
  std::uint8_t provisioning_error_reporting = 0;
  std::array<std::uint8_t, 4> further_fields{};

  static constexpr std::uint8_t kLbpere = 0x80;
};
static_assert(sizeof(ReadWriteErrorRecovery) == 12 &&
              offsetof(ReadWriteErrorRecovery, provisioning_error_reporting) == 7);

/// SPC-4 7.5.10.
struct DisconnectReconnect {
  ModePageHeader header{kDisconnectReconnectPage.code, 0x0E};
  std::array<std::uint8_t, 14> fields{};
};
static_assert(sizeof(DisconnectReconnect) == 16);

/// SBC-3 6.5.5.
struct Caching {
  ModePageHeader header{kCachingPage.code, 0x12};
  std::uint8_t cache_flags = 0;
  std::array<std::uint8_t, 17> fields{};

  static constexpr std::uint8_t kWce = 0x04;
};
static_assert(sizeof(Caching) == 20 && offsetof(Caching, cache_flags) == 2);

/// SPC-4 7.5.8. WINDOWS: classpnp zeroes QERR on a disk that offers ODX; it is zero and stays so.
struct Control {
  ModePageHeader header{kControlPage.code, 0x0A};
  std::uint8_t tst_d_sense = 0;
  std::uint8_t queue_algorithm_qerr = 0;
  std::uint8_t ua_intlck_swp = 0;
  std::uint8_t ato_tas = 0;
  base::be16 obsolete{};
  base::be16 busy_timeout_period{};
  base::be16 extended_self_test_completion_time{};

  static constexpr std::uint8_t kDSense = 0x04;
  static constexpr std::uint8_t kGltsd = 0x02;
  static constexpr std::uint8_t kSwp = 0x08;
};
static_assert(sizeof(Control) == 12 && offsetof(Control, ua_intlck_swp) == 4);

/// SPC-4 7.5.9. TCMOS, SCSIP, IALUAE and INITIAL COMMAND PRIORITY are zero.
struct ControlExtension {
  ModeSubpageHeader header{static_cast<std::uint8_t>(kControlExtensionPage.code | kModePageSpf),
                           kControlExtensionPage.subpage, 0x1C};
  std::array<std::uint8_t, 2> fields{};
  std::uint8_t maximum_sense_data_length = 0;
  std::array<std::uint8_t, 25> reserved{};
};
static_assert(sizeof(ControlExtension) == 32 && offsetof(ControlExtension, maximum_sense_data_length) == 6);

/// SPC-4 7.5.13. There are no timers that could be set: nothing idles, nothing stands by.
struct PowerCondition {
  ModePageHeader header{kPowerConditionPage.code, 0x26};
  std::array<std::uint8_t, 38> fields{};
};
static_assert(sizeof(PowerCondition) == 40);

/// SPC-4 7.5.11. WINDOWS: disk.sys reads it for failure prediction; no informational exception is ever reported.
struct InformationalExceptionsControl {
  ModePageHeader header{kInformationalExceptionsPage.code, 0x0A};
  std::array<std::uint8_t, 10> fields{};
};
static_assert(sizeof(InformationalExceptionsControl) == 12);

/// `changeable` with nothing but the page's header is a page that cannot be changed.
template <typename Layout>
ModePages::Page make_page(ModePageName name, bool saving, const Layout& defaults, const Layout& changeable = {}) {
  auto vector = [](const Layout& layout) {
    base::Bytes bytes = base::bytes_of(layout);
    return std::vector<std::uint8_t>(bytes.begin(), bytes.end());
  };
  ModePages::Page page{name, vector(defaults), vector(changeable), vector(defaults), vector(defaults)};
  page.saveable = saving && page.changeable != vector(Layout{});
  if (!page.saveable) return page;
  for (auto* values : {&page.defaults, &page.changeable, &page.saved, &page.current}) values->front() |= kModePagePs;
  return page;
}

ReadWriteErrorRecovery error_recovery(bool thresholds) {
  ReadWriteErrorRecovery page;
  if (thresholds) page.provisioning_error_reporting = ReadWriteErrorRecovery::kLbpere;
  return page;
}

ControlExtension control_extension() {
  ControlExtension page;
  page.maximum_sense_data_length = kMaximumSenseLength;
  return page;
}

ProvisioningModePage provisioning_defaults(std::uint32_t soft_threshold) {
  ProvisioningModePage page;
  if (soft_threshold == 0) return page;
  page.thresholds.front().flags = ThresholdDescriptor::kEnabled | ThresholdDescriptor::kDecreasing;
  page.thresholds.front().resource = ThresholdDescriptor::kAvailable;
  page.thresholds.front().count = soft_threshold;
  return page;
}

ProvisioningModePage provisioning_changeable() {
  ProvisioningModePage page;
  page.flags = ProvisioningModePage::kSitua;
  for (ThresholdDescriptor& threshold : page.thresholds) {
    threshold.flags = ThresholdDescriptor::kEnabled | ThresholdDescriptor::kIncreasing;
    threshold.resource = ThresholdDescriptor::kAvailable | ThresholdDescriptor::kUsed;
    threshold.count = ~std::uint32_t{0};
  }
  return page;
}

/// What is left runs low, what is used runs high: the combinations of resource and arming that SBC-4 has.
std::expected<void, Sense> check_thresholds(base::Bytes wanted, std::size_t offset) {
  const auto page = base::load<ProvisioningModePage>(wanted);
  offset += offsetof(ProvisioningModePage, thresholds);
  for (const ThresholdDescriptor& each : page.thresholds) {
    const std::uint8_t arming = each.flags & ThresholdDescriptor::kArming;
    const bool known = each.resource == ThresholdDescriptor::kAvailable || each.resource == ThresholdDescriptor::kUsed;
    if (each.enabled() && !known) {
      return std::unexpected(Sense::invalid_field_in_list(offset + offsetof(ThresholdDescriptor, resource), {},
                                                          fmt::format("THRESHOLD RESOURCE {:02X}h", each.resource)));
    }
    const bool fits =
        (each.resource == ThresholdDescriptor::kAvailable) == (arming == ThresholdDescriptor::kDecreasing);
    if (each.enabled() && !fits) {
      return std::unexpected(Sense::invalid_field_in_list(
          offset + offsetof(ThresholdDescriptor, flags), ThresholdDescriptor::kArmingHighBit,
          fmt::format("THRESHOLD ARMING {} of THRESHOLD RESOURCE {:02X}h", arming, each.resource)));
    }
    offset += sizeof(ThresholdDescriptor);
  }
  return {};
}

ModePageName name_of(base::Bytes page) {
  const std::uint8_t code = page[offsetof(ModePageHeader, page_code)];
  const bool has_subpage = code & kModePageSpf;
  return {static_cast<std::uint8_t>(code & kModePageCodeMask),
          has_subpage ? page[offsetof(ModeSubpageHeader, subpage_code)] : std::uint8_t{0}};
}

std::size_t header_size(ModePageName name) {
  return name.subpage == 0 ? sizeof(ModePageHeader) : sizeof(ModeSubpageHeader);
}

std::size_t length_at(ModePageName name) {
  return name.subpage == 0 ? offsetof(ModePageHeader, page_length) : offsetof(ModeSubpageHeader, page_length);
}

}  // namespace

base::Bytes ModePages::Page::values(PageControl control) const {
  switch (control) {
    case PageControl::current: return current;
    case PageControl::changeable: return changeable;
    case PageControl::defaults: return defaults;
    case PageControl::saved: return saved;
  }
  return {};
}

ModePages::ModePages(const Options& options) {
  auto add = [&](ModePageName name, const auto&... values) {
    pages_.push_back(make_page(name, options.saving, values...));
  };
  const ReadWriteErrorRecovery recovery = error_recovery(options.thresholds);
  add(kErrorRecoveryPage, recovery, recovery);
  add(kDisconnectReconnectPage, DisconnectReconnect{});
  add(kCachingPage, Caching{.cache_flags = Caching::kWce}, Caching{.cache_flags = Caching::kWce});
  add(kControlPage, Control{.tst_d_sense = Control::kGltsd},
      Control{.tst_d_sense = Control::kDSense, .ua_intlck_swp = Control::kSwp});
  add(kControlExtensionPage, control_extension());
  add(kPowerConditionPage, PowerCondition{});
  add(kInformationalExceptionsPage, InformationalExceptionsControl{});
  if (options.thresholds)
    add(kProvisioningPage, provisioning_defaults(options.soft_threshold), provisioning_changeable());
  current_changed();
}

const ModePages::Page* ModePages::find(ModePageName name) const {
  auto found = std::ranges::find(pages_, name, &Page::name);
  return found == pages_.end() ? nullptr : &*found;
}

std::expected<void, Sense> ModePages::select(base::Bytes wanted, std::size_t offset) {
  const ModePageName name = name_of(wanted);
  auto found = std::ranges::find(pages_, name, &Page::name);
  if (found == pages_.end()) {
    std::string rule = fmt::format("no mode page {:02X}h/{:02X}h", name.code, name.subpage);
    if (name.subpage != 0 && std::ranges::any_of(pages_, [&](const Page& page) { return page.name.code == name.code; }))
      return std::unexpected(
          Sense::invalid_field_in_list(offset + offsetof(ModeSubpageHeader, subpage_code), {}, std::move(rule)));
    return std::unexpected(
        Sense::invalid_field_in_list(offset + offsetof(ModePageHeader, page_code), 5, std::move(rule)));
  }
  if (wanted.size() != found->current.size()) {
    return std::unexpected(
        Sense::invalid_field_in_list(offset + length_at(name), {},
                                     fmt::format("mode page {:02X}h/{:02X}h has {} bytes, not {}", name.code,
                                                 name.subpage, found->current.size(), wanted.size())));
  }
  const std::size_t fields = header_size(name);
  for (std::size_t i = fields; i < wanted.size(); ++i) {
    std::uint8_t differing = (wanted[i] ^ found->current[i]) & static_cast<std::uint8_t>(~found->changeable[i]);
    if (differing) {
      return std::unexpected(Sense::invalid_field_in_list(
          offset + i, static_cast<std::uint8_t>(std::bit_width(differing) - 1),
          fmt::format("byte {} of mode page {:02X}h cannot be changed to {:02X}h", i, name.code, wanted[i])));
    }
  }
  if (name == kProvisioningPage) {
    if (auto good = check_thresholds(wanted, offset); !good) return good;
  }
  std::ranges::copy(wanted.subspan(fields), found->current.begin() + static_cast<std::ptrdiff_t>(fields));
  current_changed();
  return {};
}

void ModePages::save() {
  ever_saved_ = true;
  for (Page& page : pages_)
    if (page.saveable) page.saved = page.current;
}

std::vector<SavedModePage> ModePages::saved_pages() const {
  std::vector<SavedModePage> saved;
  if (!ever_saved_) return saved;
  for (const Page& page : pages_)
    if (page.saveable) saved.push_back({page.name, page.saved});
  return saved;
}

void ModePages::restore(std::span<const SavedModePage> saved) {
  ever_saved_ = !saved.empty();
  for (const SavedModePage& each : saved) {
    auto page = std::ranges::find(pages_, each.name, &Page::name);
    if (page == pages_.end() || !page->saveable || page->saved.size() != each.values.size()) continue;
    for (std::size_t i = header_size(each.name); i < each.values.size(); ++i) {
      const std::uint8_t kept = each.values[i] & page->changeable[i];
      page->saved[i] = static_cast<std::uint8_t>((page->saved[i] & ~page->changeable[i]) | kept);
    }
    if (each.name == kProvisioningPage && !check_thresholds(page->saved, 0)) page->saved = page->defaults;
  }
  reset();
}

bool ModePages::same_values(const ModePages& other) const {
  return std::ranges::equal(pages_, other.pages_, {}, &Page::current, &Page::current) &&
         std::ranges::equal(pages_, other.pages_, {}, &Page::saved, &Page::saved);
}

void ModePages::reset() {
  for (Page& page : pages_) page.current = page.saved;
  current_changed();
}

void ModePages::current_changed() {
  wce_ = current_as<Caching>(kCachingPage).cache_flags & Caching::kWce;
  const auto control = current_as<Control>(kControlPage);
  d_sense_ = control.tst_d_sense & Control::kDSense;
  swp_ = control.ua_intlck_swp & Control::kSwp;
  thresholds_enabled_ = false;
  if (!find(kProvisioningPage)) return;
  const auto recovery = current_as<ReadWriteErrorRecovery>(kErrorRecoveryPage);
  const auto provisioning = current_as<ProvisioningModePage>(kProvisioningPage);
  thresholds_enabled_ = (recovery.provisioning_error_reporting & ReadWriteErrorRecovery::kLbpere) &&
                        std::ranges::any_of(provisioning.thresholds, &ThresholdDescriptor::enabled);
}

}  // namespace scsi
