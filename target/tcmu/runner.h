// What tcmu-runner 1.5.4 and its library libtcmu 2.2, as Debian packages them, share with the handlers they load:
// structures, status codes and the functions used here. They come with no header in any package.
//
// The layouts are asserted here, and test/tcmu/binary_test.py compares the symbols and the offsets that can be
// seen in the machine code with the installed binaries. Names of members are the daemon's.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>

namespace tcmu {

/// struct tcmu_device: one backstore. Its functions tell what is in it.
struct RunnerDevice;

/// What handle_cmd() returns, and tcmulib_command_complete() takes: TCMU_STS_...
enum class RunnerStatus : int {
  async_handled = -2,  ///< it will be completed later
  not_handled = -1,
  ok = 0,               ///< GOOD
  no_resource = 1,      ///< TASK SET FULL
  passthrough_err = 2,  ///< CHECK CONDITION with what is in sense_buf
  busy = 3,             ///< BUSY
};

inline constexpr std::size_t kSenseBufferLength = 96;

/// struct tcmulib_cmd: a command from the kernel's ring, the holder's until tcmulib_command_complete() frees it. `cdb`
/// is a copy that ends where the operation code says; what stands behind it is something else.
struct LibCommand {
  std::uint16_t cmd_id;
  std::uint8_t* cdb;
  iovec* iov;  ///< in memory shared with the kernel: data-out, or room for data-in
  std::size_t iov_cnt;
  std::array<std::uint8_t, kSenseBufferLength> sense_buf;
  /// The daemon's RunnerCommand; it never looks at it again once handle_cmd() returned async_handled.
  void* hm_private;
};
static_assert(sizeof(LibCommand) == 136 && offsetof(LibCommand, cdb) == 8 && offsetof(LibCommand, iov) == 16 &&
              offsetof(LibCommand, iov_cnt) == 24 && offsetof(LibCommand, sense_buf) == 32 &&
              offsetof(LibCommand, hm_private) == 128);

/// struct tcmur_cmd. It stands right behind the CDB, at any address: read it with memcpy.
struct RunnerCommand {
  LibCommand* lib_cmd;
  iovec* iov;
  std::size_t iov_cnt;
  void* iov_base_copy;
  void* cmd_state;
  std::size_t requested;
  std::array<void*, 2> cmds_list_entry;
  timespec start_time;
  bool timed_out;
  void (*done)(RunnerDevice*, RunnerCommand*, int);  ///< what tcmur_cmd_complete() calls; null in handle_cmd()
};
static_assert(sizeof(RunnerCommand) == 96 && offsetof(RunnerCommand, lib_cmd) == 0 &&
              offsetof(RunnerCommand, cmds_list_entry) == 48 && offsetof(RunnerCommand, timed_out) == 80 &&
              offsetof(RunnerCommand, done) == 88);

/// enum tcmulib_cfg_type and struct tcmulib_cfg_info: what is to be changed.
enum class ReconfigType : int { config_string = 0, size = 1, write_cache = 2 };
struct Reconfig {
  ReconfigType type;
  union {
    std::uint64_t dev_size;     ///< bytes
    const char* dev_cfgstring;  ///< the whole of it
    bool write_cache;
  } data;
};
static_assert(sizeof(Reconfig) == 16 && offsetof(Reconfig, data) == 8);

/// struct tcmur_handler. With `read`, `write` and `flush` null every command comes to handle_cmd(), and with nr_threads
/// 0 on the thread that reads the ring, one of each device.
struct RunnerHandler {
  const char* name;
  const char* subtype;
  const char* cfg_desc;
  void* opaque;
  /// On false, `*reason` is a string of malloc().
  bool (*check_config)(const char* cfgstring, char** reason);
  int (*reconfig)(RunnerDevice*, Reconfig*);
  int (*open)(RunnerDevice*, bool reopen);
  void (*close)(RunnerDevice*);
  int nr_threads;
  int (*handle_cmd)(RunnerDevice*, void* command);  ///< a RunnerCommand, at any address
  /// What we have none of: read, write, flush, unmap, writesame, caw, report_event, lock, unlock, get_lock_tag,
  /// get_lock_state.
  std::array<void (*)(), 11> emulated;
  bool is_dbus_handler;
  bool (*update_logdir)();
  int (*init)();
  void (*destroy)();
};
static_assert(sizeof(RunnerHandler) == 200 && offsetof(RunnerHandler, check_config) == 32 &&
              offsetof(RunnerHandler, nr_threads) == 64 && offsetof(RunnerHandler, handle_cmd) == 72 &&
              offsetof(RunnerHandler, is_dbus_handler) == 168 && offsetof(RunnerHandler, destroy) == 192);

extern "C" {
// Of tcmu-runner itself.
int tcmur_register_handler(RunnerHandler* handler);
void tcmur_dev_set_private(RunnerDevice* device, void* ours);
void* tcmur_dev_get_private(RunnerDevice* device);

// Of libtcmu.
const char* tcmu_dev_get_uio_name(RunnerDevice* device);
char* tcmu_dev_get_cfgstring(RunnerDevice* device);
std::uint64_t tcmu_dev_get_num_lbas(RunnerDevice* device);
std::uint32_t tcmu_dev_get_block_size(RunnerDevice* device);
/// The unit serial number that LIO has for the backstore, from malloc(); null when it cannot be read.
char* tcmu_cfgfs_dev_get_wwn(RunnerDevice* device);
/// `result` is a RunnerStatus. Frees the command. No two threads at once for one device.
void tcmulib_command_complete(RunnerDevice* device, LibCommand* command, int result);
/// Tells the kernel that there are completed commands.
void tcmulib_processing_complete(RunnerDevice* device);
/// A line in the daemon's log.
void tcmu_err_message(RunnerDevice* device, const char* function, int line, const char* format, ...);
}

}  // namespace tcmu
