#include "target/iscsi/pdu_decoder.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "target/iscsi/digest.h"

namespace iscsi {
namespace {

bool digest_matches(base::Bytes covered, base::Bytes digest) {
  base::be32 wanted = digest_of(covered);
  return std::ranges::equal(base::bytes_of(wanted), digest);
}

}  // namespace

// The largest PDU kept whole in the buffer must leave room to receive more.
static_assert(PduDecoder::kBufferSize > 2 * (kBhsLength + kMaxAhsLength + 2 * kDigestLength + PduDecoder::kLargeData));

PduDecoder::PduDecoder() : buffer_(std::make_unique_for_overwrite<std::uint8_t[]>(kBufferSize)) {}

std::size_t Pdu::data_length() const {
  std::size_t length = 0;
  for_each_run([&](base::Bytes run) { length += run.size(); });
  return length;
}

std::vector<std::uint8_t> Pdu::data_copy() const {
  std::vector<std::uint8_t> copy;
  copy.reserve(data_length());
  for_each_run([&](base::Bytes run) { copy.insert(copy.end(), run.begin(), run.end()); });
  return copy;
}

/// Room behind what is in the buffer.
base::MutableBytes PduDecoder::buffer_room() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (begin_ > 0 && kBufferSize - end_ < kBufferSize / 4) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, available());
    end_ -= begin_;
    begin_ = 0;
  }
  return {buffer_.get() + end_, std::min(kBufferSize - end_, at_once_)};
}

std::size_t PduDecoder::receive_buffers(std::span<iovec> out) {
  std::size_t count = 0;
  auto add = [&](base::MutableBytes bytes) {
    if (!bytes.empty() && count < out.size()) out[count++] = {bytes.data(), bytes.size()};
  };
  if (placing()) {
    std::size_t there = placed_count_;
    for (const Place& place : places_) {
      std::size_t of_this = std::min(there, place.bytes.size());
      add(place.bytes.subspan(of_this));
      there -= of_this;
    }
    // Of the next PDU its header, or a few short ones.
    if (receive_limit_ >= kHeaderReceive) add(buffer_room().first(kHeaderReceive));
    return count;
  }
  add(buffer_room());
  return count;
}

base::MutableBytes PduDecoder::receive_buffer() {
  iovec first{};
  receive_buffers({&first, 1});
  return {static_cast<std::uint8_t*>(first.iov_base), first.iov_len};
}

void PduDecoder::received(std::size_t count) {
  if (placing()) {
    std::size_t here = std::min(count, bhs_.data_segment_length - placed_count_);
    placed_count_ += here;
    count -= here;
  }
  assert(count <= kBufferSize - end_);
  end_ += count;
}

PduDecoder::Result PduDecoder::next(Pdu& pdu) {
  switch (stage_) {
    case Stage::headers: return headers(pdu);
    case Stage::data_destination: assert(!"place() or gather() comes first"); return Result::need_more;
    case Stage::data:
      if (placing()) return Result::need_more;
      stage_ = Stage::trailer;
      [[fallthrough]];
    case Stage::trailer: return trailer(pdu);
  }
  return Result::need_more;
}

PduDecoder::Result PduDecoder::headers(Pdu& pdu) {
  pdu.data = {};
  pdu.placed = {};
  places_.clear();
  if (available() < kBhsLength) return Result::need_more;
  pdu.bhs = base::load<Bhs>(front(kBhsLength));
  pdu.ahs = {};
  // Known without waiting for the rest; with digests nothing is believed before they are checked.
  bool too_long = pdu.bhs.data_segment_length > max_data_segment_length_;
  if (too_long && !header_digest_) return Result::data_too_long;
  std::size_t covered = kBhsLength + std::size_t{pdu.bhs.total_ahs_length} * 4;
  std::size_t headers_length = covered + (header_digest_ ? kDigestLength : 0);
  if (available() < headers_length) return Result::need_more;
  if (header_digest_ && !digest_matches(front(covered), front(headers_length).subspan(covered)))
    return Result::header_digest_error;
  pdu.ahs = front(covered).subspan(kBhsLength);
  if (too_long) return Result::data_too_long;
  if (pdu.bhs.data_segment_length < kLargeData) at_once_ = receive_limit_;
  if (pdu.bhs.data_segment_length == 0) {
    begin_ += headers_length;
    return Result::pdu;
  }
  return small_data(pdu, headers_length);
}

PduDecoder::Result PduDecoder::small_data(Pdu& pdu, std::size_t headers_length) {
  std::size_t length = pdu.bhs.data_segment_length;
  std::size_t padded = length + padding(length);
  std::size_t total = headers_length + padded + (data_digest_ ? kDigestLength : 0);
  if (available() >= total) {
    base::Bytes data = front(total).subspan(headers_length);
    begin_ += total;
    if (data_digest_ && !digest_matches(data.first(padded), data.subspan(padded))) return Result::data_digest_error;
    pdu.data = data.first(length);
    return Result::pdu;
  }
  if (length < kLargeData) return Result::need_more;
  bhs_ = pdu.bhs;
  ahs_.assign(pdu.ahs.begin(), pdu.ahs.end());
  pdu.ahs = ahs_;
  begin_ += headers_length;
  stage_ = Stage::data_destination;
  return Result::large_data;
}

void PduDecoder::place(Places places) {
  assert(stage_ == Stage::data_destination);
  places_ = std::move(places);
  placed_count_ = 0;
  [[maybe_unused]] std::size_t room = 0;
  for (const Place& place : places_) {
    std::size_t count = std::min(available(), place.bytes.size());
    std::memcpy(place.bytes.data(), buffer_.get() + begin_, count);
    begin_ += count;
    placed_count_ += count;
    room += place.bytes.size();
  }
  assert(room == bhs_.data_segment_length);
  stage_ = Stage::data;
}

void PduDecoder::gather() {
  gathered_.resize(bhs_.data_segment_length);
  place({{gathered_, {}}});
}

PduDecoder::Result PduDecoder::trailer(Pdu& pdu) {
  std::size_t length = bhs_.data_segment_length;
  std::size_t pad = padding(length);
  std::size_t total = pad + (data_digest_ ? kDigestLength : 0);
  if (available() < total) return Result::need_more;
  pdu.bhs = bhs_;
  pdu.ahs = ahs_;
  pdu.data = places_.size() == 1 ? base::Bytes(places_.front().bytes) : base::Bytes();
  pdu.placed = places_;
  base::Bytes rest = front(total);
  begin_ += total;
  at_once_ = length >= kLongSegment ? std::min(kHeaderReceive, receive_limit_) : receive_limit_;
  stage_ = Stage::headers;
  if (!data_digest_) return Result::pdu;
  auto digest = kDigestStart;
  pdu.for_each_run([&](base::Bytes run) { digest = digest_add(digest, run); });
  base::be32 wanted = digest_bytes(digest_add(digest, rest.first(pad)));
  if (std::ranges::equal(base::bytes_of(wanted), rest.subspan(pad))) return Result::pdu;
  pdu.data = {};
  pdu.placed = {};
  return Result::data_digest_error;
}

}  // namespace iscsi
