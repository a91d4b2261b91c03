// What an asynchronous operation goes on with, for all that a connection does: a lack of memory must cost that
// connection alone.
#pragma once

#include <memory>
#include <new>
#include <utility>

namespace tap::server {

// Calls fn(owner, results…) when the operation is over. Where memory gives out in it, or in the operation, which then
// lets go of this uncalled, it calls owner.lost(): else the owner would wait for ever.
template <class Owner, class Fn>
class Continuation {
 public:
  Continuation(std::shared_ptr<Owner> owner, Fn fn) : owner_(std::move(owner)), fn_(std::move(fn)) {}
  Continuation(Continuation&&) noexcept = default;
  Continuation& operator=(Continuation&&) = delete;
  ~Continuation() {
    if (owner_) owner_->lost();
  }
  template <class... Results>
  void operator()(Results&&... results) {
    const auto owner = std::exchange(owner_, nullptr);
    try {
      fn_(*owner, std::forward<Results>(results)...);
    } catch (const std::bad_alloc&) {
      owner->lost();
    }
  }

 private:
  std::shared_ptr<Owner> owner_;
  Fn fn_;
};

}  // namespace tap::server
