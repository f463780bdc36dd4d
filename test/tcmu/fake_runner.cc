#include "test/tcmu/fake_runner.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

namespace {

tcmu::RunnerHandler* registered = nullptr;
int (*handler_init)() = nullptr;
std::mutex log_mutex;
std::string log_line;
std::atomic<unsigned> devices_made{0};

std::size_t cdb_length_as_libtcmu(std::uint8_t code, std::uint8_t additional) {
  switch (code >> 5) {
    case 0: return 6;
    case 1:
    case 2: return 10;
    case 4: return 16;
    case 5: return 12;
    default: return code == 0x7F ? 8u + additional : 0;
  }
}

}  // namespace

extern "C" {

int tcmur_register_handler(tcmu::RunnerHandler* handler) {
  if (handler->init && handler->init() != 0) return -1;
  registered = handler;
  return 0;
}
void tcmur_dev_set_private(tcmu::RunnerDevice* device, void* ours) { device->ours = ours; }
void* tcmur_dev_get_private(tcmu::RunnerDevice* device) { return device->ours; }
const char* tcmu_dev_get_uio_name(tcmu::RunnerDevice* device) { return device->uio_name.c_str(); }
char* tcmu_dev_get_cfgstring(tcmu::RunnerDevice* device) { return device->cfgstring.data(); }
std::uint64_t tcmu_dev_get_num_lbas(tcmu::RunnerDevice* device) { return device->blocks; }
std::uint32_t tcmu_dev_get_block_size(tcmu::RunnerDevice* device) { return device->block_size; }
char* tcmu_cfgfs_dev_get_wwn(tcmu::RunnerDevice* device) {
  return device->serial.empty() ? nullptr : strdup(device->serial.c_str());
}

void tcmulib_command_complete(tcmu::RunnerDevice* device, tcmu::LibCommand* command, int result) {
  if (device->completing.fetch_add(1) != 0) std::abort();  // the ring has no lock
  std::shared_ptr<test::Submitted> submitted;
  {
    std::lock_guard lock(device->mutex);
    auto found = device->pending.find(command);
    if (found == device->pending.end()) std::abort();  // completed twice, or never sent
    submitted = found->second;
    device->pending.erase(found);
    submitted->outcome = {result, {command->sense_buf.begin(), command->sense_buf.end()}, submitted->memory};
    submitted->completed = true;
    device->untold.push_back(submitted);
  }
  std::free(command);
  device->completing.fetch_sub(1);
}

void tcmulib_processing_complete(tcmu::RunnerDevice* device) {
  std::lock_guard lock(device->mutex);
  for (auto& each : device->untold) each->told = true;
  device->untold.clear();
  device->changed.notify_all();
}

void tcmu_err_message(tcmu::RunnerDevice*, const char*, int, const char* format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  std::lock_guard lock(log_mutex);
  log_line = line;
}
}

namespace test {

std::string Outcome::text() const {
  if (status != static_cast<int>(tcmu::RunnerStatus::passthrough_err)) return fmt::format("status {}", status);
  return fmt::format("{:02X}/{:02X}/{:02X}", sense[2] & 0xF, sense[12], sense[13]);
}

tcmu::RunnerHandler& handler() {
  if (!handler_init) {
    void* library = dlopen(ODX_HANDLER, RTLD_NOW | RTLD_LOCAL);
    if (!library) throw std::runtime_error(dlerror());
    handler_init = reinterpret_cast<int (*)()>(dlsym(library, "handler_init"));
    if (!handler_init) throw std::runtime_error(dlerror());
  }
  if (!registered && handler_init() != 0) throw std::runtime_error("handler_init() failed");
  return *registered;
}

void end_runner() {
  if (registered) registered->destroy();
  registered = nullptr;
}

std::string last_error() {
  std::lock_guard lock(log_mutex);
  return log_line;
}

FakeDevice::FakeDevice(const std::string& cfgstring, std::uint64_t size_bytes, std::optional<std::string> serial,
                       std::uint32_t block_size)
    : device_{.uio_name = fmt::format("uio{}", ++devices_made),
              .cfgstring = cfgstring,
              .serial = serial.value_or(fmt::format("{:08x}-5eed", devices_made.load())),
              .blocks = size_bytes / block_size,
              .block_size = block_size} {
  char* reason = nullptr;
  if (!handler().check_config(device_.cfgstring.c_str(), &reason)) {
    std::lock_guard lock(log_mutex);
    log_line = reason;
    std::free(reason);
    return;
  }
  opened_ = handler().open(&device_, false) == 0;
}

FakeDevice::~FakeDevice() {
  if (opened_) close();
}

void FakeDevice::close() {
  handler().close(&device_);
  opened_ = false;
  std::lock_guard lock(device_.mutex);
  CHECK(device_.pending.empty());
  CHECK(device_.untold.empty());
}

int FakeDevice::resize(std::uint64_t size_bytes) {
  tcmu::Reconfig wanted{.type = tcmu::ReconfigType::size, .data = {.dev_size = size_bytes}};
  int result = handler().reconfig(&device_, &wanted);
  if (result == 0) device_.blocks = size_bytes / device_.block_size;
  return result;
}

int FakeDevice::change(const std::string& cfgstring) {
  tcmu::Reconfig wanted{.type = tcmu::ReconfigType::config_string, .data = {.dev_cfgstring = cfgstring.c_str()}};
  return handler().reconfig(&device_, &wanted);
}

std::shared_ptr<Submitted> FakeDevice::submit(const std::vector<std::uint8_t>& cdb, std::vector<std::uint8_t> memory,
                                              std::size_t piece) {
  auto [command, submitted] = prepare(cdb, std::move(memory), piece);
  hand_over(command);
  return submitted;
}

void FakeDevice::hand_over(tcmu::LibCommand* command) {
  int result = handler().handle_cmd(&device_, command->hm_private);
  if (result != static_cast<int>(tcmu::RunnerStatus::async_handled)) std::abort();  // it would be completed twice
}

std::pair<tcmu::LibCommand*, std::shared_ptr<Submitted>> FakeDevice::prepare(const std::vector<std::uint8_t>& cdb,
                                                                             std::vector<std::uint8_t> memory,
                                                                             std::size_t piece) {
  auto submitted = std::make_shared<Submitted>();
  submitted->memory = std::move(memory);
  for (std::size_t at = 0; at < submitted->memory.size(); at += submitted->parts.back().iov_len)
    submitted->parts.push_back({submitted->memory.data() + at, std::min(piece, submitted->memory.size() - at)});

  const std::size_t length = cdb_length_as_libtcmu(cdb[0], cdb.size() > 7 ? cdb[7] : 0);
  const std::size_t parts = submitted->parts.size() * sizeof(iovec);
  auto* raw =
      static_cast<std::uint8_t*>(std::malloc(sizeof(tcmu::LibCommand) + parts + length + sizeof(tcmu::RunnerCommand)));
  std::memset(raw, 0xA5, sizeof(tcmu::LibCommand) + parts + length);
  auto* lib = reinterpret_cast<tcmu::LibCommand*>(raw);
  lib->iov = reinterpret_cast<iovec*>(raw + sizeof(tcmu::LibCommand));
  lib->iov_cnt = submitted->parts.size();
  if (parts > 0) std::memcpy(lib->iov, submitted->parts.data(), parts);
  lib->cdb = raw + sizeof(tcmu::LibCommand) + parts;
  std::copy_n(cdb.begin(), std::min(cdb.size(), length), lib->cdb);
  lib->hm_private = lib->cdb + length;
  tcmu::RunnerCommand runner{};
  runner.lib_cmd = lib;
  std::memcpy(lib->hm_private, &runner, sizeof runner);
  {
    std::lock_guard lock(device_.mutex);
    device_.pending.emplace(lib, submitted);
  }
  return {lib, submitted};
}

Outcome FakeDevice::wait(Submitted& submitted) {
  std::unique_lock lock(device_.mutex);
  device_.changed.wait(lock, [&] { return submitted.told; });
  return submitted.outcome;
}

Outcome FakeDevice::execute(const std::vector<std::uint8_t>& cdb, std::vector<std::uint8_t> memory, std::size_t piece) {
  auto submitted = submit(cdb, std::move(memory), piece);
  return wait(*submitted);
}

}  // namespace test

namespace {

/// The daemon ends its handlers before it ends itself; behind main() the libraries are gone that a thread of the plugin
/// leaves its own things to.
struct EndsRunner : doctest::IReporter {
  explicit EndsRunner(const doctest::ContextOptions&) {}
  void test_run_end(const doctest::TestRunStats&) override { test::end_runner(); }
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("ends the runner", 1, EndsRunner);

}  // namespace
