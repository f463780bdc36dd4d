#include "target/peers/remote_rods.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <mutex>

namespace peers {

namespace {

using handlers::ByteRange;
using handlers::IoError;
using handlers::IoResult;

/// What is fetched, and kept, at once: large enough that two round trips do not count, and what a peer of ours holds.
constexpr std::uint64_t kLargestPiece = 4ull << 20;
/// The first one: nobody says how much a reader wants, and pieces double while it goes on.
constexpr std::uint64_t kFirstPiece = 256ull << 10;
/// Runs of zeros are told in multiples of this: the page of memory stores, and NTFS's cluster.
constexpr std::uint64_t kHoleGranule = 4096;

/// The data of a token, fetched when it is read. Keeps the piece fetched last, so that looking for a hole and reading
/// what is there cost one fetch.
class RemoteSnapshot final : public handlers::Snapshot {
 public:
  RemoteSnapshot(Peer& peer, int lun, const tokens::RodToken& token, CopyLimits limits,
                 const std::atomic<bool>& stopped)
      : peer_(peer),
        lun_(lun),
        token_(token),
        block_(token.block_device.logical_block_length),
        step_(std::max<std::uint64_t>(limits.granularity, block_)),
        most_(std::min({limits.piece, kLargestPiece, std::uint64_t{UINT16_MAX} * block_}) / step_ * step_),
        stopped_(stopped) {}

  std::uint64_t size_bytes() const override { return token_.number_of_bytes_represented; }
  bool may_block() const override { return true; }

  IoResult<void> read(ByteRange range, base::Segments& out) const override {
    std::lock_guard lock(mutex_);
    while (range.length > 0) {
      if (auto fetched = fetch(range.offset); !fetched) return fetched;
      base::Bytes piece = rest_of_piece(range.offset);
      piece = piece.first(std::min<std::uint64_t>(piece.size(), range.length));
      out.append(piece, piece_);
      range = {range.offset + piece.size(), range.length - piece.size()};
    }
    return {};
  }

  IoResult<handlers::ProvisioningRun> provisioning(std::uint64_t offset) const override {
    std::lock_guard lock(mutex_);
    if (auto fetched = fetch(offset); !fetched) return std::unexpected(fetched.error());
    base::Bytes piece = rest_of_piece(offset);
    // The first granule may begin anywhere; the others begin at multiples.
    std::uint64_t length = std::min<std::uint64_t>(piece.size(), kHoleGranule - offset % kHoleGranule);
    bool mapped = !base::all_zeros(piece.first(length));
    while (length < piece.size()) {
      std::uint64_t next = std::min<std::uint64_t>(piece.size() - length, kHoleGranule);
      if (base::all_zeros(piece.subspan(length, next)) == mapped) break;
      length += next;
    }
    return handlers::ProvisioningRun{.length = length, .mapped = mapped};
  }

  /// One block, so that the peer judges the token.
  Peer::Answer<void> probe() const {
    auto data = read_blocks(0, std::min(step_, size_bytes()) / block_);
    if (!data) return std::unexpected(std::move(data.error()));
    return {};
  }

  /// Whether the peer can give any of it.
  bool readable() const { return most_ >= step_; }

 private:
  Peer::Answer<std::vector<std::uint8_t>> read_blocks(std::uint64_t first, std::uint64_t blocks) const {
    return peer_.read(lun_, token_, first, static_cast<std::uint16_t>(blocks), [this] { return stopped_.load(); });
  }

  base::Bytes rest_of_piece(std::uint64_t offset) const { return piece_->bytes().subspan(offset - piece_at_); }

  /// Makes the kept piece hold the byte at `offset`.
  IoResult<void> fetch(std::uint64_t offset) const {
    if (piece_ && offset >= piece_at_ && offset < piece_at_ + piece_->bytes().size()) return {};
    bool goes_on = piece_ && offset == piece_at_ + piece_->bytes().size();
    next_length_ = goes_on ? 2 * next_length_ : kFirstPiece;
    next_length_ = std::clamp(next_length_ / step_ * step_, step_, most_);
    piece_ = {};
    std::uint64_t at = offset / step_ * step_;
    std::uint64_t end = std::min(at + next_length_, size_bytes());
    auto data = read_blocks(at / block_, (end - at) / block_);
    if (data) {
      piece_ = base::make_ref<const base::Buffer>(std::move(*data));
      piece_at_ = at;
      return {};
    }
    // A token that ended meanwhile is one whose data could not be kept.
    auto kind = data.error().token ? IoError::Kind::snapshot_lost : IoError::Kind::unreachable;
    return std::unexpected(IoError{kind, std::move(data.error().reason)});
  }

  Peer& peer_;
  const int lun_;
  const tokens::RodToken token_;
  const std::uint64_t block_;  ///< of the source, in bytes
  const std::uint64_t step_;   ///< what pieces begin at multiples of
  const std::uint64_t most_;   ///< in one piece
  const std::atomic<bool>& stopped_;
  mutable std::mutex mutex_;
  mutable base::Ref<const base::Buffer> piece_;
  mutable std::uint64_t piece_at_ = 0;
  mutable std::uint64_t next_length_ = kFirstPiece;
};

/// What has to be true of a token, whoever made it, before anything is asked with it.
bool plausible(const tokens::RodToken& token) {
  constexpr std::uint32_t kLargestBlock = 65536;
  std::uint32_t block = token.block_device.logical_block_length;
  std::uint64_t size = token.number_of_bytes_represented;
  return std::has_single_bit(block) && block <= kLargestBlock && size > 0 && size % block == 0 &&
         token.creator_logical_unit_descriptor.designator_length == sizeof(Naa);
}

}  // namespace

RemoteRods::RemoteRods(const std::vector<target::PeerConfig>& peers, const Connect& connect, const base::Clock& clock) {
  for (const target::PeerConfig& peer : peers) peers_.push_back(std::make_unique<Peer>(peer, connect, clock));
}

std::expected<handlers::SnapshotRef, RemoteRods::Refusal> RemoteRods::open(const tokens::RodToken& token,
                                                                           const std::atomic<bool>& stopped) {
  if (!plausible(token)) return std::unexpected(Refusal{.token = tokens::TokenError::corrupt});
  Naa naa{};
  std::copy_n(token.creator_logical_unit_descriptor.designator.begin(), naa.size(), naa.begin());
  Stop stop = [&stopped] { return stopped.load(); };
  Refusal refusal{.reason = "no peer has the token's creator"};
  for (const auto& peer : peers_) {
    if (stop()) break;
    auto lun = peer->find(naa, stop);
    if (!lun) {
      // It may be the creator's; nobody else can tell.
      refusal = {.creator_known = true, .reason = std::move(lun.error().reason)};
      continue;
    }
    if (!*lun) continue;
    auto limits = peer->limits(**lun, stop);
    if (!limits) return std::unexpected(Refusal{.creator_known = true, .reason = std::move(limits.error().reason)});
    auto snapshot = base::make_ref<const RemoteSnapshot>(*peer, **lun, token, *limits, stopped);
    if (!snapshot->readable())
      return std::unexpected(Refusal{.creator_known = true,
                                     .reason = fmt::format("peer {}: holds less than a block", peer->config().text())});
    if (auto judged = snapshot->probe(); !judged)
      return std::unexpected(
          Refusal{.token = judged.error().token, .creator_known = true, .reason = std::move(judged.error().reason)});
    return handlers::SnapshotRef(std::move(snapshot));
  }
  return std::unexpected(std::move(refusal));
}

}  // namespace peers
