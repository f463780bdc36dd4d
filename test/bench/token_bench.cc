// Makes many tokens live through iSCSI, POPULATE TOKEN after POPULATE TOKEN with several in flight, or asks for all of
// them with REPORT ALL ROD TOKENS. Each token stands for blocks of its own. Results of commands take each other's
// place, since list identifiers are used again, so that what the target keeps is tokens. Prints one line of JSON;
// anything not as expected ends the run.
#include <CLI/CLI.hpp>

#include <string>

#include "token_commands.h"

namespace {

using SteadyClock = std::chrono::steady_clock;

struct Options {
  std::string url;
  std::uint64_t count = 1000;
  int depth = 32;
  std::uint32_t inactivity_s = 0;
  std::uint32_t blocks = 8;
  std::uint32_t report = 0;
  int runs = 5;
  int server_pid = 0;
};

class Maker {
 public:
  explicit Maker(const Options& options)
      : options_(options), session_(bench::connect(options.url, "iqn.2026-01.example.odx:token-bench")) {
    slots_.resize(static_cast<std::size_t>(options.depth));
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      slots_[i].maker = this;
      slots_[i].list_identifier = static_cast<std::uint32_t>(i + 1);
    }
  }
  ~Maker() { bench::disconnect(session_); }
  Maker(const Maker&) = delete;
  Maker& operator=(const Maker&) = delete;

  void run() {
    double cpu = bench::cpu_seconds_of(options_.server_pid);
    auto started = SteadyClock::now();
    for (Slot& slot : slots_) start(slot);
    while (in_flight_ > 0) {
      bench::serve(session_);
      if (!error_.empty()) throw std::runtime_error(error_);
    }
    double took = bench::microseconds_since(started);
    auto count = static_cast<double>(options_.count);
    fmt::print("{{\"tokens\": {}, \"seconds\": {:.3f}, \"tokens_s\": {:.0f}, \"server_cpu_us\": {:.2f}}}\n",
               options_.count, took / 1e6, count / took * 1e6,
               (bench::cpu_seconds_of(options_.server_pid) - cpu) / count * 1e6);
  }

  /// SPC-4 6.31.
  void report() {
    host::ReceiveRodTokenInformationCdb cdb;
    cdb.service_action = 0x08;
    cdb.allocation_length = options_.report;
    bench::Buffer answer(options_.report);
    std::vector<double> times;
    std::size_t came = 0;
    for (int run = 0; run < options_.runs; ++run)
      times.push_back(bench::execute(session_, base::bytes_of(cdb), SCSI_XFER_READ, answer, &came));
    std::ranges::sort(times);
    auto available = base::load<base::be32>(base::Bytes(answer).first(sizeof(base::be32)));
    fmt::print("{{\"us\": {:.1f}, \"bytes\": {}, \"available\": {}}}\n", times[times.size() / 2], came,
               available.value());
  }

 private:
  struct Slot {
    Maker* maker = nullptr;
    std::uint32_t list_identifier = 0;
    bench::Buffer list;
    iscsi_data out{};
  };

  void start(Slot& slot) {
    if (next_ == options_.count) return;
    host::PopulateTokenHeader header;
    header.inactivity_timeout = options_.inactivity_s;
    std::uint64_t lba = next_++ * options_.blocks % (session_.blocks - options_.blocks);
    slot.list = bench::token_list(header, lba, options_.blocks);
    slot.out = {slot.list.size(), slot.list.data()};
    auto cdb = bench::token_cdb(host::kPopulateTokenAction, slot.list_identifier, slot.list);
    bench::Buffer command(base::bytes_of(cdb).begin(), base::bytes_of(cdb).end());
    scsi_task* task = scsi_create_task(static_cast<int>(command.size()), command.data(), SCSI_XFER_WRITE,
                                       static_cast<int>(slot.list.size()));
    if (task == nullptr ||
        iscsi_scsi_command_async(session_.context, session_.lun, task, &Maker::completed, &slot.out, &slot) != 0)
      throw std::runtime_error(iscsi_get_error(session_.context));
    ++in_flight_;
  }

  static void completed(iscsi_context* context, int status, void* data, void* private_data) {
    auto& slot = *static_cast<Slot*>(private_data);
    scsi_free_scsi_task(static_cast<scsi_task*>(data));
    Maker& maker = *slot.maker;
    --maker.in_flight_;
    if (status != SCSI_STATUS_GOOD) maker.error_ = iscsi_get_error(context);
    if (!maker.error_.empty()) return;
    try {  // nothing may fly through libiscsi's frames
      maker.start(slot);
    } catch (const std::exception& error) {
      maker.error_ = error.what();
    }
  }

  const Options& options_;
  bench::Session session_;
  std::vector<Slot> slots_;
  std::uint64_t next_ = 0;
  std::size_t in_flight_ = 0;
  std::string error_;
};

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app("Makes many tokens live, or asks for all of them");
  app.add_option("url", options.url, "iscsi://ADDR:PORT/IQN/LUN")->required();
  app.add_option("--count", options.count, "how many");
  app.add_option("--depth", options.depth, "commands in flight")->check(CLI::PositiveNumber);
  app.add_option("--inactivity", options.inactivity_s, "INACTIVITY TIMEOUT in seconds; 0: the target's default");
  app.add_option("--blocks", options.blocks, "each stands for")->check(CLI::PositiveNumber);
  app.add_option("--report", options.report, "instead REPORT ALL ROD TOKENS with this ALLOCATION LENGTH");
  app.add_option("--runs", options.runs, "of it; the median counts")->check(CLI::PositiveNumber);
  app.add_option("--server-pid", options.server_pid, "report this process's time too");
  CLI11_PARSE(app, argc, argv);
  Maker maker(options);
  if (options.report > 0)
    maker.report();
  else
    maker.run();
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "token_bench: {}\n", error.what());
  return 1;
}
