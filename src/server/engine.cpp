#include "server/engine.h"

#include <algorithm>
#include <new>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "server/status_error.h"

namespace tap::server {

namespace {

constexpr std::size_t remembered_turns = 4096;

constexpr int most_starved_steps = 10;

// Made beforehand: to end an answer takes no memory.
const Error cancelled(ErrorCode::cancelled, "the request was cancelled");

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
  std::function<void()> cancel = [self = weak_from_this(),
                                  weak = std::vector<std::weak_ptr<Place>>(places.begin(), places.end())] {
    const auto engine = self.lock();
    if (!engine) return;
    for (const auto& one : weak)
      if (const PlacePtr place = one.lock(); place && !place->cancelled.exchange(true)) ++engine->cancelled_;
    engine->thread_.wake();
  };
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
  return cancel;
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

// Ends what waits no longer anywhere.
void Engine::finish(Place& place, BatchGenerator::Finished finished) {
  if (place.cancelled.exchange(true)) --cancelled_;  // else the mark keeps later calls from counting it
  try {
    if (place.job.on_end) place.job.on_end(std::move(finished));
  } catch (const std::bad_alloc&) {  // its exchange is let go, and the client told so
  }
}

void Engine::end_with(Place& place, const Error& error) {
  BatchGenerator::Finished finished;
  finished.error = error;
  finish(place, std::move(finished));
}

bool Engine::has_work() const {
  const std::lock_guard lock(mutex_);
  return running_count_.load() > 0 || !queue_.empty();
}

void Engine::turn() {
  drop_cancelled();
  try {
    add_waiting();
  } catch (const std::bad_alloc&) {  // who waits is asked about again
  }
  if (!batch_.idle()) step();
}

void Engine::drop_cancelled() {
  while (const PlacePtr place = take_cancelled()) end_with(*place, place->starved ? out_of_memory() : cancelled);
}

// One that is cancelled, out of the queue or the batch; null: there is none.
Engine::PlacePtr Engine::take_cancelled() {
  const bool all = all_cancelled_.load();
  if (cancelled_.load() == 0 && !all) return nullptr;
  const auto is_cancelled = [&](const PlacePtr& place) { return all || place->cancelled.load(); };
  {
    const std::lock_guard lock(mutex_);
    const auto at = std::ranges::find_if(queue_, is_cancelled);
    if (at != queue_.end()) {
      PlacePtr place = std::move(*at);
      queue_.erase(at);
      return place;
    }
  }
  for (const auto& [id, place] : running_)
    if (is_cancelled(place)) return take_running(id);
  return nullptr;
}

Engine::PlacePtr Engine::take_running(BatchGenerator::Id id) {
  batch_.cancel(id);
  PlacePtr place = std::move(running_.extract(id).mapped());
  running_count_ = running_.size();
  return place;
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
  const std::optional<Error> failed = error_in([&] {
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
  });
  running_count_ = running_.size();
  pictures_encoded_ = batch_.pictures_encoded();
  if (failed)
    end_with(*place, *failed);
  else if (place->job.work)
    finish(*place, {});
}

void Engine::deliver(BatchGenerator::Step& step) {
  for (const auto& event : step.events) {
    Place& place = *running_.at(event.id);
    if (!place.job.on_token || place.cancelled.load()) continue;
    bool wanted = false;
    try {
      wanted = place.job.on_token(event);
    } catch (const std::bad_alloc&) {
      place.starved = true;
    }
    if (!wanted && !place.cancelled.exchange(true)) ++cancelled_;
  }
  for (auto& finished : step.finished) {
    const PlacePtr place = take_running(finished.id);
    place->starved ? end_with(*place, out_of_memory()) : finish(*place, std::move(finished));
  }
}

void Engine::fail_all(const Error& error) {
  while (!running_.empty()) end_with(*take_running(running_.begin()->first), error);
}

void Engine::step() {
  BatchGenerator::Step step;
  try {
    thread_.in_step(*this, [&] { step = batch_.step(); });
  } catch (const Error& error) {
    return fail_all(error);
  } catch (const std::bad_alloc&) {  // nothing was done yet: it is tried again, but not for ever
    if (++starved_steps_ < most_starved_steps) return;
    return fail_all(out_of_memory());
  }
  starved_steps_ = 0;
  thread_.undisturbed([&] { deliver(step); });
  drop_cancelled();
}

}  // namespace tap::server
