// The hosts of a scenario: sessions with arrays, disks with a class driver each, one counter of list identifiers.
//
// Hosts do with sessions what the iSCSI initiator of Windows does with its defaults: when one is lost it is made again
// after 5 s (DelayBetweenReconnect), and a command that was under way is held until then, for 60 s at most
// (MaxRequestHoldTime), and sent again. In this process a session is an I_T nexus of a device server, one for each host
// and target, and what the login would have refused (access lists, CHAP, redirection) is refused here. Thread: the
// world's.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/class_driver.h"
#include "host/file_copy.h"
#include "host/io_manager.h"
#include "initiator/in_process_initiator.h"
#include "initiator/libiscsi_initiator.h"
#include "scenario/world.h"

namespace scenario {

class Host;
class InProcessArray;

/// A command of a disk, and its place among all commands of the scenario.
struct SentCommand {
  host::TraceEntry entry;
  std::uint64_t sequence = 0;
};

/// How a host reaches one logical unit of one array.
class Way {
 public:
  virtual ~Way() = default;
  /// Once: connection_lost when there is no session, or it ends meanwhile.
  virtual initiator::Result execute(const initiator::Command& command) = 0;
  /// Whether there was a session, be it lost or not, that the host did not end itself.
  virtual bool had_session() const = 0;
  virtual void log_out() = 0;
  /// LOGICAL UNIT RESET. False: refused.
  virtual bool reset() = 0;
  /// What lies there: nothing that the host sends. Throws ScriptError.
  virtual std::vector<std::uint8_t> content(std::uint64_t offset, std::uint64_t length) = 0;
};

/// The way to one logical unit, which may move to another array. Writes each command into the timeline, when it ends.
class Path final : public initiator::Initiator {
 public:
  Path(World& world, Host& host, std::string name, ArrayProcess& array, std::string target, std::uint16_t lun);

  /// connection_lost when there is no session in time.
  initiator::Result execute(const initiator::Command& command) override;
  initiator::WireCounters wire() const override { return {}; }

  ArrayProcess& array() const { return *array_; }
  Way& way() { return *way_; }
  /// From now on through that array, which has a target and logical unit of the same names.
  void move_to(ArrayProcess& array);
  /// Of the commands that ended since the last call, in their order.
  std::vector<std::uint64_t> take_sequences() { return std::exchange(sequences_, {}); }

 private:
  initiator::Result attempt(const initiator::Command& command);

  World& world_;
  Host& host_;
  std::string name_;
  std::vector<std::uint64_t> sequences_;
  ArrayProcess* array_;
  std::string target_;
  std::uint16_t lun_;
  bool busy_ = false;
  std::unique_ptr<Way> way_;
};

class InProcessWay final : public Way {
 public:
  InProcessWay(World& world, Host& host, InProcessArray& array, std::string target, std::uint16_t lun)
      : world_(world), host_(host), array_(array), target_(std::move(target)), lun_(lun) {}
  initiator::Result execute(const initiator::Command& command) override;
  bool had_session() const override;
  void log_out() override;
  bool reset() override;
  std::vector<std::uint8_t> content(std::uint64_t offset, std::uint64_t length) override;

 private:
  std::optional<std::string> connect();
  scsi::DeviceServer& server() const;

  World& world_;
  Host& host_;
  InProcessArray& array_;
  std::string target_;
  std::uint16_t lun_;
  scsi::NexusId nexus_ = scsi::NexusId::none;
  unsigned start_ = 0;  ///< of the array, when initiator_ was made
  std::optional<initiator::InProcessInitiator> initiator_;
};

class Disk {
 public:
  Disk(World& world, Host& host, std::string name, ArrayProcess& array, const std::string& target, std::uint16_t lun,
       base::Duration command_timeout);

  const std::string& name() const { return name_; }
  Host& host() const { return host_; }
  Path& path() { return path_; }
  host::ClassDriver& driver() { return driver_; }
  /// Any command, once: what the class driver does not send, or would send again.
  initiator::Result send(const initiator::Command& command);
  /// The commands sent since the last call, which go to the list of those since mark().
  std::vector<SentCommand> settle();
  const std::vector<SentCommand>& sent() const { return sent_; }
  void mark() { sent_.clear(); }
  /// What was sent since settle() was not the host's doing.
  void forget();

 private:
  World& world_;
  Host& host_;
  std::string name_;
  Path path_;
  host::ClassDriver driver_;
  std::vector<host::TraceEntry> raw_;  ///< by send(), since settle()
  std::vector<SentCommand> sent_;
};

/// settle() of two disks, which may be the same: their commands in the order they were sent.
std::vector<SentCommand> settle(Disk& one, Disk& other);

class Host {
 public:
  /// `number` makes its ISID one of its own. `portal_group` is where it logs in. `chap` is what it proves, when asked.
  Host(World& world, std::string name, std::string iscsi_name, std::uint8_t number, std::uint16_t portal_group,
       std::optional<initiator::IscsiSession::Chap> chap);

  const std::string& name() const { return name_; }
  const std::string& iscsi_name() const { return iscsi_name_; }
  std::uint16_t portal_group() const { return portal_group_; }
  const std::optional<initiator::IscsiSession::Chap>& chap() const { return chap_; }
  host::ListIdentifiers& list_identifiers() { return list_identifiers_; }
  host::IoManager& io() { return io_; }
  host::OffloadMemory& offload_memory() { return offload_memory_; }
  Disk& add_disk(std::string name, ArrayProcess& array, const std::string& target, std::uint16_t lun,
                 base::Duration command_timeout);
  /// Ends its sessions with that array: what runs for them is aborted.
  void log_out(const ArrayProcess& array);

  // Sessions with arrays of this process.

  struct Session {
    scsi::NexusId nexus = scsi::NexusId::none;
    unsigned start = 0;
  };
  /// The session with a target, made when there is none; or why there can be none.
  std::expected<Session, std::string> session(InProcessArray& array, const std::string& target);
  bool had_session(const InProcessArray& array, const std::string& target) const;
  /// The connection is gone (I_T nexus loss, SAM-5 6.3.4): what runs for it is aborted.
  void lose_session(InProcessArray& array, const std::string& target);
  void end_session(InProcessArray& array, const std::string& target);

 private:
  void detach(InProcessArray& array, const std::string& target, const Session& session);

  World& world_;
  std::string name_;
  std::string iscsi_name_;
  std::uint8_t number_;
  std::uint16_t portal_group_;
  std::optional<initiator::IscsiSession::Chap> chap_;
  host::ListIdentifiers list_identifiers_;
  host::IoManager io_;
  host::OffloadMemory offload_memory_;
  std::map<std::pair<const InProcessArray*, std::string>, Session> sessions_;
  std::vector<std::unique_ptr<Disk>> disks_;
};

/// How the timeline and results call what became of a command: "GOOD", "CHECK CONDITION", "timed out".
std::string outcome_text(const initiator::Result& result);
std::string outcome_text(const host::TraceEntry& entry);

}  // namespace scenario
