// One backstore of LIO: commands from the daemon become tasks of its logical unit, and their outcome goes back.
//
// Owns the tasks and the I_T nexus; the logical unit belongs to its group (target/tcmu/plugin.h). There is one nexus,
// whoever sends: a handler is not told. Nothing here allocates once warm. Thread: the loop's, except post().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/data_buffer.h"
#include "scsi/logical_unit.h"
#include "scsi/task.h"
#include "target/tcmu/command_queue.h"
#include "target/tcmu/runner.h"

namespace scsi {
class DeviceServer;
}

namespace tcmu {

class Device;

/// Who tells the kernel at the end of a turn that commands are completed.
class DeviceOwner {
 public:
  virtual ~DeviceOwner() = default;
  /// Has completed commands since settle().
  virtual void needs_settling(Device& device) = 0;
};

class Device final : public scsi::TaskObserver {
 public:
  /// `server` has the logical unit as LUN 0 and outlives close().
  Device(target::EventLoop& loop, DeviceOwner& owner, RunnerDevice* runner, scsi::DeviceServer& server,
         const std::string& initiator_name);
  ~Device() override;

  /// A command of the daemon's, whose holder we are from now on. Thread: the one that reads the ring.
  void post(LibCommand& command) { queue_.push(command); }

  /// Tells the kernel what was completed.
  void settle();

  /// Ends every task, completes every command and loses the nexus; then calls `done`, perhaps from inside. What is
  /// still posted is BUSY.
  void close(std::function<void()> done);

  RunnerDevice* runner() const { return runner_; }
  scsi::DeviceServer& server() const { return server_; }

  void completed(scsi::Task& task) override;

 private:
  struct Command : scsi::Task {
    LibCommand* lib = nullptr;
    bool in_call = false;  ///< a call into the device server is on the stack
    base::Ref<base::DataBuffer> gathered{};
    Command* next_free = nullptr;
  };

  void serve();
  void begin(LibCommand& lib);
  void run(Command& command);
  void give_data_out(Command& command);
  void answer(Command& command);
  void complete(LibCommand& lib, RunnerStatus status);
  void learn_identity();
  Command& take();
  void release(Command& command);

  DeviceOwner& owner_;
  RunnerDevice* runner_;
  scsi::DeviceServer& server_;
  scsi::NexusId nexus_;
  base::Ref<base::DataBufferPool> buffers_;
  std::vector<std::unique_ptr<Command>> commands_;
  Command* free_ = nullptr;
  std::uint32_t next_tag_ = 0;
  bool knows_identity_ = false;
  bool closing_ = false;
  bool unsettled_ = false;
  CommandQueue queue_;
};

/// Bytes of the CDB that begins so (SPC-4 4.2.5.1); nothing where it is longer than we serve.
std::optional<std::size_t> cdb_length(std::uint8_t operation_code);

/// What LIO itself makes of a unit serial number, and shows as "naa.6001405...": NAA IEEE Registered Extended of its
/// company id 001405h, with the first 25 hexadecimal digits of the serial behind it.
std::array<std::uint8_t, 16> naa_of_serial(std::string_view serial);

}  // namespace tcmu
