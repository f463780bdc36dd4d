#include "scsi/unit_settings.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/state_image.h"
#include "scsi/task_set.h"
#include "scsi/unit_attentions.h"

namespace scsi {
namespace {

constexpr StateImageKind kKind = {{'O', 'D', 'X', 'S', 'E', 0x0D, 0x0A, 0x00}, 1};

/// The identifying information follows, then the pages.
struct ImageHead {
  base::be16 identifier_length{};
  base::be16 text_length{};
  base::be32 pages{};
};
static_assert(sizeof(ImageHead) == 8);

/// The values of a page follow.
struct ImagePage {
  std::uint8_t page_code = 0;
  std::uint8_t subpage_code = 0;
  base::be16 length{};
};
static_assert(sizeof(ImagePage) == 4);

std::vector<std::uint8_t> copy_of(base::Bytes bytes) { return {bytes.begin(), bytes.end()}; }

Sense not_kept() {
  return {SenseKey::hardware_error,
          AdditionalSense::internal_target_failure,
          {},
          {},
          "what is to outlive a loss of power could not be written"};
}

}  // namespace

KeptSettings kept_settings(const UnitSettings& settings) {
  return {settings.mode_pages.saved_pages(), settings.identifying};
}

void restore(UnitSettings& settings, const KeptSettings& kept) {
  settings.mode_pages.restore(kept.saved_pages);
  settings.identifying = kept.identifying;
}

std::vector<std::uint8_t> settings_image(const KeptSettings& kept) {
  std::vector<std::uint8_t> content;
  base::ByteWriter writer(content);
  writer.layout(ImageHead{static_cast<std::uint16_t>(kept.identifying.identifier.size()),
                          static_cast<std::uint16_t>(kept.identifying.text.size()),
                          static_cast<std::uint32_t>(kept.saved_pages.size())});
  writer.bytes(kept.identifying.identifier);
  writer.bytes(kept.identifying.text);
  for (const SavedModePage& page : kept.saved_pages) {
    writer.layout(ImagePage{page.name.code, page.name.subpage, static_cast<std::uint16_t>(page.values.size())});
    writer.bytes(page.values);
  }
  return state_image(kKind, content);
}

std::expected<KeptSettings, std::string> parse_settings_image(base::Bytes image) {
  auto content = state_image_content(kKind, image);
  if (!content) return std::unexpected(std::move(content.error()));
  base::ByteReader reader(*content);
  const auto head = reader.layout<ImageHead>();
  auto wrong = [](std::string what) { return std::unexpected(std::move(what)); };
  constexpr std::size_t kMost = IdentifyingInformation::kMaximumLength;
  if (head.identifier_length > kMost || head.text_length > kMost)
    return wrong("more identifying information than there can be");
  KeptSettings kept;
  kept.identifying.identifier = copy_of(reader.take(head.identifier_length));
  kept.identifying.text = copy_of(reader.take(head.text_length));
  if (!reader.ok()) return wrong("it ends inside the identifying information");
  for (std::uint32_t i = 0; i < head.pages; ++i) {
    const auto page = reader.layout<ImagePage>();
    base::Bytes values = reader.take(page.length);
    if (!reader.ok()) return wrong("it ends inside a mode page");
    const ModePageName name{page.page_code, page.subpage_code};
    if (!kept.saved_pages.empty() && name <= kept.saved_pages.back().name)
      return wrong("its mode pages are not in ascending order");
    kept.saved_pages.push_back({name, copy_of(values)});
  }
  if (reader.remaining() > 0) return wrong("bytes are left after its mode pages");
  return kept;
}

void SettingsChanges::submit(base::Executor* executor, Change change, Done done) {
  struct Entry {
    Change change;
    Done done;
    std::optional<Sense> refused{};
  };
  auto entry = std::make_shared<Entry>(std::move(change), std::move(done));
  auto attempt = [this, entry]() -> std::optional<StateChanges::Image> {
    UnitSettings candidate(settings_);
    if (auto good = entry->change(candidate); !good) {
      entry->refused = std::move(good.error());
      return {};
    }
    KeptSettings kept = kept_settings(candidate);
    if (!can_keep() || kept == kept_settings(settings_)) return {};
    return settings_image(kept);
  };
  auto conclude = [this, entry](bool kept) {
    if (entry->refused) return entry->done(std::unexpected(std::move(*entry->refused)));
    if (!kept) return entry->done(std::unexpected(not_kept()));
    entry->done(entry->change(settings_));
  };
  changes_.submit(executor, std::move(attempt), std::move(conclude));
}

void change_settings(CommandContext& context, AdditionalSense changed, SettingsChanges::Change change) {
  context.defer(waits_for_others);
  auto done = [&task = context.task, changed](std::expected<bool, Sense> outcome) {
    if (!outcome) return task.server->finish(task, std::unexpected(std::move(outcome.error())));
    if (*outcome) task.logical_unit->unit_attentions().establish_for_all(changed, task.nexus);
    task.server->finish(task, {});
  };
  context.lu->settings_changes().submit(context.server.executor(), std::move(change), std::move(done));
}

}  // namespace scsi
