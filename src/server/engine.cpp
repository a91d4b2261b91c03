#include "server/engine.h"

#include <new>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "server/status_error.h"

namespace tap::server {

namespace {

constexpr std::size_t remembered_turns = 4096;

BatchGenerator::Finished failed_with(Error error) {
  BatchGenerator::Finished finished;
  finished.error = std::move(error);
  return finished;
}

Error cancelled_error() { return {ErrorCode::cancelled, "the request was cancelled"}; }

}  // namespace

Engine::Engine(std::shared_ptr<const Model> model, EngineOptions options, EngineThread& thread)
    : model_(std::move(model)),
      options_(options),
      thread_(thread),
      batch_(*model_, {.sequences = options.sequences,
                       .context = options.context,
                       .rows_beside = options.rows_beside,
                       .share_prefixes = true,
                       .features = nullptr}) {}

std::function<void()> Engine::submit(std::vector<Job> jobs) {
  std::vector<PlacePtr> places;
  for (Job& job : jobs) {
    places.push_back(std::make_shared<Place>());
    places.back()->job = std::move(job);
  }
  {
    const std::lock_guard lock(mutex_);
    if (ending_) throw Error(ErrorCode::cancelled, "the server is shutting down");
    if (queue_.size() + places.size() > options_.queued)
      throw StatusError(
          429, ErrorCode::limit,
          fmt::format("{} answers are waiting already, with {} more the limit of {} is passed: try again later",
                      queue_.size(), places.size(), options_.queued));
    queue_.insert(queue_.end(), places.begin(), places.end());
  }
  thread_.wake();
  return [self = weak_from_this(), weak = std::vector<std::weak_ptr<Place>>(places.begin(), places.end())] {
    const auto engine = self.lock();
    if (!engine) return;
    for (const auto& one : weak)
      if (const PlacePtr place = one.lock(); place && !place->cancelled.exchange(true)) ++engine->cancelled_;
    engine->thread_.wake();
  };
}

void Engine::end() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
}

void Engine::cancel() {
  end();
  all_cancelled_ = true;
}

EngineLoad Engine::load() const {
  const std::lock_guard lock(mutex_);
  return {queue_.size(), running_count_.load()};
}

void Engine::finish(Place& place, BatchGenerator::Finished finished) {
  try {
    if (place.job.on_end) place.job.on_end(std::move(finished));
  } catch (const std::bad_alloc&) {  // its exchange is let go, and the client told so
  }
}

bool Engine::has_work() const {
  const std::lock_guard lock(mutex_);
  return running_count_.load() > 0 || !queue_.empty();
}

void Engine::turn() {
  drop_cancelled();
  add_waiting();
  if (!batch_.idle()) step();
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

// Of those that have a place if they are taken now: who has the fewest answers in the works, then whose turn is longest
// ago, then who came first.
Engine::PlacePtr Engine::take_next() {
  const auto standing = [&](const Asker& asker) {
    std::size_t of_owner = 0, of_part = 0;
    for (const auto& [id, place] : running_) {
      if (place->job.asker.owner != asker.owner) continue;
      ++of_owner;
      if (place->job.asker.part == asker.part) ++of_part;
    }
    const auto last = [&](std::string_view part) {
      const auto found = turns_.find(std::pair<std::string_view, std::string_view>(asker.owner, part));
      return found == turns_.end() ? std::uint64_t{0} : found->second;
    };
    return std::tuple(of_owner, last(""), of_part, last(asker.part));
  };
  const bool has_room = batch_.has_room();
  const std::lock_guard lock(mutex_);
  auto best = queue_.end();
  decltype(standing({})) least;
  for (auto at = queue_.begin(); at != queue_.end(); ++at) {
    if (!(*at)->job.work && !has_room) continue;
    const auto mine = standing((*at)->job.asker);
    if (best == queue_.end() || mine < least) best = at, least = mine;
  }
  if (best == queue_.end()) return nullptr;
  const Asker& asker = (*best)->job.asker;
  turns_[{asker.owner, ""}] = turns_[{asker.owner, asker.part}] = ++turn_;
  PlacePtr place = std::move(*best);
  queue_.erase(best);
  if (turns_.size() > remembered_turns)  // those who were not here for long
    std::erase_if(turns_, [&](const auto& one) { return one.second + remembered_turns / 2 < turn_; });
  return place;
}

void Engine::add_waiting() {
  while (const PlacePtr place = take_next()) {
    add(place);
    if (!batch_.idle()) step();  // those that are being answered wait for one at most
  }
}

void Engine::add(const PlacePtr& place) {
  std::optional<Error> failed;
  try {
    thread_.in_encoding([&] { return place->cancelled.load() || all_cancelled_.load(); },
                        [&] {
                          if (place->job.work) return place->job.work();
                          const BatchGenerator::Id id = batch_.add(std::move(place->job.request));
                          try {
                            running_.emplace(id, place);
                          } catch (const std::bad_alloc&) {
                            batch_.cancel(id);
                            throw;
                          }
                        });
  } catch (const Error& error) {
    failed = error;
  } catch (const std::bad_alloc&) {
    failed = Error(ErrorCode::out_of_memory, "out of memory");
  }
  running_count_ = running_.size();
  pictures_encoded_ = batch_.pictures_encoded();
  if (!failed && !place->job.work) return;
  if (place->cancelled.exchange(true)) --cancelled_;  // else the mark keeps later calls from counting it
  finish(*place, failed ? failed_with(std::move(*failed)) : BatchGenerator::Finished());
}

void Engine::deliver(BatchGenerator::Step& step) {
  for (const auto& event : step.events) {
    Place& place = *running_.at(event.id);
    if (!place.job.on_token || place.cancelled.load()) continue;
    bool wanted = false;
    try {
      wanted = place.job.on_token(event);
    } catch (const std::bad_alloc&) {
    }
    if (!wanted && !place.cancelled.exchange(true)) ++cancelled_;
  }
  for (auto& finished : step.finished) {
    const PlacePtr place = std::move(running_.extract(finished.id).mapped());
    running_count_ = running_.size();
    if (place->cancelled.exchange(true)) --cancelled_;
    finish(*place, std::move(finished));
  }
}

void Engine::fail_all(const Error& error) {
  for (auto& [id, place] : std::exchange(running_, {})) {
    batch_.cancel(id);
    if (place->cancelled.exchange(true)) --cancelled_;
    finish(*place, failed_with(error));
  }
  running_count_ = 0;
}

void Engine::step() {
  BatchGenerator::Step step;
  // A lack of memory beside the tensors, which ends one answer only: nobody knows how far this came.
  std::optional<Error> failed;
  try {
    thread_.in_step(*this, [&] { step = batch_.step(); });
  } catch (const Error& error) {
    failed = error;
  } catch (const std::bad_alloc&) {
    failed = Error(ErrorCode::out_of_memory, "out of memory");
  }
  if (failed) return fail_all(*failed);
  thread_.undisturbed([&] { deliver(step); });
  drop_cancelled();
}

}  // namespace tap::server
