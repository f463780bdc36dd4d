// The ceiling to compare targets with: logs anybody in, answers READ and WRITE from one memory buffer, and does
// nothing else. One epoll thread, many PDUs per receive, one gathered send per turn, no copy on reads, the rest of what
// is written received where it belongs, huge pages, the same keys and socket options as odxd, but for keepalive. It
// trusts its client: no limits, no checks, no task management.
//
//     null_target [--portal ADDR:PORT] memory:SIZE      as odxd; SIZE bytes are reported, 1 GiB of them is memory
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "target/iscsi/pdu.h"

namespace {

using base::Bytes;
using namespace std::string_view_literals;

constexpr std::size_t kMemory = std::size_t{1} << 30;
constexpr std::size_t kReceiveBuffer = std::size_t{256} << 10;
constexpr std::size_t kMaxHeaders = 4096;  ///< in one turn
constexpr std::uint32_t kBlock = 512;
constexpr std::uint32_t kMaxBurst = 1 << 20;
constexpr std::uint32_t kMaxSegment = 262144;
constexpr std::uint32_t kCommandWindow = 256;
constexpr std::string_view kTargetName = "iqn.2026-01.example.odx:null";
// Keys and values end with a NUL each; the sv suffix keeps those inside.
constexpr std::string_view kOperationalKeys =
    "TargetPortalGroupTag=1\0HeaderDigest=None\0DataDigest=None\0InitialR2T=No\0ImmediateData=Yes\0"
    "MaxRecvDataSegmentLength=262144\0MaxBurstLength=1048576\0FirstBurstLength=262144\0MaxConnections=1\0"
    "MaxOutstandingR2T=1\0ErrorRecoveryLevel=0\0DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0"
    "DefaultTime2Wait=2\0DefaultTime2Retain=0\0"sv;
constexpr std::string_view kSecurityKeys = "TargetPortalGroupTag=1\0AuthMethod=None\0"sv;

/// The logical unit: `capacity` bytes that share kMemory bytes.
struct Disk {
  std::uint64_t capacity = 0;
  std::uint8_t* memory = nullptr;

  std::uint8_t* at(std::uint64_t offset) const { return memory + offset % kMemory; }
};

struct Rw16Cdb {
  std::uint8_t opcode;
  std::uint8_t flags;
  base::be64 lba;
  base::be32 blocks;
  std::array<std::uint8_t, 2> rest;
};
static_assert(sizeof(Rw16Cdb) == 16);

struct Rw10Cdb {
  std::uint8_t opcode;
  std::uint8_t flags;
  base::be32 lba;
  std::uint8_t group;
  base::be16 blocks;
  std::uint8_t control;
};
static_assert(sizeof(Rw10Cdb) == 10);

void check(bool good, std::string_view what) {
  if (!good) throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(errno)));
}

class Connection {
 public:
  Connection(int fd, const Disk& disk) : fd_(fd), disk_(disk), input_(kReceiveBuffer) { headers_.reserve(kMaxHeaders); }
  ~Connection() { close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// False when the connection is over.
  bool readable() {
    std::array<iovec, 2> parts{{{place_, missing_}, {input_.data() + filled_, input_.size() - filled_}}};
    ssize_t count = readv(fd_, parts.data(), parts.size());
    if (count == 0 || (count < 0 && errno != EAGAIN)) return false;
    if (count > 0) {
      const std::size_t placed = std::min(static_cast<std::size_t>(count), missing_);
      place_ += placed;
      missing_ -= placed;
      filled_ += static_cast<std::size_t>(count) - placed;
    }
    return serve();
  }

  bool writable() { return flush() && (blocked() || serve()); }
  /// The socket took less than there is to send.
  bool blocked() const { return blocked_; }

 private:
  /// Serves all whole PDUs that are here, then sends all answers at once.
  bool serve() {
    std::size_t used = 0;
    bool open = true;
    if (partial_ && missing_ == 0 && !blocked()) open = finish_partial();
    if (partial_) return flush() && open;  // what comes next belongs to it
    while (open && !blocked() && filled_ - used >= iscsi::kBhsLength) {
      auto bhs = base::load<iscsi::Bhs>({input_.data() + used, iscsi::kBhsLength});
      std::size_t length = bhs.data_segment_length;
      std::size_t whole = iscsi::kBhsLength + length + iscsi::padding(length);
      if (filled_ - used < whole) {
        if (begin_partial(bhs, Bytes(input_).subspan(used, filled_ - used))) used = filled_;
        break;
      }
      Bytes pdu(input_.data() + used, whole);
      open = handle(bhs, pdu, pdu.subspan(iscsi::kBhsLength, length));
      used += whole;
      if (headers_.size() + 64 > kMaxHeaders) open = flush() && open;
    }
    filled_ -= used;
    if (filled_ > 0 && used > 0) std::memmove(input_.data(), input_.data() + used, filled_);
    return flush() && open;
  }

  /// Where the data of a PDU belongs; null when it is not written.
  std::uint8_t* place_of(const iscsi::Bhs& bhs, Bytes pdu) const {
    if (bhs.code() == iscsi::Opcode::data_out) {
      auto header = base::load<iscsi::DataOutBhs>(pdu);
      auto found = writes_.find(header.initiator_task_tag);
      return found == writes_.end() ? nullptr : disk_.at(found->second.offset + header.buffer_offset);
    }
    if (bhs.code() != iscsi::Opcode::scsi_command) return nullptr;
    auto request = base::load<iscsi::ScsiCommandBhs>(pdu);
    if (request.cdb[0] == 0x8A) return disk_.at(base::load<Rw16Cdb>(request.cdb).lba * std::uint64_t{kBlock});
    if (request.cdb[0] == 0x2A) return disk_.at(base::load<Rw10Cdb>(request.cdb).lba * std::uint64_t{kBlock});
    return nullptr;
  }

  /// The rest of a PDU that has not come whole is received where it belongs. False when it belongs nowhere.
  bool begin_partial(const iscsi::Bhs& bhs, Bytes came) {
    std::uint8_t* place = place_of(bhs, came);
    if (!place) return false;
    std::memcpy(partial_.emplace().data(), came.data(), iscsi::kBhsLength);
    const Bytes data = came.subspan(iscsi::kBhsLength);
    std::memcpy(place, data.data(), data.size());
    place_ = place + data.size();
    missing_ = bhs.data_segment_length - data.size();
    return true;
  }

  bool finish_partial() {
    const auto header = *std::exchange(partial_, std::nullopt);
    auto bhs = base::load<iscsi::Bhs>(header);
    return handle(bhs, header, {place_ - bhs.data_segment_length, bhs.data_segment_length});
  }

  bool handle(const iscsi::Bhs& bhs, Bytes pdu, Bytes data) {
    switch (bhs.code()) {
      case iscsi::Opcode::scsi_command: command(base::load<iscsi::ScsiCommandBhs>(pdu), data); return true;
      case iscsi::Opcode::data_out: data_out(base::load<iscsi::DataOutBhs>(pdu), data); return true;
      case iscsi::Opcode::login_request: login(base::load<iscsi::LoginRequestBhs>(pdu)); return true;
      case iscsi::Opcode::nop_out: return true;
      default: return false;  // a logout, or something only a real target serves
    }
  }

  void login(const iscsi::LoginRequestBhs& request) {
    next_command_ = request.cmd_sn;
    bool operational = (request.flags / iscsi::kCurrentStageFactor & iscsi::kStageMask) == 1;
    keys_ = operational ? kOperationalKeys : kSecurityKeys;
    iscsi::LoginResponseBhs response;
    response.flags = request.flags;
    response.isid = request.isid;
    response.tsih = 1;
    response.initiator_task_tag = request.initiator_task_tag;
    response.data_segment_length = static_cast<std::uint32_t>(keys_.size());
    numbers(response);
    send(response);
    append(base::bytes_of(keys_));
    append(Bytes(kPadding).first(iscsi::padding(keys_.size())));
  }

  void command(const iscsi::ScsiCommandBhs& request, Bytes data) {
    next_command_ = request.cmd_sn + 1;
    switch (request.cdb[0]) {
      case 0x88:
      case 0x8A: {
        auto cdb = base::load<Rw16Cdb>(request.cdb);
        transfer(request, cdb.lba, cdb.blocks, data);
        break;
      }
      case 0x28:
      case 0x2A: {
        auto cdb = base::load<Rw10Cdb>(request.cdb);
        transfer(request, cdb.lba, cdb.blocks, data);
        break;
      }
      case 0x12:
        small_data(request, {0x00, 0x00, 0x06, 0x02, 31, 0, 0, 0, 'o', 'd', 'x', ' ', ' ', ' ', ' ', ' ', 'n', 'u'},
                   36);
        break;
      case 0x9E: {
        base::be64 last = disk_.capacity / kBlock - 1;
        std::vector<std::uint8_t> answer(base::bytes_of(last).begin(), base::bytes_of(last).end());
        answer.insert(answer.end(), {0, 0, kBlock / 256, 0});
        small_data(request, answer, 32);
        break;
      }
      default: status(request.initiator_task_tag);
    }
  }

  void transfer(const iscsi::ScsiCommandBhs& request, std::uint64_t lba, std::uint32_t blocks, Bytes data) {
    std::uint64_t offset = lba * kBlock;
    std::uint32_t length = blocks * kBlock;
    if ((request.flags & iscsi::kCommandRead) != 0) {
      read(request, offset, length);
      return;
    }
    put(offset, data);
    if (data.size() == length) {
      status(request.initiator_task_tag);
      return;
    }
    Write& write = writes_[request.initiator_task_tag];
    write = {offset, length, static_cast<std::uint32_t>(data.size()), 0, request.lun};
    if ((request.flags & iscsi::kFinal) != 0) ask(request.initiator_task_tag, write);
  }

  /// What was received where it belongs is there already.
  void put(std::uint64_t offset, Bytes data) {
    if (data.data() != disk_.at(offset)) std::memcpy(disk_.at(offset), data.data(), data.size());
  }

  void read(const iscsi::ScsiCommandBhs& request, std::uint64_t offset, std::uint32_t length) {
    std::uint32_t number = 0;
    for (std::uint32_t done = 0; done < length;) {
      std::uint32_t piece = std::min(length - done, kMaxSegment);
      iscsi::DataInBhs header;
      header.flags = iscsi::kFinal;
      header.data_segment_length = piece;
      header.initiator_task_tag = request.initiator_task_tag;
      header.data_sn = number++;
      header.buffer_offset = done;
      if (done + piece == length) {
        header.flags |= iscsi::kDataInStatus;
        numbers(header);
      }
      send(header);
      append({disk_.at(offset + done), piece});
      done += piece;
    }
  }

  void data_out(const iscsi::DataOutBhs& header, Bytes data) {
    auto found = writes_.find(header.initiator_task_tag);
    if (found == writes_.end()) return;
    Write& write = found->second;
    put(write.offset + header.buffer_offset, data);
    write.received += static_cast<std::uint32_t>(data.size());
    if (write.received == write.length) {
      writes_.erase(found);
      status(header.initiator_task_tag);
    } else if ((header.flags & iscsi::kFinal) != 0) {
      ask(header.initiator_task_tag, write);
    }
  }

  struct Write {
    std::uint64_t offset;
    std::uint32_t length;
    std::uint32_t received;
    std::uint32_t r2t_number;
    iscsi::LunField lun;
  };

  void ask(std::uint32_t tag, Write& write) {
    iscsi::R2tBhs header;
    header.lun = write.lun;
    header.initiator_task_tag = tag;
    header.target_transfer_tag = tag;
    header.r2t_sn = write.r2t_number++;
    header.buffer_offset = write.received;
    header.desired_data_transfer_length = std::min(write.length - write.received, kMaxBurst);
    numbers(header);
    --status_number_;  // an R2T does not use a StatSN
    send(header);
  }

  void status(std::uint32_t tag) {
    iscsi::ScsiResponseBhs response;
    response.initiator_task_tag = tag;
    numbers(response);
    send(response);
  }

  void small_data(const iscsi::ScsiCommandBhs& request, std::vector<std::uint8_t> data, std::size_t size) {
    data.resize(std::min<std::size_t>(size, request.expected_data_transfer_length));
    small_.assign(data.begin(), data.end());
    iscsi::DataInBhs header;
    header.flags = iscsi::kFinal | iscsi::kDataInStatus;
    if (data.size() < request.expected_data_transfer_length) header.flags |= iscsi::kResidualUnderflow;
    header.residual_count = request.expected_data_transfer_length - static_cast<std::uint32_t>(data.size());
    header.data_segment_length = static_cast<std::uint32_t>(data.size());
    header.initiator_task_tag = request.initiator_task_tag;
    numbers(header);
    send(header);
    append(small_);
    append(Bytes(kPadding).first(iscsi::padding(small_.size())));
  }

  void numbers(auto& header) {
    header.stat_sn = status_number_++;
    header.exp_cmd_sn = next_command_;
    header.max_cmd_sn = next_command_ + kCommandWindow;
  }

  void send(const auto& header) {
    static_assert(sizeof header == iscsi::kBhsLength);
    std::memcpy(headers_.emplace_back().data(), &header, sizeof header);
    append(headers_.back());
  }

  void append(Bytes bytes) {
    if (!bytes.empty()) output_.push_back({const_cast<std::uint8_t*>(bytes.data()), bytes.size()});
  }

  bool flush() {
    blocked_ = false;
    while (next_ < output_.size()) {
      msghdr message{};
      message.msg_iov = &output_[next_];
      message.msg_iovlen = std::min<std::size_t>(output_.size() - next_, IOV_MAX);
      ssize_t sent = sendmsg(fd_, &message, MSG_NOSIGNAL);
      if (sent < 0) {
        blocked_ = errno == EAGAIN;
        return blocked_;
      }
      auto count = static_cast<std::size_t>(sent);
      while (count > 0) {
        iovec& part = output_[next_];
        std::size_t step = std::min(count, part.iov_len);
        part.iov_base = static_cast<std::uint8_t*>(part.iov_base) + step;
        part.iov_len -= step;
        count -= step;
        if (part.iov_len == 0) ++next_;
      }
    }
    next_ = 0;
    output_.clear();
    headers_.clear();
    return true;
  }

  static constexpr std::array<std::uint8_t, 4> kPadding{};
  int fd_;
  const Disk& disk_;
  std::vector<std::uint8_t> input_;
  std::size_t filled_ = 0;
  std::optional<std::array<std::uint8_t, iscsi::kBhsLength>> partial_;  ///< header of a PDU with more data to come
  std::uint8_t* place_ = nullptr;                                       ///< where the next of it belongs
  std::size_t missing_ = 0;
  std::vector<std::array<std::uint8_t, iscsi::kBhsLength>> headers_;  // never grows: output_ points into it
  std::vector<iovec> output_;
  std::size_t next_ = 0;
  bool blocked_ = false;
  std::string_view keys_;
  std::vector<std::uint8_t> small_;
  std::unordered_map<std::uint32_t, Write> writes_;
  std::uint32_t next_command_ = 0;
  std::uint32_t status_number_ = 1;
};

void tune(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  constexpr std::string_view kCubic = "cubic";
  setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, kCubic.data(), kCubic.size());
}

int listen_on(const std::string& address, std::uint16_t port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  check(fd >= 0, "socket");
  sockaddr_in name{};
  name.sin_family = AF_INET;
  base::be16 wire_port = port;
  std::memcpy(&name.sin_port, &wire_port, sizeof wire_port);
  if (inet_pton(AF_INET, address.c_str(), &name.sin_addr) != 1) throw std::runtime_error("not an IPv4 address");
  check(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0 && listen(fd, 64) == 0, "listen");
  return fd;
}

std::uint16_t bound_port(int fd) {
  sockaddr_in name{};
  socklen_t size = sizeof name;
  check(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) == 0, "getsockname");
  return base::load<base::be16>({reinterpret_cast<std::uint8_t*>(&name.sin_port), sizeof name.sin_port});
}

/// The bytes that "memory:64G" stands for.
std::uint64_t capacity_of(const std::string& store) {
  constexpr std::string_view kUnits = "KMGT";
  std::size_t used = 0;
  std::string size = store.substr(store.find(':') + 1);
  std::uint64_t bytes = std::stoull(size, &used);
  std::size_t unit = used < size.size() ? kUnits.find(size[used]) : kUnits.npos;
  for (std::size_t i = 0; unit != kUnits.npos && i <= unit; ++i) bytes *= 1024;
  return bytes;
}

class Loop {
 public:
  Loop(int listener, const Disk& disk) : epoll_(epoll_create1(0)), listener_(listener), disk_(disk) {
    watch(listener_, EPOLL_CTL_ADD, EPOLLIN);
  }

  void turn() {
    std::array<epoll_event, 64> events;
    int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == listener_) {
        accept_one();
      } else {
        serve(events[i].data.fd, events[i].events);
      }
    }
  }

 private:
  void watch(int fd, int operation, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    check(epoll_ctl(epoll_, operation, fd, &event) == 0, "epoll_ctl");
  }

  void accept_one() {
    int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK);
    if (fd < 0) return;
    tune(fd);
    connections_[fd] = {std::make_unique<Connection>(fd, disk_), false};
    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
  }

  void serve(int fd, std::uint32_t events) {
    auto& [connection, waits] = connections_.at(fd);
    bool open = (events & EPOLLOUT) != 0 ? connection->writable() : connection->readable();
    if (!open) {
      connections_.erase(fd);
    } else if (connection->blocked() != waits) {
      waits = !waits;
      watch(fd, EPOLL_CTL_MOD, waits ? EPOLLOUT : EPOLLIN);
    }
  }

  struct Entry {
    std::unique_ptr<Connection> connection;
    bool waits_for_output = false;
  };
  int epoll_;
  int listener_;
  const Disk& disk_;
  std::map<int, Entry> connections_;
};

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app("A null iSCSI target: the ceiling to compare with");
  std::string portal = "127.0.0.1:0";
  std::vector<std::string> stores;
  app.add_option("--portal", portal, "ADDR:PORT");
  app.add_option("stores", stores, "memory:SIZE, once or more; all share the memory")->required();
  CLI11_PARSE(app, argc, argv);

  Disk disk;
  disk.capacity = capacity_of(stores.front());
  constexpr std::size_t kMapped = kMemory + 2 * kMaxBurst;  // what begins at its end goes beyond
  void* memory = mmap(nullptr, kMapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "mmap");
  check(madvise(memory, kMapped, MADV_HUGEPAGE) == 0, "madvise");
  disk.memory = static_cast<std::uint8_t*>(memory);

  std::size_t colon = portal.rfind(':');
  int listener = listen_on(portal.substr(0, colon), static_cast<std::uint16_t>(std::stoi(portal.substr(colon + 1))));
  for (std::size_t lun = 0; lun < stores.size(); ++lun) {
    fmt::print("lun iscsi://{}:{}/{}/{}\n", portal.substr(0, colon), bound_port(listener), kTargetName, lun);
  }
  fmt::print("ready\n");
  std::fflush(stdout);
  std::signal(SIGTERM, [](int) { _exit(0); });
  Loop loop(listener, disk);
  while (true) loop.turn();
} catch (const std::exception& error) {
  fmt::print(stderr, "null_target: {}\n", error.what());
  return 1;
}
