#include "host/offload_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace host {

namespace {

class Copy {
 public:
  Copy(ClassDriver& source, ClassDriver& destination, const CopyRequest& request, const CopyProgress& progress)
      : source_(source), destination_(destination), request_(request), progress_(progress) {}

  CopyOutcome run() {
    if (!aligned()) {
      outcome_.status = outcome_.offload_status = NtStatus::invalid_parameter;
      outcome_.reason = "offsets and length have to be multiples of both disks' block lengths";
      return outcome_;
    }
    while (done_ < request_.length && offload_one_token()) {
    }
    outcome_.status = outcome_.offload_status;
    if (done_ < request_.length && request_.fallback) {
      outcome_.status = copy_by_hand();
      if (outcome_.status != NtStatus::success)
        outcome_.reason += fmt::format("; then READ and WRITE ended with {}", name(outcome_.status));
    }
    return outcome_;
  }

 private:
  bool aligned() const {
    for (const ClassDriver* driver : {&source_, &destination_}) {
      const std::uint64_t block = driver->disk().block_length;
      const std::uint64_t offset = driver == &source_ ? request_.source_offset : request_.destination_offset;
      if (block == 0 || offset % block != 0 || request_.length % block != 0) return false;
    }
    return true;
  }

  bool give_up(NtStatus status, std::string reason) {
    outcome_.offload_status = succeeded(status) ? NtStatus::unsuccessful : status;
    outcome_.reason = std::move(reason);
    return false;
  }

  void advance(std::uint64_t bytes) {
    done_ += bytes;
    if (progress_) progress_(done_);
  }

  bool offload_one_token() {
    const DataSetRange from{request_.source_offset + done_, request_.length - done_};
    OffloadReadResult read = source_.offload_read(std::span(&from, 1), request_.time_to_live);
    if (read.status != NtStatus::success) return give_up(read.status, std::move(read.reason));
    ++outcome_.tokens;
    // A token of 512-byte blocks may end inside a block of the destination: that block is left to the next token.
    const std::uint64_t usable = read.length_protected - read.length_protected % destination_.disk().block_length;
    if (usable == 0) return give_up(NtStatus::unsuccessful, "the token holds less than one block of the destination");
    for (std::uint64_t used = 0; used < usable;) {
      const DataSetRange to{request_.destination_offset + done_, std::min(kOffloadChunk, usable - used)};
      OffloadWriteResult write = destination_.offload_write(read.token, used, std::span(&to, 1));
      outcome_.offloaded_bytes += write.length_copied;
      used += write.length_copied;
      advance(write.length_copied);
      if (write.length_copied == 0) return give_up(write.status, std::move(write.reason));
    }
    return true;
  }

  NtStatus copy_by_hand() {
    std::vector<std::uint8_t> buffer;
    while (done_ < request_.length) {
      buffer.resize(std::min(kReadWriteChunk, request_.length - done_));
      if (NtStatus status = source_.read(request_.source_offset + done_, buffer); status != NtStatus::success)
        return status;
      if (NtStatus status = destination_.write(request_.destination_offset + done_, buffer);
          status != NtStatus::success)
        return status;
      outcome_.fallback_bytes += buffer.size();
      advance(buffer.size());
    }
    return destination_.flush();
  }

  ClassDriver& source_;
  ClassDriver& destination_;
  const CopyRequest& request_;
  const CopyProgress& progress_;
  CopyOutcome outcome_;
  std::uint64_t done_ = 0;
};

}  // namespace

CopyOutcome copy(ClassDriver& source, ClassDriver& destination, const CopyRequest& request,
                 const CopyProgress& progress) {
  return Copy(source, destination, request, progress).run();
}

}  // namespace host
