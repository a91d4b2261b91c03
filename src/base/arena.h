// The caching allocator behind all tensor storage: freed blocks are kept by size class and handed out again, so that in
// steady state no mmap and no page fault happens. A large block also serves a request of down to half its size: what a
// vision tower leaves behind is what the prefill works in. Large blocks ask for huge pages.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace tap {

class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  // At least `bytes`, 64-byte aligned, contents undefined. Throws Error(out_of_memory) naming the size.
  void* allocate(std::size_t bytes);
  void release(void* block, std::size_t bytes) noexcept;  // `bytes` as given to allocate
  void trim() noexcept;                                   // gives the kept blocks back to the system

  // While one lives, a kept block serves its own class only: for what stays, as weights do, and would keep the rest of
  // a larger block for as long.
  class ExactFit {
   public:
    explicit ExactFit(std::shared_ptr<Arena> arena) : arena_(std::move(arena)) { ++arena_->exact_; }
    ~ExactFit() { --arena_->exact_; }
    ExactFit(const ExactFit&) = delete;
    ExactFit& operator=(const ExactFit&) = delete;

   private:
    std::shared_ptr<Arena> arena_;
  };

  struct Stats {
    std::uint64_t system_allocations = 0;  // blocks fetched from the system since construction
    std::size_t in_use_bytes = 0, kept_bytes = 0, peak_bytes = 0;
  };
  Stats stats() const;

  // Fault injection (F05): the n-th allocation from now fails; 0 switches it off. The test binary sets it.
  void fail_after(std::uint64_t allocations) { fail_after_ = allocations; }

  static std::size_t block_bytes(std::size_t bytes);  // the block that serves a request: its size class

 private:
  void* take_kept(std::size_t& size);  // the best fit for `size`, which becomes the block's; null: none
  void give_back() noexcept;           // the mutex is held
  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> kept_;      // by size
  std::unordered_map<void*, std::size_t> lent_larger_;  // blocks in use that are larger than their request's class
  std::atomic<int> exact_{0};
  Stats stats_;
  std::uint64_t fail_after_ = 0;
};

}  // namespace tap
