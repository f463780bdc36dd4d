// One target of another process or machine, from which the data of its tokens is fetched.
//
// Owns one session at a time, made when it is needed and dropped when a command is not answered; remembers which
// logical unit has which designator, and its limits, as long as the session lives. A peer that does not answer is left
// alone for a second, so that not every copy waits for it. Thread: any; one command at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "initiator/initiator.h"
#include "target/config.h"
#include "target/peers/commands.h"

namespace peers {

/// A session with a target: commands to its logical units.
class Link {
 public:
  virtual ~Link() = default;
  virtual initiator::Result execute(int lun, const initiator::Command& command) = 0;
};

using Stop = std::function<bool()>;
/// Logs in. The error is for people, and names no secret.
using Connect =
    std::function<std::expected<std::unique_ptr<Link>, std::string>(const target::PeerConfig& peer, const Stop& stop)>;

/// With libiscsi, as the configuration says.
std::expected<std::unique_ptr<Link>, std::string> connect_with_libiscsi(const target::PeerConfig& peer,
                                                                        const Stop& stop);

class Peer {
 public:
  struct Failure {
    std::optional<tokens::TokenError> token{};  ///< what the peer says of the token
    std::string reason;                         ///< else: why it did not do it
  };
  template <typename T>
  using Answer = std::expected<T, Failure>;

  /// `clock` outlives the peer; any thread may ask it.
  Peer(target::PeerConfig config, Connect connect, const base::Clock& clock);

  const target::PeerConfig& config() const { return config_; }

  /// The logical unit of that designator; nothing when the peer has none. The error: it cannot be asked.
  Answer<std::optional<int>> find(const Naa& naa, const Stop& stop);

  /// What one read() of a logical unit's tokens may ask for.
  Answer<CopyLimits> limits(int lun, const Stop& stop);

  /// `blocks` of the ROD that `token` names, from `first` on, in blocks of its logical unit, which is `lun`.
  Answer<std::vector<std::uint8_t>> read(int lun, const tokens::RodToken& token, std::uint64_t first,
                                         std::uint16_t blocks, const Stop& stop);

 private:
  Answer<std::unique_lock<std::timed_mutex>> enter(const Stop& stop);
  Answer<std::vector<std::uint8_t>> command(int lun, initiator::Command command, const Stop& stop);
  Answer<void> look_around(const Stop& stop);
  Failure lost(std::string reason);

  const target::PeerConfig config_;
  const Connect connect_;
  const base::Clock& clock_;

  std::timed_mutex mutex_;  ///< guards what follows
  std::unique_ptr<Link> link_;
  base::TimePoint left_alone_until_;
  std::string last_failure_;
  base::TimePoint looked_around_;  ///< when the designators were asked for
  std::map<Naa, int> luns_;
  std::map<int, CopyLimits> limits_;
  std::uint32_t list_identifier_ = 0;
};

}  // namespace peers
