#include "api/turns.h"

#include <algorithm>
#include <chrono>

namespace tap::api {

void Turns::enter(const std::function<void()>& ask) {
  using Clock = std::chrono::steady_clock;
  constexpr auto pause = std::chrono::milliseconds(20);
  std::unique_lock lock(mutex_);
  const auto me = queue_.insert(queue_.end(), std::this_thread::get_id());
  for (auto next = Clock::now() + pause; queue_.begin() != me;) {
    if (!ask) {
      changed_.wait(lock);
      continue;
    }
    changed_.wait_until(lock, next);
    if (Clock::now() < next) continue;
    lock.unlock();
    try {
      ask();
    } catch (...) {
      lock.lock();
      queue_.erase(me);
      changed_.notify_all();  // it may have been this one's turn by now
      throw;
    }
    lock.lock();
    next = Clock::now() + pause;
  }
}

void Turns::leave() {
  const std::lock_guard lock(mutex_);
  queue_.pop_front();
  changed_.notify_all();
}

bool Turns::has_caller() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::find(queue_, std::this_thread::get_id()) != queue_.end();
}

}  // namespace tap::api
