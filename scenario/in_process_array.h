// One odxd in this process, without its sockets: it is started, stopped, and started again with what its logical units
// held. Hosts reach it by I_T nexuses of its device servers, scripts steer it by its control interface.
// Thread: the world's.
#pragma once

#include <memory>
#include <string>

#include "scenario/world.h"
#include "target/arrays.h"
#include "target/control/direct_control.h"

namespace scenario {

class InProcessArray final : public ArrayProcess {
 public:
  /// "array 1" by its number, from which the ids of its arrays follow.
  InProcessArray(World& world, unsigned number, FileAccess access);
  ~InProcessArray() override;

  bool running() const { return arrays_ != nullptr; }
  /// Counts starts: what was attached before another start is attached no more.
  unsigned starts() const { return starts_; }
  /// Throws ScriptError when it is stopped.
  target::Arrays& arrays();

  void configure(const json::value& wanted) override;
  /// Logical units in memory hold what they held when it was stopped.
  void start() override;
  void stop() override;
  json::value control(const std::string& method, const std::string& target, const json::value& body) override;
  std::unique_ptr<Way> way(Host& host, const std::string& target, std::uint16_t lun) override;
  Content capture() override;
  void restore(const Content& content) override;
  void settle() override;

  /// Waits until nothing of the nexus runs any more.
  void abort_all(scsi::DeviceServer& server, scsi::NexusId nexus);

 private:
  unsigned number_;
  FileAccess access_;
  target::Config config_;
  std::unique_ptr<target::Arrays> arrays_;
  unsigned starts_ = 0;
  bool stopping_ = false;
  Content kept_;

  std::unique_ptr<target::control::DirectControl> control_;  ///< from its first request on
};

}  // namespace scenario
