// Backstores that come, change and go while commands run, on the threads the daemon has for them.
//
// Not tested, and why: the daemon's own order of things, and a kernel that has commands under way (test/vm).
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "test/handlers/store_kinds.h"
#include "test/tcmu/plugin_fixture.h"

using namespace test;
using handlers::TemporaryFolder;

namespace {

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Writes and reads back blocks of its own, as often as told.
void exercise(FakeDevice& device, std::uint32_t lba, int times) {
  for (int i = 0; i < times; ++i) {
    const Bytes data = patterned(16 * 512, static_cast<std::uint8_t>(i + static_cast<int>(lba)));
    write_blocks(device, lba, data);
    CHECK(read_blocks(device, lba, 16) == data);
  }
}

}  // namespace

TEST_SUITE("tcmu life") {
  TEST_CASE("no thread of the plugin takes the daemon's signals") {
    TemporaryFolder folder;
    FakeDevice device("odx/file:" + folder.file("disk.img"), kMiB);
    exercise(device, 0, 2);
    int threads = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
      if (entry.path().filename() == std::to_string(gettid())) continue;
      ++threads;
      std::ifstream status(entry.path() / "status");
      std::string line;
      while (std::getline(status, line) && !line.starts_with("SigBlk:")) continue;
      REQUIRE(line.starts_with("SigBlk:"));
      const std::uint64_t blocked = std::stoull(line.substr(7), nullptr, 16);
      for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) CHECK((blocked >> (signal - 1) & 1) == 1);
    }
    CHECK(threads >= 5);  // a loop and workers
  }

  TEST_CASE("a file comes into being with LIO's size, and has what was written when the device is closed") {
    TemporaryFolder folder;
    const std::string path = folder.file("disk.img");
    const Bytes data = patterned(1024, 4);
    {
      FakeDevice device("odx/file:" + path, kMiB);
      make_ready(device);
      write_blocks(device, 3, data);
      FakeDevice second("odx/file:" + path, kMiB);
      CHECK_FALSE(second.opened());
      CHECK(last_error().contains("is locked"));
    }
    std::string written = content(path);
    CHECK(written.size() == kMiB);
    CHECK(Bytes(written.begin() + 3 * 512, written.begin() + 5 * 512) == data);

    FakeDevice larger("odx/file:" + path, 2 * kMiB);
    CHECK_FALSE(larger.opened());
    CHECK(last_error().contains("exists and has 1048576 bytes"));
    FakeDevice again("odx/file:" + path + ";read_only=true", kMiB);
    make_ready(again);
    CHECK(read_blocks(again, 3, 2) == data);
    CHECK(again.execute(write_10(0, 1), Bytes(512)).text() == "07/27/00");
    FakeDevice differs("odx/file:" + path + ";read_only=true", 2 * kMiB);
    CHECK_FALSE(differs.opened());
    CHECK(last_error().contains("has 1048576 bytes, and LIO says 2097152"));
  }

  TEST_CASE("a device grows, and hosts are told") {
    TemporaryFolder folder;
    for (const std::string& store : {std::string("memory"), "file:" + folder.file("disk.img")}) {
      CAPTURE(store);
      FakeDevice device("odx/" + store, kMiB);
      make_ready(device);
      CHECK(device.resize(2 * kMiB) == 0);
      CHECK(device.execute(test_unit_ready()).text() == "06/2A/09");
      CHECK(device.execute(read_capacity(), Bytes(8)).data == hex("00000FFF00000200"));
      write_blocks(device, 4095, patterned(512, 1));
      CHECK(device.resize(2 * kMiB + 100) < 0);
      CHECK(last_error().contains("expected a positive multiple of its block length 512"));
    }
    FakeDevice file("odx/file:" + folder.file("disk.img"), 2 * kMiB);
    CHECK(file.resize(kMiB) < 0);
    CHECK(last_error().contains("does not shrink"));
  }

  TEST_CASE("of its string only read_only changes while it is served") {
    FakeDevice device("odx/memory", kMiB);
    make_ready(device);
    CHECK(device.change("odx/memory;read_only=true\n") == 0);
    CHECK(device.execute(test_unit_ready()).text() == "06/2A/01");
    CHECK(device.execute(write_10(0, 1), Bytes(512)).text() == "07/27/00");
    CHECK(device.change("odx/memory") == 0);
    CHECK(device.execute(test_unit_ready()).text() == "06/2A/01");
    write_blocks(device, 0, Bytes(512));
    CHECK(device.change("odx/memory;removable=true") < 0);
    CHECK(device.change("odx/memory;initiator=naa.5001405000000001") < 0);
    CHECK(last_error().contains("only read_only can be changed"));
    CHECK(device.change("odx/nothing") < 0);
    tcmu::Reconfig cache{.type = tcmu::ReconfigType::write_cache, .data = {.write_cache = true}};
    CHECK(handler().reconfig(&device.raw(), &cache) == 0);
    cache.data = {.write_cache = false};
    CHECK(handler().reconfig(&device.raw(), &cache) < 0);
  }

  TEST_CASE("devices serve their threads side by side") {
    TemporaryFolder folder;
    constexpr int kDevices = 4;
    std::vector<std::unique_ptr<FakeDevice>> devices;
    for (int i = 0; i < kDevices; ++i) {
      devices.push_back(std::make_unique<FakeDevice>(
          i % 2 == 0 ? std::string("odx/memory") : "odx/file:" + folder.file(std::to_string(i)), kMiB));
      make_ready(*devices.back());
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < 2 * kDevices; ++i)  // a device has one thread; two here make more of the queue
      threads.emplace_back([&device = *devices[static_cast<std::size_t>(i / 2)], i] {
        exercise(device, static_cast<std::uint32_t>(64 * i), 100);
      });
    for (auto& thread : threads) thread.join();
  }

  TEST_CASE("others come and go while a device serves") {
    TemporaryFolder folder;
    FakeDevice device("odx/memory", 4 * kMiB);
    make_ready(device);
    std::atomic<bool> stop{false};
    std::thread host([&] {
      while (!stop) exercise(device, 0, 10);
    });
    for (int i = 0; i < 20; ++i) {
      FakeDevice other(i % 2 == 0 ? std::string("odx/memory") : "odx/file:" + folder.file("disk.img"), kMiB);
      make_ready(other);
      write_blocks(other, 0, patterned(512, 1));
      CHECK(device.resize((5 + static_cast<std::uint64_t>(i)) * kMiB) == 0);
    }
    stop = true;
    host.join();
  }

  TEST_CASE("every command is completed before a device is closed") {
    TemporaryFolder folder;
    for (const std::string& store : {std::string("memory"), "file:" + folder.file("disk.img")}) {
      for (int round = 0; round < 20; ++round) {
        FakeDevice device("odx/" + store, 4 * kMiB);
        make_ready(device);
        std::vector<std::shared_ptr<Submitted>> sent;
        for (std::uint32_t i = 0; i < 32; ++i) sent.push_back(device.submit(write_10(i * 64, 64), Bytes(64 * 512, 1)));
        device.close();
        for (auto& each : sent) {
          CHECK(each->told);
          // GOOD when it was its turn before, else what has LIO send it again.
          CHECK((each->outcome.status == 0 || each->outcome.status == static_cast<int>(tcmu::RunnerStatus::busy)));
        }
      }
    }
  }

  TEST_CASE("a thread of the daemon is cancelled whatever it does") {
    FakeDevice device("odx/memory", kMiB);
    make_ready(device);
    struct Sender {
      FakeDevice& device;
      std::atomic<int> sent{0};
      std::vector<std::shared_ptr<Submitted>> commands{};
    };
    for (int round = 0; round < 20; ++round) {
      Sender sender{device};
      sender.commands.reserve(5000);
      pthread_t thread;
      auto send = [](void* argument) -> void* {
        auto& mine = *static_cast<Sender*>(argument);
        while (mine.commands.size() < 5000) {
          int before;
          pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
          auto command = mine.device.prepare(test_unit_ready());
          pthread_setcancelstate(before, nullptr);
          mine.device.hand_over(command.first);
          pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
          mine.commands.push_back(std::move(command.second));
          ++mine.sent;
          pthread_setcancelstate(before, nullptr);
          pthread_testcancel();
        }
        return nullptr;
      };
      REQUIRE(pthread_create(&thread, nullptr, send, &sender) == 0);
      while (sender.sent < 50) std::this_thread::yield();
      pthread_cancel(thread);
      void* result = nullptr;
      pthread_join(thread, &result);
      CHECK((result == PTHREAD_CANCELED || sender.sent == 5000));
      for (auto& each : sender.commands) CHECK(device.wait(*each).text() == "status 0");
    }
  }

  TEST_CASE("the daemon ends, and the plugin with it") {
    {
      FakeDevice device("odx/memory", kMiB);
      make_ready(device);
    }
    end_runner();
    FakeDevice device("odx/memory", kMiB);
    make_ready(device);
  }
}
