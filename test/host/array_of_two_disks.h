// A real array of two memory disks in this process, and a host that reaches them without a socket, under a virtual
// clock.
#pragma once

#include <memory>

#include "base/entropy.h"
#include "base/log.h"
#include "handlers/memory_store.h"
#include "host/class_driver.h"
#include "initiator/in_process_initiator.h"
#include "scsi/copy_manager.h"
#include "scsi/logical_unit.h"

namespace test {

struct ArrayOfTwoDisks {
  base::VirtualClock clock;
  base::SeededEntropy entropy{20261120};
  scsi::CopyManager copy_manager;
  scsi::DeviceServer server{{"iqn.2026-11.example:test", 1}, clock, nullptr, copy_manager};
  scsi::NexusId nexus;
  initiator::InProcessInitiator first_path, second_path;
  host::ListIdentifiers list_identifiers;
  host::ClassDriver first, second;

  explicit ArrayOfTwoDisks(scsi::DeviceProfile profile = {}, std::uint32_t second_block_length = 512)
      : copy_manager(profile, clock, entropy),
        nexus(add_disks_and_attach(second_block_length)),
        first_path(server, nexus, scsi::Lun{0}, clock),
        second_path(server, nexus, scsi::Lun{1}, clock),
        first(first_path, clock, list_identifiers, {}),
        second(second_path, clock, list_identifiers, {}) {
    base::log::set_level(base::log::Level::off);  // refusals are what these tests are about
  }

  void start() {
    first.start();
    second.start();
    first.take_trace();
    second.take_trace();
  }

 private:
  scsi::NexusId add_disks_and_attach(std::uint32_t second_block_length) {
    add(0, "a", 512);
    add(1, "b", second_block_length);
    return server.attach({"iqn.2026-11.example:host", {}, "iqn.2026-11.example:test", 1});
  }
  void add(std::uint16_t number, const char* name, std::uint32_t block_length) {
    constexpr std::uint64_t kSize = 64ull << 30;
    scsi::LogicalUnitConfig config;
    config.name = name;
    config.identity.serial = name;
    config.identity.naa = {0x60, static_cast<std::uint8_t>(number + 1)};
    config.block_length = block_length;
    server.add(scsi::Lun{number},
               std::make_shared<scsi::LogicalUnit>(std::move(config), std::make_unique<handlers::MemoryStore>(kSize)));
  }
};

}  // namespace test
