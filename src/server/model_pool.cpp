#include "server/model_pool.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

#include "base/human_bytes.h"
#include "base/log.h"

namespace tap::server {

namespace {

// How often a model that is to leave is asked whether its last answers are over.
constexpr auto look_again = std::chrono::milliseconds(20);

const Error shutting_down(ErrorCode::cancelled, "the server is shutting down");

std::string human(Dim bytes) { return human_bytes(static_cast<double>(bytes)); }

}  // namespace

std::string_view name(ModelState state) {
  switch (state) {
    case ModelState::unloaded: return "unloaded";
    case ModelState::loading: return "loading";
    case ModelState::ready: return "ready";
    case ModelState::failed: return "failed";
  }
  return "";
}

ModelPool::ModelPool(std::vector<ServedModel> models, Dim budget, LoadModel load, EngineThread& thread)
    : budget_(budget), load_(std::move(load)), thread_(thread) {
  for (ServedModel& one : models) {
    for (const Entry& entry : entries_)
      if (entry.served.name == one.name)
        throw Error(ErrorCode::usage,
                    fmt::format("--model {}: there is a model {} already; NAME=MODEL gives it another name", one.source,
                                one.name),
                    "model");
    entries_.push_back({});
    entries_.back().served = std::move(one);
  }
}

ModelPool::~ModelPool() { end(); }

void ModelPool::end() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (loader_.joinable()) loader_.join();
}

void ModelPool::begin() {
  for (Entry& entry : entries_) {
    const bool first = &entry == &entries_.front();
    load(entry, false);
    const std::lock_guard lock(mutex_);
    if (entry.state == ModelState::ready) continue;
    if (first) throw *entry.failure;
    if (entry.failure->code() == ErrorCode::out_of_memory)
      log::info("{}: waits until it is asked for: {}", entry.served.name, entry.failure->message());
    else
      log::warn("{}: {}", entry.served.name, entry.failure->message());
    entry.state = ModelState::unloaded;
  }
  const std::lock_guard lock(mutex_);
  begun_ = true;
  loader_ = std::thread([this] { run(); });
}

bool ModelPool::begun() const {
  const std::lock_guard lock(mutex_);
  return begun_;
}

Dim ModelPool::used_bytes() const {
  Dim bytes = 0;
  for (const Entry& entry : entries_)
    if (entry.state == ModelState::ready || entry.state == ModelState::loading) bytes += entry.bytes;
  return bytes;
}

// The mutex is held.
std::shared_ptr<Engine> ModelPool::hold(Entry& entry) {
  entry.used = ++uses_;
  // What is given out keeps the engine and counts as a use of it.
  struct Hold {
    ModelPool& pool;
    Entry& entry;
    std::shared_ptr<Engine> engine;
    Hold(ModelPool& of, Entry& one) : pool(of), entry(one), engine(one.engine) { ++entry.held; }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() {
      {
        const std::lock_guard lock(pool.mutex_);
        --entry.held;
      }
      pool.changed_.notify_all();
    }
  };
  const auto held = std::make_shared<Hold>(*this, entry);
  return {held, held->engine.get()};
}

void ModelPool::with(std::string_view name, Then then) {
  std::shared_ptr<Engine> engine;
  {
    const std::lock_guard lock(mutex_);
    auto at = entries_.begin();
    if (!name.empty())
      at = std::ranges::find_if(entries_, [&](const Entry& entry) { return entry.served.name == name; });
    if (at == entries_.end()) {
      std::string all;
      for (const Entry& entry : entries_) all += (all.empty() ? "" : ", ") + entry.served.name;
      throw Error(ErrorCode::not_found,
                  fmt::format("no such model: {}; there is {}", log::one_line(name.substr(0, 100)), all), "model");
    }
    if (at->state != ModelState::ready || at->leaving) {
      at->waiting.push_back(std::move(then));
      changed_.notify_all();
      return;
    }
    engine = hold(*at);
  }
  then(std::move(engine), std::nullopt);
}

std::vector<ModelStatus> ModelPool::status() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModelStatus> all;
  for (const Entry& entry : entries_) all.push_back({entry.served.name, entry.state, entry.bytes, entry.engine});
  return all;
}

// Until `bytes` more fit. Throws Error(out_of_memory) where they never will, or may not at the others' cost.
void ModelPool::make_room(Entry& entry, Dim bytes, bool may_evict) {
  std::unique_lock lock(mutex_);
  entry.bytes = 0;
  if (bytes > budget_ || (!may_evict && used_bytes() + bytes > budget_))
    throw Error(ErrorCode::out_of_memory,
                fmt::format("{} needs {}, of a budget of {} for models {} is used", entry.served.name, human(bytes),
                            human(budget_), human(used_bytes())),
                entry.served.name);
  while (used_bytes() + bytes > budget_) {
    Entry* oldest = nullptr;
    for (Entry& one : entries_)
      if (one.state == ModelState::ready && (!oldest || one.used < oldest->used)) oldest = &one;
    oldest->leaving = true;
    const auto idle = [&] {
      const EngineLoad load = oldest->engine->load();
      return oldest->held == 0 && load.queued + load.running == 0;
    };
    while (!idle()) {
      if (ending_) throw shutting_down;
      changed_.wait_for(lock, look_again);
    }
    thread_.detach(oldest->engine.get());
    std::weak_ptr<Engine> last = oldest->engine;
    oldest->engine = nullptr;
    oldest->state = ModelState::unloaded;
    oldest->leaving = false;
    log::info("{}: let go, {} makes room for {}", oldest->served.name, human(oldest->bytes), entry.served.name);
    while (!last.expired()) changed_.wait_for(lock, look_again);  // the engine thread may be at its last turn
  }
  entry.bytes = bytes;  // counted while it is loaded
}

void ModelPool::load(Entry& entry, bool may_evict) {
  {
    const std::lock_guard lock(mutex_);
    entry.state = ModelState::loading;
    entry.bytes = 0;
  }
  std::shared_ptr<Engine> engine;
  const std::optional<Error> failed = error_in([&] {
    LoadedModel loaded = load_(entry.served.source, [&](Dim bytes) { make_room(entry, bytes, may_evict); });
    engine = std::make_shared<Engine>(std::move(loaded.model), loaded.engine, thread_);
    thread_.attach(engine);
  });
  if (failed) engine = nullptr;
  std::vector<Then> waiting;
  {
    const std::lock_guard lock(mutex_);
    entry.engine = engine;
    entry.state = failed ? ModelState::failed : ModelState::ready;
    entry.failure = failed;
    waiting = std::exchange(entry.waiting, {});
  }
  tell(waiting, engine ? &entry : nullptr, failed);
}

// Those that waited for `entry`, or in vain.
void ModelPool::tell(std::vector<Then>& waiting, Entry* entry, const std::optional<Error>& failed) {
  for (Then& then : waiting) {
    try {
      std::shared_ptr<Engine> engine;
      if (entry) {
        const std::lock_guard lock(mutex_);
        engine = hold(*entry);
      }
      then(std::move(engine), failed);
    } catch (const std::bad_alloc&) {  // its client is told when it is let go
    }
  }
}

// The loader's thread.
void ModelPool::run() {
  for (Entry* wanted; (wanted = next_wanted());) {
    try {
      ExecContext context;
      const ExecContext::Scope scope(context);
      load(*wanted, true);
    } catch (const std::bad_alloc&) {  // it is wanted still
    }
  }
  for (Entry& entry : entries_) {
    std::vector<Then> waiting;
    {
      const std::lock_guard lock(mutex_);
      waiting = std::exchange(entry.waiting, {});
    }
    tell(waiting, nullptr, shutting_down);
  }
}

// Waits for it; null when there will be none.
ModelPool::Entry* ModelPool::next_wanted() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (ending_) return nullptr;
    for (Entry& entry : entries_)
      if (!entry.waiting.empty()) return &entry;
    changed_.wait(lock);
  }
}

}  // namespace tap::server
