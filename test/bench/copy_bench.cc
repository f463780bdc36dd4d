// What an offloaded copy costs through iSCSI: POPULATE TOKEN, RECEIVE ROD TOKEN INFORMATION and WRITE USING TOKEN timed
// one by one, over a range that holds as many extents as asked for, made by scattered small writes. Copies go to and
// fro between two logical units, each to other logical blocks than it came from, so that all but the first copy a copy
// whose extents are aligned to nothing. Then the data is read and compared. Prints one line of JSON; anything not as
// expected ends the run.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "token_commands.h"

namespace {

using SteadyClock = std::chrono::steady_clock;
using bench::Buffer;
using bench::microseconds_since;

constexpr std::uint32_t kBlock = 512;
constexpr std::uint64_t kFirstLba = 3;
constexpr std::uint64_t kStepLba = 11;        ///< from one copy's place to the next one's
constexpr std::uint8_t kDeleteToken = 0x02;   ///< DEL_TKN (SBC-4 5.59): thousands of tokens would reach their limit
constexpr std::uint64_t kGranuleBlocks = 16;  ///< extents closer than this would touch
constexpr std::uint32_t kReadBytes = 1 << 20;
constexpr std::uint64_t kMostRead = 4ull << 30;  ///< of a larger range evenly spaced pieces are read

struct Options {
  std::string source;
  std::string destination;
  std::uint64_t bytes = 1 << 20;
  std::uint64_t extents = 1;  ///< 0: the data is there already
  std::uint64_t piece = 4ull << 30;
  std::uint64_t sample = 100'000;
  int runs = 5;
  int server_pid = 0;
  std::uint64_t churn = 0;
  bool in_place = false;
  bool read = true;
  bool until_told = false;
};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// READs or WRITEs of one size, several in flight.
class Pump {
 public:
  using Place = std::function<std::uint64_t(std::size_t)>;  ///< the LBA of the nth transfer
  using Visit = std::function<void(std::size_t, Buffer&)>;  ///< fills what is written, looks at what was read

  Pump(bench::Session& session, bool write, std::uint32_t bytes, std::size_t count, Place place, Visit visit)
      : session_(session), write_(write), count_(count), place_(std::move(place)), visit_(std::move(visit)) {
    constexpr std::size_t kDepth = 16;
    slots_.resize(std::min(count, kDepth));
    for (Slot& slot : slots_) {
      slot.pump = this;
      slot.buffer.resize(bytes);
    }
  }

  /// MB/s.
  double run() {
    auto started = SteadyClock::now();
    for (Slot& slot : slots_) start(slot);
    while (in_flight_ > 0) {
      bench::serve(session_);
      if (!error_.empty()) throw std::runtime_error(error_);
    }
    return static_cast<double>(count_ * slots_.front().buffer.size()) / microseconds_since(started);
  }

 private:
  struct Slot {
    Pump* pump = nullptr;
    std::size_t number = 0;
    Buffer buffer;
    scsi_iovec part{};
  };

  void start(Slot& slot) {
    if (next_ == count_) return;
    slot.number = next_++;
    slot.part = {slot.buffer.data(), slot.buffer.size()};
    if (write_) visit_(slot.number, slot.buffer);
    std::uint64_t lba = place_(slot.number);
    auto length = static_cast<std::uint32_t>(slot.buffer.size());
    scsi_task* task = write_ ? iscsi_write16_iov_task(session_.context, session_.lun, lba, nullptr, length, kBlock, 0,
                                                      0, 0, 0, 0, &Pump::completed, &slot, &slot.part, 1)
                             : iscsi_read16_iov_task(session_.context, session_.lun, lba, length, kBlock, 0, 0, 0, 0, 0,
                                                     &Pump::completed, &slot, &slot.part, 1);
    if (task == nullptr) throw std::runtime_error(iscsi_get_error(session_.context));
    ++in_flight_;
  }

  static void completed(iscsi_context* context, int status, void* data, void* private_data) {
    auto& slot = *static_cast<Slot*>(private_data);
    scsi_free_scsi_task(static_cast<scsi_task*>(data));
    Pump& pump = *slot.pump;
    --pump.in_flight_;
    if (status != SCSI_STATUS_GOOD) pump.error_ = iscsi_get_error(context);
    if (!pump.error_.empty()) return;
    try {  // nothing may fly through libiscsi's frames
      if (!pump.write_) pump.visit_(slot.number, slot.buffer);
      pump.start(slot);
    } catch (const std::exception& error) {
      pump.error_ = error.what();
    }
  }

  bench::Session& session_;
  bool write_;
  std::size_t count_;
  Place place_;
  Visit visit_;
  std::vector<Slot> slots_;
  std::size_t next_ = 0;
  std::size_t in_flight_ = 0;
  std::string error_;
};

/// One block in each of as many equal parts of the range as there are extents; its content follows from its place.
class Extents {
 public:
  Extents(std::uint64_t count, std::uint64_t blocks) {
    if (count == 0) return;
    std::uint64_t stride = blocks / count;
    if (stride < kGranuleBlocks) throw std::runtime_error("the range is too small for as many extents");
    std::mt19937_64 random(1);
    places_.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) places_.push_back(i * stride + random() % (stride - kGranuleBlocks + 1));
  }

  std::size_t count() const { return places_.size(); }
  std::uint64_t place(std::size_t i) const { return places_[i]; }
  /// The first extent at or behind a block of the range.
  std::size_t from(std::uint64_t block) const {
    return static_cast<std::size_t>(std::lower_bound(places_.begin(), places_.end(), block) - places_.begin());
  }

  static void fill(std::uint64_t block, std::uint8_t* out) {
    std::mt19937_64 random(block);
    for (std::size_t at = 0; at < kBlock; at += sizeof(std::uint64_t)) {
      std::uint64_t word = random() | 1;
      std::memcpy(out + at, &word, sizeof word);
    }
  }

  /// Compares what was read from `block` of the range on.
  void check(std::uint64_t block, const Buffer& read) const {
    std::array<std::uint8_t, kBlock> expected{};
    std::uint64_t at = block;
    auto zeros_until = [&](std::uint64_t end) {
      const std::uint8_t* bytes = read.data() + (at - block) * kBlock;
      std::size_t size = (end - at) * kBlock;
      if (size > 0 && (bytes[0] != 0 || std::memcmp(bytes, bytes + 1, size - 1) != 0)) wrong(at);
    };
    std::uint64_t end = block + read.size() / kBlock;
    for (std::size_t i = from(block); i < places_.size() && places_[i] < end; ++i) {
      zeros_until(places_[i]);
      fill(places_[i], expected.data());
      if (std::memcmp(read.data() + (places_[i] - block) * kBlock, expected.data(), kBlock) != 0) wrong(places_[i]);
      at = places_[i] + 1;
    }
    zeros_until(end);
  }

 private:
  [[noreturn]] static void wrong(std::uint64_t block) {
    throw std::runtime_error(fmt::format("the copy differs from block {} of the range on", block));
  }

  std::vector<std::uint64_t> places_;
};

class CopyBench {
 public:
  explicit CopyBench(const Options& options)
      : options_(options),
        blocks_(options.bytes / kBlock),
        extents_(options.extents, blocks_),
        units_{bench::connect(options.source, "iqn.2026-01.example.odx:copy-bench"),
               bench::connect(options.destination, "iqn.2026-01.example.odx:copy-bench2")} {}
  ~CopyBench() {
    for (bench::Session& unit : units_) bench::disconnect(unit);
  }
  CopyBench(const CopyBench&) = delete;
  CopyBench& operator=(const CopyBench&) = delete;

  void churn() {
    std::mt19937_64 random(7);
    constexpr std::uint64_t kMostBlocks = (16 << 20) / kBlock;
    for (std::uint64_t i = 0; i < options_.churn; ++i) {
      std::uint64_t length = random() % kMostBlocks + 1;
      copy_piece(units_[0], random() % (blocks_ - length), units_[0], random() % (blocks_ - length), length);
    }
    fmt::print("{{\"copies\": {}, \"write_us\": {:.1f}}}\n", options_.churn, median(write_us_));
  }

  /// Whoever waits reads "ready", and tells it to stop with SIGTERM.
  void copy_until_told() {
    write_extents();
    copy(0);
    copy_ms_.clear();
    sigset_t told{};
    sigemptyset(&told);
    sigaddset(&told, SIGTERM);
    sigprocmask(SIG_BLOCK, &told, nullptr);  // nothing that waits for the target is interrupted
    fmt::print("ready\n");
    std::fflush(stdout);
    auto started = SteadyClock::now();
    constexpr int kPlaces = 64;  // an even number: to and fro
    for (const timespec at_once{}; sigtimedwait(&told, nullptr, &at_once) < 0;)
      copy((static_cast<int>(copy_ms_.size()) + 1) % kPlaces);
    fmt::print("{{\"seconds\": {:.3f}, \"copies\": {}}}\n", microseconds_since(started) / 1e6, copy_ms_.size());
  }

  void run() {
    write_extents();
    double cpu = server_cpu();
    for (int run = 0; run < options_.runs; ++run) copy(run);
    double copying = server_cpu() - cpu;
    // What the target still does when nobody asks for anything: here nothing but waiting shows it.
    cpu = server_cpu();
    std::this_thread::sleep_for(std::chrono::seconds(1));
    double behind = server_cpu() - cpu;

    double first = options_.read ? read_all() : 0;
    double second = options_.read ? read_all() : 0;
    std::size_t verified = verify_extents();
    fmt::print(
        "{{\"populate_us\": {:.1f}, \"information_us\": {:.1f}, \"write_us\": {:.1f}, \"copy_ms\": {:.3f}, "
        "\"commands\": {}, \"cpu_us_per_copy\": {:.1f}, \"background_cpu_us_per_copy\": {:.1f}, "
        "\"first_read_mb_s\": {:.0f}, \"second_read_mb_s\": {:.0f}, \"read_bytes\": {}, \"verified_extents\": {}}}\n",
        median(populate_us_), median(information_us_), median(write_us_), median(copy_ms_),
        write_us_.size() / static_cast<std::size_t>(options_.runs), copying * 1e6 / options_.runs,
        behind * 1e6 / options_.runs, first, second, std::min(options_.bytes, kMostRead), verified);
  }

 private:
  void write_extents() {
    if (extents_.count() > 0)
      Pump(
          units_[0], true, kBlock, extents_.count(), [&](std::size_t i) { return lba(0) + extents_.place(i); },
          [&](std::size_t i, Buffer& out) { Extents::fill(extents_.place(i), out.data()); })
          .run();
  }

  double server_cpu() const { return options_.server_pid > 0 ? bench::cpu_seconds_of(options_.server_pid) : 0; }
  std::uint64_t lba(int run) const {
    return options_.in_place ? 0 : kFirstLba + kStepLba * static_cast<std::uint64_t>(run);
  }
  bench::Session& unit(int run) { return units_[static_cast<std::size_t>(run % 2)]; }
  /// Where the last copy is.
  bench::Session& last() { return unit(options_.runs); }
  std::uint64_t last_lba() const { return lba(options_.runs); }

  void copy(int run) {
    auto started = SteadyClock::now();
    std::uint64_t piece = options_.piece / kBlock;
    for (std::uint64_t done = 0; done < blocks_; done += piece)
      copy_piece(unit(run), lba(run) + done, unit(run + 1), lba(run + 1) + done, std::min(piece, blocks_ - done));
    copy_ms_.push_back(microseconds_since(started) / 1000);
  }

  void copy_piece(bench::Session& from, std::uint64_t from_lba, bench::Session& to, std::uint64_t to_lba,
                  std::uint64_t blocks) {
    ++list_identifier_;
    host::PopulateTokenHeader populate;
    token_out(from, host::kPopulateTokenAction, populate, from_lba, blocks, populate_us_);
    host::WriteUsingTokenHeader write;
    write.flags = options_.churn > 0 || !options_.read ? kDeleteToken : 0;
    auto [token, took] = bench::receive_token(from, list_identifier_);
    information_us_.push_back(took);
    write.token = token;
    token_out(to, host::kWriteUsingTokenAction, write, to_lba, blocks, write_us_);
  }

  template <typename Header>
  void token_out(bench::Session& unit, std::uint8_t service_action, const Header& header, std::uint64_t lba,
                 std::uint64_t blocks, std::vector<double>& times) {
    Buffer list = bench::token_list(header, lba, blocks);
    auto cdb = bench::token_cdb(service_action, list_identifier_, list);
    times.push_back(bench::execute(unit, base::bytes_of(cdb), SCSI_XFER_WRITE, list));
  }

  double read_all() {
    std::size_t count = std::max<std::size_t>(std::min(options_.bytes, kMostRead) / kReadBytes, 1);
    std::uint64_t stride = blocks_ / count;
    return Pump(
               last(), false, kReadBytes, count, [&](std::size_t i) { return last_lba() + i * stride; },
               [&](std::size_t i, Buffer& read) {
                 if (extents_.count() > 0) extents_.check(i * stride, read);
               })
        .run();
  }

  /// Every extent with what lies around it, or as many as the sample asks for.
  std::size_t verify_extents() {
    constexpr std::uint64_t kAround = kGranuleBlocks / 2;
    std::mt19937_64 random(3);
    std::vector<std::uint64_t> starts;
    std::size_t count = std::min<std::size_t>(extents_.count(), options_.sample);
    for (std::size_t i = 0; i < count; ++i) {
      std::uint64_t place = extents_.place(count == extents_.count() ? i : random() % extents_.count());
      starts.push_back(std::min(place - std::min(place, kAround), blocks_ - kGranuleBlocks));
    }
    if (count == 0) return 0;
    Pump(
        last(), false, kGranuleBlocks * kBlock, count, [&](std::size_t i) { return last_lba() + starts[i]; },
        [&](std::size_t i, Buffer& read) { extents_.check(starts[i], read); })
        .run();
    return count;
  }

  Options options_;
  std::uint64_t blocks_;
  Extents extents_;
  std::array<bench::Session, 2> units_;
  std::uint32_t list_identifier_ = 0;
  std::vector<double> populate_us_, information_us_, write_us_, copy_ms_;
};

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app("Measures offloaded copies over iSCSI");
  app.add_option("source", options.source, "iscsi://ADDR:PORT/IQN/LUN")->required();
  app.add_option("destination", options.destination)->required();
  app.add_option("--bytes", options.bytes, "of the range that is copied");
  app.add_option("--extents", options.extents, "in it, made by scattered writes; 0: what is there is copied");
  app.add_option("--piece", options.piece, "bytes of one token at most");
  app.add_option("--sample", options.sample, "how many extents are looked at afterwards, when there are more");
  app.add_option("--runs", options.runs, "copies")->check(CLI::PositiveNumber);
  app.add_option("--server-pid", options.server_pid, "report this process's time too");
  app.add_option("--churn", options.churn, "instead copy ranges within the source, this many times");
  app.add_flag("--in-place", options.in_place, "always from block 0 to block 0");
  app.add_flag("!--no-read", options.read, "do not read what was copied");
  app.add_flag("--until-told", options.until_told, "to stop by SIGTERM: copy to and fro, and say how often");
  CLI11_PARSE(app, argc, argv);
  CopyBench bench(options);
  if (options.churn > 0) {
    bench.churn();
  } else if (options.until_told) {
    bench.copy_until_told();
  } else {
    bench.run();
  }
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "copy_bench: {}\n", error.what());
  return 1;
}
