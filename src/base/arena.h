// The caching allocator behind all tensor storage: freed blocks are kept by size class and handed out again, so that in
// steady state no mmap and no page fault happens. Large blocks ask for huge pages.
#pragma once

#include <cstddef>
#include <cstdint>
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

  struct Stats {
    std::uint64_t system_allocations = 0;  // blocks fetched from the system since construction
    std::size_t in_use_bytes = 0, kept_bytes = 0, peak_bytes = 0;
  };
  Stats stats() const;

  // Fault injection (F05): the n-th allocation from now fails; 0 switches it off. The test binary sets it.
  void fail_after(std::uint64_t allocations) { fail_after_ = allocations; }

 private:
  static std::size_t size_class(std::size_t bytes);
  void give_back() noexcept;  // the mutex is held
  mutable std::mutex mutex_;
  std::unordered_map<std::size_t, std::vector<void*>> kept_;
  Stats stats_;
  std::uint64_t fail_after_ = 0;
};

}  // namespace tap
