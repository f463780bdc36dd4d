// A disk made of bytes in memory: what a test or fuzzer put there. It answers discovery, READ, WRITE and SYNCHRONIZE
// CACHE, counts what changes it, and fails on demand.
#pragma once

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "host/class_driver.h"
#include "host/volume_device.h"
#include "test/host/scripted_target.h"

namespace test {

class ImageDisk final : public initiator::Initiator {
 public:
  ImageDisk(Octets content, std::uint32_t block_length, bool write_protected = false) : bytes(std::move(content)) {
    discovery_.block_length = block_length;
    discovery_.blocks = bytes.size() / block_length;
    discovery_.write_protected = write_protected;
    driver.start();
  }

  Octets bytes;
  unsigned reads = 0;
  unsigned writes = 0;
  unsigned flushes = 0;
  std::optional<unsigned> writes_left{};                ///< then every write fails,
  initiator::Result no_write_left = check(3, 0x0C, 0);  ///< so
  std::optional<initiator::Result> fail{};              ///< what every READ and WRITE is answered with

  initiator::Result execute(const initiator::Command& command) override {
    switch (command.cdb[0]) {
      case 0x28: return read(command, be(command.cdb, 2, 4));
      case 0x88: return read(command, be(command.cdb, 2, 8));
      case 0x2A: return write(command, be(command.cdb, 2, 4));
      case 0x8A: return write(command, be(command.cdb, 2, 8));
      case 0x35: ++flushes; return fail.value_or(good());
      default: return discovery_.execute(command);
    }
  }
  initiator::WireCounters wire() const override { return {}; }

 private:
  static std::uint64_t be(const Octets& cdb, std::size_t at, std::size_t width) {
    const base::Bytes field = base::Bytes(cdb).subspan(at, width);
    return width == 4 ? base::load<base::be32>(field).value() : base::load<base::be64>(field).value();
  }
  bool inside(std::uint64_t lba, std::size_t length) const {
    const std::uint64_t block = discovery_.block_length;
    return lba <= bytes.size() / block && length <= bytes.size() - lba * block;
  }
  initiator::Result read(const initiator::Command& command, std::uint64_t lba) {
    ++reads;
    if (fail) return *fail;
    if (!inside(lba, command.data_in_length)) return check(5, 0x21, 0);
    const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(lba * discovery_.block_length);
    return good(Octets(from, from + command.data_in_length));
  }
  initiator::Result write(const initiator::Command& command, std::uint64_t lba) {
    ++writes;
    if (fail) return *fail;
    if (writes_left && (*writes_left)-- == 0) {
      writes_left = 0;
      return no_write_left;
    }
    if (discovery_.write_protected) return check(7, 0x27, 0);
    if (!inside(lba, command.data_out.size())) return check(5, 0x21, 0);
    std::ranges::copy(command.data_out, bytes.begin() + static_cast<std::ptrdiff_t>(lba * discovery_.block_length));
    return good();
  }

  base::VirtualClock clock_;
  ScriptedTarget discovery_{clock_};
  host::ListIdentifiers list_identifiers_;

 public:
  host::ClassDriver driver{*this, clock_, list_identifiers_, {}};
  host::VolumeDevice whole() { return {driver, 0, bytes.size()}; }
};

inline Octets load_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  Octets content(static_cast<std::size_t>(file.tellg()));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(content.size()));
  return content;
}

}  // namespace test
