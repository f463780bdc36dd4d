// Tokens that another array made: finds out which peer has their creator, and fetches their data from it.
//
// Holds the peers; keeps no data but a piece for each copy that runs. Thread: any.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "scsi/copy_fabric.h"
#include "target/config.h"
#include "target/peers/peer.h"

namespace peers {

class RemoteRods final : public scsi::RemoteRods {
 public:
  /// `clock` is the wire clock.
  RemoteRods(const std::vector<target::PeerConfig>& peers, const Connect& connect, const base::Clock& clock);

  /// As scsi/copy_fabric.h says. The peer has judged the token when it gives a snapshot, which reads piece by piece
  /// and not after `stopped` is true; both outlive the snapshot.
  std::expected<handlers::SnapshotRef, Refusal> open(const tokens::RodToken& token,
                                                     const std::atomic<bool>& stopped) override;

 private:
  std::vector<std::unique_ptr<Peer>> peers_;
};

}  // namespace peers
