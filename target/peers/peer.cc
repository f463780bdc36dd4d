#include "target/peers/peer.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "initiator/libiscsi_initiator.h"
#include "scsi/sense.h"

namespace peers {

namespace {

namespace log = base::log;

constexpr std::chrono::seconds kLeftAlone{1};      ///< after it did not answer
constexpr std::chrono::seconds kLookAround{1};     ///< at least, between two searches that find nothing new
constexpr std::chrono::milliseconds kWaiting{20};  ///< for other copies from the peer, between looks at `stop`
constexpr unsigned kUnitAttentions = 16;           ///< that stand before a command at most

class LibiscsiLink final : public Link {
 public:
  explicit LibiscsiLink(std::shared_ptr<initiator::IscsiSession> session) : session_(std::move(session)) {}
  initiator::Result execute(int lun, const initiator::Command& command) override {
    return session_->execute(lun, command);
  }

 private:
  std::shared_ptr<initiator::IscsiSession> session_;
};

std::optional<initiator::IscsiSession::Chap> chap_of(const std::optional<iscsi::ChapCredentials>& credentials) {
  if (!credentials) return std::nullopt;
  return initiator::IscsiSession::Chap{credentials->name, credentials->secret};
}

std::string describe(const initiator::Result& result) {
  if (auto sense = scsi::decode(result.sense)) return scsi::describe(*sense);
  return fmt::format("status {:02X}h", result.status);
}

bool unit_attention(const initiator::Result& result) {
  auto sense = scsi::decode(result.sense);
  return sense && sense->key == scsi::SenseKey::unit_attention;
}

}  // namespace

std::expected<std::unique_ptr<Link>, std::string> connect_with_libiscsi(const target::PeerConfig& peer,
                                                                        const Stop& stop) {
  std::string url = fmt::format("iscsi://{}:{}/{}/0", peer.portal.address, peer.portal.port, peer.target_name);
  auto session = initiator::IscsiSession::open(url, {.initiator_name = peer.initiator_name,
                                                     .login_timeout = peer.timeout,
                                                     .chap = chap_of(peer.authentication.initiator),
                                                     .mutual_chap = chap_of(peer.authentication.target),
                                                     .stop = stop});
  if (!session) return std::unexpected(std::move(session.error()));
  return std::make_unique<LibiscsiLink>(std::move(*session));
}

Peer::Peer(target::PeerConfig config, Connect connect, const base::Clock& clock)
    : config_(std::move(config)), connect_(std::move(connect)), clock_(clock) {}

/// The peer is not asked again for a while.
Peer::Failure Peer::lost(std::string reason) {
  link_.reset();
  luns_.clear();
  limits_.clear();
  looked_around_ = {};
  left_alone_until_ = clock_.now() + kLeftAlone;
  last_failure_ = fmt::format("peer {}: {}", config_.text(), reason);
  log::warning("{}", last_failure_);
  return {.reason = last_failure_};
}

/// The peer for oneself, logged in.
Peer::Answer<std::unique_lock<std::timed_mutex>> Peer::enter(const Stop& stop) {
  std::unique_lock lock(mutex_, std::defer_lock);
  for (std::chrono::milliseconds waited{}; !lock.try_lock_for(kWaiting); waited += kWaiting)
    if (stop() || waited >= config_.timeout)
      return std::unexpected(Failure{.reason = fmt::format("peer {}: busy with other copies", config_.text())});
  if (link_) return lock;
  if (clock_.now() < left_alone_until_) return std::unexpected(Failure{.reason = last_failure_});
  auto link = connect_(config_, stop);
  if (!link && stop()) return std::unexpected(Failure{.reason = "given up"});  // nothing is known of the peer
  if (!link) return std::unexpected(lost(std::move(link.error())));
  link_ = std::move(*link);
  log::info("peer {}: logged in as {}", config_.text(), config_.initiator_name);
  return lock;
}

/// Data-in of a command that ends with GOOD; unit attentions before it are taken.
Peer::Answer<std::vector<std::uint8_t>> Peer::command(int lun, initiator::Command command, const Stop& stop) {
  // A command that is given up costs the session and no more time; one that times out would be aborted first.
  const base::TimePoint deadline = clock_.now() + config_.timeout;
  command.timeout = 2 * config_.timeout;
  command.stop = [this, &stop, deadline] { return stop() || clock_.now() >= deadline; };
  initiator::Result result;
  for (unsigned i = 0; i <= kUnitAttentions; ++i) {
    result = link_->execute(lun, command);
    if (!unit_attention(result)) break;
  }
  if (result.transport == initiator::Transport::aborted && stop()) {
    link_.reset();  // the session went with the command; the peer is as good as before
    return std::unexpected(Failure{.reason = "given up"});
  }
  if (result.transport == initiator::Transport::aborted)
    return std::unexpected(lost(fmt::format("no answer in {} s", config_.timeout.count())));
  if (result.transport != initiator::Transport::delivered) return std::unexpected(lost(std::move(result.reason)));
  if (result.good()) return std::move(result.data_in);
  return std::unexpected(Failure{.token = token_error_of(result.sense),
                                 .reason = fmt::format("peer {}: {}", config_.text(), describe(result))});
}

Peer::Answer<void> Peer::look_around(const Stop& stop) {
  auto report = command(0, report_luns(), stop);
  if (!report) return std::unexpected(std::move(report.error()));
  luns_.clear();
  limits_.clear();
  for (int lun : luns_of(*report)) {
    auto page = command(lun, device_identification(), stop);
    if (!page && !link_) return std::unexpected(std::move(page.error()));
    if (!page) continue;  // one that does not say who it is
    for (const Naa& naa : designators_of(*page)) luns_.emplace(naa, lun);
  }
  looked_around_ = clock_.now();
  return {};
}

Peer::Answer<std::optional<int>> Peer::find(const Naa& naa, const Stop& stop) {
  auto lock = enter(stop);
  if (!lock) return std::unexpected(std::move(lock.error()));
  auto found = luns_.find(naa);
  bool fresh = looked_around_ != base::TimePoint{} && clock_.now() < looked_around_ + kLookAround;
  if (found == luns_.end() && !fresh) {
    if (auto looked = look_around(stop); !looked) return std::unexpected(std::move(looked.error()));
    found = luns_.find(naa);
  }
  if (found == luns_.end()) return std::optional<int>();
  return std::optional(found->second);
}

Peer::Answer<CopyLimits> Peer::limits(int lun, const Stop& stop) {
  auto lock = enter(stop);
  if (!lock) return std::unexpected(std::move(lock.error()));
  if (auto known = limits_.find(lun); known != limits_.end()) return known->second;
  auto answer = command(lun, receive_copy_operating_parameters(), stop);
  if (!answer) return std::unexpected(std::move(answer.error()));
  auto limits = copy_limits_of(*answer);
  if (!limits)
    return std::unexpected(
        Failure{.reason = fmt::format("peer {}: takes no token in inline data, or holds no data", config_.text())});
  limits_.emplace(lun, *limits);
  return *limits;
}

Peer::Answer<std::vector<std::uint8_t>> Peer::read(int lun, const tokens::RodToken& token, std::uint64_t first,
                                                   std::uint16_t blocks, const Stop& stop) {
  auto lock = enter(stop);
  if (!lock) return std::unexpected(std::move(lock.error()));
  std::uint32_t bytes = blocks * token.block_device.logical_block_length.value();
  std::uint32_t list_identifier = ++list_identifier_;
  auto done = command(lun, hold_blocks(list_identifier, token, first, blocks), stop);
  if (!done) return std::unexpected(std::move(done.error()));
  auto answer = command(lun, receive_copy_data(list_identifier, bytes), stop);
  if (!answer) return std::unexpected(std::move(answer.error()));
  auto held = held_data_of(*answer);
  if (!held || held->size() != bytes)
    return std::unexpected(Failure{
        .reason = fmt::format("peer {}: {} of {} bytes are held", config_.text(), held ? held->size() : 0, bytes)});
  auto begin = answer->begin() + (held->data() - answer->data());
  return std::vector<std::uint8_t>(begin, begin + bytes);
}

}  // namespace peers
