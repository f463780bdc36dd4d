// A client so light that the target is what limits: libiscsi logs in, then whole batches of READ(16) or WRITE(16) that
// were made before are sent on its sockets, and answers are counted by their bytes and dropped in the kernel
// (MSG_TRUNC). For what io_bench cannot show on a machine where client and target share the processors: whether a
// target that may use more of them does more. Prints one line of JSON.
//
// An answer that is not what the first batch's were (GOOD, with status and data in one PDU) stops the run: the first
// and the last batch of each session are read and looked at, and the bytes between have to come out even.
#include "iscsi_client.h"

#include <sys/socket.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "target/iscsi/pdu.h"

namespace {

using SteadyClock = std::chrono::steady_clock;

struct Options {
  std::string url;
  int sessions = 4;
  std::uint32_t depth = 32;
  std::uint32_t size = 4096;
  bool write = false;
  double seconds = 1;
  double warmup = 0.2;
  std::uint64_t region = std::uint64_t{256} << 20;
  int server_pid = 0;
};

/// A session that has one batch of `depth` commands under way, and sends it again when all are answered.
class Batch {
 public:
  Batch(const Options& options, int number)
      : options_(options), session_(bench::connect(options.url, fmt::format("iqn.2026-11.org.odx:light-{}", number))) {
    fd_ = iscsi_get_fd(session_.context);
    learn_numbers();
    std::mt19937_64 random(static_cast<std::uint64_t>(number) + 1);
    const std::size_t data = options.write ? options.size : 0;
    out_.resize(options.depth * (sizeof(iscsi::ScsiCommandBhs) + data), 0x5A);
    for (std::uint32_t i = 0; i < options.depth; ++i) {
      auto& bhs = command(i);
      bhs = {};
      bhs.flags = static_cast<std::uint8_t>(0x80 | (options.write ? 0x20 : 0x40) | 1);  // F, R or W, SIMPLE
      bhs.data_segment_length = static_cast<std::uint32_t>(data);
      bhs.lun[1] = static_cast<std::uint8_t>(session_.lun);
      bhs.initiator_task_tag = 0x1000 + i;
      bhs.expected_data_transfer_length = options.size;
      bhs.cdb[0] = options.write ? 0x8A : 0x88;
      const base::be64 lba(random() % (options.region / options.size) * (options.size / session_.block));
      std::memcpy(&bhs.cdb[2], &lba, sizeof lba);
      const base::be32 blocks(options.size / session_.block);
      std::memcpy(&bhs.cdb[10], &blocks, sizeof blocks);
    }
    answer_ = sizeof(iscsi::Bhs) + (options.write ? 0 : options.size);
  }

  int fd() const { return fd_; }
  short wants() const { return sent_ < out_.size() ? POLLIN | POLLOUT : POLLIN; }
  std::uint64_t done() const { return done_; }

  void begin() {
    for (std::uint32_t i = 0; i < options_.depth; ++i) {
      command(i).cmd_sn = cmd_sn_++;
      command(i).exp_stat_sn = stat_sn_;
    }
    stat_sn_ += options_.depth;
    sent_ = 0;
    left_ = options_.depth * answer_;
    push();
  }

  void push() {
    while (sent_ < out_.size()) {
      const ssize_t count = ::send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count < 0 && errno == EAGAIN) return;
      if (count < 0) throw std::runtime_error("send failed");
      sent_ += static_cast<std::size_t>(count);
    }
  }

  /// Drops what came; true when the batch is answered.
  bool pull() {
    const ssize_t count = ::recv(fd_, nullptr, left_, MSG_TRUNC | MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return false;
    if (count <= 0) throw std::runtime_error("recv failed");
    return took(static_cast<std::size_t>(count));
  }

  /// A batch whose answers are looked at.
  void check() {
    begin();
    std::vector<std::uint8_t> in(left_);
    for (std::size_t got = 0; got < in.size();) {
      pollfd wait{.fd = fd_, .events = wants(), .revents = 0};
      if (::poll(&wait, 1, 10'000) <= 0)
        throw std::runtime_error("no answers: a batch was answered with less than expected");
      push();
      const ssize_t count = ::recv(fd_, in.data() + got, in.size() - got, MSG_DONTWAIT);
      if (count < 0 && errno == EAGAIN) continue;
      if (count <= 0) throw std::runtime_error("recv failed");
      got += static_cast<std::size_t>(count);
    }
    took(in.size());
    const auto wanted = options_.write ? iscsi::Opcode::scsi_response : iscsi::Opcode::data_in;
    for (std::size_t at = 0; at < in.size(); at += answer_) {
      const auto bhs = base::load<iscsi::Bhs>(std::span<const std::uint8_t>(in).subspan(at).first(sizeof(iscsi::Bhs)));
      const auto status = base::bytes_of(bhs)[3];
      if (bhs.code() != wanted || status != 0 || bhs.data_segment_length != answer_ - sizeof(iscsi::Bhs))
        throw std::runtime_error("an answer is not GOOD in one PDU");
    }
  }

 private:
  iscsi::ScsiCommandBhs& command(std::uint32_t i) {
    return *reinterpret_cast<iscsi::ScsiCommandBhs*>(out_.data() + i * (out_.size() / options_.depth));
  }

  bool took(std::size_t count) {
    left_ -= count;
    if (left_ > 0) return false;
    done_ += options_.depth;
    return true;
  }

  /// CmdSN and StatSN, from a NOP-Out of our own: libiscsi does not say.
  void learn_numbers();

  const Options& options_;
  bench::Session session_;
  int fd_ = -1;
  std::vector<std::uint8_t> out_;
  std::size_t answer_ = 0;  // bytes of one
  std::size_t sent_ = 0;
  std::size_t left_ = 0;  // bytes of answers that have not come
  std::uint32_t cmd_sn_ = 0;
  std::uint32_t stat_sn_ = 0;
  std::uint64_t done_ = 0;
};

void Batch::learn_numbers() {
  // Immediate, so that it needs no CmdSN; ExpCmdSN in the answer is the next one.
  iscsi::NopOutBhs ping{};
  ping.opcode |= iscsi::kImmediate;
  ping.initiator_task_tag = 0x99;
  const auto bytes = base::bytes_of(ping);
  if (::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
    throw std::runtime_error("send failed");
  iscsi::NopInBhs pong{};
  std::vector<std::uint8_t> in(sizeof pong);
  pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
  if (::poll(&wait, 1, 10'000) <= 0 ||
      ::recv(fd_, in.data(), in.size(), MSG_WAITALL) != static_cast<ssize_t>(in.size()))
    throw std::runtime_error("no NOP-In");
  pong = base::load<iscsi::NopInBhs>(in);
  cmd_sn_ = pong.exp_cmd_sn;
  stat_sn_ = pong.stat_sn + 1;
}

std::uint64_t run(std::vector<std::unique_ptr<Batch>>& batches, double seconds) {
  std::uint64_t before = 0, after = 0;
  for (const auto& batch : batches) before += batch->done();
  const auto end = SteadyClock::now() + std::chrono::duration<double>(seconds);
  std::size_t under_way = batches.size();
  for (const auto& batch : batches) batch->begin();
  std::vector<pollfd> waits(batches.size());
  while (under_way > 0) {
    for (std::size_t i = 0; i < batches.size(); ++i)
      waits[i] = {.fd = waits[i].fd == -1 ? -1 : batches[i]->fd(), .events = batches[i]->wants(), .revents = 0};
    if (::poll(waits.data(), waits.size(), 10'000) <= 0)
      throw std::runtime_error("no answers: a batch was answered with less than expected");
    const bool over = SteadyClock::now() >= end;
    for (std::size_t i = 0; i < batches.size(); ++i) {
      if (waits[i].revents & POLLOUT) batches[i]->push();
      if (!(waits[i].revents & POLLIN) || !batches[i]->pull()) continue;
      if (!over) {
        batches[i]->begin();
        continue;
      }
      waits[i].fd = -1;
      --under_way;
    }
  }
  for (const auto& batch : batches) after += batch->done();
  return after - before;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("A client so light that the target is what limits");
  app.add_option("url", options.url)->required();
  app.add_option("--sessions", options.sessions)->check(CLI::PositiveNumber);
  app.add_option("--depth", options.depth)->check(CLI::PositiveNumber);
  app.add_option("--size", options.size)->check(CLI::PositiveNumber);
  app.add_flag("--write", options.write);
  app.add_option("--seconds", options.seconds);
  app.add_option("--region", options.region);
  app.add_option("--server-pid", options.server_pid);
  CLI11_PARSE(app, argc, argv);
  try {
    std::vector<std::unique_ptr<Batch>> batches;
    for (int i = 0; i < options.sessions; ++i) batches.push_back(std::make_unique<Batch>(options, i));
    for (const auto& batch : batches) batch->check();
    run(batches, options.warmup);
    const double cpu_before = options.server_pid != 0 ? bench::cpu_seconds_of(options.server_pid) : 0;
    const auto started = SteadyClock::now();
    const std::uint64_t done = run(batches, options.seconds);
    const double seconds = std::chrono::duration<double>(SteadyClock::now() - started).count();
    const double cpu = options.server_pid != 0 ? bench::cpu_seconds_of(options.server_pid) - cpu_before : 0;
    for (const auto& batch : batches) batch->check();
    fmt::print("{{\"iops\": {:.0f}, \"mb_s\": {:.1f}, \"server_cpu_us\": {:.2f}, \"server_cpus\": {:.2f}}}\n",
               static_cast<double>(done) / seconds, static_cast<double>(done) * options.size / seconds / 1e6,
               1e6 * cpu / static_cast<double>(done), cpu / seconds);
  } catch (const std::exception& error) {
    fmt::print(stderr, "light_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
