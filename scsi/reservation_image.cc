#include "scsi/reservation_image.h"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <set>
#include <tuple>
#include <utility>

#include "scsi/state_image.h"
#include "scsi/transport_id.h"

namespace scsi {
namespace {

constexpr StateImageKind kKind = {{'O', 'D', 'X', 'P', 'R', 0x0D, 0x0A, 0x00}, 1};
constexpr std::uint32_t kNobody = 0xFFFFFFFF;
constexpr std::uint8_t kActivated = 0x01;

/// The registrations follow.
struct ImageHead {
  std::uint8_t flags = 0;
  std::uint8_t type = 0;  ///< 0: no reservation
  base::be16 reserved{};
  base::be32 holder = kNobody;  ///< index of a registration
  base::be32 registrations{};
};
static_assert(sizeof(ImageHead) == 12 && offsetof(ImageHead, holder) == 4);

/// A TransportID of format 01b follows.
struct ImageRegistration {
  base::be64 key{};
  base::be16 reserved{};
  base::be16 relative_target_port{};
};
static_assert(sizeof(ImageRegistration) == 12);

std::unexpected<std::string> wrong(std::string what) { return std::unexpected(std::move(what)); }

std::expected<PersistentState::Registration, std::string> parse_registration(base::ByteReader& reader) {
  auto fixed = reader.layout<ImageRegistration>();
  if (!reader.ok()) return wrong("it ends inside a registration");
  auto id = parse_transport_id(reader, 0);
  if (!id) return wrong(std::move(id.error().rule));
  if (!id->isid) return wrong("a TransportID without initiator session identifier");
  if (fixed.key == 0 || fixed.reserved != 0) return wrong("a registration without key, or with reserved bits");
  return PersistentState::Registration{std::move(id->initiator_name), *id->isid, fixed.relative_target_port, fixed.key};
}

/// The reservation's fields of the head, as one sense of them.
std::expected<void, std::string> take_reservation(const ImageHead& head, PersistentState& state) {
  state.activated = head.flags == kActivated;
  state.type = reservation_type(head.type);
  bool sound = (head.flags & ~kActivated) == 0 && head.reserved == 0 && (head.type == 0) == !state.type;
  if (!sound) return wrong("reserved bits or a reserved type");
  if (head.registrations > Reservations::kMaximumRegistrants) return wrong("more registrations than there can be");
  bool one_holder = state.type && !all_registrants(*state.type);
  if (one_holder != (head.holder != kNobody) || (one_holder && head.holder >= head.registrations))
    return wrong("its holder is not a registration");
  if (one_holder) state.holder = head.holder;
  if (!state.activated && (state.type || head.registrations > 0))
    return wrong("APTPL is zero, and yet it is not empty");
  if (state.type && head.registrations == 0) return wrong("a reservation without registrations");
  return {};
}

}  // namespace

std::vector<std::uint8_t> reservation_image(const PersistentState& state) {
  ImageHead head;
  head.flags = state.activated ? kActivated : 0;
  if (state.type) head.type = static_cast<std::uint8_t>(*state.type);
  if (state.holder) head.holder = *state.holder;
  head.registrations = static_cast<std::uint32_t>(state.registrations.size());
  std::vector<std::uint8_t> content;
  base::ByteWriter body(content);
  body.layout(head);
  for (const PersistentState::Registration& each : state.registrations) {
    ImageRegistration fixed;
    fixed.key = each.key;
    fixed.relative_target_port = each.relative_target_port;
    body.layout(fixed);
    write_transport_id(body, {each.initiator_name, each.isid, {}, each.relative_target_port});
  }
  return state_image(kKind, content);
}

std::expected<PersistentState, std::string> parse_reservation_image(base::Bytes image) {
  auto content = state_image_content(kKind, image);
  if (!content) return wrong(std::move(content.error()));
  base::ByteReader reader(*content);
  auto head = reader.layout<ImageHead>();
  if (!reader.ok()) return wrong(fmt::format("{} bytes are too few", image.size()));
  PersistentState state;
  if (auto good = take_reservation(head, state); !good) return wrong(std::move(good.error()));
  std::set<std::tuple<std::string, std::array<std::uint8_t, 6>, std::uint16_t>> seen;
  for (std::uint32_t i = 0; i < head.registrations; ++i) {
    auto registration = parse_registration(reader);
    if (!registration) return wrong(std::move(registration.error()));
    if (!seen.emplace(registration->initiator_name, registration->isid, registration->relative_target_port).second)
      return wrong("an I_T nexus is registered twice");
    state.registrations.push_back(std::move(*registration));
  }
  if (reader.remaining() > 0) return wrong("bytes are left after its registrations");
  return state;
}

}  // namespace scsi
