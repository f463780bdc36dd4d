#include "scsi/status.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <iterator>

namespace scsi {
namespace {

struct Named {
  Status status;
  std::string_view name;
};
constexpr Named kNames[] = {
    {Status::good, "GOOD"},
    {Status::check_condition, "CHECK CONDITION"},
    {Status::condition_met, "CONDITION MET"},
    {Status::busy, "BUSY"},
    {Status::reservation_conflict, "RESERVATION CONFLICT"},
    {Status::task_set_full, "TASK SET FULL"},
    {Status::aca_active, "ACA ACTIVE"},
    {Status::task_aborted, "TASK ABORTED"},
};

bool same_letters(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char one, unsigned char other) { return std::toupper(one) == std::toupper(other); });
}

}  // namespace

std::string describe(Status status) {
  auto found = std::ranges::find(kNames, status, &Named::status);
  if (found != std::end(kNames)) return std::string(found->name);
  return fmt::format("status {:02X}h", static_cast<unsigned>(status));
}

std::optional<Status> status_named(std::string_view text) {
  auto found = std::ranges::find_if(kNames, [&](const Named& each) { return same_letters(each.name, text); });
  if (found != std::end(kNames)) return found->status;
  constexpr int kHexadecimal = 16;
  std::uint8_t value = 0;
  if (text.size() < 2 || (text.back() != 'h' && text.back() != 'H')) return std::nullopt;
  const char* last = text.data() + text.size() - 1;
  auto [end, error] = std::from_chars(text.data(), last, value, kHexadecimal);
  if (error != std::errc{} || end != last) return std::nullopt;
  return Status{value};
}

}  // namespace scsi
