// Sends commands over the network with libiscsi.
//
// An IscsiSession owns one login (one I_T nexus); a LibiscsiInitiator is one logical unit seen through it, so that
// two logical units of a target can share a nexus as they do on a Windows host. A lost session is not reconnected
// behind the caller's back: the command that met it reports connection_lost, and the next command makes one attempt
// to log in again with the same ISID (session reinstatement, RFC 7143, 6.3.5).
// It does not retry commands and does not read sense data: that is host/.
// Thread: one at a time per session.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "initiator/initiator.h"

namespace initiator {

/// What libiscsi's URL names: iscsi://[user[%password]@]host[:port]/target-name/lun[?target_user=..&target_password=..]
struct IscsiUrl {
  std::string text;    ///< as given
  std::string portal;  ///< host:port
  std::string target_name;
  std::string user;  ///< empty: no CHAP
  int lun = 0;
};

/// Reads a URL without connecting; the error says what is wrong with it.
std::expected<IscsiUrl, std::string> parse_iscsi_url(const std::string& url);

class IscsiSession {
 public:
  struct Chap {
    std::string name;
    std::string secret;
  };
  struct Options {
    std::string initiator_name = "iqn.2026-11.example:odx-client";
    std::chrono::milliseconds login_timeout{10000};
    // Instead of what the URL says, which cannot hold every character.
    std::optional<Chap> chap{};         ///< what we prove
    std::optional<Chap> mutual_chap{};  ///< what the target proves
    /// By whose time commands run out of theirs, for a target whose clock is not the system's. `when_quiet` is called
    /// from inside execute() whenever nothing came for 2 ms; it may move that clock, and use other sessions.
    struct Pace {
      const base::Clock* clock = nullptr;
      std::function<void()> when_quiet{};
    };
    std::optional<Pace> pace{};
    std::function<bool()> stop{};  ///< as Command::stop, for the login in open()
  };

  /// Connects and logs in to the target of `url` (CHAP and mutual CHAP as the URL says). The logical unit is not
  /// touched: unit attentions wait for the first command. The error is for people.
  static std::expected<std::shared_ptr<IscsiSession>, std::string> open(const std::string& url, Options options);
  ~IscsiSession();  ///< logs out, waiting at most two seconds

  /// One command to one logical unit of the target. On a time-out the task is aborted (ABORT TASK, then the
  /// connection is dropped if that is not answered either).
  Result execute(int lun, const Command& command);
  /// LOGICAL UNIT RESET (RFC 7143, 11.5). False: it was not answered with "function complete".
  bool reset_logical_unit(int lun);

  // For Options::Pace, from inside execute().

  /// Asks the target to answer (NOP-Out, RFC 7143, 11.18), unless that is under way. When it has answered, it had taken
  /// all that was sent before, and all that it had sent before the answer has come.
  void ping();
  bool ping_answered() const;

  WireCounters wire() const;

 private:
  struct Impl;
  explicit IscsiSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class LibiscsiInitiator final : public Initiator {
 public:
  LibiscsiInitiator(std::shared_ptr<IscsiSession> session, int lun) : session_(std::move(session)), lun_(lun) {}
  Result execute(const Command& command) override { return session_->execute(lun_, command); }
  WireCounters wire() const override { return session_->wire(); }

 private:
  std::shared_ptr<IscsiSession> session_;
  int lun_;
};

}  // namespace initiator
