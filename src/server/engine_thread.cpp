#include "server/engine_thread.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/log.h"

namespace tap::server {

namespace {

// Answers wait no longer than this for the pictures of another request, as far as its layers allow.
constexpr double encode_slice_ms = 20;
// A forward that a cancelled job takes part in is given up once it has taken this long: a client that leaves frees its
// place, and one that comes and goes cannot keep the others from getting on.
constexpr double abandon_after_ms = 40;

// Gives a variable its value back.
template <class T>
class Restore {
 public:
  Restore(T& variable, T value) : variable_(variable), before_(std::exchange(variable, value)) {}
  ~Restore() { variable_ = before_; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& variable_;
  T before_;
};

Error cancelled_error() { return {ErrorCode::cancelled, "the request was cancelled"}; }

}  // namespace

void EngineThread::attach(std::shared_ptr<Computing> one) {
  const std::lock_guard lock(mutex_);
  engines_.push_back(std::move(one));
  if (ending_) engines_.back()->end();
  if (all_cancelled_) engines_.back()->cancel();
}

void EngineThread::detach(const Computing* one) {
  const std::lock_guard lock(mutex_);
  std::erase_if(engines_, [&](const auto& engine) { return engine.get() == one; });
}

void EngineThread::wake() {
  {
    const std::lock_guard lock(mutex_);
    awake_ = true;
  }
  work_.notify_one();
}

std::vector<std::shared_ptr<Computing>> EngineThread::engines() const {
  const std::lock_guard lock(mutex_);
  return engines_;
}

void EngineThread::end() {
  const std::lock_guard lock(mutex_);
  for (const auto& engine : engines_) engine->end();
  ending_ = awake_ = true;
  work_.notify_one();
}

void EngineThread::cancel() {
  const std::lock_guard lock(mutex_);
  for (const auto& engine : engines_) engine->cancel();
  ending_ = awake_ = true;
  all_cancelled_ = true;
  work_.notify_one();
}

// False when there will be none.
bool EngineThread::wait_for_work() {
  std::unique_lock lock(mutex_);
  const auto some = [&] {
    return std::ranges::any_of(engines_, [](const auto& engine) { return engine->has_work(); });
  };
  work_.wait(lock, [&] { return awake_ || ending_ || some(); });
  awake_ = false;
  return some() || !ending_;
}

void EngineThread::run(ExecContext& context) {
  const ExecContext::Scope scope(context);
  context.set_hook([this] { between_layers(); });
  while (wait_for_work()) {
    try {
      for (const auto& engine : engines()) engine->turn();
    } catch (const Error& error) {  // what it was for has been told, or is told when it is let go
      log::warn("the engine goes on after: {}", error.message());
    } catch (const std::bad_alloc&) {
    }
  }
  context.set_hook({});
}

void EngineThread::in_step(Computing& one, const std::function<void()>& step) {
  const Restore<Computing*> stepping(stepping_, &one);
  since_step_ = Stopwatch();
  try {
    step();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::cancelled) throw;
  }
  since_step_ = Stopwatch();
}

void EngineThread::in_encoding(const std::function<bool()>& cancelled, const std::function<void()>& encode) {
  const Restore<const std::function<bool()>*> encoding(cancelled_, &cancelled);
  encode();
}

void EngineThread::undisturbed(const std::function<void()>& work) {
  const Restore<const std::function<bool()>*> encoding(cancelled_, nullptr);
  work();
}

// After every layer of any network.
void EngineThread::between_layers() {
  if (stepping_) {
    if (stepping_->wants_to_stop() && since_step_.ms() > abandon_after_ms) throw cancelled_error();
    return;
  }
  if (!cancelled_) return;
  if ((*cancelled_)()) throw cancelled_error();
  if (since_step_.ms() <= encode_slice_ms) return;
  for (const auto& engine : engines())
    if (engine->answering()) engine->step();
  since_step_ = Stopwatch();
}

}  // namespace tap::server
