// Fuzzes both FSCTLs: any control code, input buffer and output length, on volumes and files in every state. Whatever
// comes, no reply is longer than the caller's buffer, no refusal has bytes, and no more is written than was asked for.
#include <cstdlib>
#include <optional>

#include "test/host/two_volumes.h"

namespace {

using namespace host;

void require(bool good) {
  if (!good) std::abort();
}

/// The first bytes say what the world is like, see the names; the rest is the input buffer. One bit each, where not
/// said otherwise.
struct Header {
  std::uint8_t code;  ///< 0 and 1 modulo 4: the two that are known
  std::uint8_t kind;  ///< StreamKind, in the order of its members
  std::uint8_t state;
  std::uint8_t access;
  base::le16 output_length;
  base::le16 valid_quarter_kib;
  std::uint8_t sizes;
  std::uint8_t fragments;
};
static_assert(sizeof(Header) == 10);

constexpr std::size_t kFileLength = 64 * 1024;

struct World {
  test::TwoVolumes hosts;
  test::MemoryVolumeOnDisk* on = nullptr;
  std::shared_ptr<test::MemoryStream> stream;
  std::shared_ptr<FileObject> file;
  Token token{};

  explicit World(const Header& header) : hosts((header.state & 0x80) != 0 ? 4096 : 512) {
    on = &hosts.second;
    on->files->volume().fragment_clusters = header.fragments % 4;
    stream = on->files->make_sized("file", (header.sizes & 1) != 0 ? kFileLength - 700 : kFileLength);
    stream->stream_sizes.valid_data_length =
        std::min<std::uint64_t>(header.valid_quarter_kib * 256u, stream->stream_sizes.end_of_file);
    if ((header.sizes & 2) != 0) stream->stream_sizes.end_of_file = stream->stream_sizes.valid_data_length;
    if ((header.fragments & 0x20) != 0) stream->pieces.front().volume_offset.reset();
    if ((header.fragments & 0x40) != 0) stream->pieces.back().volume_offset = ~std::uint64_t{header.fragments};
    if ((header.fragments & 0x10) != 0) stream->pieces.pop_back();
    const Handle handle = hosts.open(*on, "file");
    file = hosts.io.reference(handle);
    make_token(handle);
    const std::uint8_t bits = header.kind;
    stream->stream_kind = {(bits & 1) != 0,  (bits & 2) != 0,  (bits & 4) != 0,  (bits & 8) != 0,
                           (bits & 16) != 0, (bits & 32) != 0, (bits & 64) != 0, (bits & 128) != 0};
    spoil(header, handle);
  }

 private:
  void make_token(Handle handle) {
    const auto sector = on->volume->device().block_length();
    const FsctlReply reply = hosts.read(handle, test::read_input(0, sector));
    if (reply.status == NtStatus::success) token = base::load<OffloadReadOutput>(reply.output).token;
  }
  void spoil(const Header& header, Handle handle) {
    if ((header.state & 0x01) != 0) on->volume->shut_down();
    if ((header.state & 0x02) != 0) on->volume->dismount();
    if ((header.state & 0x04) != 0) on->files->read_only = true;
    if ((header.state & 0x08) != 0)
      on->volume->attach({"filter", (header.state & 0x40u) != 0 ? 3u : 1u, (header.state & 0x20) != 0});
    if ((header.state & 0x10) != 0) hosts.io.lock(handle, 512, 512, (header.access & 8) != 0);
    if ((header.state & 0x40) != 0) hosts.io.mark_deleted(handle);
    file->access = header.access & 3u;
    file->transacted = (header.access & 0x10) != 0;
    if ((header.access & 0x20) != 0) hosts.io.close(handle);
    if ((header.access & 0x40) != 0) file = hosts.io.reference(*hosts.io.open_volume(*on->volume, header.access & 3u));
    if ((header.access & 0x80) != 0) stream->set_valid_data_length_status = NtStatus::io_device_error;
  }
};

void check_reply(const FsctlReply& reply, bool reading, base::Bytes input, const World& world) {
  if (reply.status != NtStatus::success) {
    require(reply.output.empty() && !reply.reason.empty());
    return;
  }
  const std::uint64_t sector = world.on->volume->device().block_length();
  std::uint64_t asked = 0, got = 0;
  if (reading) {
    require(reply.output.size() == sizeof(OffloadReadOutput));
    asked = base::load<OffloadReadInput>(input).copy_length;
    got = base::load<OffloadReadOutput>(reply.output).transfer_length;
  } else {
    require(reply.output.size() == sizeof(OffloadWriteOutput));
    asked = base::load<OffloadWriteInput>(input).copy_length;
    got = base::load<OffloadWriteOutput>(reply.output).length_written;
  }
  require(got <= asked && got % sector == 0 && (got != 0 || asked == 0));
  require(world.stream->stream_sizes.valid_data_length <= world.stream->stream_sizes.end_of_file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < sizeof(Header)) return 0;
  const auto header = base::load<Header>(base::Bytes(data, size));
  World world(header);
  // A copy of exact size, so that a byte read beyond it is seen.
  std::vector<std::uint8_t> input(data + sizeof(Header), data + size);
  std::uint32_t code = header.code % 4 == 0 ? kFsctlOffloadRead : kFsctlOffloadWrite;
  if (header.code % 4 > 1) code = 0x00090000u | static_cast<std::uint32_t>(header.code) << 8 | header.access;
  const bool reading = code == kFsctlOffloadRead;
  // A real token, unless the input has one of its own.
  if (code == kFsctlOffloadWrite && input.size() >= sizeof(OffloadWriteInput) && input[32] == 0)
    std::ranges::copy(world.token, input.begin() + 32);
  const std::size_t output_length = header.output_length;
  const FsctlReply reply = world.hosts.io.fs_control(world.file, code, input, output_length);
  require(reply.output.size() <= output_length);
  check_reply(reply, reading, input, world);
  return 0;
}
