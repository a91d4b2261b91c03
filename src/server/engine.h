// The one thread that computes for all requests of a model: takes them from a bounded queue into a batch, lets those
// that are being answered go on while the pictures of another are encoded, and gives every token out as it comes.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "base/clock.h"
#include "runtime/batch_generator.h"

namespace tap::server {

// What the engine calls, on its own thread: must be quick, and may not throw.
struct Job {
  BatchRequest request = {};
  // Instead of a request: what needs the engine's thread but no place in the batch. Answers go on between its layers. What
  // it throws reaches on_end.
  std::function<void()> work = {};
  std::function<void(const BatchGenerator::Event&)> on_token = {};
  std::function<void(BatchGenerator::Finished)> on_end = {};  // once, last: the answer, or the Error that ended it
};

struct EngineOptions {
  Dim sequences = 8;        // answers at once
  Dim context = 0;          // of each; 0 = the model's
  Dim rows_beside = 128;     // of prompts in one forward while answers wait for it
  std::size_t queued = 256;  // jobs that may wait
};

struct EngineLoad {
  std::size_t queued = 0, running = 0;
};

class Engine {
 public:
  // The memory of `options.sequences` caches is taken as it is needed.
  Engine(std::shared_ptr<const Model> model, EngineOptions options);

  // Gives a job a place in the queue. Throws Error(limit) naming the numbers when it is full, Error(cancelled) when the
  // engine ends. What is given back ends the job when it is called: no further event comes but on_end with
  // Error(cancelled). Any thread.
  std::function<void()> submit(Job job);

  // Computes on this thread, in `context`, until end() and until every job then there has ended.
  void run(ExecContext& context);
  void end();     // takes no further job
  void cancel();  // … and ends those that are there

  EngineLoad load() const;
  const Model& model() const { return *model_; }
  Dim context() const { return batch_.context(); }

 private:
  struct Place {
    Job job;
    std::atomic<bool> cancelled{false};
  };
  using PlacePtr = std::shared_ptr<Place>;

  bool wait_for_work();
  void add_waiting();
  void add(const PlacePtr& place);
  void step();
  void drop_cancelled();
  void between_layers();
  static void finish(Place& place, BatchGenerator::Finished finished);

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  BatchGenerator batch_;
  std::map<BatchGenerator::Id, PlacePtr> running_;
  PlacePtr adding_;          // its pictures are being encoded
  bool stepping_ = false;
  Stopwatch since_step_;     // since the last step ended, or this one began
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable work_;
  std::deque<PlacePtr> queue_;
  bool ending_ = false;
  std::atomic<std::ptrdiff_t> cancelled_{0};  // places that are cancelled and still there
  std::atomic<bool> all_cancelled_{false};
  std::atomic<std::size_t> running_count_{0};
};

}  // namespace tap::server
