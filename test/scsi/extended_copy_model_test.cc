// EXTENDED COPY against a model made of plain bytes that follows the words of SPC-4 5.17.7.2: random lists of segments
// of types 02h, 0Ah and 0Dh between logical units of both block lengths, with DC, CAT and PAD, overlapping, copies
// of copies. Every byte, the held data, the counts and the first error are compared.
//
// Not tested, and why: image copies, RODs and null logical units, which extended_copy_test.cc has; stores that fail.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <stdexcept>

#include "test/scsi/extended_copy_fixture.h"

using namespace test;

namespace {

constexpr std::uint16_t kUnits[] = {ExtendedCopyDevice::kA, ExtendedCopyDevice::kB, ExtendedCopyDevice::kWide};
constexpr std::size_t kRegion = 1 << 17;  ///< bytes of each logical unit that anything happens in

struct Model {
  std::map<std::uint16_t, Bytes> units{};
  Bytes source_left{};
  Bytes destination_left{};
  Bytes held{};
  std::uint64_t written = 0;
};

struct Step {
  std::uint8_t type = 0x02;
  std::uint16_t source = 0;
  std::uint16_t destination = 0;
  bool source_pad = false;
  bool destination_pad = false;
  bool cat = false;
  bool dc = false;
  std::uint32_t count = 0;  ///< blocks or bytes
  std::uint64_t source_at = 0;
  std::uint64_t destination_at = 0;  ///< bytes
};

Bytes taken(Bytes& from, std::size_t count) {
  Bytes front(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
  from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
  return front;
}
void append(Bytes& to, const Bytes& more) { to.insert(to.end(), more.begin(), more.end()); }

/// One segment; false when it is an inexact one, and then nothing has changed.
bool run_step(Model& model, const Step& step, std::uint64_t source_block, std::uint64_t destination_block) {
  Model after = model;
  const Bytes& from = model.units.at(step.source);
  std::size_t read_at = step.source_at;
  auto read = [&](std::size_t bytes) {
    append(after.source_left, Bytes(from.begin() + static_cast<std::ptrdiff_t>(read_at),
                                    from.begin() + static_cast<std::ptrdiff_t>(read_at + bytes)));
    read_at += bytes;
  };
  std::size_t write_at = step.destination_at;
  auto write = [&](std::size_t bytes) {
    Bytes data = taken(after.destination_left, bytes);
    std::copy(data.begin(), data.end(),
              after.units.at(step.destination).begin() + static_cast<std::ptrdiff_t>(write_at));
    write_at += bytes;
    after.written += bytes;
  };
  auto process = [&](std::size_t bytes) {
    while (step.type != 0x0A && after.source_left.size() < bytes) read(source_block);
    Bytes data = taken(after.source_left, bytes);
    if (step.type == 0x0D) append(after.held, data);
    append(after.destination_left, data);
  };
  if (step.type == 0x0A) {
    read(step.count);
    process(step.count);
    write(step.count);
  } else if (step.dc) {
    std::size_t wanted = step.count * destination_block;
    if (wanted > after.destination_left.size()) process(wanted - after.destination_left.size());
    write(wanted);
  } else {
    process(step.count * source_block);
    while (after.destination_left.size() >= destination_block) write(destination_block);
  }
  bool designated = step.dc || step.type == 0x0A;
  if (!step.cat) {
    bool left = !after.source_left.empty() || !after.destination_left.empty();
    if (step.destination_pad) {
      if (designated && !after.destination_left.empty()) return false;
      if (!after.destination_left.empty()) {
        after.destination_left.resize(destination_block);
        write(destination_block);
      }
      if (step.source_pad) after.source_left.clear();
    } else if (step.source_pad) {
      after.source_left.clear();
      after.destination_left.clear();
    } else if (left) {
      return false;
    }
  }
  model = std::move(after);
  return true;
}

class World {
 public:
  World(unsigned seed, const std::filesystem::path& folder) : device({}, folder), random_(seed) {
    for (std::uint16_t unit : kUnits) {
      device.fill_bytes(unit, 0, kRegion, static_cast<std::uint8_t>(seed + unit));
      model.units[unit] = device.bytes(unit, 0, kRegion);
    }
  }

  ExtendedCopyDevice device;
  Model model{};

  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }

  Step step() {
    constexpr std::uint8_t kTypes[] = {0x02, 0x02, 0x0A, 0x0D};
    Step step{.type = kTypes[below(4)], .source = kUnits[below(3)], .destination = kUnits[below(3)]};
    step.source_pad = below(2) != 0;
    step.destination_pad = below(2) != 0;
    step.cat = below(3) == 0;
    step.dc = step.type != 0x0A && below(2) != 0;
    std::uint64_t source_block = device.lu(step.source).block_length();
    std::uint64_t destination_block = device.lu(step.destination).block_length();
    step.count = step.type == 0x0A ? below(9000) : below(step.dc && destination_block == 4096 ? 4 : 20);
    if (step.type != 0x0A && !step.dc && source_block == 4096) step.count = below(4);
    step.source_at = below(60000);
    step.destination_at = below(60000);
    if (step.type != 0x0A) {
      step.source_at -= step.source_at % source_block;
      step.destination_at -= step.destination_at % destination_block;
    }
    return step;
  }

  /// The CSCD descriptors of a step are its own, so that each has its PAD.
  void add(CopyList& list, const Step& step) {
    std::uint64_t source_block = device.lu(step.source).block_length();
    std::uint64_t destination_block = device.lu(step.destination).block_length();
    SegmentOptions options{.source = static_cast<std::uint16_t>(list.cscds.size()),
                           .destination = static_cast<std::uint16_t>(list.cscds.size() + 1)};
    options.flags = static_cast<std::uint8_t>((step.cat ? scsi::kCat : 0) | (step.dc ? scsi::kDc : 0));
    list.cscds.push_back(device.cscd(step.source, step.source_pad));
    list.cscds.push_back(device.cscd(step.destination, step.destination_pad));
    if (step.type == 0x0A) {
      list.segments.push_back(bytes_segment(
          {.bytes = step.count,
           .source_lba = step.source_at / source_block,
           .destination_lba = step.destination_at / destination_block,
           .source_byte_offset = static_cast<std::uint16_t>(step.source_at % source_block),
           .destination_byte_offset = static_cast<std::uint16_t>(step.destination_at % destination_block)},
          options));
    } else {
      list.segments.push_back(blocks_segment(static_cast<std::uint16_t>(step.count), step.source_at / source_block,
                                             step.destination_at / destination_block, options, step.type));
    }
  }

 private:
  std::mt19937 random_;
};

/// A folder that is gone when the scope ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "odx-extended-copy-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct Counts {
  unsigned inexact = 0;
  unsigned complete = 0;
};

void compare(unsigned seed, const std::filesystem::path& folder, Counts& counts) {
  World world(seed, folder);
  CopyList list{.format = world.below(2) ? scsi::ListFormat::lid4 : scsi::ListFormat::lid1};
  std::vector<Step> steps(1 + world.below(8));
  std::optional<std::uint16_t> wrong;
  for (Step& step : steps) {
    step = world.step();
    world.add(list, step);
    if (!wrong && !run_step(world.model, step, world.device.lu(step.source).block_length(),
                            world.device.lu(step.destination).block_length()))
      wrong = static_cast<std::uint16_t>(list.segments.size() - 1);
  }
  Command& command = world.device.copy(list);
  CHECK(command.good() == !wrong);
  if (wrong) {
    CHECK(command.failed_with(scsi::SenseKey::copy_aborted, scsi::AdditionalSense::unexpected_inexact_segment));
    CHECK(command.sense().segment == *wrong);
  }
  CopyStatusLid4 held = world.device.held();
  CHECK(held.header.transfer_count == world.model.written);
  CHECK(held.header.segments_processed == wrong.value_or(static_cast<std::uint16_t>(steps.size())));
  CHECK((held.held == (wrong ? Bytes{} : world.model.held)));
  for (std::uint16_t unit : kUnits) CHECK((world.device.bytes(unit, 0, kRegion) == world.model.units.at(unit)));
  (wrong ? counts.inexact : counts.complete) += 1;
}

}  // namespace

TEST_CASE("random lists of segments do what a model of plain bytes does, between stores in memory") {
  Counts counts;
  for (unsigned seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    compare(seed, {}, counts);
  }
  CHECK(counts.inexact > 20);
  CHECK(counts.complete > 50);
}

TEST_CASE("random lists of segments do what a model of plain bytes does, between memory and files") {
  TemporaryFolder folder;
  Counts counts;
  for (unsigned seed = 1001; seed <= 1040; ++seed) {
    CAPTURE(seed);
    for (const auto& file : std::filesystem::directory_iterator(folder.path())) std::filesystem::remove(file.path());
    compare(seed, folder.path(), counts);
  }
  CHECK(counts.inexact > 3);
  CHECK(counts.complete > 5);
}
