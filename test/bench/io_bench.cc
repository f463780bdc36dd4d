// The client of the benchmarks: libiscsi's asynchronous interface, one thread, one poll loop for all sessions,
// READ(16) and WRITE(16) whose data goes straight from and to the buffers, or SYNCHRONIZE CACHE(16). Prints one line of
// JSON. Every answer that is not GOOD is an error and ends the run.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cost_counter.h"
#include "iscsi_client.h"

namespace {

using SteadyClock = std::chrono::steady_clock;

struct Options {
  std::string url;
  int sessions = 1;
  int depth = 1;
  std::uint32_t size = 4096;
  bool write = false;
  bool fua = false;
  bool synchronize = false;
  bool sequential = false;
  double seconds = 1;
  double warmup = 0.3;
  std::uint64_t region = std::uint64_t{256} << 20;
  bool fill = false;        ///< writes the region once, in order, instead of measuring for a time
  int server_pid = 0;       ///< whose processor time is measured too
  std::string costs;        ///< file of its cost_counter
  std::uint64_t count = 0;  ///< requests to issue instead of measuring for a time, when not 0
  int tell = 0;             ///< who gets SIGUSR1 when measuring begins
};

class Bench;

/// One request in flight, with its buffer; used again and again.
struct Slot {
  Bench* bench = nullptr;
  std::size_t session = 0;
  std::vector<std::uint8_t> buffer;
  scsi_iovec part{};
  SteadyClock::time_point started;
};

struct Session : bench::Session {
  std::uint64_t next = 0;  ///< of a sequential run, in requests from the start of the session's share
};

volatile std::sig_atomic_t told_to_end = 0;  ///< SIGTERM: what was measured up to the last SIGUSR2 counts, if any came
volatile std::sig_atomic_t told_it_counts = 0;

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options), random_(1) {
    for (int i = 0; i < options.sessions; ++i) connect(i);
    requests_ = options_.region / options_.size;
    share_ = requests_ / sessions_.size();
    if (share_ == 0) throw std::runtime_error("the region is too small");
    latencies_.reserve(std::size_t{1} << 22);
  }

  ~Bench() {
    for (Session& session : sessions_) bench::disconnect(session);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void run() {
    left_ = options_.count;
    for (std::size_t session = 0; session < sessions_.size(); ++session) {
      for (int i = 0; i < options_.depth; ++i) {
        auto slot = std::make_unique<Slot>();
        slot->bench = this;
        slot->session = session;
        slot->buffer.assign(options_.size, static_cast<std::uint8_t>(0xA0 + i % 16));
        slots_.push_back(std::move(slot));
        start(*slots_.back());
      }
    }
    if (options_.fill || options_.count > 0) {
      while (in_flight_ > 0) turn();
      return;
    }
    turn_until(SteadyClock::now() + seconds(options_.warmup));
    measure();
    stopping_ = true;
    while (in_flight_ > 0) turn();
  }

  void report() {
    if (options_.fill) {
      fmt::print("{{\"filled\": {}}}\n", requests_ * options_.size);
      return;
    }
    if (options_.count > 0) {
      fmt::print("{{\"ios\": {}}}\n", options_.count);
      return;
    }
    auto count = static_cast<double>(latencies_.size());
    fmt::print(
        "{{\"iops\": {:.0f}, \"mb_s\": {:.1f}, \"p50_us\": {:.1f}, \"p99_us\": {:.1f}, \"longest_us\": {:.1f}, "
        "\"client_cpu_us\": {:.2f}, \"server_cpu_us\": {:.2f}, \"ios\": {}, \"seconds\": {:.3f}",
        count / elapsed_, count * options_.size / elapsed_ / 1e6, percentile(0.50), percentile(0.99), percentile(1),
        client_cpu_ / count * 1e6, server_cpu_ / count * 1e6, latencies_.size(), elapsed_);
    if (!options_.costs.empty()) report_costs(count);
    fmt::print("}}\n");
  }

 private:
  static SteadyClock::duration seconds(double count) {
    return std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(count));
  }

  void connect(int number) {
    Session session{bench::connect(options_.url, fmt::format("iqn.2026-01.example.odx:bench{}", number)), 0};
    options_.region = std::min(options_.region, session.blocks * session.block);
    sessions_.push_back(session);
  }

  /// Where the next request of a session goes, in requests from the start of the region.
  std::uint64_t place(Session& session, std::size_t number) {
    if (!options_.sequential && !options_.fill)
      return std::uniform_int_distribution<std::uint64_t>(0, requests_ - 1)(random_);
    return number * share_ + session.next++ % share_;
  }

  void start(Slot& slot) {
    Session& session = sessions_[slot.session];
    if (options_.fill && session.next >= share_) return;
    if (options_.count > 0) {
      if (left_ == 0) return;
      --left_;
    }
    std::uint64_t lba = place(session, slot.session) * (options_.size / session.block);
    slot.part = {slot.buffer.data(), slot.buffer.size()};
    slot.started = SteadyClock::now();
    if (command(session, slot, lba) == nullptr) throw std::runtime_error(iscsi_get_error(session.context));
    ++in_flight_;
  }

  scsi_task* command(const Session& session, Slot& slot, std::uint64_t lba) {
    const auto block = static_cast<int>(session.block);
    const int fua = options_.fua ? 1 : 0;
    if (options_.synchronize) {
      return iscsi_synchronizecache16_task(session.context, session.lun, lba, options_.size / session.block, 0, 0,
                                           &Bench::completed, &slot);
    }
    if (options_.write) {
      return iscsi_write16_iov_task(session.context, session.lun, lba, nullptr, options_.size, block, 0, 0, fua, 0, 0,
                                    &Bench::completed, &slot, &slot.part, 1);
    }
    return iscsi_read16_iov_task(session.context, session.lun, lba, options_.size, block, 0, 0, fua, 0, 0,
                                 &Bench::completed, &slot, &slot.part, 1);
  }

  static void completed(iscsi_context* context, int status, void* data, void* private_data) {
    auto& slot = *static_cast<Slot*>(private_data);
    scsi_free_scsi_task(static_cast<scsi_task*>(data));
    Bench& bench = *slot.bench;
    --bench.in_flight_;
    if (status != SCSI_STATUS_GOOD) {
      bench.error_ = fmt::format("status {:#x}: {}", status, iscsi_get_error(context));
      return;
    }
    if (bench.measuring_) {
      auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(SteadyClock::now() - slot.started).count();
      bench.latencies_.push_back(static_cast<std::uint32_t>(std::min<std::int64_t>(took, UINT32_MAX)));
    }
    if (!bench.stopping_) bench.start(slot);
  }

  void turn() {
    polled_.clear();
    for (Session& session : sessions_) {
      polled_.push_back({iscsi_get_fd(session.context), static_cast<short>(iscsi_which_events(session.context)), 0});
    }
    poll(polled_.data(), polled_.size(), 1000);
    for (std::size_t i = 0; i < sessions_.size(); ++i) {
      if (polled_[i].revents != 0 && iscsi_service(sessions_[i].context, polled_[i].revents) < 0) {
        throw std::runtime_error(iscsi_get_error(sessions_[i].context));
      }
    }
    if (!error_.empty()) throw std::runtime_error(error_);
  }

  void turn_until(SteadyClock::time_point end) {
    while (SteadyClock::now() < end) turn();
  }

  void measure_until(SteadyClock::time_point end, const std::function<void()>& take) {
    while (SteadyClock::now() < end && told_to_end == 0) {
      turn();
      if (told_it_counts == 0) continue;
      told_it_counts = 0;
      take();
    }
    if (told_to_end == 0 || counted_ == 0) take();
    latencies_.resize(counted_);
  }

  bench::Costs costs() const {
    bench::Costs costs{};
    std::ifstream file(options_.costs, std::ios::binary);
    if (!options_.costs.empty() && !file.read(reinterpret_cast<char*>(&costs), sizeof costs))
      throw std::runtime_error(options_.costs + ": cannot read the costs");
    return costs;
  }

  void report_costs(double count) const {
    auto each = [&](std::uint64_t bench::Costs::* what) { return static_cast<double>(costs_.*what) / count; };
    fmt::print(
        ", \"allocations\": {:.6f}, \"copied_bytes\": {:.1f}, \"locks\": {:.6f}, \"receives\": {:.4f}, "
        "\"sends\": {:.4f}, \"waits\": {:.4f}",
        each(&bench::Costs::allocations), each(&bench::Costs::copied_bytes), each(&bench::Costs::locks),
        each(&bench::Costs::receives), each(&bench::Costs::sends), each(&bench::Costs::waits));
  }

  void measure() {
    const bench::Costs before = costs();
    double server = bench::cpu_seconds_of(options_.server_pid);
    double client = bench::own_cpu_seconds();
    auto started = SteadyClock::now();
    measuring_ = true;
    std::signal(SIGTERM, [](int) { told_to_end = 1; });
    std::signal(SIGUSR2, [](int) { told_it_counts = 1; });
    if (options_.tell > 0) kill(options_.tell, SIGUSR1);
    measure_until(started + seconds(options_.seconds), [&] {
      elapsed_ = std::chrono::duration<double>(SteadyClock::now() - started).count();
      client_cpu_ = bench::own_cpu_seconds() - client;
      server_cpu_ = bench::cpu_seconds_of(options_.server_pid) - server;
      counted_ = latencies_.size();
    });
    measuring_ = false;
    const bench::Costs after = costs();
    for (auto what : {&bench::Costs::allocations, &bench::Costs::copied_bytes, &bench::Costs::locks,
                      &bench::Costs::receives, &bench::Costs::sends, &bench::Costs::waits})
      costs_.*what = after.*what - before.*what;
  }

  double percentile(double share) {
    if (latencies_.empty()) return 0;
    auto at = latencies_.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(latencies_.size() - 1));
    std::nth_element(latencies_.begin(), at, latencies_.end());
    return *at / 1e3;
  }

  Options options_;
  std::mt19937_64 random_;
  std::vector<Session> sessions_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<pollfd> polled_;
  std::vector<std::uint32_t> latencies_;  // nanoseconds
  std::string error_;
  std::uint64_t requests_ = 0;
  std::uint64_t share_ = 0;
  std::size_t in_flight_ = 0;
  std::size_t counted_ = 0;  // of the latencies
  bool measuring_ = false;
  bool stopping_ = false;
  double elapsed_ = 0;
  double client_cpu_ = 0;
  double server_cpu_ = 0;
  bench::Costs costs_{};    // of the measured time
  std::uint64_t left_ = 0;  // requests to start, when they are counted
};

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app("Measures READ(16) or WRITE(16) over iSCSI");
  app.add_option("url", options.url, "iscsi://ADDR:PORT/IQN/LUN")->required();
  app.add_option("--sessions", options.sessions)->check(CLI::PositiveNumber);
  app.add_option("--depth", options.depth, "requests in flight in each session")->check(CLI::PositiveNumber);
  app.add_option("--size", options.size, "bytes of a request");
  app.add_flag("--write", options.write);
  app.add_flag("--fua", options.fua, "force unit access");
  app.add_flag("--synchronize", options.synchronize, "SYNCHRONIZE CACHE(16) instead");
  app.add_flag("--sequential", options.sequential, "each session its own share of the region");
  app.add_option("--seconds", options.seconds,
                 "measured time; SIGTERM ends it, and what came since SIGUSR2 does not count");
  app.add_option("--warmup", options.warmup, "seconds before it");
  app.add_option("--region", options.region, "bytes at the start of the logical unit that are used");
  app.add_flag("--fill", options.fill, "write the region once instead");
  app.add_option("--count", options.count, "issue so many requests instead of measuring for a time");
  app.add_option("--costs", options.costs, "report what the server's cost_counter wrote to this file");
  app.add_option("--tell", options.tell, "send this process SIGUSR1 when measuring begins");
  app.add_option("--server-pid", options.server_pid, "report this process's time too");
  CLI11_PARSE(app, argc, argv);
  if (options.fill) options.write = true;
  Bench bench(options);
  bench.run();
  bench.report();
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "io_bench: {}\n", error.what());
  return 1;
}
