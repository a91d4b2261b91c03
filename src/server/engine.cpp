#include "server/engine.h"

#include <new>
#include <utility>
#include <vector>

#include "server/status_error.h"

namespace tap::server {

namespace {

// Answers wait no longer than this for the pictures of another request, as far as its layers allow.
constexpr double encode_slice_ms = 20;
// A forward that a cancelled job takes part in is given up once it has taken this long: a client that leaves frees its
// place, and one that comes and goes cannot keep the others from getting on.
constexpr double abandon_after_ms = 40;

BatchGenerator::Finished failed_with(Error error) {
  BatchGenerator::Finished finished;
  finished.error = std::move(error);
  return finished;
}

Error cancelled_error() { return {ErrorCode::cancelled, "the request was cancelled"}; }

}  // namespace

Engine::Engine(std::shared_ptr<const Model> model, EngineOptions options)
    : model_(std::move(model)), options_(options), batch_(*model_, {.sequences = options.sequences, .context = options.context, 
                              .rows_beside = options.rows_beside, .share_prefixes = true, .features = nullptr}) {}

std::function<void()> Engine::submit(Job job) {
  const auto place = std::make_shared<Place>();
  place->job = std::move(job);
  {
    const std::lock_guard lock(mutex_);
    if (ending_) throw Error(ErrorCode::cancelled, "the server is shutting down");
    if (queue_.size() >= options_.queued)
      throw StatusError(429, ErrorCode::limit,
                        fmt::format("{} requests are waiting already, the limit is {}: try again later", queue_.size(),
                                    options_.queued));
    queue_.push_back(place);
  }
  work_.notify_one();
  return [this, place = std::weak_ptr(place)] {
    const PlacePtr held = place.lock();
    if (!held || held->cancelled.exchange(true)) return;
    ++cancelled_;
    const std::lock_guard lock(mutex_);
    work_.notify_one();
  };
}

void Engine::end() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
  work_.notify_one();
}

void Engine::cancel() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
  all_cancelled_ = true;
  work_.notify_one();
}

EngineLoad Engine::load() const {
  const std::lock_guard lock(mutex_);
  return {queue_.size(), running_count_.load()};
}

void Engine::finish(Place& place, BatchGenerator::Finished finished) {
  if (place.job.on_end) place.job.on_end(std::move(finished));
}

// False when there will be none.
bool Engine::wait_for_work() {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [&] { return !batch_.idle() || !queue_.empty() || ending_; });
  return !batch_.idle() || !queue_.empty();
}

void Engine::run(ExecContext& context) {
  const ExecContext::Scope scope(context);
  context.set_hook([this] { between_layers(); });
  while (wait_for_work()) {
    drop_cancelled();
    add_waiting();
    if (!batch_.idle()) step();
  }
  context.set_hook({});
}

void Engine::drop_cancelled() {
  const bool all = all_cancelled_.load();
  if (cancelled_.load() == 0 && !all) return;
  std::vector<PlacePtr> dropped;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(queue_, [&](const PlacePtr& place) {
      if (!all && !place->cancelled.load()) return false;
      dropped.push_back(place);
      return true;
    });
  }
  for (auto at = running_.begin(); at != running_.end();) {
    if (all || at->second->cancelled.load()) {
      batch_.cancel(at->first);
      dropped.push_back(at->second);
      at = running_.erase(at);
    } else {
      ++at;
    }
  }
  running_count_ = running_.size();
  for (const PlacePtr& place : dropped) {
    if (place->cancelled.exchange(true)) --cancelled_;
    finish(*place, failed_with(cancelled_error()));
  }
}

void Engine::add_waiting() {
  for (;;) {
    PlacePtr place;
    {
      const std::lock_guard lock(mutex_);
      if (queue_.empty() || (!queue_.front()->job.work && !batch_.has_room())) return;
      place = std::move(queue_.front());
      queue_.pop_front();
    }
    add(place);
    if (!batch_.idle()) step();  // those that are being answered wait for one at most
  }
}

void Engine::add(const PlacePtr& place) {
  std::optional<Error> failed;
  adding_ = place;
  try {
    if (place->job.work)
      place->job.work();
    else
      running_.emplace(batch_.add(std::move(place->job.request)), place);
  } catch (const Error& error) {
    failed = error;
  } catch (const std::bad_alloc&) {
    failed = Error(ErrorCode::out_of_memory, "out of memory");
  }
  adding_ = nullptr;
  running_count_ = running_.size();
  if (!failed && !place->job.work) return;
  if (place->cancelled.exchange(true)) --cancelled_;  // else the mark keeps later calls from counting it
  finish(*place, failed ? failed_with(std::move(*failed)) : BatchGenerator::Finished());
}

void Engine::step() {
  BatchGenerator::Step step;
  stepping_ = true;
  since_step_ = Stopwatch();
  try {
    step = batch_.step();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::cancelled) throw;
  }
  stepping_ = false;
  since_step_ = Stopwatch();
  for (const auto& event : step.events) {
    const Place& place = *running_.at(event.id);
    if (place.job.on_token && !place.cancelled.load()) place.job.on_token(event);
  }
  for (auto& finished : step.finished) {
    const PlacePtr place = std::move(running_.extract(finished.id).mapped());
    running_count_ = running_.size();
    if (place->cancelled.exchange(true)) --cancelled_;
    finish(*place, std::move(finished));
  }
  drop_cancelled();
}

// After every layer of any network.
void Engine::between_layers() {
  if (stepping_) {
    if ((cancelled_.load() > 0 || all_cancelled_.load()) && since_step_.ms() > abandon_after_ms) throw cancelled_error();
    return;
  }
  if (!adding_) return;
  if (adding_->cancelled.load() || all_cancelled_.load()) throw cancelled_error();
  if (!batch_.idle() && since_step_.ms() > encode_slice_ms) step();
}

}  // namespace tap::server
