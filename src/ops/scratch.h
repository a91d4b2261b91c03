// Working memory for the threads of one call: taken from the arena once, on the engine's thread; a chunk of work leases
// a slot.
#pragma once

#include <atomic>
#include <vector>

#include "base/exec_context.h"
#include "tensor/tensor.h"

namespace tap::ops {

class ScratchSlots {
 public:
  ScratchSlots(Dim count, std::size_t bytes_each)
      : bytes_((bytes_each + 63) / 64 * 64),
        taken_(static_cast<std::size_t>(count)),
        storage_(Storage::allocate(bytes_ * static_cast<std::size_t>(count))) {}

  class Lease {
   public:
    explicit Lease(ScratchSlots& slots) : slots_(slots), index_(slots.take()) {}
    ~Lease() { slots_.taken_[index_].store(false, std::memory_order_release); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    std::byte* data() const { return slots_.storage_->data() + index_ * slots_.bytes_; }

   private:
    ScratchSlots& slots_;
    std::size_t index_;
  };

 private:
  // There are as many slots as threads, so one is always free or about to be.
  std::size_t take() {
    for (std::size_t i = 0;; i = (i + 1) % taken_.size())
      if (!taken_[i].exchange(true, std::memory_order_acquire)) return i;
  }
  std::size_t bytes_;
  std::vector<std::atomic<bool>> taken_;
  std::shared_ptr<Storage> storage_;
};

}  // namespace tap::ops
