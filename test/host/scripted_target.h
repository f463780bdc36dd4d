// A target that answers what a test tells it to, and remembers what it was sent. Discovery it answers by itself, from
// the fields below; everything else from the queue, and GOOD when the queue is empty.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "host/class_driver.h"

namespace test {

using Octets = std::vector<std::uint8_t>;

/// "83 10 | 00" as bytes; blanks and bars are skipped.
inline Octets hex(std::string_view text) {
  Octets bytes;
  std::string digits;
  for (char c : text) {
    if (c == ' ' || c == '|' || c == '\n') continue;
    digits += c;
    if (digits.size() == 2) {
      bytes.push_back(static_cast<std::uint8_t>(std::stoi(digits, nullptr, 16)));
      digits.clear();
    }
  }
  return bytes;
}

inline Octets fixed_sense(std::uint8_t key, std::uint8_t asc, std::uint8_t ascq, std::uint32_t information = 0) {
  Octets sense;
  base::ByteWriter writer(sense);
  writer.u8(0x70);
  writer.u8(0);
  writer.u8(key);
  writer.u32(information);
  writer.u8(10);
  writer.u32(0);
  writer.u8(asc);
  writer.u8(ascq);
  writer.zeros(4);
  return sense;
}

inline initiator::Result check(Octets sense) {
  initiator::Result result;
  result.status = 0x02;
  result.sense = std::move(sense);
  return result;
}
inline initiator::Result check(std::uint8_t key, std::uint8_t asc, std::uint8_t ascq, std::uint32_t information = 0) {
  return check(fixed_sense(key, asc, ascq, information));
}
inline initiator::Result good(Octets data = {}) {
  initiator::Result result;
  result.data_in = std::move(data);
  return result;
}
inline initiator::Result status(std::uint8_t scsi_status) {
  initiator::Result result;
  result.status = scsi_status;
  return result;
}

/// RECEIVE ROD TOKEN INFORMATION data.
struct TokenInformation {
  std::uint8_t action = 0x10;
  std::uint8_t copy_status = 0x01;
  std::uint8_t units = 0xF1;
  std::uint64_t count = 0;
  Octets sense{};
  std::uint32_t descriptors_length = 514;  ///< 0: no token follows
  std::uint8_t token_fill = 0x5A;

  Octets bytes() const {
    Octets data;
    base::ByteWriter writer(data);
    auto available = writer.length32();
    writer.u8(action);
    writer.u8(copy_status);
    writer.u16(1);
    writer.u32(0xFFFFFFFE);
    writer.u8(sense.empty() ? 0 : 2);
    const std::size_t field = (sense.size() + 3) / 4 * 4;
    writer.u8(static_cast<std::uint8_t>(field));
    writer.u8(static_cast<std::uint8_t>(sense.size()));
    writer.u8(units);
    writer.u64(count);
    writer.zeros(8);
    writer.bytes(sense);
    writer.zeros(field - sense.size());
    writer.u32(descriptors_length);
    if (descriptors_length != 0) {
      writer.u16(0);
      for (std::uint32_t i = 2; i < descriptors_length; ++i) writer.u8(token_fill);
    }
    return data;
  }
};

class ScriptedTarget final : public initiator::Initiator {
 public:
  explicit ScriptedTarget(base::VirtualClock& virtual_clock) : clock(virtual_clock) {}

  struct Reply {
    initiator::Result result;
    base::Duration duration{};
  };

  // The disk.
  std::uint32_t block_length = 512;
  std::uint64_t blocks = 1ull << 40;
  Octets pages = hex("00 00 00 08 00 80 83 86 8F B0 B1 B2");
  host::RodLimits limits{64, 600, 60, 0, 0};
  Octets third_party_page{};  ///< when not empty, instead of one made from `limits`
  Octets provisioning_page = hex("00 B2 00 04 00 80 02 00");
  Octets control_page = hex("0F 00 00 00 0A 0A 00 00 00 00 00 00 00 00 00 00");
  bool write_protected = false;

  std::deque<Reply> replies;
  std::vector<initiator::Command> sent;  ///< without discovery once started() ran
  base::VirtualClock& clock;

  void reply(initiator::Result result, base::Duration duration = {}) {
    replies.push_back({std::move(result), duration});
  }

  initiator::Result execute(const initiator::Command& command) override {
    sent.push_back(command);
    if (!replies.empty()) {
      Reply next = std::move(replies.front());
      replies.pop_front();
      clock.advance(next.duration);
      return next.result;
    }
    switch (command.cdb[0]) {
      case 0x12: return inquiry(command);
      case 0x1A: return mode_sense(command);
      case 0x25: return capacity10();
      case 0x9E: return capacity16();
      default: return good();
    }
  }
  initiator::WireCounters wire() const override { return {}; }

 private:
  initiator::Result inquiry(const initiator::Command& command) const {
    Octets data;
    switch (command.cdb[2]) {
      case 0x00: data = pages; break;
      case 0x8F: data = third_party_page.empty() ? rod_limits_page() : third_party_page; break;
      case 0xB2: data = provisioning_page; break;
      case 0xB0: data = Octets(64); break;
      default: return check(5, 0x24, 0);
    }
    data.resize(std::min<std::size_t>(data.size(), command.data_in_length));
    return good(std::move(data));
  }
  initiator::Result mode_sense(const initiator::Command& command) const {
    if ((command.cdb[2] & 0x3F) == 0x0A) return good(control_page);
    return good({3, 0, static_cast<std::uint8_t>(write_protected ? 0x80 : 0x00), 0});
  }
  initiator::Result capacity10() const {
    Octets data;
    base::ByteWriter writer(data);
    writer.u32(static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks - 1, 0xFFFFFFFF)));
    writer.u32(block_length);
    return good(std::move(data));
  }
  initiator::Result capacity16() const {
    Octets data;
    base::ByteWriter writer(data);
    writer.u64(blocks - 1);
    writer.u32(block_length);
    writer.zeros(20);
    return good(std::move(data));
  }
  Octets rod_limits_page() const {
    Octets data;
    base::ByteWriter writer(data);
    writer.u16(0x008F);
    writer.u16(36);
    writer.u16(0);
    writer.u16(32);
    writer.zeros(6);
    writer.u16(limits.maximum_range_descriptors);
    writer.u32(limits.maximum_inactivity_timeout_s);
    writer.u32(limits.default_inactivity_timeout_s);
    writer.u64(limits.maximum_token_transfer_blocks);
    writer.u64(limits.optimal_transfer_blocks);
    return data;
  }
};

/// A host with one scripted disk. Waiting moves the clock.
struct Host {
  base::VirtualClock clock;
  ScriptedTarget target{clock};
  host::ListIdentifiers list_identifiers;
  base::Duration waited{};
  host::ClassDriver driver{target, clock, list_identifiers, config()};

  /// Discovers the disk and forgets the commands that took.
  void start() {
    driver.start();
    target.sent.clear();
    driver.take_trace();
  }

 private:
  host::ClassDriver::Config config() {
    host::ClassDriver::Config config;
    config.wait = [this](base::Duration duration) {
      waited += duration;
      clock.advance(duration);
    };
    return config;
  }
};

constexpr std::uint64_t MiB = 1ull << 20;
constexpr std::uint64_t GiB = 1ull << 30;

}  // namespace test
