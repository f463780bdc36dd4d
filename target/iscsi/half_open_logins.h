// Connections that are not logged in yet, oldest first, and how many of them there may be.
//
// Whoever opens sockets and does not log in can hold so many slots and no more: when there is one too many, the oldest
// gives way, not the newcomer, so that a host that logs in as hosts do always finds room. Thread: the loop's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>

namespace iscsi {

class HalfOpenLogins {
 public:
  using GiveWay = std::function<void()>;
  using Place = std::list<GiveWay>::iterator;

  explicit HalfOpenLogins(const std::uint32_t& limit) : limit_(limit) {}

  /// A connection begins. The oldest is told to give way, once, when there are more than the limit; it must not call
  /// remove() from inside.
  Place add(GiveWay give_way) {
    waiting_.push_back(std::move(give_way));
    if (waiting_.size() <= limit_) return std::prev(waiting_.end());
    GiveWay oldest = std::move(waiting_.front());
    waiting_.pop_front();
    oldest();
    return std::prev(waiting_.end());
  }
  void remove(Place place) { waiting_.erase(place); }

  std::size_t size() const { return waiting_.size(); }

 private:
  const std::uint32_t& limit_;
  std::list<GiveWay> waiting_;
};

}  // namespace iscsi
