// What target/tcmu/runner.h says of libtcmu, proved with Debian's library: it takes a command from a ring that we made
// and completes it there.
//
// Not tested, and why: tcmu-runner itself, which does nothing without a kernel that has target_core_user (test/vm runs
// it; test/tcmu/binary_test.py looks into it).
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <sys/uio.h>

#include <array>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "target/tcmu/runner.h"

namespace {

using tcmu::LibCommand;
using tcmu::RunnerStatus;

/// The ring as <linux/target_core_user.h> has it, which no C++ compiler takes.
struct Mailbox {
  std::uint16_t version = 2;
  std::uint16_t flags = 0;
  std::uint32_t cmdr_off = 0;
  std::uint32_t cmdr_size = 0;
  std::uint32_t cmd_head = 0;
  alignas(64) std::uint32_t cmd_tail = 0;
};
struct EntryHeader {
  static constexpr std::uint32_t kCommand = 1;  ///< the operation, in the low bits of the length
  std::uint32_t len_op = 0;
  std::uint16_t cmd_id = 0;
  std::uint8_t kflags = 0;
  std::uint8_t uflags = 0;
};
struct Request {
  std::uint32_t iov_cnt = 0;
  std::uint32_t iov_bidi_cnt = 0;
  std::uint32_t iov_dif_cnt = 0;
  std::uint64_t cdb_off = 0;
  std::array<std::uint64_t, 2> pad{};
  std::array<iovec, 2> iov{};
};
struct Response {
  std::uint8_t scsi_status = 0;
  std::uint32_t read_len = 0;
  std::array<std::uint8_t, 96> sense_buffer{};
};
static_assert(offsetof(Mailbox, cmd_head) == 12 && offsetof(Mailbox, cmd_tail) == 64 && sizeof(EntryHeader) == 8 &&
              offsetof(Request, cdb_off) == 16 && offsetof(Request, iov) == 40 &&
              offsetof(Response, sense_buffer) == 8);

/// struct tcmu_device of libtcmu 2.2, as far as the ring needs it.
struct LibDevice {
  int fd = -1;
  Mailbox* map = nullptr;
  std::size_t map_len = 0;
  std::uint32_t cmd_tail = 0;
  std::array<std::uint64_t, 1024> rest{};
};

template <typename Function>
Function* symbol(const char* name) {
  static void* library = dlopen("libtcmu.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library) throw std::runtime_error(std::string(dlerror()) + "; scripts/setup test installs it");
  auto* found = dlsym(library, name);
  if (!found) throw std::runtime_error(dlerror());
  return reinterpret_cast<Function*>(found);
}

constexpr std::uint32_t kRingOffset = 4096;
constexpr std::uint32_t kEntryLength = 256;
constexpr std::uint32_t kCdbOffset = 16384;
constexpr std::uint32_t kDataOffset = 20480;

/// A ring with one command in it: the CDB, and room for data in two pieces.
struct Ring {
  explicit Ring(base::Bytes cdb) {
    Mailbox& mailbox = *new (memory.data()) Mailbox{.cmdr_off = kRingOffset, .cmdr_size = 2 * kEntryLength};
    std::memcpy(memory.data() + kCdbOffset, cdb.data(), cdb.size());
    new (memory.data() + kRingOffset) EntryHeader{.len_op = kEntryLength | EntryHeader::kCommand, .cmd_id = 77};
    auto& request = *new (memory.data() + kRingOffset + sizeof(EntryHeader)) Request{};
    request.iov_cnt = 2;
    request.cdb_off = kCdbOffset;
    for (std::size_t i = 0; i < 2; ++i)
      request.iov[i] = {reinterpret_cast<void*>(static_cast<std::uintptr_t>(kDataOffset + 512 * i)), 512 - i};
    mailbox.cmd_head = kEntryLength;
    device.map = &mailbox;
    device.map_len = memory.size();
  }
  std::uint32_t tail() const { return device.map->cmd_tail; }
  Response response() const {
    Response copy;
    std::memcpy(&copy, memory.data() + kRingOffset + sizeof(EntryHeader), sizeof copy);
    return copy;
  }
  tcmu::RunnerDevice* runner() { return reinterpret_cast<tcmu::RunnerDevice*>(&device); }
  LibCommand* next() {
    return symbol<LibCommand*(tcmu::RunnerDevice*, int)>("tcmulib_get_next_command")(
        runner(), static_cast<int>(sizeof(tcmu::RunnerCommand)));
  }

  alignas(4096) std::array<std::uint8_t, 32768> memory{};
  LibDevice device{};
};

void complete(Ring& ring, LibCommand* command, RunnerStatus status) {
  symbol<decltype(tcmu::tcmulib_command_complete)>("tcmulib_command_complete")(ring.runner(), command,
                                                                               static_cast<int>(status));
}

constexpr std::array<std::uint8_t, 16> kRead10{0x28, 0, 0, 0, 0, 5, 0, 0, 2, 0, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE};

}  // namespace

TEST_SUITE("libtcmu") {
  TEST_CASE("a command from the ring is laid out as we take it to be") {
    Ring ring(kRead10);
    LibCommand* command = ring.next();
    REQUIRE(command);
    CHECK(command->cmd_id == 77);
    CHECK(command->iov_cnt == 2);
    CHECK(command->iov[0].iov_base == ring.memory.data() + kDataOffset);
    CHECK(command->iov[1].iov_base == ring.memory.data() + kDataOffset + 512);
    CHECK(command->iov[1].iov_len == 511);
    CHECK(std::memcmp(command->cdb, kRead10.data(), 10) == 0);
    // Behind the ten bytes of the CDB stands the daemon's structure, at whatever address that is.
    CHECK(command->hm_private == command->cdb + 10);
    CHECK(ring.next() == nullptr);
    complete(ring, command, RunnerStatus::ok);
    CHECK(ring.response().scsi_status == 0);
    CHECK(ring.tail() == kEntryLength);
  }

  TEST_CASE("sense data is passed through") {
    Ring ring(kRead10);
    LibCommand* command = ring.next();
    REQUIRE(command);
    command->hm_private = nullptr;  // ours by now
    for (std::size_t i = 0; i < command->sense_buf.size(); ++i) command->sense_buf[i] = static_cast<std::uint8_t>(i);
    complete(ring, command, RunnerStatus::passthrough_err);
    CHECK(ring.response().scsi_status == 2);
    const auto sense = ring.response().sense_buffer;
    for (std::size_t i = 0; i < sense.size(); ++i) CHECK(sense[i] == i);
  }

  TEST_CASE("BUSY and TASK SET FULL are those statuses") {
    for (auto [status, expected] : {std::pair(RunnerStatus::busy, 0x08), std::pair(RunnerStatus::no_resource, 0x28)}) {
      Ring ring(kRead10);
      LibCommand* command = ring.next();
      REQUIRE(command);
      complete(ring, command, status);
      CHECK(ring.response().scsi_status == expected);
    }
  }

  TEST_CASE("the CDB's length follows from its operation code as we take it to") {
    auto length = symbol<int(std::uint8_t*)>("tcmu_cdb_get_length");
    for (unsigned code = 0; code < 0x100; ++code) {
      CAPTURE(code);
      std::array<std::uint8_t, 16> cdb{static_cast<std::uint8_t>(code)};
      constexpr std::array<int, 8> kLengths{6, 10, 10, -22, 16, 12, -22, -22};
      CHECK(length(cdb.data()) == (code == 0x7F ? 8 : kLengths[code >> 5]));
    }
  }

  TEST_CASE("every function of libtcmu that the plugin calls is there") {
    for (const char* name :
         {"tcmu_dev_get_uio_name", "tcmu_dev_get_cfgstring", "tcmu_dev_get_num_lbas", "tcmu_dev_get_block_size",
          "tcmu_cfgfs_dev_get_wwn", "tcmulib_command_complete", "tcmulib_processing_complete", "tcmu_err_message"}) {
      CAPTURE(name);
      CHECK_NOTHROW(symbol<void()>(name));
    }
  }
}
