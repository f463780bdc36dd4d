#include "target/tcmu/device.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

#include "base/log.h"
#include "scsi/command_table.h"
#include "scsi/copy_fabric.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"

namespace tcmu {
namespace {

constexpr scsi::Lun kLun{0};
constexpr std::size_t kLongestSerial = 128;  // with the vendor before it, a designator
constexpr std::size_t kIdleBufferBytes = 16 << 20;

/// Data-out in the ring is the kernel's until the command is completed, which is later than any use of it.
class RingMemory final : public base::RefCounted {
  void dispose() override {}
};

base::Ref<const base::RefCounted> ring_memory() {
  static RingMemory memory;
  return base::Ref<const base::RefCounted>(&memory);
}

std::span<const iovec> parts(const LibCommand& lib) { return {lib.iov, lib.iov_cnt}; }

std::size_t room(const LibCommand& lib) {
  std::size_t total = 0;
  for (const iovec& part : parts(lib)) total += part.iov_len;
  return total;
}

/// Fills the room there is for data-in. What the task has no data for is zeros: the kernel hands the initiator all of
/// it, and may have had others' data there.
void put_data_in(const base::Segments& data, const LibCommand& lib) {
  std::uint64_t offset = 0;
  for (const iovec& part : parts(lib)) {
    auto* to = static_cast<std::uint8_t*>(part.iov_base);
    const std::size_t count = std::min<std::uint64_t>(part.iov_len, data.size() - offset);
    if (count > 0) data.copy_to(offset, {to, count});
    std::memset(to + count, 0, part.iov_len - count);
    offset += count;
  }
}

/// DEVIATION: libtcmu has no other status to complete a command with. What it has no word for is BUSY, so that the
/// command is sent again. CONDITION MET, which nothing of ours is answered with, would be GOOD.
RunnerStatus runner_status(scsi::Status status) {
  switch (status) {
    case scsi::Status::good:
    case scsi::Status::condition_met: return RunnerStatus::ok;
    case scsi::Status::check_condition: return RunnerStatus::passthrough_err;
    case scsi::Status::task_set_full: return RunnerStatus::no_resource;
    case scsi::Status::busy:
    case scsi::Status::reservation_conflict:
    case scsi::Status::aca_active:
    case scsi::Status::task_aborted: return RunnerStatus::busy;
  }
  return RunnerStatus::busy;
}

/// Of a command that is none of ours nobody knows.
bool is_data_out(const scsi::Task& task) {
  return task.descriptor && task.descriptor->direction == scsi::DataDirection::out;
}

void put_sense(std::span<const std::uint8_t> sense, LibCommand& lib) {
  lib.sense_buf.fill(0);
  std::ranges::copy(sense.first(std::min(sense.size(), lib.sense_buf.size())), lib.sense_buf.begin());
}

}  // namespace

std::optional<std::size_t> cdb_length(std::uint8_t operation_code) {
  constexpr int kGroupCodeShift = 5;
  switch (operation_code >> kGroupCodeShift) {
    case 0: return 6;
    case 1:
    case 2: return 10;
    case 4: return 16;
    case 5: return 12;
    default: return std::nullopt;  // variable length; libtcmu knows no length of groups 6 and 7
  }
}

std::array<std::uint8_t, 16> naa_of_serial(std::string_view serial) {
  std::string digits = "6001405";
  std::ranges::copy_if(serial, std::back_inserter(digits), [](unsigned char each) { return std::isxdigit(each); });
  std::array<std::uint8_t, 16> naa{};
  digits.resize(2 * naa.size(), '0');
  for (std::size_t i = 0; i < naa.size(); ++i)
    naa[i] = static_cast<std::uint8_t>(std::stoul(digits.substr(2 * i, 2), nullptr, 16));
  return naa;
}

Device::Device(target::EventLoop& loop, DeviceOwner& owner, RunnerDevice* runner, scsi::DeviceServer& server,
               const std::string& initiator_name)
    : owner_(owner),
      runner_(runner),
      server_(server),
      nexus_(server.attach({.initiator_name = initiator_name, .target_name = server.config().target_name})),
      buffers_(base::make_ref<base::DataBufferPool>(kIdleBufferBytes)),
      queue_(loop, [this] { serve(); }) {}

Device::~Device() = default;

Device::Command& Device::take() {
  if (!free_) {
    commands_.push_back(std::make_unique<Command>());
    return *commands_.back();
  }
  return *std::exchange(free_, free_->next_free);
}

void Device::release(Command& command) {
  command.reset();
  command.lib = nullptr;
  command.gathered = {};
  command.next_free = free_;
  free_ = &command;
}

void Device::serve() {
  LibCommand* next = queue_.take();
  while (next) {
    LibCommand& lib = *next;
    next = CommandQueue::next(lib);  // before it is completed, which frees it
    closing_ ? complete(lib, RunnerStatus::busy) : begin(lib);
  }
}

/// LIO lets the serial number be set after the backstore is there, but not once it is exported; no command comes before
/// that.
void Device::learn_identity() {
  if (std::exchange(knows_identity_, true)) return;
  std::unique_ptr<char, decltype(&std::free)> serial(tcmu_cfgfs_dev_get_wwn(runner_), &std::free);
  if (!serial || *serial.get() == '\0') return;
  scsi::LogicalUnit& unit = *server_.find(kLun);
  scsi::LogicalUnitIdentity identity = unit.identity();
  identity.serial = std::string(serial.get()).substr(0, kLongestSerial);
  identity.naa = naa_of_serial(serial.get());
  scsi::CopyManager& manager = server_.copy_manager();
  auto has_it = [&](const scsi::LogicalUnit& other) { return other.identity().naa == identity.naa; };
  // A copy would find the one's data by the other's name.
  if (manager.fabric().find_if(manager, has_it))
    return base::log::error(
        "{}: another backstore of its group has the designator that follows from its serial {}; it keeps one of ours",
        unit.config().name, serial.get());
  identity.eui64 = {};  // LIO has none, and ours would not follow from its serial
  unit.set_identity(std::move(identity));
  manager.exported(unit, server_.config().target_name);  // tokens name it by the new one
}

void Device::begin(LibCommand& lib) {
  learn_identity();
  Command& command = take();
  command.lib = &lib;
  command.nexus = nexus_;
  command.lun = kLun;
  command.tag = next_tag_++;
  command.observer = this;
  // A longer CDB is refused by its operation code alone, which no command that we serve has.
  std::copy_n(lib.cdb, cdb_length(lib.cdb[0]).value_or(1), command.cdb.begin());
  command.expected_data_length = command.data_in_room = room(lib);

  command.in_call = true;
  server_.admit(command);
  if (command.state == scsi::Task::State::admitted) {
    give_data_out(command);
    server_.execute(command);
  }
  command.in_call = false;
  if (command.state == scsi::Task::State::completed) answer(command);
}

void Device::give_data_out(Command& command) {
  const LibCommand& lib = *command.lib;
  const std::size_t length = std::min<std::uint64_t>(*command.expected_data_length, command.data_out_length);
  if (lib.iov_cnt == 1) {
    command.data_out = {static_cast<const std::uint8_t*>(lib.iov->iov_base), length};
    command.data_out_owner = ring_memory();
    return;
  }
  if (length == 0) return;
  command.gathered = buffers_->take(length);
  base::MutableBytes to = command.gathered->bytes().first(length);
  command.data_out = to;
  for (const iovec& part : parts(lib)) {
    const std::size_t count = std::min(part.iov_len, to.size());
    std::memcpy(to.data(), part.iov_base, count);
    to = to.subspan(count);
  }
  command.data_out_owner = command.gathered;
}

void Device::completed(scsi::Task& task) {
  auto& command = static_cast<Command&>(task);
  if (!command.in_call) answer(command);
}

void Device::answer(Command& command) {
  LibCommand& lib = *command.lib;
  if (command.status == scsi::Status::check_condition) put_sense(server_.sense_data(command), lib);
  if (!is_data_out(command)) put_data_in(command.data_in, lib);
  const RunnerStatus status = runner_status(command.status);
  release(command);
  complete(lib, status);
}

void Device::complete(LibCommand& lib, RunnerStatus status) {
  tcmulib_command_complete(runner_, &lib, static_cast<int>(status));
  if (!std::exchange(unsettled_, true)) owner_.needs_settling(*this);
}

void Device::settle() {
  unsettled_ = false;
  tcmulib_processing_complete(runner_);
}

void Device::close(std::function<void()> done) {
  closing_ = true;
  serve();
  server_.abort_all(nexus_, [this, done = std::move(done)] {
    server_.detach(nexus_);
    done();
  });
}

}  // namespace tcmu
