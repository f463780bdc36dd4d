// What FSCTL_OFFLOAD_READ and FSCTL_OFFLOAD_WRITE do once all checks are passed. The checks are in
// offload_order_test.cc.
//
// Not tested, and why: the bytes of the commands and the class driver's own rules (offload_read_test.cc and
// offload_write_test.cc); real NTFS (the file system here is one in memory).
#include <doctest/doctest.h>

#include "test/host/scripted_target.h"
#include "test/host/two_volumes.h"

using namespace host;
using test::MiB;
using test::Names;
using test::pattern;
using test::read_input;
using test::TwoVolumes;
using test::write_input;

namespace {

using enum NtStatus;

OffloadReadOutput read_output(const FsctlReply& reply) {
  CAPTURE(reply.reason);
  REQUIRE(reply.status == success);
  REQUIRE(reply.output.size() == sizeof(OffloadReadOutput));
  auto output = base::load<OffloadReadOutput>(reply.output);
  CHECK(output.size == 528u);
  return output;
}

/// LengthWritten.
std::uint64_t written(const FsctlReply& reply) {
  CAPTURE(reply.reason);
  REQUIRE(reply.status == success);
  REQUIRE(reply.output.size() == sizeof(OffloadWriteOutput));
  auto output = base::load<OffloadWriteOutput>(reply.output);
  CHECK(output.size == 16u);
  CHECK(output.flags == 0u);
  return output.length_written;
}

const Names kReadCommands{"POPULATE TOKEN", "RECEIVE ROD TOKEN INFORMATION"};
const Names kWriteCommand{"WRITE USING TOKEN"};

/// A volume on a target that answers what it is told.
struct ScriptedVolume {
  test::Host host;
  IoManager io;
  std::unique_ptr<test::MemoryVolumeOnDisk> on;
  std::shared_ptr<test::MemoryStream> stream;
  Handle handle = 0;

  explicit ScriptedVolume(bool with_odx = true) {
    if (!with_odx) host.target.pages = test::hex("00 00 00 04 00 80 83 B0");
    host.start();
    on = std::make_unique<test::MemoryVolumeOnDisk>(host.driver, MiB, 1ull << 30);
    stream = on->files->make_sized("file", MiB);
    stream->stream_sizes.valid_data_length = MiB;
    handle = *io.open(*on->volume, {"file"}, test::kOpenForAll);
  }
  FsctlReply read(const OffloadReadInput& input) {
    return io.fs_control(handle, kFsctlOffloadRead, base::bytes_of(input), sizeof(OffloadReadOutput));
  }
  FsctlReply write(const OffloadWriteInput& input) {
    return io.fs_control(handle, kFsctlOffloadWrite, base::bytes_of(input), sizeof(OffloadWriteOutput));
  }
  void reply_token(std::uint64_t blocks) {
    test::TokenInformation information;
    information.count = blocks;
    host.target.reply(test::good());
    host.target.reply(test::good(information.bytes()));
  }
};

}  // namespace

TEST_CASE("a file is copied: token of the source, write to the destination, bytes equal") {
  TwoVolumes files;
  const auto data = pattern(MiB);
  files.first.files->make("from", data);
  auto to = files.second.files->make_sized("to", MiB);
  const Handle source = files.open(files.first, "from"), destination = files.open(files.second, "to");

  const auto token = read_output(files.read(source, read_input(0, MiB)));
  CHECK(token.flags == 0u);
  CHECK(token.transfer_length == MiB);
  CHECK(files.names(files.array.first) == kReadCommands);
  CHECK(files.array.second.trace().empty());

  CHECK(written(files.write(destination, write_input(0, MiB, 0, token.token))) == MiB);
  CHECK(files.array.first.trace().empty());
  CHECK(files.names(files.array.second) == kWriteCommand);
  CHECK(to->sizes().valid_data_length == MiB);
  CHECK(to->valid_data_length_calls == 1);
  CHECK(files.content(*to) == data);
}

TEST_CASE("the stream is flushed before anything is sent; a flush that fails is the answer") {
  TwoVolumes files;
  auto stream = files.first.files->make("file", pattern(8192));
  const Handle handle = files.open(files.first, "file");
  files.read(handle, read_input(0, 8192));
  CHECK(stream->flushes == 1);
  files.write(handle, write_input(0, 8192, 0, zero_token()));
  CHECK(stream->flushes == 2);
  stream->flush_status = io_device_error;
  const FsctlReply reply = files.read(handle, read_input(0, 8192));
  CHECK(reply.status == io_device_error);
  CHECK(reply.output.empty());
  CHECK(files.write(handle, write_input(0, 8192, 0, zero_token())).status == io_device_error);
  CHECK(files.nothing_sent());
}

TEST_CASE("a part of the token, into the middle of the file") {
  TwoVolumes files;
  const auto data = pattern(64 * 1024);
  files.first.files->make("from", data);
  auto to = files.second.files->make_sized("to", MiB);
  to->write(0, pattern(8192, 2));
  const Handle source = files.open(files.first, "from"), destination = files.open(files.second, "to");
  const auto token = read_output(files.read(source, read_input(4096, 32768)));
  CHECK(written(files.write(destination, write_input(4096, 8192, 1024, token.token))) == 8192);
  CHECK(to->sizes().valid_data_length == 12288);
  auto expected = pattern(8192, 2);
  expected.resize(MiB);
  std::copy_n(data.begin() + 4096 + 1024, 8192, expected.begin() + 4096);
  CHECK(files.content(*to) == expected);
}

TEST_CASE("each extent is a range, in file order; extents that lie together are one") {
  ScriptedVolume volume;
  volume.stream->pieces = {{0, 40960, 4096}, {4096, 45056, 4096}, {8192, 8192, 8192}, {16384, 65536, MiB - 16384}};
  volume.reply_token(48);
  CHECK(read_output(volume.read(read_input(512, 24576))).transfer_length == 24576);
  REQUIRE(volume.host.target.sent.size() == 2);
  const auto& list = volume.host.target.sent[0].data_out;
  REQUIRE(list.size() == 16 + 3 * 16);
  const auto range = [&](std::size_t index) {
    auto descriptor = base::load<RangeDescriptor>(base::Bytes(list).subspan(16 + index * 16));
    return std::pair<std::uint64_t, std::uint64_t>(descriptor.lba, descriptor.blocks);
  };
  constexpr std::uint64_t kVolumeStart = MiB / 512;
  CHECK(range(0) == std::pair(kVolumeStart + 81, std::uint64_t{15}));
  CHECK(range(1) == std::pair(kVolumeStart + 16, std::uint64_t{16}));
  CHECK(range(2) == std::pair(kVolumeStart + 128, std::uint64_t{17}));
}

TEST_CASE("more than 64 extents: the token holds the first 64, and nothing is said of what follows") {
  TwoVolumes files;
  files.first.files->volume().fragment_clusters = 1;
  auto from = files.first.files->make("from", pattern(100 * 4096));
  from->set_end_of_file(200 * 4096);
  auto to = files.second.files->make_sized("to", 200 * 4096);
  const Handle source = files.open(files.first, "from"), destination = files.open(files.second, "to");
  const auto token = read_output(files.read(source, read_input(0, 200 * 4096)));
  CHECK(token.transfer_length == 64 * 4096);
  CHECK(token.flags == 0u);  // the range that ends at the valid data length was not reached
  const auto rest = read_output(files.read(source, read_input(64 * 4096, 136 * 4096)));
  CHECK(rest.transfer_length == 36 * 4096);
  CHECK(rest.flags == kAllZeroBeyondCurrentRange);
  CHECK(written(files.write(destination, write_input(0, 64 * 4096, 0, token.token))) == 64 * 4096);
  CHECK(written(files.write(destination, write_input(64 * 4096, 36 * 4096, 0, rest.token))) == 36 * 4096);
  CHECK(files.content(*to) == files.content(*from));
}

TEST_CASE("a destination of more than 64 extents takes several commands of one request") {
  TwoVolumes files;
  files.first.files->make("from", pattern(100 * 4096));
  files.second.files->volume().fragment_clusters = 1;
  auto to = files.second.files->make_sized("to", 100 * 4096);
  const Handle source = files.open(files.first, "from"), destination = files.open(files.second, "to");
  const auto token = read_output(files.read(source, read_input(0, 100 * 4096)));
  CHECK(written(files.write(destination, write_input(0, 100 * 4096, 0, token.token))) == 100 * 4096);
  CHECK(files.names(files.array.second) == Names{"WRITE USING TOKEN", "WRITE USING TOKEN"});
  CHECK(files.content(*to) == pattern(100 * 4096));
}

TEST_CASE("reads at and beyond the valid data length: a zero token, and the device is not asked") {
  TwoVolumes files;
  auto stream = files.first.files->make("file", pattern(8192));
  stream->set_end_of_file(20000);
  const Handle handle = files.open(files.first, "file");
  for (std::uint64_t offset : {8192, 12288}) {
    const auto output = read_output(files.read(handle, read_input(offset, 4096)));
    CHECK(output.flags == kAllZeroBeyondCurrentRange);
    CHECK(output.transfer_length == 4096u);
    CHECK(output.token == zero_token());
    CHECK(files.nothing_sent());
  }
  CHECK(stream->flushes == 0);
  // As far as the file goes, in sectors.
  CHECK(read_output(files.read(handle, read_input(8192, MiB))).transfer_length == 20480 - 8192);
}

TEST_CASE("a zero token makes zeros of what was there") {
  TwoVolumes files;
  auto stream = files.second.files->make("file", pattern(8192));
  const Handle handle = files.open(files.second, "file");
  CHECK(written(files.write(handle, write_input(512, 1024, 0, zero_token()))) == 1024);
  auto expected = pattern(8192);
  std::fill_n(expected.begin() + 512, 1024, std::uint8_t{0});
  CHECK(files.content(*stream) == expected);
}

TEST_CASE("a read across the valid data length ends there, rounded up to a sector") {
  TwoVolumes files;
  struct Case {
    std::uint64_t valid, copy, transfer;
    bool flag;
  };
  for (auto [valid, copy, transfer, flag] : {Case{8192, 16384, 8192, true},
                                             {8191, 16384, 8192, true},
                                             {7681, 16384, 8192, true},
                                             {7680, 16384, 7680, true},
                                             {8192, 8192, 8192, false},
                                             {8192, 8704, 8192, true},
                                             {8191, 8192, 8192, true},
                                             {8192, 4096, 4096, false}}) {
    CAPTURE(valid);
    CAPTURE(copy);
    files.first.files->make("file", pattern(valid))->set_end_of_file(65536);
    const Handle handle = files.open(files.first, "file");
    const auto output = read_output(files.read(handle, read_input(0, copy)));
    CHECK(output.transfer_length == transfer);
    CHECK((output.flags == kAllZeroBeyondCurrentRange) == flag);
    CHECK(files.names(files.array.first) == kReadCommands);
  }
}

TEST_CASE("the flag goes when the device returned less than the cut range") {
  ScriptedVolume volume;
  volume.stream->stream_sizes.valid_data_length = 8192;
  volume.reply_token(16);
  CHECK(read_output(volume.read(read_input(0, 16384))).flags == kAllZeroBeyondCurrentRange);
  volume.reply_token(15);
  const auto output = read_output(volume.read(read_input(0, 16384)));
  CHECK(output.flags == 0u);
  CHECK(output.transfer_length == 7680u);
}

TEST_CASE("a file that ends inside a sector: the range ends with that sector, the valid data length with the file") {
  TwoVolumes files;
  const auto data = pattern(5000);
  files.first.files->make("from", data);
  auto to = files.second.files->make_sized("to", 5000);
  const Handle source = files.open(files.first, "from"), destination = files.open(files.second, "to");
  const auto token = read_output(files.read(source, read_input(0, 65536)));
  CHECK(token.transfer_length == 5120u);
  CHECK(token.flags == kAllZeroBeyondCurrentRange);
  CHECK(written(files.write(destination, write_input(0, 5120, 0, token.token))) == 5120);
  CHECK(to->sizes().valid_data_length == 5000);
  CHECK(files.content(*to) == data);
  // Nothing of the token that lies beyond the file shows when the file grows.
  CHECK(files.io.set_end_of_file(destination, 6000) == success);
  auto grown = data;
  grown.resize(6000);
  CHECK(files.content(*to) == grown);
}

TEST_CASE("a write that goes on beyond the end of the file stops there, rounded up to a sector") {
  TwoVolumes files;
  files.first.files->make("from", pattern(65536));
  auto to = files.second.files->make_sized("to", 5000);
  const Handle source = files.open(files.first, "from"), destination = files.open(files.second, "to");
  const auto token = read_output(files.read(source, read_input(0, 65536)));
  CHECK(written(files.write(destination, write_input(0, 65536, 0, token.token))) == 5120);
  CHECK(to->sizes().end_of_file == 5000);
  CHECK(to->sizes().valid_data_length == 5000);
  CHECK(to->sizes().allocation == 8192);
}

TEST_CASE("a write below the valid data length does not lower it, and times are updated all the same") {
  TwoVolumes files;
  auto stream = files.second.files->make("file", pattern(8192));
  const Handle handle = files.open(files.second, "file");
  CHECK(written(files.write(handle, write_input(0, 512, 0, zero_token()))) == 512);
  CHECK(stream->sizes().valid_data_length == 8192);
  CHECK(stream->valid_data_length_calls == 1);
}

TEST_CASE("a valid data length that cannot be written is the answer, though the data is there") {
  TwoVolumes files;
  auto stream = files.second.files->make_sized("file", 8192);
  const Handle handle = files.open(files.second, "file");
  stream->set_valid_data_length_status = io_device_error;
  const FsctlReply reply = files.write(handle, write_input(0, 512, 0, zero_token()));
  CHECK(reply.status == io_device_error);
  CHECK(reply.output.empty());
  CHECK(files.names(files.array.second) == kWriteCommand);
}

TEST_CASE("where a write may begin: at the valid data length, not beyond") {
  TwoVolumes files;
  auto stream = files.second.files->make_sized("file", 65536);
  const Handle handle = files.open(files.second, "file");
  CHECK(files.write(handle, write_input(512, 512, 0, zero_token())).status == invalid_parameter);
  files.second.volume->beyond_vdl_status = true;
  CHECK(files.write(handle, write_input(512, 512, 0, zero_token())).status == beyond_vdl);
  CHECK(files.nothing_sent());
  CHECK(written(files.write(handle, write_input(0, 512, 0, zero_token()))) == 512);
  CHECK(written(files.write(handle, write_input(512, 512, 0, zero_token()))) == 512);
  CHECK(stream->sizes().valid_data_length == 1024);
}

TEST_CASE("END_OF_FILE at the end and beyond, for files that end inside a sector too") {
  TwoVolumes files;
  files.first.files->make("file", pattern(5000));
  const Handle handle = files.open(files.first, "file");
  CHECK(files.read(handle, read_input(4608, 512)).status == success);
  for (std::uint64_t offset : {5120ull, 1ull << 40, (1ull << 63) - 512}) {
    CHECK(files.read(handle, read_input(offset, 512)).status == end_of_file);
    CHECK(files.nothing_sent());
  }
  CHECK(files.write(handle, write_input(5120, 512, 0, zero_token())).status == end_of_file);
}

TEST_CASE("a file of one sector is large enough") {
  TwoVolumes files;
  files.first.files->make("file", pattern(512));
  const Handle handle = files.open(files.first, "file");
  CHECK(read_output(files.read(handle, read_input(0, 512))).transfer_length == 512u);
  CHECK(written(files.write(handle, write_input(0, 512, 0, zero_token()))) == 512);
}

TEST_CASE("sectors are those of the volume: multiples of 512 are not enough on a disk of 4096-byte blocks") {
  TwoVolumes files(4096);
  files.second.files->make("file", pattern(65536));
  files.second.files->make("small", pattern(4095));
  const Handle handle = files.open(files.second, "file");
  const auto refused = [&](std::uint64_t offset, std::uint64_t length, std::uint64_t transfer) {
    return files.write(handle, write_input(offset, length, transfer, zero_token())).status == invalid_parameter;
  };
  CHECK(refused(512, 4096, 0));
  CHECK(refused(0, 4096 + 512, 0));
  CHECK(refused(0, 4096, 512));
  CHECK_FALSE(refused(4096, 4096, 4096));
  CHECK(files.read(handle, read_input(0, 512)).status == invalid_parameter);
  CHECK(files.read(files.open(files.second, "small"), read_input(0, 4096)).status == invalid_parameter);
  CHECK(read_output(files.read(handle, read_input(0, 4096))).transfer_length == 4096u);
}

TEST_CASE("holes, missing clusters and clusters beyond the volume are refused before anything is sent") {
  TwoVolumes files;
  auto stream = files.first.files->make("file", pattern(16384));
  const Handle handle = files.open(files.first, "file");
  const auto expect = [&](std::vector<Extent> pieces, NtStatus reading, NtStatus writing) {
    stream->pieces = std::move(pieces);
    CHECK(files.read(handle, read_input(0, 16384)).status == reading);
    CHECK(files.write(handle, write_input(0, 16384, 0, zero_token())).status == writing);
    CHECK(files.nothing_sent());
    CHECK(stream->valid_data_length_calls == 0);
  };
  const NtStatus read_refused = offload_read_file_not_supported, write_refused = offload_write_file_not_supported;
  expect({{0, 8192, 8192}, {8192, std::nullopt, 8192}}, read_refused, write_refused);
  expect({{0, 8192, 8192}}, read_refused, write_refused);
  expect({{4096, 8192, 12288}}, read_refused, write_refused);
  expect({{0, 8192, 4096}, {8192, 65536, 8192}}, read_refused, write_refused);
  expect({}, read_refused, write_refused);
  expect({{0, TwoVolumes::kVolumeLength - 4096, 16384}}, nonexistent_sector, nonexistent_sector);
  expect({{0, ~std::uint64_t{4095}, 16384}}, nonexistent_sector, nonexistent_sector);
}

TEST_CASE("the time to live goes out in seconds, rounded up; 0 stays 0") {
  ScriptedVolume volume;
  volume.host.target.limits.maximum_inactivity_timeout_s = 0;
  volume.host.start();
  for (auto [milliseconds, seconds] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{
           {0, 0}, {1, 1}, {999, 1}, {1000, 1}, {1001, 2}, {60000, 60}, {0xFFFFFFFF, 4294968}}) {
    volume.reply_token(8);
    volume.host.target.sent.clear();
    CHECK(volume.read(read_input(0, 4096, milliseconds)).status == success);
    CHECK(base::load<PopulateTokenHeader>(volume.host.target.sent[0].data_out).inactivity_timeout == seconds);
  }
}

TEST_CASE("a time to live above the disk's maximum: INVALID_PARAMETER, and nothing is sent") {
  ScriptedVolume volume;
  CHECK(volume.read(read_input(0, 4096, 600001)).status == invalid_parameter);
  CHECK(volume.host.target.sent.empty());
}

TEST_CASE("a disk without ODX: DEVICE_FEATURE_NOT_SUPPORTED once, then NOT_SUPPORTED, each direction for itself") {
  ScriptedVolume volume(false);
  CHECK(volume.read(read_input(0, 4096)).status == device_feature_not_supported);
  CHECK_FALSE(volume.on->volume->offload_read_supported);
  CHECK(volume.on->volume->offload_write_supported);
  CHECK(volume.read(read_input(0, 4096)).status == not_supported);
  CHECK(volume.write(write_input(0, 4096, 0, zero_token())).status == device_feature_not_supported);
  CHECK(volume.write(write_input(0, 4096, 0, zero_token())).status == not_supported);
  CHECK(volume.host.target.sent.empty());
}

TEST_CASE("every other status of the device passes through, returns no bytes and changes nothing") {
  struct Case {
    std::uint8_t key, asc, ascq;
    NtStatus status;
  };
  for (auto [key, asc, ascq, status] : {Case{5, 0x23, 0x04, invalid_token},
                                        {5, 0x08, 0x04, device_unreachable},
                                        {0xB, 0x55, 0x03, insufficient_resources},
                                        {5, 0x24, 0x00, invalid_initiator_target_path},
                                        {5, 0x26, 0x08, too_many_segment_descriptors}}) {
    ScriptedVolume volume;
    const auto reply_always = [&] {
      for (int i = 0; i < 8; ++i) volume.host.target.reply(test::check(key, asc, ascq));
    };
    reply_always();
    const FsctlReply read = volume.read(read_input(0, 4096));
    CHECK(name(read.status) == name(status));
    CHECK(read.output.empty());
    CHECK_FALSE(read.reason.empty());
    volume.host.target.replies.clear();
    reply_always();
    const FsctlReply write = volume.write(write_input(0, 4096, 0, zero_token()));
    CHECK(name(write.status) == name(status));
    CHECK(write.output.empty());
    CHECK(volume.stream->valid_data_length_calls == 0);
    CHECK(volume.on->volume->offload_read_supported);
    CHECK(volume.on->volume->offload_write_supported);
  }
}

TEST_CASE("a write that ended early is a success with less, and the valid data length follows it") {
  ScriptedVolume volume;
  volume.stream->stream_sizes.valid_data_length = 0;
  volume.host.target.reply(test::check(0xA, 0x0D, 0x04, 5));
  for (int i = 0; i < 8; ++i) volume.host.target.reply(test::check(5, 0x23, 0x04));
  CHECK(written(volume.write(write_input(0, 65536, 0, zero_token()))) == 5 * 512);
  CHECK(volume.stream->sizes().valid_data_length == 5 * 512);
}

TEST_CASE("a token that was tampered with is refused by the array; the file stays as it is") {
  TwoVolumes files;
  files.first.files->make("from", pattern(65536));
  auto to = files.second.files->make_sized("to", 65536);
  const Handle source = files.open(files.first, "from"), destination = files.open(files.second, "to");
  Token token = read_output(files.read(source, read_input(0, 65536))).token;
  token[100] ^= 1;
  const FsctlReply reply = files.write(destination, write_input(0, 65536, 0, token));
  CHECK(reply.status == invalid_token);
  CHECK(reply.output.empty());
  CHECK(to->sizes().valid_data_length == 0);
  CHECK(to->valid_data_length_calls == 0);
}

TEST_CASE("alternate streams are offloaded like the unnamed one") {
  TwoVolumes files;
  files.first.files->make("file");
  const auto data = pattern(8192);
  files.first.files->make("file:stream", data);
  const Handle source = *files.io.open(*files.first.volume, {"file", "stream"}, {});
  auto to = files.second.files->make_sized("to", 8192);
  const auto token = read_output(files.read(source, read_input(0, 8192)));
  CHECK(written(files.write(files.open(files.second, "to"), write_input(0, 8192, 0, token.token))) == 8192);
  CHECK(files.content(*to) == data);
}
