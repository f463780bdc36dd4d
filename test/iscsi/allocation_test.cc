// Once warm, a command costs no allocation: counted by replacing operator new, in a program of its own.
//
// Not tested, and why: writes that need R2T from a store that keeps their buffer; commands that fail (sense data is
// built in a vector); writes before their turn, whose data is kept in a vector.
#include <doctest/doctest.h>

#include <cstdlib>
#include <new>

#include "handlers/memory_store.h"
#include "scsi/logical_unit.h"
#include "test/iscsi/several_peers.h"

namespace {

std::size_t allocations = 0;

void* counted(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

using namespace test;

namespace {

void add_memory_lun(Array& array) {
  scsi::LogicalUnitConfig config;
  config.name = "memory";
  array.device.server.add(
      scsi::Lun{5}, std::make_shared<scsi::LogicalUnit>(config, std::make_unique<handlers::MemoryStore>(1 << 20)));
}

/// Takes all output; gives back how much it was.
std::uint64_t drain(iscsi::Connection& connection) {
  std::array<iovec, 16> parts{};
  std::uint64_t sent = 0;
  while (connection.output_size() > 0) {
    std::size_t count = connection.output(parts);
    std::size_t run = 0;
    for (std::size_t i = 0; i < count; ++i) run += parts[i].iov_len;
    connection.sent(run);
    sent += run;
  }
  return sent;
}

}  // namespace

TEST_SUITE("iscsi allocation") {
  TEST_CASE("READ and WRITE of 4 KiB allocate nothing once warm") {
    Array array;
    add_memory_lun(array);
    Peer peer(array);
    peer.login(pairs("InitialR2T=No", "MaxRecvDataSegmentLength=262144", "FirstBurstLength=65536"));
    peer.send_command(test_unit_ready(), 0x80, 0, {}, 5);
    peer.answers();

    // One batch: 16 writes with immediate data, 16 reads.
    auto batch = [&] {
      ByteVector bytes;
      auto add = [&](const iscsi::ScsiCommandBhs& bhs, const ByteVector& data) {
        ByteVector pdu = peer.encode(iscsi::header_as<iscsi::Bhs>(bhs), data);
        bytes.insert(bytes.end(), pdu.begin(), pdu.end());
        ++peer.cmd_sn;
      };
      for (std::uint32_t i = 0; i < 16; ++i) add(peer.command(write10(i * 8, 8), 0xA0, 4096, 5), pattern(4096));
      for (std::uint32_t i = 0; i < 16; ++i) add(peer.command(read10(i * 8, 8), 0xC0, 4096, 5), {});
      return bytes;
    };
    iscsi::Connection& connection = peer.connection();
    auto serve = [&](base::Bytes bytes) {
      std::size_t before = allocations;
      peer.feed(bytes);
      std::uint64_t sent = drain(connection);
      std::size_t after = allocations;
      CHECK(sent == 16 * 48 + 16 * (48 + 4096));
      return after - before;
    };
    for (int i = 0; i < 20; ++i) serve(batch());
    std::size_t total = 0;
    for (int i = 0; i < 100; ++i) total += serve(batch());
    CHECK(total == 0);
  }

  TEST_CASE("Over two connections neither, the READs before their turn included") {
    Array array;
    add_memory_lun(array);
    SeveralPeers peers(array, 2, 1, pairs("InitialR2T=No", "FirstBurstLength=65536"));
    peers.send(0, test_unit_ready(), 0x80, 0, {}, 5);
    peers[0].answers();
    // WRITEs on one connection and READs on the other take turns; the READs come first.
    auto batch = [&] {
      std::array<ByteVector, 2> bytes;
      for (std::uint32_t i = 0; i < 32; ++i) {
        bool write = i % 2 == 0;
        auto bhs = peers.command(write ? 0 : 1, write ? write10(i * 8, 8) : read10((i - 1) * 8, 8), write ? 0xA0 : 0xC0,
                                 4096, 5);
        ByteVector pdu = peers[0].encode(iscsi::header_as<iscsi::Bhs>(bhs), write ? pattern(4096) : ByteVector{});
        bytes[i % 2].insert(bytes[i % 2].end(), pdu.begin(), pdu.end());
      }
      std::size_t before = allocations;
      peers[1].feed(bytes[1]);
      peers[0].feed(bytes[0]);
      std::uint64_t answered = drain(peers[0].connection()), read = drain(peers[1].connection());
      std::size_t after = allocations;
      CHECK(answered == 16 * 48);
      CHECK(read == 16 * (48 + 4096));
      return after - before;
    };
    for (int i = 0; i < 20; ++i) batch();
    std::size_t total = 0;
    for (int i = 0; i < 100; ++i) total += batch();
    CHECK(total == 0);
  }
}
