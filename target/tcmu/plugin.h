// Everything the daemon's devices share: one loop with its thread, and one array for each group of them, so that copies
// stay within a group. Owns all of it.
//
// Nothing of ours runs on the daemon's threads: it may cancel them, which would end the process inside a noexcept
// function. open(), close() and reconfigure() have the loop do it and wait. Thread: any for those; all else the loop's.
#pragma once

#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/array_clock.h"
#include "base/entropy.h"
#include "target/array_time.h"
#include "target/arrays.h"
#include "target/event_loop.h"
#include "target/tcmu/configuration.h"
#include "target/tcmu/device.h"

namespace tcmu {

class Plugin final : public DeviceOwner {
 public:
  Plugin();
  /// Every device is closed.
  ~Plugin() override;

  /// Serves a device from now on. Throws std::runtime_error.
  Device& open(RunnerDevice* runner);
  /// Ends its tasks; when it returns, its store is closed and the daemon's device is not used any more.
  void close(Device& device);
  /// Throws std::runtime_error; then nothing has changed.
  void reconfigure(Device& device, const Reconfig& wanted);

  void needs_settling(Device& device) override { unsettled_.push_back(&device); }

 private:
  struct Served;

  template <typename Work>
  void on_loop(Work work);
  target::Arrays& group(const Configuration& configuration);
  void drop_empty_groups();
  Device& open_on_loop(RunnerDevice* runner);
  Device& serve(RunnerDevice* runner, Configuration configuration);
  void reconfigure_on_loop(Served& served, const Reconfig& wanted);
  static void judge_write_cache(const Served& served, bool wanted);
  static void change(Served& served, Configuration wanted);
  Served& served(const Device& device);
  void end_of_turn();
  void finish_closing();

  base::SystemEntropy entropy_;
  target::EventLoop loop_;
  base::ArrayClock array_clock_;
  base::Ref<handlers::MemoryPool> pool_;
  std::map<GroupKey, std::unique_ptr<target::Arrays>> groups_;
  std::vector<std::unique_ptr<Served>> devices_;
  std::vector<Device*> unsettled_;
  std::size_t closing_ = 0;  ///< devices whose logical units are not gone yet
  target::ArrayTime array_time_;
  std::thread thread_;
};

}  // namespace tcmu
