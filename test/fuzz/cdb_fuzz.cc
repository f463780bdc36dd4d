// Fuzzes the device server: up to 16 commands of two I_T nexuses, each a CDB with the parameter list or data that comes
// with it, and task management between them, on two logical units. Whatever comes in, every command completes exactly
// once and says no more than its CDB allows.
#include <algorithm>
#include <cstdlib>

#include "base/log.h"
#include "scsi/task_set.h"
#include "test/scsi/device_fixture.h"

namespace {

constexpr std::size_t kMostCommands = 16;
constexpr std::size_t kStoreBytes = 64 << 10;

void require(bool good) {
  if (!good) std::abort();
}

/// What stands before each command's data in the input.
struct CommandHead {
  std::uint8_t where = 0;  ///< bits 0 and 1: LUN, two of them exist; bit 2: from the second nexus
  std::uint8_t attribute = 0;
  std::uint8_t then = 0;  ///< bit 0: let held work go; bit 1: a task management function, in the upper nibble
  std::array<std::uint8_t, scsi::kMaxCdbLength> cdb{};
  base::be16 data_length{};
};

constexpr std::uint8_t kRunHeld = 0x01;
constexpr std::uint8_t kManage = 0x02;
constexpr std::uint8_t kSecondNexus = 0x04;

void manage(test::Device& device, const CommandHead& head, std::uint32_t tag, unsigned& answers) {
  auto function = static_cast<scsi::TaskManagementFunction>(1 + head.then / 0x10 % 8);
  device.server.manage(function, device.nexus, scsi::Lun{static_cast<std::uint16_t>(head.where % 4)}, tag,
                       [&answers](scsi::TaskManagementResponse) { ++answers; });
}

void check(const test::Device& device) {
  for (const test::Command& command : device.commands()) {
    require(command.completions == 1);
    require(command.task.data_in.size() <= command.task.data_in_length);
    bool refused = command.status() == scsi::Status::check_condition;
    require(refused == (command.sense().key != scsi::SenseKey::no_sense));
    if (refused) require(scsi::decode(device.server.sense_data(command.task)).has_value());
  }
}

}  // namespace

/// The first byte: bit 0 stores that block, bit 1 4096-byte blocks, bit 2 read-only.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::log::set_level(base::log::Level::off);
  base::ByteReader reader({data, size});
  std::uint8_t options = reader.u8();
  test::DeviceOptions how = test::every_command();
  how.size_bytes = kStoreBytes;
  how.blocking = options & 1;
  how.block_length = options & 2 ? 4096 : 512;
  how.read_only = options & 4;
  test::Device device(how);
  scsi::NexusId second = device.attach("iqn.2025-01.example:second");
  unsigned asked = 0;
  unsigned answers = 0;
  for (std::size_t i = 0; i < kMostCommands && reader.remaining() > 0; ++i) {
    auto head = reader.layout<CommandHead>();
    base::Bytes with = reader.take_up_to(head.data_length);
    scsi::NexusId from = head.where & kSecondNexus ? second : device.nexus;
    auto& command = device.prepare({head.cdb.begin(), head.cdb.end()}, head.where % 4, from);
    command.task.attribute = static_cast<scsi::TaskAttribute>(head.attribute % 5);
    device.go(command, {with.begin(), with.end()});
    if (head.then & kRunHeld) device.executor.run_all();
    if (head.then & kManage) {
      ++asked;
      manage(device, head, command.task.tag, answers);
    }
  }
  device.executor.run_all();
  check(device);
  require(answers == asked);
  for (auto& [lun, lu] : device.server.logical_units()) require(lu->tasks().oldest() == nullptr);
  return 0;
}
