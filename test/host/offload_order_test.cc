// Every check of FSCTL_OFFLOAD_READ and FSCTL_OFFLOAD_WRITE: its status, and that it comes before each later one. What
// is refused sends nothing and returns no bytes.
//
// Not tested, and why: that Windows has this order; MS-FSA gives that of NTFS, the layers above follow from which of
// them checks what.
#include <doctest/doctest.h>

#include <functional>

#include "test/host/two_volumes.h"

using namespace host;

namespace {

constexpr std::uint64_t kFileLength = 1 << 20;

/// One request and everything it depends on; each check's `violate` spoils one thing.
struct Situation {
  test::TwoVolumes hosts;
  test::MemoryVolumeOnDisk& on = hosts.first;
  std::shared_ptr<test::MemoryStream> stream = on.files->make_sized("file", kFileLength);
  Handle handle = hosts.open(on, "file");
  Handle other = hosts.open(on, "file");
  std::shared_ptr<FileObject> file = hosts.io.reference(handle);

  bool writing = true;
  OffloadWriteInput write = test::write_input(0, 4096, 0, zero_token());
  OffloadReadInput read = test::read_input(0, 4096);
  std::size_t input_cut = 0, output_cut = 0;

  explicit Situation(bool is_writing) : writing(is_writing) { stream->stream_sizes.valid_data_length = kFileLength; }

  void offset(std::uint64_t value) {
    write.file_offset = value;
    read.file_offset = value;
  }
  void length(std::uint64_t value) {
    write.copy_length = value;
    read.copy_length = value;
  }
  FsctlReply send() {
    hosts.forget();
    const base::Bytes input = writing ? base::bytes_of(write) : base::bytes_of(read);
    const std::size_t output = writing ? sizeof(OffloadWriteOutput) : sizeof(OffloadReadOutput);
    return hosts.io.fs_control(handle, writing ? kFsctlOffloadWrite : kFsctlOffloadRead,
                               input.first(input.size() - input_cut), output - output_cut);
  }
};

enum class For : std::uint8_t { both, writes };

struct Check {
  std::string reason;  ///< a part of it; no two checks have the same
  NtStatus read_status, write_status;
  std::function<void(Situation&)> violate;
  For use = For::both;

  Check(const char* text, NtStatus status, std::function<void(Situation&)> spoil, For used = For::both)
      : Check(text, status, status, std::move(spoil), used) {}
  Check(const char* text, NtStatus reading, NtStatus writing, std::function<void(Situation&)> spoil,
        For used = For::both)
      : reason(text), read_status(reading), write_status(writing), violate(std::move(spoil)), use(used) {}
};

std::vector<Check> outer_checks() {
  using enum NtStatus;
  return {
      {"is not open", invalid_handle, [](Situation& s) { s.handle = 4444; }},
      {"access rights", access_denied, [](Situation& s) { s.file->access = kFileReadAttributes; }},
      {"SupportedFeatures", offload_read_flt_not_supported, offload_write_flt_not_supported,
       [](Situation& s) {
         s.on.volume->attach({"one bit", s.writing ? kSupportsOffloadRead : kSupportsOffloadWrite});
       }},
      {"blocks offloads", not_supported, [](Situation& s) { s.on.volume->attach({"picky", 3, true}); }},
      {"not of a file on NTFS", invalid_device_request, [](Situation& s) { s.file->open = nullptr; }},
      {"last handle", file_closed, [](Situation& s) { s.file->cleaned_up = true; }},
      {"dismounted", volume_dismounted, [](Situation& s) { s.on.volume->dismount(); }},
      {"shut down", too_late, [](Situation& s) { s.on.volume->shut_down(); }, For::writes},
      {"read-only", media_write_protected, [](Situation& s) { s.on.files->read_only = true; }, For::writes},
      {"no offload", not_supported,
       [](Situation& s) {
         (s.writing ? s.on.volume->offload_write_supported : s.on.volume->offload_read_supported) = false;
       }},
  };
}

std::vector<Check> request_checks() {
  using enum NtStatus;
  return {
      {"input buffer", buffer_too_small, [](Situation& s) { s.input_cut = 1; }},
      {"output buffer", buffer_too_small, [](Situation& s) { s.output_cut = 1; }},
      {"FileOffset 1 is not a multiple", invalid_parameter, [](Situation& s) { s.offset(1); }},
      {"CopyLength", invalid_parameter, [](Situation& s) { s.length(4095); }},
      {"TransferOffset", invalid_parameter, [](Situation& s) { s.write.transfer_offset = 511; }, For::writes},
      {"Size is", invalid_parameter,
       [](Situation& s) {
         s.write.size = 545;
         s.read.size = 33;
       }},
      {"more than 64 bits", invalid_parameter,
       [](Situation& s) {
         s.offset(~std::uint64_t{511});
         s.length(1024);
       }},
      {"", success, [](Situation& s) { s.length(0); }},
  };
}

std::vector<Check> file_checks() {
  using enum NtStatus;
  constexpr NtStatus kRead = offload_read_file_not_supported, kWrite = offload_write_file_not_supported;
  return {
      {"less than a sector", invalid_parameter,
       [](Situation& s) { s.stream->stream_sizes.end_of_file = s.stream->stream_sizes.valid_data_length = 511; }},
      {"a directory", kRead, kWrite, [](Situation& s) { s.stream->stream_kind.directory = true; }},
      {"file system's own", kRead, kWrite, [](Situation& s) { s.stream->stream_kind.metadata = true; }},
      {"sparse", kRead, kWrite, [](Situation& s) { s.stream->stream_kind.sparse = true; }},
      {"encrypted", kRead, kWrite, [](Situation& s) { s.stream->stream_kind.encrypted = true; }},
      {"compressed", kRead, kWrite, [](Situation& s) { s.stream->stream_kind.compressed = true; }},
      {"part of a transaction", kRead, kWrite, [](Situation& s) { s.file->transacted = true; }},
      {"resident", kRead, kWrite, [](Situation& s) { s.stream->stream_kind.resident = true; }},
      {"deduplicated", kRead, kWrite, [](Situation& s) { s.stream->stream_kind.deduplicated = true; }},
      {"marked deleted", file_deleted, [](Situation& s) { CHECK(s.hosts.io.mark_deleted(s.other) == success); }},
      {"negative", invalid_parameter, [](Situation& s) { s.offset(1ull << 63); }},
      {"largest file", invalid_parameter, [](Situation& s) { s.on.files->maximum_file_size = 4095; }, For::writes},
      {"byte-range lock", file_lock_conflict,
       [](Situation& s) { s.file->open->locks.lock(s.file->number + 1, 0, ~std::uint64_t{0}, true); }},
      {"end of the file", end_of_file, [](Situation& s) { s.offset(kFileLength); }},
      {"beyond the valid data length", invalid_parameter,
       [](Situation& s) {
         s.stream->stream_sizes.valid_data_length = 511;
         s.offset(512);
       },
       For::writes},
  };
}

std::vector<Check> checks(bool writing) {
  std::vector<Check> all;
  for (std::vector<Check> (*part)() : {&outer_checks, &request_checks, &file_checks})
    for (Check& check : part())
      if (writing || check.use == For::both) all.push_back(std::move(check));
  return all;
}

/// Pairs of which one undoes the other.
bool compatible(const std::string& earlier, const std::string& later) {
  if (earlier == "more than 64 bits") return !later.empty();
  if (earlier == "less than a sector") return later != "a directory" && later != "file system's own";
  // The file object has lost its stream before the other could be set up on it.
  return earlier != "not of a file on NTFS" || later != "byte-range lock";
}

void require_refusal(Situation& situation, const Check& expected) {
  const FsctlReply reply = situation.send();
  const NtStatus status = situation.writing ? expected.write_status : expected.read_status;
  CHECK(name(reply.status) == name(status));
  CHECK(reply.reason.find(expected.reason) != std::string::npos);
  CHECK(reply.reason.empty() == (status == NtStatus::success));
  CHECK(reply.output.empty() == (status != NtStatus::success));
  CHECK(situation.hosts.nothing_sent());
  CHECK(situation.stream->flushes <= 1);  // by the shutdown, if at all
  CHECK(situation.stream->valid_data_length_calls == 0);
}

}  // namespace

TEST_CASE("a request that violates one check gets its status; nothing is sent, nothing is returned") {
  for (bool writing : {false, true}) {
    for (const Check& check : checks(writing)) {
      CAPTURE(writing);
      CAPTURE(check.reason);
      Situation situation(writing);
      check.violate(situation);
      require_refusal(situation, check);
    }
  }
}

TEST_CASE("a request that violates two checks gets the status of the earlier one") {
  for (bool writing : {false, true}) {
    const std::vector<Check> all = checks(writing);
    for (std::size_t earlier = 0; earlier < all.size(); ++earlier) {
      for (std::size_t later = earlier + 1; later < all.size(); ++later) {
        if (!compatible(all[earlier].reason, all[later].reason)) continue;
        CAPTURE(writing);
        CAPTURE(all[earlier].reason);
        CAPTURE(all[later].reason);
        Situation situation(writing);
        all[later].violate(situation);
        all[earlier].violate(situation);
        require_refusal(situation, all[earlier]);
      }
    }
  }
}

TEST_CASE("the same request without a violation is carried out") {
  Situation write(true);
  CHECK(write.send().status == NtStatus::success);
  CHECK(test::TwoVolumes::names(write.hosts.array.first) == test::Names{"WRITE USING TOKEN"});
  Situation read(false);
  CHECK(read.send().status == NtStatus::success);
  CHECK(test::TwoVolumes::names(read.hosts.array.first) ==
        test::Names{"POPULATE TOKEN", "RECEIVE ROD TOKEN INFORMATION"});
}

TEST_CASE("a copy of no bytes: a write of none, a zero token of none") {
  Situation write(true);
  write.length(0);
  OffloadWriteOutput written{};
  written.size = 16;
  CHECK(write.send().output == test::octets(base::bytes_of(written)));
  Situation read(false);
  read.length(0);
  OffloadReadOutput got{};
  got.size = 528;
  got.token = zero_token();
  CHECK(read.send().output == test::octets(base::bytes_of(got)));
}
