// Where a computation's time goes, operation by operation: `tapetum bench --profile`. Off unless an ExecContext has a
// Profile; then each operation costs two readings of the clock.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/exec_context.h"

namespace tap {

class Profile {
 public:
  struct Entry {
    Dim calls = 0;
    double ms = 0;          // without what nested operations took
    double operations = 0;  // multiplications and additions of products
    double bytes = 0;       // of weights and cached keys read
  };
  const std::map<std::string, Entry>& entries() const { return entries_; }

  struct Work {
    double operations = 0, bytes = 0;
  };

  // Of one operation. `label()` and `work()` are called, and the clock is read, only when there is a profile.
  class Scope {
   public:
    template <class Label, class Count>
    Scope(const Label& label, const Count& work) : profile_(ExecContext::current().profile()) {
      if (!profile_) return;
      const Work done = work();
      entry_ = &profile_->entries_[label()];
      entry_->operations += done.operations;
      entry_->bytes += done.bytes;
      ++entry_->calls;
      outer_ = profile_->innermost_;
      profile_->innermost_ = this;
      watch_.emplace();
    }
    template <class Label>
    explicit Scope(const Label& label) : Scope(label, [] { return Work{}; }) {}
    ~Scope() {
      if (!profile_) return;
      const double ms = watch_->ms();
      entry_->ms += ms - nested_ms_;
      if (outer_) outer_->nested_ms_ += ms;
      profile_->innermost_ = outer_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Profile* profile_;
    Entry* entry_ = nullptr;
    Scope* outer_ = nullptr;
    double nested_ms_ = 0;
    std::optional<Stopwatch> watch_;
  };

 private:
  std::map<std::string, Entry> entries_;
  Scope* innermost_ = nullptr;
};

}  // namespace tap
