// A whole connection up to its login: any Login Requests with any text, and bytes in between. The input is a list of
// records: flags, a control byte, and text. Whatever comes, each request is answered or the connection closes, and
// nobody gets into the target that wants CHAP.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

#include "base/log.h"
#include "target/iscsi/connection.h"
#include "target/iscsi/pdu.h"
#include "target/iscsi/session_registry.h"
#include "test/scsi/device_fixture.h"

namespace {

void require(bool good) {
  if (!good) std::abort();
}

enum Control : std::uint8_t { kOtherIsid = 1, kOtherTsih = 2, kOtherOpcode = 4, kOtherVersion = 8, kTick = 16 };

class Observer final : public iscsi::ConnectionObserver {
 public:
  bool over = false;
  void output_ready(iscsi::Connection&) override {}
  void finished(iscsi::Connection&, bool) override {
    require(!over);
    over = true;
  }
};

/// Made once: logins that fail change nothing, and sessions that are opened end with their connection.
struct World {
  test::Device device{test::DeviceOptions{.size_bytes = 4096}};
  iscsi::Directory directory;
  iscsi::SessionRegistry sessions{directory.limits};

  World() {
    base::log::set_level(base::log::Level::off);
    iscsi::TargetNode open;
    open.name = "iqn.2025-01.example:open";
    open.device_server = &device.server;
    iscsi::TargetNode closed = open;
    closed.name = "iqn.2025-01.example:chap";
    closed.authentication = {iscsi::ChapCredentials{"host", "initiator-secret"},
                             iscsi::ChapCredentials{"array", "secret-of-array"}};
    directory.targets = {std::make_shared<iscsi::TargetNode>(open), std::make_shared<iscsi::TargetNode>(closed)};
    directory.discovery = closed.authentication;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  Observer observer;
  {
    iscsi::Connection connection({world.directory, world.sessions, world.device.entropy}, {"fuzz", {"192.0.2.1", 3260}},
                                 observer, base::TimePoint(base::Duration(1)));
    base::ByteReader reader(base::Bytes(data, size));
    while (reader.remaining() > 0 && !observer.over && !connection.full_feature()) {
      std::uint8_t control = reader.u8();
      iscsi::LoginRequestBhs bhs;
      bhs.flags = reader.u8();
      std::size_t length = reader.u16();
      base::Bytes text = reader.take_up_to(length);
      bhs.data_segment_length = static_cast<std::uint32_t>(text.size());
      if (control & kOtherIsid) bhs.isid[5] = control;
      if (control & kOtherTsih) bhs.tsih = control;
      if (control & kOtherOpcode) bhs.opcode = control;
      if (control & kOtherVersion) bhs.version_min = 1;
      if (control & kTick) connection.tick(base::TimePoint(base::Duration(1000 * control)));
      base::Bytes header = base::bytes_of(bhs);
      std::vector<std::uint8_t> bytes(header.begin(), header.end());
      bytes.insert(bytes.end(), text.begin(), text.end());
      bytes.resize((bytes.size() + 3) / 4 * 4);
      for (base::Bytes rest = bytes; !rest.empty() && !observer.over;) {
        base::MutableBytes buffer = connection.receive_buffer();
        if (buffer.empty()) break;
        std::size_t count = std::min(rest.size(), buffer.size());
        std::copy_n(rest.begin(), count, buffer.begin());
        connection.received(count, base::TimePoint(base::Duration(2)));
        rest = rest.subspan(count);
      }
      require(observer.over || connection.output_size() >= iscsi::kBhsLength);
      connection.sent(connection.output_size());
    }
    for (const iscsi::SessionInfo& session : world.sessions.list())
      require(session.target_name == "iqn.2025-01.example:open");
  }
  require(world.sessions.size() == 0);
  return 0;
}
