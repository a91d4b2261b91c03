// The one thread that computes, for all models: one team of threads serves them (design, Threads). Engines take turns;
// while one encodes the pictures of a request, all others' answers go on between its layers.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/exec_context.h"

namespace tap::server {

// What has turns. All but has_work() is called on the engine thread.
class Computing {
 public:
  virtual ~Computing() = default;
  virtual bool has_work() const = 0;       // any thread
  virtual void turn() = 0;                 // a little of it
  virtual bool answering() const = 0;      // somebody waits for the next token
  virtual void step() = 0;                 // gives it
  virtual bool wants_to_stop() const = 0;  // the step that runs now works for somebody who left
  virtual void end() = 0;                  // takes no more. Any thread
  virtual void cancel() = 0;               // … and ends what is there. Any thread
};

class EngineThread {
 public:
  void attach(std::shared_ptr<Computing> one);  // any thread
  void detach(const Computing* one);            // any thread; it gets no further turn
  void wake();                                  // there is work. Any thread

  // Computes on this thread, in `context`, until end() and until no engine has work.
  void run(ExecContext& context);
  void end();
  void cancel();

  // What an engine does on the engine thread. In steps a checkpoint throws Error(cancelled) when the engine wants to
  // stop; in encoding, when `cancelled` says so.
  void in_step(Computing& one, const std::function<void()>& step);
  void in_encoding(const std::function<bool()>& cancelled, const std::function<void()>& encode);

  // What must not be interrupted by answers.
  void undisturbed(const std::function<void()>& work);

 private:
  bool wait_for_work();
  void between_layers();
  std::vector<std::shared_ptr<Computing>> engines() const;

  Computing* stepping_ = nullptr;
  const std::function<bool()>* cancelled_ = nullptr;  // of what is being encoded
  Stopwatch since_step_;                              // since the last step ended, or this one began
  mutable std::mutex mutex_;                          // of what follows
  std::condition_variable work_;
  std::vector<std::shared_ptr<Computing>> engines_;
  bool awake_ = false, ending_ = false, all_cancelled_ = false;
};

}  // namespace tap::server
