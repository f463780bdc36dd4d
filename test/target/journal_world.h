// Two memory LUNs of one target under a manual array clock with a journal, and a host that offloads copies between
// them without a socket.
#pragma once

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include "base/array_clock.h"
#include "base/entropy.h"
#include "initiator/in_process_initiator.h"
#include "scsi/device_server.h"
#include "scsi/journal.h"
#include "target/arrays.h"
#include "target/journal_document.h"
#include "test/scsi/copy_fixture.h"

namespace test {

/// Memory stores do not block, so nothing is ever posted.
class NoExecutor final : public base::Executor {
 public:
  void post(std::move_only_function<void()>, std::move_only_function<void()>) override {
    throw std::logic_error("nothing may block here");
  }
};

inline constexpr std::string_view kTwoDisks =
    "id = \"lab\"\n[[target]]\nname = \"iqn.2026-11.org.example:disks\"\n"
    "[[target.lun]]\nstore = \"memory:1G\"\n[[target.lun]]\nstore = \"memory:1G\"\n";

struct JournalWorld {
  static constexpr const char* kHost = "iqn.2026-11.org.example:host";

  explicit JournalWorld(std::string_view document = kTwoDisks, std::uint64_t seed = 7)
      : entropy(seed),
        arrays(target::parse_config(document, "array.toml"), clock, clock.timers(), entropy, executor),
        server(*arrays.directory().targets.at(0)->device_server) {
    arrays.set_journal(&journal);
    nexus = server.attach({kHost, {}, server.config().target_name, 1});
    for (std::uint16_t lun : {0, 1}) send(lun, Bytes(6, 0));
  }

  initiator::Result send(std::uint16_t lun, Bytes cdb, Bytes data_out = {}, std::uint32_t data_in = 0) {
    initiator::InProcessInitiator path(server, nexus, scsi::Lun{lun}, clock,
                                       [this] { return clock.advance_to_next().has_value(); });
    return path.execute({.cdb = std::move(cdb), .data_out = std::move(data_out), .data_in_length = data_in});
  }
  tokens::RodToken token_of(std::uint32_t list_identifier, std::uint32_t timeout_s = 60) {
    Bytes list = populate_list({{0, 64}}, {.timeout_s = timeout_s});
    if (!send(0, out_cdb(0x10, list_identifier, list.size()), list).good()) throw std::logic_error("POPULATE TOKEN");
    return CopyResult(send(0, in_cdb(0x07, list_identifier, 805), {}, 805).data_in).token.value();
  }
  initiator::Result write_using(std::uint32_t list_identifier, const tokens::RodToken& token,
                                std::uint32_t blocks = 64) {
    Bytes list = write_list(token, {{128, blocks}});
    return send(1, out_cdb(0x11, list_identifier, list.size()), list);
  }
  std::string lines(std::uint64_t after = 0) const {
    std::string text;
    for (const scsi::Event& event : journal.since(after)) text += target::event_line(event);
    return text;
  }

  base::VirtualClock wire;
  base::ArrayClock clock{wire, {base::ClockMode::Kind::manual}};
  base::SeededEntropy entropy;
  NoExecutor executor;
  scsi::Journal journal{clock};
  target::Arrays arrays;
  scsi::DeviceServer& server;
  scsi::NexusId nexus{};
};

}  // namespace test
