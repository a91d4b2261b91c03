// A few threads for work that may wait: fetching, decoding, compiling. Its computations use one thread each.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tap::server {

class WorkQueue {
 public:
  explicit WorkQueue(int threads, std::size_t most_waiting = 512);
  ~WorkQueue();  // what waits is dropped
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  bool add(std::function<void()> work);  // false when too much waits

 private:
  void run();
  void end();
  std::size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable some_;
  std::deque<std::function<void()>> waiting_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tap::server
