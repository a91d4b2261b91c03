// Working memory from the current ExecContext's arena, given back at the end of the scope.
#pragma once

#include <cstddef>
#include <memory>

#include "base/dim.h"
#include "base/exec_context.h"

namespace tap::kernels {

class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(Dim bytes) : arena_(ExecContext::current().arena()), bytes_(static_cast<std::size_t>(bytes)) {
    data_ = arena_->allocate(bytes_);
  }
  Scratch(Scratch&& other) noexcept { swap(other); }
  Scratch& operator=(Scratch&& other) noexcept { return swap(other), *this; }
  ~Scratch() {
    if (data_) arena_->release(data_, bytes_);
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void swap(Scratch& other) noexcept {
    std::swap(arena_, other.arena_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  std::shared_ptr<Arena> arena_;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace tap::kernels
