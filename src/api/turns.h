// Who may use an engine: one call at a time, in the order in which they came. (A mutex would let the call that has just
// had its turn take the next one too, and a long answer would keep all others out.)
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

namespace tap::api {

class Turns {
 public:
  // Waits. `ask`, when there is one, is called every 20 ms meanwhile; what it throws gives the place in the queue up.
  void enter(const std::function<void()>& ask);
  void leave();
  bool has_caller()
      const;  // whether this thread has the turn or waits for it: another call of it would wait for itself

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<std::thread::id> queue_;  // the first one has the turn
};

}  // namespace tap::api
