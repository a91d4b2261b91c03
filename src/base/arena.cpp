#include "base/arena.h"

#include <bit>
#include <cstdlib>
#include <limits>

#include <sys/mman.h>

#include "base/error.h"
#include "base/memory.h"

namespace tap {

namespace {

constexpr std::size_t huge_page_bytes = std::size_t{2} << 20;
constexpr std::size_t least_shared_bytes = std::size_t{64} << 10;  // smaller blocks serve their own class only

void* from_system(std::size_t bytes) {
  if (!has_room(bytes)) return nullptr;
  const std::size_t alignment = bytes >= huge_page_bytes ? huge_page_bytes : 64;
  void* block = nullptr;
  if (::posix_memalign(&block, alignment, bytes) != 0) return nullptr;
  // Huge pages raise the reading rate of weights by 20-60 %; advice only, so the result does not matter.
  if (bytes >= huge_page_bytes) ::madvise(block, bytes, MADV_HUGEPAGE);
  return block;
}

}  // namespace

// Four classes per power of two, eight for large blocks: at most a quarter (an eighth) is wasted, and sizes that differ
// a little share blocks.
std::size_t Arena::block_bytes(std::size_t bytes) {
  if (bytes <= 256) return 256;
  const std::size_t step = std::bit_floor(bytes - 1) / (bytes <= (std::size_t{1} << 20) ? 4 : 8);
  return (bytes + step - 1) / step * step;
}

void* Arena::take_kept(std::size_t& size) {
  const std::size_t most = size < least_shared_bytes || exact_ > 0 ? size : 2 * size;
  for (auto kept = kept_.lower_bound(size); kept != kept_.end() && kept->first <= most; ++kept) {
    if (kept->second.empty()) continue;
    void* const block = kept->second.back();
    if (kept->first > size) lent_larger_.emplace(block, kept->first);
    kept->second.pop_back();
    size = kept->first;
    stats_.kept_bytes -= size;
    return block;
  }
  return nullptr;
}

void* Arena::allocate(std::size_t bytes) {
  if (bytes > std::numeric_limits<std::size_t>::max() / 2)  // its class would wrap
    fail(ErrorCode::out_of_memory, "out of memory: {} bytes", bytes);
  std::size_t size = block_bytes(bytes);
  const std::lock_guard lock(mutex_);
  if (fail_after_ != 0 && --fail_after_ == 0)
    fail(ErrorCode::out_of_memory, "out of memory: {} bytes (injected)", size);
  void* block = take_kept(size);
  if (!block) {
    block = from_system(size);
    if (!block && stats_.kept_bytes > 0) {  // blocks of other sizes are in the way
      give_back();
      block = from_system(size);
    }
    if (!block)
      fail(ErrorCode::out_of_memory, "out of memory: {} more bytes wanted, {} in use", size, stats_.in_use_bytes);
    ++stats_.system_allocations;
  }
  stats_.in_use_bytes += size;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.in_use_bytes + stats_.kept_bytes);
  return block;
}

void Arena::release(void* block, std::size_t bytes) noexcept {
  std::size_t size = block_bytes(bytes);
  const std::lock_guard lock(mutex_);
  if (const auto larger = lent_larger_.find(block); larger != lent_larger_.end()) {
    size = larger->second;
    lent_larger_.erase(larger);
  }
  stats_.in_use_bytes -= size;
  try {
    kept_[size].push_back(block);
    stats_.kept_bytes += size;
  } catch (...) {
    std::free(block);
  }
}

void Arena::trim() noexcept {
  const std::lock_guard lock(mutex_);
  give_back();
}

void Arena::give_back() noexcept {
  for (auto& [size, blocks] : kept_)
    for (void* block : blocks) std::free(block);
  kept_.clear();
  stats_.kept_bytes = 0;
}

Arena::Stats Arena::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

Arena::~Arena() { trim(); }

}  // namespace tap
