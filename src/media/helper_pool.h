// Media helpers that wait for bytes from the network: each reads one file and is ended, so that what a file has done to
// it meets no other file.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "media/helper_process.h"

namespace tap {

class HelperPool {
 public:
  // A thread of the pool's own starts helpers and ends them: neither is waited for by who has a picture.
  explicit HelperPool(std::size_t waiting = 2);
  ~HelperPool();
  HelperPool(const HelperPool&) = delete;
  HelperPool& operator=(const HelperPool&) = delete;

  // Whether helpers run here at all: false where none is installed or none gets its sandbox, which is logged once.
  bool usable();
  // A helper that has been given these bytes. Throws Error naming them, as HelperProcess.
  HelperProcess take(std::span<const std::byte> bytes, const std::string& name);
  // What decode_picture gives, to the bit, from a helper; in this process where none is usable. Throws Error naming it;
  // `seconds` as for HelperProcess::ask.
  Image picture(std::span<const std::byte> bytes, const std::string& name, double seconds = 0);

 private:
  void run();
  static bool try_one();

  std::size_t most_waiting_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::deque<HelperProcess> waiting_, used_;
  std::optional<bool> usable_;  // not yet known: nothing
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace tap
