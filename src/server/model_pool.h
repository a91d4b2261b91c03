// The models of a server, by name: within a budget of memory, each loaded when it is first asked for, the least
// recently used one let go for it.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "server/engine.h"

namespace tap::server {

// What it takes to have a model. `need` is called with the bytes that the model and its answers take, before they are
// taken; what it throws must end the loading.
struct LoadedModel {
  std::shared_ptr<const Model> model;
  EngineOptions engine;
};
using LoadModel = std::function<LoadedModel(const std::string& source, const std::function<void(Dim)>& need)>;

struct ServedModel {
  std::string name;    // in requests
  std::string source;  // what `load` takes
};

enum class ModelState { unloaded, loading, ready, failed };
std::string_view name(ModelState state);

struct ModelStatus {
  std::string name;
  ModelState state = ModelState::unloaded;
  Dim bytes = 0;                   // that it takes, as far as known
  std::shared_ptr<Engine> engine;  // when it is ready
};

class ModelPool {
 public:
  // `budget`: bytes for all models that are there at once, with their caches.
  ModelPool(std::vector<ServedModel> models, Dim budget, LoadModel load, EngineThread& thread);
  ~ModelPool();
  ModelPool(const ModelPool&) = delete;
  ModelPool& operator=(const ModelPool&) = delete;

  // Loads, on this thread, those that fit together, in order. Throws what loading the first one throws.
  void begin();

  // The engine of a model, as soon as it is there: `then` is called on this thread, or later on the loader's. An engine
  // stays while somebody holds it. Empty name: the first model. Throws Error(not_found) naming those that there are.
  using Then = std::function<void(std::shared_ptr<Engine>, std::optional<Error>)>;
  void with(std::string_view name, Then then);

  void end();  // loads nothing more: who still waits is told. Any thread, once

  std::vector<ModelStatus> status() const;
  bool begun() const;  // begin() is over
  const std::string& first() const { return entries_.front().served.name; }

 private:
  struct Entry {
    ServedModel served;
    ModelState state = ModelState::unloaded;
    Dim bytes = 0;
    std::optional<Error> failure;
    std::shared_ptr<Engine> engine;
    std::size_t held = 0;  // by requests that are on their way to it
    std::uint64_t used = 0;
    bool leaving = false;  // others need its memory
    std::vector<Then> waiting;
  };
  std::shared_ptr<Engine> hold(Entry& entry);
  void make_room(Entry& entry, Dim bytes, bool may_evict);
  void load(Entry& entry, bool may_evict);
  void tell(std::vector<Then>& waiting, Entry* entry, const std::optional<Error>& failed);
  void run();
  Entry* next_wanted();
  Dim used_bytes() const;

  Dim budget_;
  LoadModel load_;
  EngineThread& thread_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::vector<Entry> entries_;  // never grows
  std::uint64_t uses_ = 0;
  bool begun_ = false, ending_ = false;
  std::thread loader_;
};

}  // namespace tap::server
