// Sees to it that the tokens of an array end at their very time on the array clock, and that the journal hears of what
// happens to them. Thread: the loop's.
#pragma once

#include "base/timer_queue.h"
#include "tokens/token_events.h"

namespace scsi {

class CopyManager;
struct Event;

class TokenKeeper final : public tokens::TokenObserver {
 public:
  /// The manager is the keeper's owner.
  explicit TokenKeeper(CopyManager& manager);
  ~TokenKeeper() override;

  void created(tokens::TokenId id, const tokens::Rod& rod, const tokens::TokenUser& maker,
               base::Duration inactivity_timeout) override;
  void used(tokens::TokenId id, const tokens::Rod& rod, const tokens::TokenUser& user) override;
  void ended(tokens::TokenId id, const tokens::Rod& rod, const tokens::TokenEnding& ending) override;
  void forgotten(tokens::TokenId id) override;
  void sweep_changed() override;

 private:
  void sweep();
  void record(Event event, tokens::TokenId id) const;

  CopyManager& manager_;
  base::TimerQueue::Id timer_ = base::TimerQueue::Id::none;
  base::TimePoint timer_at_ = base::TimePoint::max();
  bool sweeping_ = false;
};

}  // namespace scsi
