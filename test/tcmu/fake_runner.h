// The daemon as a handler sees it, without a kernel: loads the plugin, makes devices, and sends commands as tcmu-runner
// 1.5.4 does: each on the thread of its device, the CDB cut to its length with other bytes behind it, the handler's
// structure at an odd address.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "target/tcmu/runner.h"

namespace test {

struct Outcome {
  int status = -100;  ///< a tcmu::RunnerStatus
  std::vector<std::uint8_t> sense{};
  std::vector<std::uint8_t> data{};  ///< what is in its memory when it is completed
  bool good() const { return status == 0; }
  /// "05/24/00" of fixed format sense data, or the status.
  std::string text() const;
};

/// A command on its way.
struct Submitted {
  std::vector<std::uint8_t> memory;
  std::vector<iovec> parts;
  Outcome outcome;
  bool completed = false;
  bool told = false;  ///< the kernel knows
};

}  // namespace test

/// What a handler knows only by its functions.
struct tcmu::RunnerDevice {
  std::string uio_name;
  std::string cfgstring;
  std::string serial;  ///< LIO's; empty: it cannot be read
  std::uint64_t blocks = 0;
  std::uint32_t block_size = 512;
  void* ours = nullptr;

  std::mutex mutex{};
  std::condition_variable changed{};
  std::map<tcmu::LibCommand*, std::shared_ptr<test::Submitted>> pending{};
  std::vector<std::shared_ptr<test::Submitted>> untold{};
  std::atomic<int> completing{0};  ///< threads in tcmulib_command_complete()
};

namespace test {

class FakeDevice {
 public:
  /// Opens it. Without `serial` it has one of its own, as LIO sees to.
  FakeDevice(const std::string& cfgstring, std::uint64_t size_bytes, std::optional<std::string> serial = {},
             std::uint32_t block_size = 512);
  ~FakeDevice();

  bool opened() const { return opened_; }
  void close();
  /// What reconfig() returned.
  int resize(std::uint64_t size_bytes);
  int change(const std::string& cfgstring);

  /// `memory` is data-out, or as long as data-in may be; it is given in pieces of `piece` bytes.
  std::shared_ptr<Submitted> submit(const std::vector<std::uint8_t>& cdb, std::vector<std::uint8_t> memory = {},
                                    std::size_t piece = SIZE_MAX);
  /// The two halves of submit(): a command as it comes from the ring, and handle_cmd().
  std::pair<tcmu::LibCommand*, std::shared_ptr<Submitted>> prepare(const std::vector<std::uint8_t>& cdb,
                                                                   std::vector<std::uint8_t> memory = {},
                                                                   std::size_t piece = SIZE_MAX);
  void hand_over(tcmu::LibCommand* command);
  Outcome wait(Submitted& submitted);
  Outcome execute(const std::vector<std::uint8_t>& cdb, std::vector<std::uint8_t> memory = {},
                  std::size_t piece = SIZE_MAX);

  tcmu::RunnerDevice& raw() { return device_; }

 private:
  tcmu::RunnerDevice device_;
  bool opened_ = false;
};

/// What the plugin registered; loads it when it has to.
tcmu::RunnerHandler& handler();
/// As the daemon does at its end; it is loaded anew when it is needed again.
void end_runner();
/// The last line of the daemon's log.
std::string last_error();

}  // namespace test
