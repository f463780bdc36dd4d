// Where work that may block is done. The protocol layers only know this door; the threads behind it
// live in target/ (and a test may run everything at once, or hold it back).
#pragma once

#include <functional>

namespace base {

class Executor {
 public:
  virtual ~Executor() = default;

  /// Runs `work` somewhere that may block, then `done` on the loop's thread. `done` is never called
  /// from inside post(). Order between two posts is not promised.
  virtual void post(std::move_only_function<void()> work, std::move_only_function<void()> done) = 0;

  /// The same for work of `owner`, who keeps nobody else's from their turn, however long its work waits. The owner is
  /// compared, not looked at.
  virtual void post_of([[maybe_unused]] const void* owner, std::move_only_function<void()> work,
                       std::move_only_function<void()> done) {
    post(std::move(work), std::move(done));
  }

  /// For work that moves much data, as copies do: where processors are short it lets all other work go first.
  virtual Executor& long_work() { return *this; }

  /// For work that waits for nothing and takes microseconds: the loop's thread does it where others can have their turn
  /// meanwhile, and `done` before its own turn is over. Null: there are no others, so such work is done on the spot.
  virtual Executor* aside() { return nullptr; }

  /// Runs `call` on the loop's thread, once what the loop has at hand is served. Never called from inside.
  virtual void soon(std::move_only_function<void()> call) {
    post([] {}, std::move(call));
  }

  /// The same for one of many steps: everything else goes first, as far as there are rests. A step that is left when
  /// the loop ends is not run.
  virtual void later(std::move_only_function<void()> step) { soon(std::move(step)); }
};

}  // namespace base
