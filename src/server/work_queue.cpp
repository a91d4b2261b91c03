#include "server/work_queue.h"

#include <new>

#include "base/exec_context.h"

namespace tap::server {

WorkQueue::WorkQueue(int threads, std::size_t most_waiting) : most_waiting_(most_waiting) {
  try {
    for (int i = 0; i < threads; ++i)
      threads_.emplace_back([this] {
        for (bool over = false; !over;) {
          try {
            run();
            over = true;
          } catch (const std::bad_alloc&) {  // whoever waits for what was done is told: it was let go
          }
        }
      });
  } catch (...) {
    end();
    throw;
  }
}

WorkQueue::~WorkQueue() { end(); }

void WorkQueue::end() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    waiting_.clear();
  }
  some_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool WorkQueue::add(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= most_waiting_) return false;
    waiting_.push_back(std::move(work));
  }
  some_.notify_one();
  return true;
}

void WorkQueue::run() {
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  for (;;) {
    std::function<void()> work;
    {
      std::unique_lock lock(mutex_);
      some_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
      if (ending_) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work();
  }
}

}  // namespace tap::server
