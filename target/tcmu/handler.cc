// handler_odx.so: what tcmu-runner loads and calls. Thread: the daemon's, one for each device and its main one.
#include <pthread.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "target/tcmu/plugin.h"

namespace tcmu {
namespace {

/// The daemon cancels its threads, also while they are in here.
class WithoutCancellation {
 public:
  WithoutCancellation() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  ~WithoutCancellation() { pthread_setcancelstate(before_, nullptr); }
  WithoutCancellation(const WithoutCancellation&) = delete;
  WithoutCancellation& operator=(const WithoutCancellation&) = delete;

 private:
  int before_ = 0;
};

std::unique_ptr<Plugin> plugin;

Device& device_of(RunnerDevice* runner) { return *static_cast<Device*>(tcmur_dev_get_private(runner)); }

/// Does `work`, and has the daemon log why it could not be done.
template <typename Work>
int guarded(RunnerDevice* runner, int line, Work work) {
  WithoutCancellation guard;
  try {
    work();
    return 0;
  } catch (const std::exception& error) {
    tcmu_err_message(runner, "odx", line, "%s\n", error.what());
    return -EINVAL;
  }
}

int init() {
  return guarded(nullptr, __LINE__, [] { plugin = std::make_unique<Plugin>(); });
}

void destroy() {
  WithoutCancellation guard;
  plugin.reset();
}

bool check_config(const char* text, char** reason) {
  WithoutCancellation guard;
  try {
    parse_configuration(text);
    return true;
  } catch (const target::ConfigError& error) {
    *reason = ::strdup(error.text().c_str());
  } catch (const std::exception& error) {
    *reason = ::strdup(error.what());
  }
  return false;
}

int open(RunnerDevice* runner, bool) {
  return guarded(runner, __LINE__, [runner] { tcmur_dev_set_private(runner, &plugin->open(runner)); });
}

void close(RunnerDevice* runner) {
  guarded(runner, __LINE__, [runner] { plugin->close(device_of(runner)); });
}

int reconfig(RunnerDevice* runner, Reconfig* wanted) {
  return guarded(runner, __LINE__, [&] { plugin->reconfigure(device_of(runner), *wanted); });
}

int handle_cmd(RunnerDevice* runner, void* command) {
  WithoutCancellation guard;
  LibCommand* lib = nullptr;
  std::memcpy(&lib, command, sizeof lib);
  device_of(runner).post(*lib);
  return static_cast<int>(RunnerStatus::async_handled);
}

RunnerHandler handler{.name = "odx",
                      .subtype = "odx",
                      .cfg_desc = kConfigurationDescription,
                      .opaque = nullptr,
                      .check_config = check_config,
                      .reconfig = reconfig,
                      .open = open,
                      .close = close,
                      .nr_threads = 0,
                      .handle_cmd = handle_cmd,
                      .emulated = {},
                      .is_dbus_handler = false,
                      .update_logdir = nullptr,
                      .init = init,
                      .destroy = destroy};

}  // namespace
}  // namespace tcmu

extern "C" int handler_init() { return tcmu::tcmur_register_handler(&tcmu::handler); }
