#include "target/tcmu/plugin.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <stdexcept>
#include <utility>

#include "base/log.h"
#include "handlers/memory_budget.h"
#include "handlers/memory_pool.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "scsi/mode_pages.h"
#include "scsi/rules.h"

namespace tcmu {
namespace {

constexpr unsigned kWorkers = 4;  // for each store that waits for a device
constexpr std::uint16_t kPort = 1;
constexpr std::uint16_t kLun = 0;

/// Who sends commands to a device that nobody owns alone.
constexpr std::string_view kAnybody = "iqn.2026-11.org.odx:any-initiator";

/// While it lives, threads that are made take no signals, nor do those that they make: the daemon has its own that do.
class WithoutSignals {
 public:
  WithoutSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  sigset_t before_;
};

target::EventLoop make_loop() {
  WithoutSignals guard;
  return target::EventLoop(kWorkers, kWorkers);
}

std::uint64_t size_bytes(RunnerDevice* runner) {
  return tcmu_dev_get_num_lbas(runner) * tcmu_dev_get_block_size(runner);
}

}  // namespace

struct Plugin::Served {
  Configuration configuration{};
  target::Arrays* arrays = nullptr;
  std::string target_name{};
  std::weak_ptr<scsi::LogicalUnit> unit{};
  std::unique_ptr<Device> device{};
  bool closing = false;  ///< and it has no task any more
  std::promise<void> closed{};
};

Plugin::Plugin()
    : loop_(make_loop()),
      array_clock_(loop_.clock()),
      pool_(handlers::MemoryPool::create(handlers::default_memory_limit())),
      array_time_(loop_, array_clock_) {
  loop_.at_end_of_turn([this] { end_of_turn(); });
  WithoutSignals guard;
  thread_ = std::thread([this] { loop_.run(); });
  pthread_setname_np(thread_.native_handle(), "odx");
}

Plugin::~Plugin() {
  loop_.stop();
  thread_.join();
  loop_.finish_posted_work();
}

/// Does `work` in a turn of the loop. Throws std::runtime_error with the text of what it threw: no exception is shared
/// by two threads. The loop owns what it calls, since it may not be done with that when the result is there.
template <typename Work>
void Plugin::on_loop(Work work) {
  std::packaged_task<std::optional<std::string>()> task(
      [work = std::move(work)]() mutable -> std::optional<std::string> {
        try {
          work();
          return std::nullopt;
        } catch (const std::exception& error) {
          return error.what();
        }
      });
  auto result = task.get_future();
  loop_.call(std::move(task));
  if (auto error = result.get()) throw std::runtime_error(*error);
}

Device& Plugin::open(RunnerDevice* runner) {
  Device* opened = nullptr;
  on_loop([&] { opened = &open_on_loop(runner); });
  return *opened;
}

target::Arrays& Plugin::group(const Configuration& configuration) {
  auto& arrays = groups_[configuration.group];
  if (!arrays) {
    arrays = std::make_unique<target::Arrays>(configuration.array, array_clock_, array_clock_.timers(), entropy_, loop_,
                                              pool_);
    arrays->rules().set_wire_time({&loop_.clock(), &loop_.timers()});
  }
  return *arrays;
}

void Plugin::drop_empty_groups() {
  std::erase_if(groups_, [this](const auto& group) {
    return std::ranges::find(devices_, group.second.get(), [](const auto& each) { return each->arrays; }) ==
           devices_.end();
  });
}

Device& Plugin::open_on_loop(RunnerDevice* runner) {
  try {
    return serve(runner, parse_configuration(tcmu_dev_get_cfgstring(runner)));
  } catch (const std::runtime_error&) {
    drop_empty_groups();
    throw;
  }
}

Device& Plugin::serve(RunnerDevice* runner, Configuration configuration) {
  const std::string name = tcmu_dev_get_uio_name(runner);
  const std::uint64_t size = size_bytes(runner);
  target::Arrays& arrays = group(configuration);
  auto lun = lun_of(configuration, name, size, tcmu_dev_get_block_size(runner));
  if (arrays.lun_names().contains(lun.name))
    throw target::ChangeError(fmt::format("{}: another backstore is it already", lun.place));
  auto opened = arrays.open_lun(0, lun);
  if (opened.store->size_bytes() != size)
    throw target::StoreError(
        fmt::format("{}: it has {} bytes, and LIO says {}", lun.place, opened.store->size_bytes(), size));
  target::TargetConfig target;
  target.name = fmt::format("iqn.2026-11.org.odx:tcmu-{}", name);
  target.portal_groups = {kPort};
  arrays.add_target(target);
  const auto& added = arrays.add_lun(target.name, std::move(opened));

  auto served = std::make_unique<Served>();
  const std::string& owner = configuration.group.initiator;
  served->arrays = &arrays;
  served->target_name = target.name;
  served->unit = added.logical_unit;
  served->device =
      std::make_unique<Device>(loop_, *this, runner, *added.server, owner.empty() ? std::string(kAnybody) : owner);
  base::log::info("{}: {}, {} bytes, {}", name, lun.place, size,
                  owner.empty() ? "no third-party copy" : "third-party copy for " + owner);
  served->configuration = std::move(configuration);
  devices_.push_back(std::move(served));
  return *devices_.back()->device;
}

void Plugin::close(Device& device) {
  std::future<void> closed;
  on_loop([&] {
    closed = served(device).closed.get_future();
    device.close([this, &device] {
      Served& leaving = served(device);
      leaving.arrays->remove_target(leaving.target_name);
      leaving.closing = true;
      ++closing_;
    });
  });
  closed.get();
}

Plugin::Served& Plugin::served(const Device& device) {
  return **std::ranges::find(devices_, &device, [](const auto& each) { return each->device.get(); });
}

void Plugin::end_of_turn() {
  for (Device* device : std::exchange(unsettled_, {})) device->settle();
  bool more = pool_->reclaim(target::Arrays::kObjectsOfATurn);
  for (const auto& [key, arrays] : groups_) more |= arrays->let_go();
  if (more) loop_.again();
  if (closing_ > 0) [[unlikely]]
    finish_closing();
}

/// Those whose logical units are gone, and groups that have no device left.
void Plugin::finish_closing() {
  std::vector<std::promise<void>> closed;
  std::erase_if(devices_, [&closed](const auto& each) {
    if (!each->closing || !each->unit.expired()) return false;
    closed.push_back(std::move(each->closed));
    return true;
  });
  if (closed.empty()) return;
  closing_ -= closed.size();
  drop_empty_groups();
  for (std::promise<void>& each : closed) each.set_value();
}

void Plugin::reconfigure(Device& device, const Reconfig& wanted) {
  on_loop([&] { reconfigure_on_loop(served(device), wanted); });
}

void Plugin::reconfigure_on_loop(Served& served, const Reconfig& wanted) {
  switch (wanted.type) {
    case ReconfigType::size: return served.arrays->resize_lun(served.target_name, kLun, wanted.data.dev_size);
    case ReconfigType::write_cache: return judge_write_cache(served, wanted.data.write_cache);
    case ReconfigType::config_string: return change(served, parse_configuration(wanted.data.dev_cfgstring));
  }
  throw target::ChangeError("an unknown change is asked for");
}

/// WCE is the initiator's, by MODE SELECT.
void Plugin::judge_write_cache(const Served& served, bool wanted) {
  if (served.arrays->find_lun(served.target_name, kLun).lun->logical_unit->mode_pages().write_cache_enabled() != wanted)
    throw target::ChangeError("initiators change WCE by MODE SELECT; the backstore does not");
}

void Plugin::change(Served& served, Configuration wanted) {
  if (!wanted.same_but_read_only(served.configuration))
    throw target::ChangeError("only read_only can be changed while it is served; else remove the backstore first");
  served.arrays->set_read_only(served.target_name, kLun, wanted.lun.read_only);
  served.configuration = std::move(wanted);
}

}  // namespace tcmu
