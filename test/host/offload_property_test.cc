// Random files, fragmentation, valid data lengths and requests against a model of plain bytes: what a token holds and a
// write leaves is what a program would have read.
//
// Not tested, and why: faults of the device (offload_engine_test.cc has them one by one).
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "test/host/two_volumes.h"

using namespace host;

namespace {

using Octets = std::vector<std::uint8_t>;

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  /// From 0 to `highest`.
  std::uint64_t upto(std::uint64_t highest) {
    return std::uniform_int_distribution<std::uint64_t>(0, highest)(random_);
  }
  bool one_in(std::uint64_t n) { return upto(n - 1) == 0; }

 private:
  std::mt19937_64 random_;
};

constexpr std::uint64_t kLargestFile = 300 * 1024;

bool zeros_from(const Octets& bytes, std::uint64_t at) {
  return at >= bytes.size() || std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end(),
                                           [](std::uint8_t b) { return b == 0; });
}

/// A file with a random size, valid data length and extents; `model` is what a program reads.
struct File {
  std::shared_ptr<test::MemoryStream> stream;
  Handle handle = 0;
  Octets model;

  File(Dice& dice, test::TwoVolumes& hosts, test::MemoryVolumeOnDisk& on, std::uint64_t sector) {
    on.files->volume().fragment_clusters = dice.upto(3);
    // What files left behind that were here before.
    on.volume->device().write(on.files->volume().next_free, test::pattern(2 * kLargestFile, 99));
    const std::uint64_t end_of_file = sector + dice.upto(kLargestFile);
    const std::uint64_t valid = dice.one_in(3) ? end_of_file : dice.upto(end_of_file);
    stream = on.files->make("file", test::pattern(valid, static_cast<unsigned>(dice.upto(1000))));
    stream->set_end_of_file(end_of_file);
    handle = hosts.open(on, "file");
    model = hosts.content(*stream);
    REQUIRE(zeros_from(model, valid));
  }
  std::uint64_t random_offset(Dice& dice, std::uint64_t sector, std::uint64_t highest) const {
    return dice.upto(highest / sector) * sector;
  }
};

/// As a program would see it, with zeros after the end.
std::uint8_t byte_at(const Octets& bytes, std::uint64_t at) { return at < bytes.size() ? bytes[at] : 0; }

void check_write(test::TwoVolumes& hosts, File& to, const OffloadWriteInput& input, const Octets& in_token,
                 std::uint64_t sector) {
  const std::uint64_t valid_before = to.stream->sizes().valid_data_length;
  const FsctlReply reply = hosts.write(to.handle, input);
  CAPTURE(reply.reason);
  REQUIRE(reply.status == NtStatus::success);
  const std::uint64_t written = base::load<OffloadWriteOutput>(reply.output).length_written;
  REQUIRE(written > 0);
  REQUIRE(written <= input.copy_length);
  REQUIRE(written % sector == 0);
  for (std::uint64_t i = 0; i < written && input.file_offset + i < to.model.size(); ++i)
    to.model[input.file_offset + i] = byte_at(in_token, input.transfer_offset + i);
  REQUIRE(hosts.content(*to.stream) == to.model);
  REQUIRE(to.stream->sizes().valid_data_length ==
          std::min<std::uint64_t>(to.model.size(), std::max(valid_before, input.file_offset + written)));
}

void check_one(std::uint64_t seed) {
  CAPTURE(seed);
  Dice dice(seed);
  const std::uint64_t sector = dice.one_in(3) ? 4096 : 512;
  test::TwoVolumes hosts(static_cast<std::uint32_t>(sector));
  test::MemoryVolumeOnDisk source_volume(hosts.array.second, 20ull << 30, 1ull << 30);
  File from(dice, hosts, source_volume, sector);
  File to(dice, hosts, hosts.second, sector);
  for (int round = 0; round < 6; ++round) {
    const std::uint64_t offset = from.random_offset(dice, sector, from.model.size() - 1);
    const auto input = test::read_input(offset, sector + from.random_offset(dice, sector, from.model.size()));
    const FsctlReply reply = hosts.read(from.handle, input);
    REQUIRE(reply.status == NtStatus::success);
    const auto output = base::load<OffloadReadOutput>(reply.output);
    const std::uint64_t transfer = output.transfer_length;
    REQUIRE(transfer > 0);
    REQUIRE(transfer <= input.copy_length);
    REQUIRE(transfer % sector == 0);
    if (output.flags == kAllZeroBeyondCurrentRange) REQUIRE(zeros_from(from.model, offset + transfer));
    Octets in_token(transfer);
    for (std::uint64_t i = 0; i < transfer; ++i) in_token[i] = byte_at(from.model, offset + i);

    const std::uint64_t valid = to.stream->sizes().valid_data_length;
    const std::uint64_t highest = std::min<std::uint64_t>(valid, to.model.size() - 1);
    const std::uint64_t skip = from.random_offset(dice, sector, transfer - sector);
    const std::uint64_t at = to.random_offset(dice, sector, highest);
    check_write(hosts, to, test::write_input(at, transfer - skip, skip, output.token), in_token, sector);
  }
}

}  // namespace

TEST_CASE("a token and a write give the bytes a program would have read, whatever the files look like") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) check_one(seed);
}
