// A client so light that the target is what limits: batches of READ(16) or WRITE(16) that were made before are sent
// whole, and answers are counted by their bytes and dropped in the kernel (MSG_TRUNC). For what io_bench cannot show
// on a machine where client and target share the processors: whether a target that may use more of them does more,
// what digests cost the target, since libiscsi has none for data, and what its loops share. Prints one line of JSON.
//
// An answer that is not what the first batch's were (GOOD, with status and data in one PDU) stops the run: the first
// and the last batch of each session are read and looked at, and the bytes between have to come out even.
#include "iscsi_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "lock_counter.h"
#include "target/iscsi/digest.h"
#include "target/iscsi/pdu.h"

namespace {

using SteadyClock = std::chrono::steady_clock;

struct Options {
  std::string url;
  int sessions = 4;
  std::uint32_t depth = 32;
  std::uint32_t size = 4096;
  bool write = false;
  bool digests = false;  ///< CRC32C of headers and data
  double seconds = 1;
  double warmup = 0.2;
  std::uint64_t region = std::uint64_t{256} << 20;
  int server_pid = 0;
  std::string locks;  ///< file of its lock_counter
};

/// What libiscsi finds out about the logical unit, which it then leaves.
struct Unit {
  explicit Unit(const std::string& url_text) {
    bench::Session session = bench::connect(url_text, "iqn.2026-11.org.odx:light");
    std::unique_ptr<iscsi_url, decltype(&iscsi_destroy_url)> url(
        iscsi_parse_full_url(session.context, url_text.c_str()), &iscsi_destroy_url);
    portal = url->portal;
    target = url->target;
    lun = session.lun;
    block = session.block;
    bench::disconnect(session);
  }

  std::string portal;  ///< ADDR:PORT
  std::string target;
  int lun = 0;
  std::uint32_t block = 0;  ///< bytes
};

/// A session in full feature phase on a socket of our own. Throws when anything is refused.
class WireSession {
 public:
  WireSession(const Unit& unit, int number, bool digests) : lun_(unit.lun) {
    connect(unit.portal);
    login(unit, number, digests);
    digest_ = digests ? sizeof(base::be32) : 0;
    while (test_unit_ready() != 0) {
      if (++unit_attentions_ > 16) throw std::runtime_error("TEST UNIT READY is never GOOD");
    }
  }
  ~WireSession() { ::close(fd_); }
  WireSession(const WireSession&) = delete;
  WireSession& operator=(const WireSession&) = delete;

  int fd() const { return fd_; }
  /// Bytes that stand behind a header, and behind data.
  std::size_t digest() const { return digest_; }

  iscsi::ScsiCommandBhs command(std::uint8_t flags, std::uint32_t tag) const {
    iscsi::ScsiCommandBhs bhs{};
    bhs.flags = static_cast<std::uint8_t>(0x80 | flags | 1);  // F, SIMPLE
    bhs.lun[1] = static_cast<std::uint8_t>(lun_);
    bhs.initiator_task_tag = tag;
    return bhs;
  }

  /// Gives the next command its numbers; `bytes` begin with its header, behind which its digest has its place.
  void number(std::span<std::uint8_t> bytes) {
    auto& bhs = *reinterpret_cast<iscsi::ScsiCommandBhs*>(bytes.data());
    bhs.cmd_sn = cmd_sn_++;
    bhs.exp_stat_sn = stat_sn_;
    if (digest_ == 0) return;
    const base::be32 digest = iscsi::digest_of(bytes.first(sizeof bhs));
    std::memcpy(bytes.data() + sizeof bhs, &digest, sizeof digest);
  }
  void answered(std::uint32_t commands) { stat_sn_ += commands; }

  void send_all(base::Bytes bytes) {
    if (::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("send failed");
  }
  std::vector<std::uint8_t> receive(std::size_t size) {
    std::vector<std::uint8_t> in(size);
    pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
    if (size > 0 &&
        (::poll(&wait, 1, 10'000) <= 0 || ::recv(fd_, in.data(), size, MSG_WAITALL) != static_cast<ssize_t>(size)))
      throw std::runtime_error("no answer within 10 s");
    return in;
  }

 private:
  void connect(const std::string& portal) {
    const auto colon = portal.rfind(':');
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(portal.substr(colon + 1))));
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::inet_pton(AF_INET, portal.substr(0, colon).c_str(), &address.sin_addr) != 1 ||
        ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error(portal + ": cannot connect");
  }

  void login(const Unit& unit, int number, bool digests) {
    std::string keys = fmt::format(
        "InitiatorName=iqn.2026-11.org.odx:light-{}\n"
        "TargetName={}\nSessionType=Normal\nHeaderDigest={}\nDataDigest={}\n"
        "InitialR2T=No\nImmediateData=Yes\nMaxRecvDataSegmentLength=1048576\n"
        "FirstBurstLength=262144\nMaxBurstLength=1048576\n",
        number, unit.target, digests ? "CRC32C" : "None", digests ? "CRC32C" : "None");
    std::ranges::replace(keys, '\n', '\0');
    const std::size_t length = keys.size();
    keys.resize(length + iscsi::padding(length));
    iscsi::LoginRequestBhs request{};
    request.flags = 0x87;  // T, from the operational stage to full feature phase
    request.data_segment_length = static_cast<std::uint32_t>(length);
    request.isid[0] = 0x80;
    request.isid[5] = static_cast<std::uint8_t>(number);
    request.cmd_sn = 1;
    send_all(base::bytes_of(request));
    send_all(base::Bytes(reinterpret_cast<const std::uint8_t*>(keys.data()), keys.size()));
    const auto response = base::load<iscsi::LoginResponseBhs>(receive(sizeof(iscsi::LoginResponseBhs)));
    const std::uint32_t answer = response.data_segment_length;
    receive(answer + iscsi::padding(answer));
    if (response.status != 0 || response.flags != 0x87) throw std::runtime_error("the login was not answered at once");
    cmd_sn_ = response.exp_cmd_sn;
    stat_sn_ = response.stat_sn + 1;
  }

  std::uint8_t test_unit_ready() {
    std::vector<std::uint8_t> bytes(sizeof(iscsi::ScsiCommandBhs) + digest_);
    const auto bhs = command(0, 1);
    std::memcpy(bytes.data(), &bhs, sizeof bhs);
    number(bytes);
    send_all(bytes);
    const auto header = receive(sizeof(iscsi::Bhs) + digest_);
    const auto response = base::load<iscsi::Bhs>(std::span(header).first(sizeof(iscsi::Bhs)));
    const std::uint32_t sense = response.data_segment_length;
    receive(sense + iscsi::padding(sense) + (sense > 0 ? digest_ : 0));
    answered(1);
    return header[3];
  }

  int lun_;
  int fd_ = -1;
  int unit_attentions_ = 0;
  std::size_t digest_ = 0;
  std::uint32_t cmd_sn_ = 0;
  std::uint32_t stat_sn_ = 0;
};

/// A session that has one batch of `depth` commands under way, and sends it again when all are answered.
class Batch {
 public:
  Batch(const Options& options, const Unit& unit, int number)
      : options_(options),
        unit_(unit),
        session_(unit, number, options.digests),
        fd_(session_.fd()),
        random_(static_cast<std::uint64_t>(number) + 1) {
    const std::vector<std::uint8_t> data(options.write ? options.size : 0, 0x5A);
    const std::size_t behind = data.empty() ? 0 : session_.digest();
    out_.resize(options.depth * (sizeof(iscsi::ScsiCommandBhs) + session_.digest() + data.size() + behind));
    for (std::uint32_t i = 0; i < options.depth; ++i) {
      auto bhs = session_.command(options.write ? 0x20 : 0x40, 0x1000 + i);
      bhs.data_segment_length = static_cast<std::uint32_t>(data.size());
      bhs.expected_data_transfer_length = options.size;
      bhs.cdb[0] = options.write ? 0x8A : 0x88;
      const base::be32 blocks(options.size / unit.block);
      std::memcpy(&bhs.cdb[10], &blocks, sizeof blocks);
      const auto to = command(i);
      std::memcpy(to.data(), &bhs, sizeof bhs);
      const base::be32 digest = iscsi::digest_of(data);
      std::ranges::copy(data, to.end() - static_cast<std::ptrdiff_t>(data.size() + behind));
      if (behind > 0) std::memcpy(&*(to.end() - sizeof digest), &digest, sizeof digest);
    }
    answer_ = sizeof(iscsi::Bhs) + session_.digest() + (options.write ? 0 : options.size + session_.digest());
  }

  int fd() const { return fd_; }
  short wants() const { return sent_ < out_.size() ? POLLIN | POLLOUT : POLLIN; }
  std::uint64_t done() const { return done_; }

  /// Each time at other places, so that what a batch is about is no warmer than the region.
  void begin() {
    for (std::uint32_t i = 0; i < options_.depth; ++i) {
      const auto bytes = command(i);
      const base::be64 lba(random_() % (options_.region / options_.size) * (options_.size / unit_.block));
      std::memcpy(&bytes[offsetof(iscsi::ScsiCommandBhs, cdb) + 2], &lba, sizeof lba);
      session_.number(bytes);
    }
    session_.answered(options_.depth);
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
      if (bhs.code() != wanted || status != 0 || bhs.data_segment_length != (options_.write ? 0 : options_.size))
        throw std::runtime_error("an answer is not GOOD in one PDU");
    }
  }

 private:
  std::span<std::uint8_t> command(std::uint32_t i) {
    return std::span(out_).subspan(i * (out_.size() / options_.depth), out_.size() / options_.depth);
  }

  bool took(std::size_t count) {
    left_ -= count;
    if (left_ > 0) return false;
    done_ += options_.depth;
    return true;
  }

  const Options& options_;
  const Unit& unit_;
  WireSession session_;
  int fd_;
  std::mt19937_64 random_;
  std::vector<std::uint8_t> out_;
  std::size_t answer_ = 0;  // bytes of one
  std::size_t sent_ = 0;
  std::size_t left_ = 0;  // bytes of answers that have not come
  std::uint64_t done_ = 0;
};

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

/// What is counted while measuring: differences of two of these.
struct Counters {
  explicit Counters(const Options& options)
      : server(bench::cpu_seconds_of(options.server_pid)),
        switches(bench::switches_of(options.server_pid)),
        client(bench::own_cpu_seconds()),
        idle(bench::idle_cpu_seconds()),
        at(SteadyClock::now()) {
    std::ifstream file(options.locks, std::ios::binary);
    if (!options.locks.empty() && !file.read(reinterpret_cast<char*>(&locks), sizeof locks))
      throw std::runtime_error(options.locks + ": cannot read what was counted");
  }

  double server;  ///< seconds, as the next two
  bench::Switches switches;
  double client;
  double idle;
  bench::Locks locks{};
  SteadyClock::time_point at;
};

void report(const Options& options, double done, const Counters& before, const Counters& after) {
  const double seconds = std::chrono::duration<double>(after.at - before.at).count();
  const double server = after.server - before.server, client = after.client - before.client;
  fmt::print("{{\"iops\": {:.0f}, \"mb_s\": {:.1f}, \"client_cpu_us\": {:.2f}, \"client_cpus\": {:.2f}", done / seconds,
             done * options.size / seconds / 1e6, 1e6 * client / done, client / seconds);
  if (options.server_pid != 0) {
    auto each = [&](std::uint64_t bench::Switches::* what) {
      return static_cast<double>(after.switches.*what - before.switches.*what) / done;
    };
    fmt::print(
        ", \"server_cpu_us\": {:.2f}, \"server_cpus\": {:.2f}, \"idle_cpus\": {:.2f}, \"slept\": {:.4f}, "
        "\"preempted\": {:.4f}",
        1e6 * server / done, server / seconds, (after.idle - before.idle) / seconds, each(&bench::Switches::slept),
        each(&bench::Switches::preempted));
  }
  if (!options.locks.empty()) {
    auto each = [&](std::uint64_t bench::Locks::* what) {
      return static_cast<double>(after.locks.*what - before.locks.*what) / done;
    };
    fmt::print(", \"locks\": {:.4f}, \"lock_waits\": {:.5f}, \"lock_held_us\": {:.4f}, \"lock_waited_us\": {:.4f}",
               each(&bench::Locks::taken), each(&bench::Locks::waited), each(&bench::Locks::held_ns) / 1e3,
               each(&bench::Locks::waited_ns) / 1e3);
  }
  fmt::print("}}\n");
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
  app.add_flag("--digests", options.digests, "CRC32C of headers and data");
  app.add_option("--seconds", options.seconds);
  app.add_option("--region", options.region);
  app.add_option("--server-pid", options.server_pid, "report this process's time and switches too");
  app.add_option("--locks", options.locks, "report what the server's lock_counter wrote to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    std::vector<std::unique_ptr<Batch>> batches;
    const Unit unit(options.url);
    for (int i = 0; i < options.sessions; ++i) batches.push_back(std::make_unique<Batch>(options, unit, i));
    for (const auto& batch : batches) batch->check();
    run(batches, options.warmup);
    const Counters before(options);
    const std::uint64_t done = run(batches, options.seconds);
    const Counters after(options);
    for (const auto& batch : batches) batch->check();
    report(options, static_cast<double>(done), before, after);
  } catch (const std::exception& error) {
    fmt::print(stderr, "light_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
