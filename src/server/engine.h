// What computes for all requests of a model: takes them from a bounded queue into a batch, in an order that is fair to
// those who ask, and gives every token out as it comes.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/batch_generator.h"
#include "server/engine_thread.h"

namespace tap::server {

// Who asks: of those that wait, who has the fewest answers in the works is next, then whose turn is longest ago; among
// the requests of one `owner` (a key, else an address) likewise by `part` (a connection, or what "user" in the body
// says).
struct Asker {
  std::string owner, part;
};

// What the engine calls, on its own thread: must be quick, and may not throw.
struct Job {
  BatchRequest request = {};
  // Instead of a request: what needs the engine's thread but no place in the batch. Answers go on between its layers.
  // What it throws reaches on_end.
  std::function<void()> work = {};
  std::function<bool(const BatchGenerator::Event&)> on_token = {};  // false: nobody wants the rest
  std::function<void(BatchGenerator::Finished)> on_end = {};  // once, last: the answer, or the Error that ended it
  Asker asker = {};
};

struct EngineOptions {
  Dim sequences = 8;         // answers at once
  Dim context = 0;           // of each; 0 = the model's
  Dim rows_beside = 128;     // of prompts in one forward while answers wait for it
  std::size_t queued = 256;  // jobs that may wait
};

struct EngineLoad {
  std::size_t queued = 0, running = 0;
};

class Engine final : public Computing, public std::enable_shared_from_this<Engine> {
 public:
  // The memory of `options.sequences` caches is taken as it is needed. The thread must outlive it.
  Engine(std::shared_ptr<const Model> model, EngineOptions options, EngineThread& thread);

  // Gives jobs their places in the queue, all or none. Throws StatusError(429) naming the numbers when it is full,
  // Error(cancelled) when the engine ends. What is given back ends the jobs when it is called: no further event comes
  // but on_end with Error(cancelled). Any thread.
  std::function<void()> submit(std::vector<Job> jobs);
  std::function<void()> submit(Job job) {
    std::vector<Job> jobs;
    jobs.push_back(std::move(job));
    return submit(std::move(jobs));
  }

  EngineLoad load() const;
  const Model& model() const { return *model_; }
  std::shared_ptr<const Model> shared_model() const { return model_; }
  Dim context() const { return batch_.context(); }
  Dim pictures_encoded() const { return pictures_encoded_; }

  bool has_work() const override;
  void turn() override;
  bool answering() const override { return !batch_.idle(); }
  void step() override;
  bool wants_to_stop() const override { return cancelled_.load() > 0 || all_cancelled_.load(); }
  void end() override;
  void cancel() override;

 private:
  struct Place {
    Job job;
    std::atomic<bool> cancelled{false};
    bool starved = false;  // a token of it is lost for lack of memory
  };
  using PlacePtr = std::shared_ptr<Place>;

  void add_waiting();
  PlacePtr take_next();
  void add(const PlacePtr& place);
  void deliver(BatchGenerator::Step& step);
  void drop_cancelled();
  PlacePtr take_cancelled();
  PlacePtr take_running(BatchGenerator::Id id);
  void fail_all(const Error& error);
  void end_with(Place& place, const Error& error);
  void finish(Place& place, BatchGenerator::Finished finished);

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  EngineThread& thread_;
  BatchGenerator batch_;
  std::map<BatchGenerator::Id, PlacePtr> running_;
  struct ByText {
    using is_transparent = void;  // nobody who waits is copied to be looked up
    bool operator()(const auto& a, const auto& b) const {
      using Texts = std::pair<std::string_view, std::string_view>;
      return Texts(a) < Texts(b);
    }
  };
  // The last turn of an owner ("" as part) and of its parts.
  std::map<std::pair<std::string, std::string>, std::uint64_t, ByText> turns_;
  std::uint64_t turn_ = 0;
  int starved_steps_ = 0;     // one after the other
  mutable std::mutex mutex_;  // of what follows
  std::deque<PlacePtr> queue_;
  bool ending_ = false;
  std::atomic<std::ptrdiff_t> cancelled_{0};  // places that are cancelled and still there
  std::atomic<bool> all_cancelled_{false};
  std::atomic<std::size_t> running_count_{0};
  std::atomic<Dim> pictures_encoded_{0};
};

}  // namespace tap::server
