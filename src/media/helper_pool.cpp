#include "media/helper_pool.h"

#include <new>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "media/picture_bytes.h"

namespace tap {

using media_protocol::Ask;

HelperPool::HelperPool(std::size_t waiting) : most_waiting_(waiting), thread_([this] { run(); }) {}

HelperPool::~HelperPool() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool HelperPool::try_one() {
  constexpr std::string_view dot = "P6 1 1 255 \x01\x02\x03";  // a picture of one pixel
  try {
    HelperProcess helper = HelperProcess::of_bytes(std::as_bytes(std::span(dot)), "a first picture");
    return helper.picture(Ask::picture, 0).pixels == std::vector<std::uint8_t>{1, 2, 3};
  } catch (const Error& error) {
    log::warn("pictures from the network are decoded without a sandbox: {}", error.message());
    return false;
  } catch (const std::bad_alloc&) {
    log::write_warning("pictures from the network are decoded without a sandbox: out of memory");
    return false;
  }
}

void HelperPool::run() {
  const bool good = try_one();
  std::unique_lock lock(mutex_);
  usable_ = good;
  changed_.notify_all();
  while (!ending_) {
    if (!used_.empty()) {
      std::deque<HelperProcess> ended;
      ended.swap(used_);
      lock.unlock();
      ended.clear();
      lock.lock();
    } else if (good && waiting_.size() < most_waiting_) {
      lock.unlock();
      std::optional<HelperProcess> fresh;
      try {
        fresh.emplace(HelperProcess::waiting());
      } catch (const Error& error) {
        log::info("no media helper waits: {}", error.message());
      } catch (const std::bad_alloc&) {
      }
      lock.lock();
      try {
        if (fresh) waiting_.push_back(std::move(*fresh));
      } catch (const std::bad_alloc&) {
        fresh.reset();
      }
      if (!fresh) changed_.wait_for(lock, std::chrono::seconds(1));  // out of processes, descriptors or memory
    } else {
      changed_.wait(lock);
    }
  }
}

bool HelperPool::usable() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return usable_.has_value(); });
  return *usable_;
}

HelperProcess HelperPool::take(std::span<const std::byte> bytes, const std::string& name) {
  for (;;) {
    std::optional<HelperProcess> helper;
    {
      const std::lock_guard lock(mutex_);
      if (!waiting_.empty()) {
        helper.emplace(std::move(waiting_.front()));
        waiting_.pop_front();
      }
    }
    if (!helper) return HelperProcess::of_bytes(bytes, name);
    if (helper->give(bytes, name)) return std::move(*helper);
  }
}

Image HelperPool::picture(std::span<const std::byte> bytes, const std::string& name, double seconds) {
  if (!usable()) return decode_picture(bytes, name);
  HelperProcess helper = take(bytes, name);
  const auto end = [&] {  // and only now another is started: starting takes more than most pictures do
    const std::lock_guard lock(mutex_);
    used_.push_back(std::move(helper));
    changed_.notify_all();
  };
  try {
    Image image = helper.picture(is_heif(bytes) ? Ask::heif : Ask::picture, 0, seconds);
    end();
    return image;
  } catch (...) {
    end();
    throw;
  }
}

}  // namespace tap
