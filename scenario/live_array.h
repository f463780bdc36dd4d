// An odxd that is reached over the network: hosts by iSCSI (libiscsi), scripts through its control interface.
//
// Either each array of a script is an odxd of its own, which is started with that configuration, has a manual clock and
// ends with the scenario; or there is one that runs already. Of that one a script takes what it is, or has targets
// added, for which its clock stands still meanwhile; in the end it is as it was: targets, rules, unreachable pairs and
// the clock's mode. Where odxd's clock is manual it is moved as the scenario's is: by t:advance(), and, while a command
// waits for it, to the next thing that is due. Every disk has a session of its own. Thread: the world's.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "initiator/libiscsi_initiator.h"
#include "scenario/control_client.h"
#include "scenario/host.h"
#include "scenario/odxd_process.h"
#include "scenario/world.h"

namespace scenario {

class LiveArray final : public ArrayProcess {
 public:
  LiveArray(World& world, unsigned number, const LiveOptions& options, FileAccess access);
  ~LiveArray() override;

  void configure(const json::value& wanted) override;
  void start() override;
  void stop() override;
  json::value control(const std::string& method, const std::string& target, const json::value& body) override;
  std::unique_ptr<Way> way(Host& host, const std::string& target, std::uint16_t lun) override;
  Content capture() override;
  void restore(const Content& content) override;
  std::optional<base::TimePoint> next_due() override;
  void advance_to(base::TimePoint to) override;
  std::optional<base::TimePoint> shown() override;
  bool at_rest() override;
  bool runs_by_itself() const { return !driven_; }
  void settle() override;
  void wait_for_event(std::chrono::milliseconds most) override;

 private:
  bool own() const { return options_.control == kOwnOdxd; }
  ControlClient& client();
  json::value ask(const std::string& method, const std::string& target, const json::value& body = {});
  void start_own();
  void take_over();
  void add_targets();
  void hand_back() noexcept;
  /// Of the scenario, for what its clock shows.
  base::TimePoint world_time(const json::value& clock, double more_seconds = 0) const;

  unsigned number_;
  LiveOptions options_;
  FileAccess access_;
  json::value wanted_;
  std::string configuration_;  ///< TOML, of an odxd of our own
  TemporaryFolder folder_;
  std::optional<Process> process_;
  std::optional<ControlClient> client_;
  std::chrono::steady_clock::time_point asked_{};
  bool driven_ = true;                ///< its clock stands, but for us
  std::int64_t origin_us_ = 0;        ///< what its clock showed when the scenario began
  std::uint64_t last_event_ = 0;      ///< that was taken
  std::set<std::string> initiators_;  ///< of the scenario
  // What is put back in the end.
  std::vector<std::string> targets_;
  std::set<std::int64_t> rules_;
  std::optional<json::value> reachability_;
  std::optional<json::object> clock_mode_;
};

class LiveWay final : public Way {
 public:
  /// `url` empty: there is none in the host's portal group.
  LiveWay(World& world, Host& host, LiveArray& array, std::string url, std::string target, std::uint16_t lun)
      : world_(world), host_(host), array_(array), url_(std::move(url)), target_(std::move(target)), lun_(lun) {}
  initiator::Result execute(const initiator::Command& command) override;
  bool had_session() const override { return session_ != nullptr; }
  void log_out() override { session_.reset(); }
  bool reset() override;
  std::vector<std::uint8_t> content(std::uint64_t offset, std::uint64_t length) override;

  /// Who reads for content(): its events are not told.
  static constexpr const char* kObserver = "iqn.2026-11.org.odx:scenario-observer";

 private:
  std::optional<std::string> connect(std::shared_ptr<initiator::IscsiSession>& session, const std::string& name);
  initiator::Result execute(initiator::IscsiSession& session, const initiator::Command& command);
  void when_quiet(initiator::IscsiSession& session);

  World& world_;
  Host& host_;
  LiveArray& array_;
  std::string url_;
  std::string target_;
  std::uint16_t lun_;
  /// What is known of a command that is not answered.
  enum class Silence : std::uint8_t {
    unknown,
    taken,    ///< odxd has taken all of it; or will have when the ping is answered
    at_rest,  ///< and works at nothing; whatever it sent has come when the ping is answered
  };
  Silence silence_ = Silence::unknown;
  unsigned looks_ = 0;
  std::shared_ptr<initiator::IscsiSession> session_;
  std::shared_ptr<initiator::IscsiSession> observer_;
};

}  // namespace scenario
