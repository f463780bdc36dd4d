// copy: a whole file as CopyFile does it: size the destination, take a token for what is left, write it in chunks, take
// the next token where the last one ended.

#include <algorithm>
#include <cstring>

#include "fsctl/commands.h"
#include "fsctl/device.h"

namespace fsctl {
namespace {

class FileCopy {
 public:
  FileCopy(const Arguments& arguments, Record& record)
      : record_(record),
        read_length_(positive(arguments, L"--read-length", UINT64_MAX)),
        chunk_(positive(arguments, L"--chunk", std::uint64_t{256} << 20)),
        time_to_live_(arguments.number32(L"--token-time-to-live", 0)) {
    const std::wstring& from = arguments.operand(0);
    const std::wstring& to = arguments.operand(1);
    source_ = open_or_fail(from, {FILE_GENERIC_READ, FILE_SHARE_READ});
    require(end_of_file(source_.get(), size_), "size of '" + utf8(from) + "'");
    const ULONG disposition = arguments.has(L"--overwrite") ? FILE_OVERWRITE_IF : FILE_CREATE;
    destination_ = open_or_fail(to, {FILE_GENERIC_READ | FILE_GENERIC_WRITE | DELETE, 0, disposition});
    require(set_end_of_file(destination_.get(), size_), "size of '" + utf8(to) + "'");
    std::uint32_t source_sector = 0;
    std::uint32_t destination_sector = 0;
    require(sector_size(source_.get(), source_sector), "sector size of '" + utf8(from) + "'");
    require(sector_size(destination_.get(), destination_sector), "sector size of '" + utf8(to) + "'");
    sector_ = std::max({source_sector, destination_sector, std::uint32_t{1}});
    record_.number("file_size", size_);
    record_.number("sector_size", sector_);
    record_.list("requests");
  }

  /// Until all is copied, or a request is refused or moves nothing; the status of the last request.
  NTSTATUS offload() {
    NTSTATUS status = 0;
    while (done_ < size_) {
      OffloadReadOutput token = {};
      status = read(token);
      if (!NT_SUCCESS(status)) return status;
      std::uint64_t moved = 0;
      while (moved < token.TransferLength) {
        const std::uint64_t before = moved;
        status = write(token, moved);
        if (!NT_SUCCESS(status) || moved == before) return status;
      }
      // The destination is new: beyond what was written it reads as zeros already.
      if ((token.Flags & OFFLOAD_READ_FLAG_ALL_ZERO_BEYOND_CURRENT_RANGE) != 0) done_ = size_;
      if (moved == 0 && done_ < size_) return status;
    }
    return status;
  }

  /// The rest by read and write. Throws Failure(preparation).
  void fall_back() {
    std::vector<std::uint8_t> buffer(1 << 20);
    while (done_ < size_) {
      DWORD count = 0;
      OVERLAPPED from = position();
      if (!ReadFile(source_.get(), buffer.data(), static_cast<DWORD>(buffer.size()), &count, &from) || count == 0) {
        throw Failure(ExitCode::preparation, "--fallback: read at " + std::to_string(done_) + ": Win32 error " +
                                                 std::to_string(GetLastError()));
      }
      OVERLAPPED to = position();
      if (!WriteFile(destination_.get(), buffer.data(), count, &count, &to) || count == 0) {
        throw Failure(ExitCode::preparation, "--fallback: write at " + std::to_string(done_) + ": Win32 error " +
                                                 std::to_string(GetLastError()));
      }
      done_ += count;
    }
  }

  std::uint64_t done() const { return done_; }
  std::uint64_t size() const { return size_; }

 private:
  static std::uint64_t positive(const Arguments& arguments, std::wstring_view option, std::uint64_t otherwise) {
    const std::uint64_t value = arguments.number64(option, otherwise);
    if (value == 0) bad_value(option, L"0", "copies nothing");
    return value;
  }

  /// Up to the end of the last sector: a range has to be a multiple of sectors.
  std::uint64_t rounded_up(std::uint64_t length) const { return (length + sector_ - 1) / sector_ * sector_; }

  OVERLAPPED position() const {
    OVERLAPPED at = {};
    at.Offset = static_cast<DWORD>(done_);
    at.OffsetHigh = static_cast<DWORD>(done_ >> 32);
    return at;
  }

  void note(std::string_view name, std::uint64_t length, NTSTATUS status, std::uint64_t moved) {
    Record& request = record_.item("requests");
    request.text("name", std::string(name));
    request.number("file_offset", done_);
    request.number("copy_length", length);
    request.status("status", status);
    request.number("length", moved);
  }

  NTSTATUS read(OffloadReadOutput& output) {
    OffloadReadInput input = {};
    input.Size = sizeof input;
    input.TokenTimeToLive = time_to_live_;
    input.FileOffset = done_;
    input.CopyLength = std::min(rounded_up(size_ - done_), read_length_);
    const Answer answer = fs_control(source_.get(), FSCTL_OFFLOAD_READ, bytes_of(input), sizeof output);
    std::memcpy(&output, answer.reply.data(), std::min(answer.reply.size(), sizeof output));
    note("FSCTL_OFFLOAD_READ", input.CopyLength, answer.status, output.TransferLength);
    return answer.status;
  }

  NTSTATUS write(const OffloadReadOutput& token, std::uint64_t& moved) {
    OffloadWriteInput input = {};
    input.Size = sizeof input;
    input.FileOffset = done_;
    input.CopyLength = std::min(token.TransferLength - moved, chunk_);
    input.TransferOffset = moved;
    input.Token = token.Token;
    OffloadWriteOutput output = {};
    const Answer answer = fs_control(destination_.get(), FSCTL_OFFLOAD_WRITE, bytes_of(input), sizeof output);
    std::memcpy(&output, answer.reply.data(), std::min(answer.reply.size(), sizeof output));
    note("FSCTL_OFFLOAD_WRITE", input.CopyLength, answer.status, output.LengthWritten);
    if (NT_SUCCESS(answer.status)) {
      moved += output.LengthWritten;
      done_ = std::min(size_, done_ + output.LengthWritten);
    }
    return answer.status;
  }

  Record& record_;
  std::uint64_t read_length_;
  std::uint64_t chunk_;
  std::uint32_t time_to_live_;
  Handle source_;
  Handle destination_;
  std::uint64_t size_ = 0;
  std::uint64_t sector_ = 1;
  std::uint64_t done_ = 0;
};

}  // namespace

ExitCode copy(const Arguments& arguments, Record& record) {
  FileCopy file(arguments, record);
  const NTSTATUS status = file.offload();
  const std::uint64_t offloaded = file.done();
  const bool whole = offloaded == file.size();
  if (!whole && arguments.has(L"--fallback")) file.fall_back();
  record.number("offloaded", offloaded);
  record.number("copied", file.done());
  record.status("status", status);
  return whole ? ExitCode::done : ExitCode::refused;
}

}  // namespace fsctl
