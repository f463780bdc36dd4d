#include "target/journal_explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "scsi/command_events.h"
#include "scsi/copy_layouts.h"
#include "scsi/token_words.h"

namespace target {
namespace {

using scsi::AdditionalSense;
using scsi::Event;
using scsi::EventKind;

constexpr std::size_t kMostGroups = 8;
constexpr std::uint8_t kInquiry = 0x12;
constexpr std::uint8_t kThirdPartyCopyPage = 0x8F;

bool is_copy(const Event& event) {
  return event.opcode == scsi::kThirdPartyCopyOut || event.opcode == scsi::kThirdPartyCopyIn ||
         event.kind == EventKind::copy_started || event.kind == EventKind::copy_ended;
}

bool is_about_page(const Event& event) { return event.opcode == kInquiry && event.page == kThirdPartyCopyPage; }

bool concerns(const Event& event, const ExplainQuestion& question) {
  auto fits = [](const std::string& asked, const std::string& said) { return asked.empty() || asked == said; };
  return fits(question.initiator, event.initiator) && fits(question.target, event.target) &&
         fits(question.logical_unit, event.logical_unit) && (!question.lun || question.lun == event.lun);
}

/// Whether it is a reason for a copy to be done otherwise.
bool is_trouble(const Event& event) {
  if (event.kind == EventKind::copy_ended) return event.copy_status != tokens::CopyStatus::completed;
  return event.kind == EventKind::refusal && (is_copy(event) || is_about_page(event));
}

/// The same trouble again and again.
struct Group {
  const Event* last = nullptr;
  const Event* first = nullptr;
  std::size_t count = 0;

  bool holds(const Event& event) const {
    return last->kind == event.kind && last->command == event.command && last->initiator == event.initiator &&
           last->target == event.target && last->lun == event.lun && last->status == event.status &&
           last->copy_status == event.copy_status && last->sense.has_value() == event.sense.has_value() &&
           (!last->sense || *last->sense == *event.sense);
  }
};

std::vector<Group> groups_of(const scsi::Journal& journal, const ExplainQuestion& question) {
  std::vector<Group> groups;
  const auto& events = journal.events();
  for (auto event = events.rbegin(); event != events.rend(); ++event) {
    if (!is_trouble(*event) || !concerns(*event, question)) continue;
    auto known = std::ranges::find_if(groups, [&](const Group& group) { return group.holds(*event); });
    if (known == groups.end()) known = groups.insert(groups.end(), {.last = &*event});
    known->first = &*event;
    ++known->count;
  }
  return groups;
}

std::string ago(const Event& event, base::TimePoint now) {
  return now > event.time ? scsi::duration_words(now - event.time) + " ago" : "just now";
}

std::string who_and_where(const Event& event) {
  std::string text = event.command;
  if (!event.initiator.empty()) text += fmt::format(" from {}", event.initiator);
  if (event.lun) text += fmt::format(" to LUN {}", static_cast<unsigned>(*event.lun));
  if (!event.logical_unit.empty()) text += fmt::format(" ({})", event.logical_unit);
  return text;
}

std::string verdict(const Event& event) {
  if (event.kind == EventKind::copy_ended)
    return fmt::format("the copy ended with status {:02X}h, transfer count {}",
                       static_cast<unsigned>(event.copy_status.value_or(tokens::CopyStatus::terminated)),
                       event.transfer_count.value_or(0));
  if (!event.sense) return scsi::describe(event.status.value_or(scsi::Status::busy));
  return fmt::format("{} {}", scsi::code_text(*event.sense), scsi::describe(*event.sense));
}

/// What a person can do about it, or where to look.
std::string_view advice(const Event& event) {
  if (is_about_page(event))
    return "the array says that it cannot offload copies (VPD page 8Fh is not there): its profile is one without ODX, "
           "see docs/profiles.md";
  if (!event.sense) return "";
  switch (event.sense->code) {
    case AdditionalSense::invalid_command_operation_code: return "the profile does not offer this command";
    case AdditionalSense::insufficient_resources:
    case AdditionalSense::insufficient_resources_to_create_rod:
    case AdditionalSense::insufficient_resources_to_create_rod_token:
      return "a limit is reached: maximum_tokens, maximum_copy_operations or memory_limit (docs/odxd.toml.md)";
    case AdditionalSense::invalid_field_in_parameter_list:
    case AdditionalSense::too_many_segment_descriptors:
    case AdditionalSense::alignment_violation:
      return "the request is outside what VPD page 8Fh allows; a host that has read the page cuts its copies to fit";
    case AdditionalSense::unreachable_copy_target:
    case AdditionalSense::copy_target_device_not_reachable:
    case AdditionalSense::invalid_token_operation_remote_token_usage_not_supported:
      return "source and destination cannot reach each other, or the token is from elsewhere (unreachable, "
             "remote_tokens "
             "and peer in docs/odxd.toml.md)";
    case AdditionalSense::operation_in_progress:
      return "the host used a list identifier again before its copy had ended";
    case AdditionalSense::power_on_reset_or_bus_device_reset_occurred:
    case AdditionalSense::reported_luns_data_has_changed:
    case AdditionalSense::capacity_data_has_changed: return "the host is told once and tries again";
    default: return "";
  }
}

/// The life of the token that the command named, as far as the journal still has it.
void append_token(std::string& text, const scsi::Journal& journal, const Event& trouble, base::TimePoint now) {
  if (!trouble.token) return;
  for (const Event& event : journal.events()) {
    if (event.token != trouble.token) continue;
    if (event.kind == EventKind::token_created || event.kind == EventKind::token_ended ||
        event.kind == EventKind::token_forgotten)
      text += fmt::format("    {}: {}{}\n", ago(event, now), event.reason,
                          event.kind == EventKind::token_created
                              ? fmt::format(", made by {} from {}", event.command, event.initiator)
                              : "");
  }
}

bool is_from_outside(const Event& event) {
  return event.kind == EventKind::reachability || event.kind == EventKind::configuration ||
         event.kind == EventKind::rule_hit || event.kind == EventKind::task_management;
}

/// What was done to the array before: the last of each kind.
void append_outside(std::string& text, const scsi::Journal& journal, const Event& trouble, base::TimePoint now) {
  std::vector<const Event*> found;
  const auto& events = journal.events();
  for (auto event = events.rbegin(); event != events.rend(); ++event) {
    if (event->sequence > trouble.sequence || !is_from_outside(*event)) continue;
    if (event->lun && trouble.lun && event->lun != trouble.lun) continue;
    if (std::ranges::any_of(found, [&](const Event* each) { return each->kind == event->kind; })) continue;
    found.push_back(&*event);
  }
  for (auto event = found.rbegin(); event != found.rend(); ++event)
    text += fmt::format("    {}: {}{}{}\n", ago(**event, now), (*event)->rule.empty() ? "" : "rule " + (*event)->rule,
                        (*event)->rule.empty() ? "" : ": ", (*event)->reason);
}

void append(std::string& text, const scsi::Journal& journal, const Group& group, base::TimePoint now) {
  text += fmt::format("{}: {}", who_and_where(*group.last), verdict(*group.last));
  if (group.count > 1)
    text += fmt::format(", {} times since {}, last {}\n", group.count, ago(*group.first, now), ago(*group.last, now));
  else
    text += fmt::format(", {}\n", ago(*group.last, now));
  if (!group.last->reason.empty()) text += fmt::format("    because: {}\n", group.last->reason);
  if (auto what = advice(*group.last); !what.empty()) text += fmt::format("    that is: {}\n", what);
  append_token(text, journal, *group.last, now);
  append_outside(text, journal, *group.last, now);
}

/// Nothing was refused: how far did the host come?
std::string nothing_refused(const scsi::Journal& journal, const ExplainQuestion& question, base::TimePoint now) {
  const Event *page = nullptr, *populate = nullptr, *write = nullptr, *login = nullptr;
  for (const Event& event : journal.events()) {
    if (event.kind == EventKind::login && (question.initiator.empty() || question.initiator == event.initiator))
      login = &event;
    if (event.kind != EventKind::command || !concerns(event, question)) continue;
    if (is_about_page(event)) page = &event;
    if (event.command == scsi::name_of(tokens::CopyCommand::populate_token)) populate = &event;
    if (event.command == scsi::name_of(tokens::CopyCommand::write_using_token)) write = &event;
  }
  std::string text = "No copy was refused, as far back as the journal goes.\n";
  if (write)
    return text + fmt::format("The last WRITE USING TOKEN was good, {}: that copy was offloaded.\n", ago(*write, now));
  if (populate)
    return text + fmt::format(
                      "A token was made {}, and no WRITE USING TOKEN came: the host could not use it on the "
                      "destination, or the destination is not on this array.\n",
                      ago(*populate, now));
  if (page)
    return text + fmt::format(
                      "The host read VPD page 8Fh {}: {}. It sent no POPULATE TOKEN: where the page offers ODX the "
                      "reason is on the host (a file that is compressed, encrypted, sparse or too small, a filter "
                      "driver that does not allow it, offloading switched off).\n",
                      ago(*page, now), page->reason);
  if (login)
    return text + fmt::format(
                      "The initiator logged in {}, and did not ask for VPD page 8Fh, where it would learn that copies "
                      "can be offloaded.\n",
                      ago(*login, now));
  return text + "No such initiator has logged in.\n";
}

}  // namespace

std::string explain(const scsi::Journal& journal, const ExplainQuestion& question, base::TimePoint now) {
  std::vector<Group> groups = groups_of(journal, question);
  if (groups.empty()) return nothing_refused(journal, question, now);
  std::string text;
  for (std::size_t i = 0; i < std::min(groups.size(), kMostGroups); ++i) append(text, journal, groups[i], now);
  if (groups.size() > kMostGroups) text += fmt::format("and {} older kinds of trouble\n", groups.size() - kMostGroups);
  return text;
}

}  // namespace target
