// A device server with two logical units over RamStores, one I_T nexus attached and its first unit attentions taken,
// and a way to run a CDB and look at everything that comes back.
//
// run() sends a command and wants the answer at once. send() only sends it: with `blocking` stores, work stays in
// `executor` until a test lets it go, so that order and aborts can be seen.
#pragma once

#include <deque>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/entropy.h"
#include "base/executor.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/reservation_changes.h"
#include "scsi/unit_settings.h"
#include "test/scsi/ram_store.h"

namespace test {

/// Keeps work back until it is told to run it; everything happens on the test's thread.
class HeldExecutor final : public base::Executor {
 public:
  void post(std::move_only_function<void()> work, std::move_only_function<void()> done) override {
    jobs_.push_back({std::move(work), std::move(done)});
  }
  void post_of(const void* owner, std::move_only_function<void()> work, std::move_only_function<void()> done) override {
    owners.push_back(owner);
    post(std::move(work), std::move(done));
  }
  std::vector<const void*> owners{};  ///< of what was posted for one
  void soon(std::move_only_function<void()> call) override { soon_.push_back(std::move(call)); }
  Executor* aside() override { return asides.get(); }
  std::unique_ptr<HeldExecutor> asides{};  ///< null: none are taken

  std::size_t held() {
    end_turn();
    return jobs_.size();
  }
  /// Runs the job posted `index` places after the oldest.
  void run(std::size_t index = 0) {
    end_turn();
    Job job = std::move(jobs_.at(index));
    jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(index));
    job.work();
    job.done();
    end_turn();
  }
  void run_all() {
    while (held() > 0 || !soon_.empty())
      if (!jobs_.empty()) run();
  }
  /// Makes the calls that wait for the end of a turn. Returns whether there were any.
  bool end_turn() {
    auto calls = std::exchange(soon_, {});
    for (auto& call : calls) call();
    return !calls.empty();
  }

 private:
  struct Job {
    std::move_only_function<void()> work;
    std::move_only_function<void()> done;
  };
  std::deque<Job> jobs_;
  std::vector<std::move_only_function<void()>> soon_;
};

/// Where a logical unit's state is kept, in the test's memory.
class KeptState final : public scsi::StateStore {
 public:
  struct Kept {
    std::optional<std::vector<std::uint8_t>> image{};
    unsigned writes = 0;
    bool failing = false;
  };
  explicit KeptState(Kept& kept) : kept_(kept) {}
  std::expected<void, std::string> write(base::Bytes image) override {
    ++kept_.writes;
    if (kept_.failing) return std::unexpected("it fails");
    kept_.image.emplace(image.begin(), image.end());
    return {};
  }

 private:
  Kept& kept_;
};

struct DeviceOptions {
  std::uint64_t size_bytes = 1 << 20;
  std::uint32_t block_length = 512;
  bool blocking = false;
  bool thin = true;
  bool read_only = false;
  bool removable = false;
  std::uint8_t physical_exponent = 0;
  scsi::DeviceProfile profile{};
  KeptState::Kept* kept = nullptr;                 ///< where reservations of the first logical unit persist
  KeptState::Kept* kept_settings = nullptr;        ///< and its settings
  std::optional<std::uint64_t> available_bytes{};  ///< what the stores say is left
  std::uint64_t soft_threshold_bytes = 0;
  bool self_encrypting = false;
  std::vector<std::uint16_t> further_portal_group_tags = {};  ///< the target's ports beside 1
  scsi::TargetPortGroups target_port_groups{};
  std::vector<std::string> allowed_initiators = {};  ///< those the logical units are there for
};

/// A logical unit that is offered every command of the table.
inline DeviceOptions every_command() {
  return {
      .removable = true, .self_encrypting = true, .target_port_groups = {scsi::AccessChanges::by_either_side, {{}}}};
}

/// One command a test sent, and what became of it.
class Command final : public scsi::TaskObserver {
 public:
  scsi::Task task{};
  unsigned completions = 0;

  bool done() const { return completions > 0; }
  scsi::Status status() const { return task.status; }
  const scsi::Sense& sense() const { return task.sense; }
  std::vector<std::uint8_t> data() const { return task.data_in.to_vector(); }
  bool good() const { return completions == 1 && task.status == scsi::Status::good; }
  bool failed_with(scsi::SenseKey key, scsi::AdditionalSense code) const {
    return completions == 1 && task.status == scsi::Status::check_condition && task.sense.key == key &&
           task.sense.code == code;
  }

  void completed(scsi::Task&) override {
    ++completions;
    if (order) order->push_back(task.tag);
  }
  std::vector<std::uint32_t>* order = nullptr;
  std::vector<std::uint8_t> data_out{};
};

class Device {
 public:
  using Cdb = std::vector<std::uint8_t>;

  explicit Device(DeviceOptions options = {})
      : copies(options.profile, clock, entropy),
        server({"iqn.2025-01.example:target", 1, options.further_portal_group_tags}, clock, &executor, copies) {
    for (std::uint16_t number = 0; number < 2; ++number) add(number, options);
    nexus = attach("iqn.2025-01.example:host");
    order.clear();
  }

  base::VirtualClock clock{};
  base::SeededEntropy entropy{42};
  HeldExecutor executor{};
  scsi::CopyManager copies;
  scsi::DeviceServer server;
  scsi::NexusId nexus{};
  std::vector<RamStore*> stores{};
  std::vector<std::uint32_t> order{};  ///< tags, as their tasks were completed

  /// Adds a logical unit like the first two.
  void add(std::uint16_t number, const DeviceOptions& options = {}) {
    auto store = std::make_unique<RamStore>(options.size_bytes);
    store->blocking = options.blocking;
    store->available = options.available_bytes;
    stores.push_back(store.get());
    scsi::LogicalUnitConfig config;
    config.name = "lu" + std::to_string(number);
    config.identity.serial = "SERIAL000" + std::to_string(number);
    config.identity.naa = {0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(0x0A + number)};
    config.identity.eui64 = {0x02, 0x4F, 0x44, 0, 0, 0, 0, static_cast<std::uint8_t>(0x0A + number)};
    config.block_length = options.block_length;
    config.thin = options.thin;
    config.read_only = options.read_only;
    config.removable = options.removable;
    config.target_port_groups = options.target_port_groups;
    config.blocks_per_physical_exponent = options.physical_exponent;
    config.soft_threshold_bytes = options.soft_threshold_bytes;
    config.self_encrypting = options.self_encrypting;
    config.allowed_initiators = options.allowed_initiators;
    scsi::StateStores kept;
    if (options.kept && number == 0) kept.reservations = std::make_unique<KeptState>(*options.kept);
    if (options.kept_settings && number == 0) kept.settings = std::make_unique<KeptState>(*options.kept_settings);
    server.add(scsi::Lun{number}, std::make_shared<scsi::LogicalUnit>(config, std::move(store), std::move(kept)));
  }

  /// A nexus with the unit attentions of its birth taken.
  scsi::NexusId attach(const std::string& initiator, std::uint16_t port = 1) {
    scsi::NexusId id = server.attach({initiator, {}, server.config().target_name, port});
    for (auto& [lun, lu] : server.logical_units()) run({0x00, 0, 0, 0, 0, 0}, {}, static_cast<std::uint16_t>(lun), id);
    return id;
  }

  scsi::LogicalUnit& lu(std::uint16_t number = 0) { return *server.find(scsi::Lun{number}); }

  /// Prepares a command; admit() and execute() are the test's.
  Command& prepare(const Cdb& cdb, std::uint16_t lun = 0, scsi::NexusId from = scsi::NexusId::none) {
    Command& command = commands_.emplace_back();
    command.order = &order;
    command.task.nexus = from == scsi::NexusId::none ? nexus : from;
    command.task.lun = scsi::Lun{lun};
    command.task.tag = ++last_tag_;
    command.task.observer = &command;
    if (cdb.size() > command.task.cdb.size()) throw std::logic_error("CDB too long");
    std::copy(cdb.begin(), cdb.end(), command.task.cdb.begin());
    return command;
  }

  /// Admits a prepared command and gives it its data-out, lent for the call only.
  Command& go(Command& command, std::vector<std::uint8_t> data_out = {}) {
    server.admit(command.task);
    if (command.done() || !command.task.has_data_out()) return command;
    if (data_out.size() > command.task.data_out_length) data_out.resize(command.task.data_out_length);
    command.task.data_out = data_out;
    server.execute(command.task);
    std::fill(data_out.begin(), data_out.end(), std::uint8_t{0xEE});
    return command;
  }

  Command& send(const Cdb& cdb, std::vector<std::uint8_t> data_out = {}, std::uint16_t lun = 0,
                scsi::NexusId from = scsi::NexusId::none, scsi::TaskAttribute attribute = scsi::TaskAttribute::simple) {
    Command& command = prepare(cdb, lun, from);
    command.task.attribute = attribute;
    return go(command, std::move(data_out));
  }

  /// Sends a command, lets all held work go, and wants it completed exactly once.
  Command& run(const Cdb& cdb, std::vector<std::uint8_t> data_out = {}, std::uint16_t lun = 0,
               scsi::NexusId from = scsi::NexusId::none) {
    Command& command = send(cdb, std::move(data_out), lun, from);
    executor.run_all();
    if (command.completions != 1) throw std::logic_error("command not completed exactly once");
    return command;
  }

  const std::deque<Command>& commands() const { return commands_; }

 private:
  std::deque<Command> commands_{};
  std::uint32_t last_tag_ = 0;
};

}  // namespace test
