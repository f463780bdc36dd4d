// A file logical unit without a network: READ(16), WRITE(16) or SYNCHRONIZE CACHE(16) go straight into a device server
// whose executor is odxd's own event loop with its workers, and there are always `--depth` of them under way. What is
// measured is everything odxd does for a command but iSCSI, to be compared with fio on the same file. Prints one line
// of JSON. An answer that is not GOOD ends the run.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/data_buffer.h"
#include "base/entropy.h"
#include "handlers/factory.h"
#include "scsi/copy_manager.h"
#include "scsi/device_server.h"
#include "scsi/logical_unit.h"
#include "target/event_loop.h"
#include "test/bench/cpu_time.h"

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::uint32_t kBlock = 512;
constexpr std::uint8_t kRead16 = 0x88, kWrite16 = 0x8A, kSynchronizeCache16 = 0x91;
constexpr std::uint8_t kFua = 0x08;

struct Options {
  std::string store;
  unsigned depth = 1;
  std::uint32_t size = 4096;
  bool write = false;
  bool fua = false;
  bool synchronize = false;
  double seconds = 1;
  double warmup = 0.3;
  std::uint64_t region = std::uint64_t{256} << 20;
  unsigned workers = 4;  // as odxd
};

class Bench;

struct Slot final : scsi::TaskObserver {
  void completed(scsi::Task& task) override;

  Bench* bench = nullptr;
  scsi::Task task{};
  base::Ref<base::DataBuffer> data{};
};

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options),
        loop_(options.workers),
        copies_({}, loop_.clock(), entropy_),
        server_({"iqn.2026-11.org.odx:file-bench"}, loop_.clock(), &loop_, copies_),
        slots_(options.depth) {
    scsi::LogicalUnitConfig config;
    config.name = "file";
    auto unit = std::make_shared<scsi::LogicalUnit>(config, handlers::open_store(options.store, {}));
    requests_ = std::min(options.region, unit->size_bytes()) / options.size;
    if (requests_ == 0 || options.size % kBlock != 0) throw std::runtime_error("--size does not fit");
    server_.add(scsi::Lun{0}, std::move(unit));
    nexus_ = server_.attach({"iqn.2026-11.org.odx:client", {}, server_.config().target_name, 1});
    for (Slot& slot : slots_) {
      slot.bench = this;
      slot.data = buffers_->take(options.size);
      std::ranges::fill(slot.data->bytes(), std::uint8_t{0x5A});
    }
  }

  void run() {
    take_unit_attention();
    loop_.at_end_of_turn([this] { start_ready(); });
    for (Slot& slot : slots_) ready_.push_back(&slot);
    starts_at_ = SteadyClock::now() + seconds(options_.warmup);
    ends_at_ = SteadyClock::time_point::max();
    loop_.run();
    loop_.finish_posted_work();
    if (!error_.empty()) throw std::runtime_error(error_);
  }

  void report() const {
    const auto count = static_cast<double>(done_);
    fmt::print("{{\"iops\": {:.0f}, \"mb_s\": {:.1f}, \"cpu_us\": {:.2f}, \"ios\": {}, \"seconds\": {:.3f}}}\n",
               count / elapsed_, count * options_.size / elapsed_ / 1e6, cpu_ / count * 1e6, done_, elapsed_);
  }

  void completed(Slot& slot) {
    ++done_;
    if (slot.task.status != scsi::Status::good && error_.empty())
      error_ = fmt::format("status {:#x}: {}", static_cast<unsigned>(slot.task.status), slot.task.sense.rule);
    ready_.push_back(&slot);
  }

 private:
  // As many as one receive of odxd may bring, then whoever else waits for the loop.
  static constexpr int kStartsPerTurn = 128;
  static constexpr int kStartsPerLook = 16;

  static SteadyClock::duration seconds(double count) {
    return std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(count));
  }

  /// The first command of a nexus is told of POWER ON.
  void take_unit_attention() {
    Slot first;
    first.bench = this;
    loop_.turn([&] {
      first.task.nexus = nexus_;
      first.task.observer = &first;
      server_.admit(first.task);
    });
    ready_.clear();
    error_.clear();
  }

  void start_ready() {
    for (int i = 0; i < kStartsPerTurn && !ready_.empty(); ++i) {
      if (!over_ && i % kStartsPerLook == 0) look_at_clock();
      if (over_) return;
      Slot& slot = *ready_.back();
      ready_.pop_back();
      start(slot);
    }
    if (!ready_.empty()) loop_.again();
  }

  void look_at_clock() {
    const auto now = SteadyClock::now();
    if (ends_at_ == SteadyClock::time_point::max() && now >= starts_at_) {
      starts_at_ = now;
      ends_at_ = now + seconds(options_.seconds);
      cpu_ = bench::own_cpu_seconds();
      done_ = 0;
    } else if (now >= ends_at_ || !error_.empty()) {
      over_ = true;
      elapsed_ = std::chrono::duration<double>(now - starts_at_).count();
      cpu_ = bench::own_cpu_seconds() - cpu_;
      loop_.stop();
    }
  }

  void start(Slot& slot) {
    scsi::Task& task = slot.task;
    task.reset();
    task.nexus = nexus_;
    task.tag = ++tag_;
    task.observer = &slot;
    task.cdb = {};
    task.cdb[0] = options_.synchronize ? kSynchronizeCache16 : options_.write ? kWrite16 : kRead16;
    if (options_.fua) task.cdb[1] = kFua;
    const std::uint64_t blocks = options_.size / kBlock;
    const base::be64 lba(random_() % requests_ * blocks);
    const base::be32 length(static_cast<std::uint32_t>(blocks));
    std::memcpy(&task.cdb[2], &lba, sizeof lba);
    std::memcpy(&task.cdb[10], &length, sizeof length);
    server_.admit(task);
    if (!task.has_data_out() || task.state == scsi::Task::State::completed) return;
    task.data_out = slot.data->bytes().first(options_.size);
    task.data_out_owner = slot.data;
    server_.execute(task);
  }

  const Options options_;
  base::SeededEntropy entropy_{1};
  target::EventLoop loop_;
  scsi::CopyManager copies_;
  scsi::DeviceServer server_;
  scsi::NexusId nexus_{};
  base::Ref<base::DataBufferPool> buffers_ = base::make_ref<base::DataBufferPool>(std::size_t{0});
  std::vector<Slot> slots_;
  std::vector<Slot*> ready_;
  std::minstd_rand random_{1};
  std::string error_;
  std::uint64_t requests_ = 0;
  std::uint32_t tag_ = 0;
  SteadyClock::time_point starts_at_{};
  SteadyClock::time_point ends_at_{};
  bool over_ = false;
  std::uint64_t done_ = 0;
  double elapsed_ = 0;
  double cpu_ = 0;
};

void Slot::completed(scsi::Task&) { bench->completed(*this); }

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app("Measures a file logical unit without a network");
  app.add_option("store", options.store, "file:PATH, or any other store of odxd")->required();
  app.add_option("--depth", options.depth, "commands under way")->check(CLI::PositiveNumber);
  app.add_option("--size", options.size, "bytes of a command");
  app.add_flag("--write", options.write);
  app.add_flag("--fua", options.fua);
  app.add_flag("--synchronize", options.synchronize, "SYNCHRONIZE CACHE(16) instead");
  app.add_option("--seconds", options.seconds, "measured time");
  app.add_option("--warmup", options.warmup, "seconds before it");
  app.add_option("--region", options.region, "bytes at the start that are used");
  app.add_option("--workers", options.workers);
  CLI11_PARSE(app, argc, argv);
  Bench bench(options);
  bench.run();
  bench.report();
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "file_bench: {}\n", error.what());
  return 1;
}
