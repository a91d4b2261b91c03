// What a computation runs in: how many threads, which arena, and how it is interrupted. One of the library's two
// thread-locals (the other is the autograd tape); set by a RAII scope, read by ExecContext::current().
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "base/arena.h"

namespace tap {

class Profile;

class ExecContext {
 public:
  // threads: 0 = min(CPU affinity, cgroup quota). Only the engine's thread may use more than one (OpenMP gives every
  // entering thread a team of its own).
  explicit ExecContext(int threads = 0);

  int threads() const { return threads_; }
  const std::shared_ptr<Arena>& arena() const { return arena_; }

  // Blocks call this after every layer. Throws Error(cancelled) once `cancel()` was called; otherwise runs the hook,
  // which lets a scheduler do a decode step in the middle of a long encode.
  void checkpoint() const;
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }  // async-signal-safe
  void clear_cancel() { cancelled_.store(false, std::memory_order_relaxed); }
  void set_hook(std::function<void()> hook) { hook_ = std::move(hook); }

  // Of the operations that run in this context, from the engine's thread; null: none is kept.
  Profile* profile() const { return profile_; }
  void set_profile(Profile* profile) { profile_ = profile; }

  static ExecContext&
  current();  // the innermost Scope of this thread, else a process-wide default with one thread per core

  class Scope {
   public:
    explicit Scope(ExecContext& context);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    ExecContext* previous_;
  };

 private:
  int threads_;
  std::shared_ptr<Arena> arena_ = std::make_shared<Arena>();
  std::atomic<bool> cancelled_{false};
  std::function<void()> hook_;
  Profile* profile_ = nullptr;
};

// min(affinity of this process, cgroup v2 or v1 CPU quota rounded up), at least 1. `cgroup_root` is a parameter for
// tests.
int available_threads(const char* cgroup_root = "/sys/fs/cgroup");

}  // namespace tap
