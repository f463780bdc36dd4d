// Rules in words, for the log, the journal and sense data.
#include <fmt/format.h>

#include <chrono>

#include "scsi/rules.h"

namespace scsi {
namespace {

std::string text(Moment moment) { return moment == Moment::before ? "" : ", after it was executed"; }

std::string words(const action::Nothing&) { return "nothing"; }
std::string words(const action::Fail& fail) {
  if (fail.status == Status::check_condition)
    return fmt::format("{}: {}{}", describe(fail.status), describe(fail.sense), text(fail.moment));
  return describe(fail.status) + text(fail.moment);
}
std::string words(const action::Delay& delay) {
  return fmt::format("delay of {} ms{}{}", static_cast<double>(delay.time.count()) / std::milli::den,
                     delay.wire_clock ? " by the wire clock" : "", text(delay.moment));
}
std::string words(const action::Truncate& truncate) { return fmt::format("cut to {} bytes", truncate.bytes); }
std::string words(const action::ShortCopy& copy) {
  return fmt::format("the copy stops after {} blocks{}", copy.blocks, copy.counted ? "" : ", without a count");
}
std::string words(const action::WrongResult& wrong) {
  std::string out = "a wrong result:";
  if (wrong.transfer_count) out += fmt::format(" TRANSFER COUNT {}", *wrong.transfer_count);
  if (wrong.copy_status) out += fmt::format(" COPY OPERATION STATUS {:02X}h", *wrong.copy_status);
  if (wrong.segments_processed) out += fmt::format(" SEGMENTS PROCESSED {}", *wrong.segments_processed);
  if (wrong.descriptors_length) out += fmt::format(" ROD TOKEN DESCRIPTORS LENGTH {}", *wrong.descriptors_length);
  return out;
}
std::string words(const action::WrongData& wrong) {
  switch (wrong.how) {
    case action::WrongData::How::zeros: return "zeros for data";
    case action::WrongData::How::inverted: return "inverted data";
    case action::WrongData::How::not_written: return "nothing is written";
  }
  return {};
}
std::string words(const action::EditData& edit) {
  std::string what = fmt::format("{} bytes of data-in from byte {} on", edit.cut, edit.at);
  if (edit.move_to) return fmt::format("{} are moved to byte {}", what, *edit.move_to);
  if (edit.put.empty()) return what + " are cut out";
  return fmt::format("{} are {} others", what, edit.put.size());
}
std::string words(const action::DropCommand&) { return "the command is lost"; }
std::string words(const action::DropResponse&) { return "the response is lost"; }
std::string words(const action::EndConnection& end) {
  using At = action::EndConnection::At;
  std::string where;
  switch (end.at) {
    case At::command: where = "the command"; break;
    case At::r2t: where = fmt::format("R2T {}", end.nth); break;
    case At::data_out: where = fmt::format("Data-Out {}", end.nth); break;
    case At::data_in: where = fmt::format("Data-In {}", end.nth); break;
    case At::response: where = "the response"; break;
    case At::after_response: where = "what follows the response"; break;
  }
  return fmt::format("the connection is {} at {}", end.reset ? "reset" : "closed", where);
}
std::string words(const action::DigestError& error) {
  switch (error.of) {
    case action::DigestError::Of::header: return "a wrong header digest";
    case action::DigestError::Of::data: return "a wrong data digest";
    case action::DigestError::Of::received_data: return fmt::format("Data-Out {} has a wrong data digest", error.nth);
  }
  return {};
}
std::string words(const action::EndToken& end) {
  using How = action::EndToken::How;
  std::string_view how;
  switch (end.how) {
    case How::expired: how = "expired"; break;
    case How::revoked: how = "revoked"; break;
    case How::cancelled: how = "cancelled"; break;
    case How::deleted: how = "deleted"; break;
    case How::corrupted: how = "corrupted"; break;
  }
  std::string which = end.token ? fmt::format("token {}", *end.token) : "its token";
  return fmt::format("{} is {}{}", which, how, text(end.moment));
}
std::string words(const action::Reach& reach) {
  return fmt::format("{} and {} {} each other{}", reach.a, reach.b, reach.reachable ? "reach" : "do not reach",
                     text(reach.moment));
}
std::string words(const action::OfferCopies& offer) {
  return fmt::format("third-party copy is {}{}", offer.offered ? "back" : "gone", text(offer.moment));
}
std::string words(const action::FillPool& pool) {
  return fmt::format("the memory pool is {}{}", pool.full ? "full" : "free again", text(pool.moment));
}
std::string words(const action::AsyncMessage& message) {
  switch (message.event) {
    case action::AsyncMessage::Event::logout_request:
      return fmt::format("an Async Message asks for a logout within {} s", message.seconds);
    case action::AsyncMessage::Event::drop_connection: return "an Async Message says that the connection is dropped";
    case action::AsyncMessage::Event::drop_session: return "an Async Message says that the session is dropped";
  }
  return {};
}

}  // namespace

std::string describe(const Rule& rule) {
  auto number = static_cast<unsigned>(rule.id);
  return rule.name.empty() ? fmt::format("rule {}", number) : fmt::format("rule {} \"{}\"", number, rule.name);
}

std::string describe(const Action& action) {
  return std::visit([](const auto& each) { return words(each); }, action);
}

}  // namespace scsi
