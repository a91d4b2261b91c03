// What the public classes hold, and how a call enters the engine. Every file here includes this one only: the
// internals' headers must be read before the public ones, whose `using namespace v1` would make names like Model
// ambiguous in them.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>

#include "base/clock.h"
#include "base/exec_context.h"
#include "base/file.h"
#include "base/log.h"
#include "base/strings.h"
#include "codec/decode.h"
#include "codec/encode.h"
#include "io/embedded.h"
#include "io/url.h"
#include "media/picture_bytes.h"
#include "runtime/batch_generator.h"
#include "runtime/session.h"
#include "tasks/detect.h"
#include "tasks/embed.h"
#include "tasks/guard.h"
#include "api/turns.h"

#include <tapetum/tapetum.h>

namespace tap::api {

struct Picture {
  tap::Image image;
};

struct Engine {
  explicit Engine(int threads) : context(threads) {}
  ExecContext context;  // before the model: its arena holds the weights
  std::unique_ptr<tap::Model> model;
  std::shared_ptr<FeatureCache> features = std::make_shared<FeatureCache>();  // of all chats; guarded by `turns`
  std::int64_t width = 0;
  // The newest form of answers that was asked for, as many questions in a row tend to want the same; guarded by
  // `turns`.
  std::string constraint_key;
  std::shared_ptr<const Constraint> constraint;
  Turns turns;

  // A keep_on that calls its own model would wait for itself: Error(usage) instead. So would a process that was forked
  // from one that computed, for threads that it does not have: Error(unsupported).
  void refuse_reentry() const;
};

struct Judge {
  std::shared_ptr<Engine> engine;
  std::unique_ptr<tap::Guard> guard;  // guarded by engine->turns
};

struct Talk {
  std::shared_ptr<Engine> engine;
  std::vector<v1::Guard> before, behind;
  std::mutex asking;           // held while a question is prepared, by `ask` until its end
  Conversation conversation;   // of finished turns; guarded by engine->turns, as are the two below
  std::size_t first_turn = 0;  // messages before the first question
  std::uint64_t newest = 0;    // number of the newest question
  std::unique_ptr<Session> session;
  std::atomic<std::int64_t> turns{0};
};

struct Turn {
  std::shared_ptr<Talk> talk;
  Conversation conversation;  // with this question
  KeepOn keep_on;
  bool exact = false;  // the answer has a form: every blank of it counts
  std::uint64_t number = 0;
  std::optional<Generation> generation;
  std::string text;
  v1::Answer answer;
  Stopwatch since_last;
  std::vector<std::pair<std::shared_ptr<Judge>, AnswerFilter>> filters;  // that a piece passes one after the other
  enum class State { running, done, failed } state = State::running;

  std::optional<std::string> next();

 private:
  std::string step();
  std::string filtered(std::string piece);
  void finish();
};

struct Access {
  static v1::Image image(tap::Image image) {
    return v1::Image(std::make_shared<const Picture>(Picture{std::move(image)}));
  }
  static std::shared_ptr<const tap::Image> picture(const v1::Image& image) {
    return {image.picture_, &image.picture_->image};
  }
  static const std::shared_ptr<Engine>& engine(const v1::Model& model) { return model.engine_; }
  static Judge& judge(const v1::Guard& guard) { return *guard.judge_; }
  static const std::shared_ptr<Judge>& shared_judge(const v1::Guard& guard) { return guard.judge_; }
  static v1::Guard guard(std::shared_ptr<Judge> judge) { return v1::Guard(std::move(judge)); }
  static v1::Model model(std::shared_ptr<Engine> engine) { return v1::Model(std::move(engine)); }
  static v1::Chat chat(std::shared_ptr<Talk> talk) { return v1::Chat(std::move(talk)); }
  static v1::Stream stream(std::unique_ptr<Turn> turn) { return v1::Stream(std::move(turn)); }
};

v1::ErrorCode code_of(tap::ErrorCode code);
void quiet_log();                  // once: the library says nothing on stderr
[[noreturn]] void throw_public();  // the exception being handled, as a public Error

// Runs fn; what leaves it is a public Error.
template <class Fn>
auto guarded(Fn&& fn) -> decltype(fn()) {
  quiet_log();
  try {
    return fn();
  } catch (const v1::Error&) {
    throw;
  } catch (...) {
    throw_public();
  }
}

// This thread has the engine's turn, for as long as this lives.
class Owning {
 public:
  Owning(Engine& engine, std::function<void()> ask) : engine_(engine) {
    engine_.turns.enter(ask);
    engine_.context.set_hook(std::move(ask));
  }
  ~Owning() {
    engine_.context.set_hook({});
    engine_.turns.leave();
  }
  Owning(const Owning&) = delete;
  Owning& operator=(const Owning&) = delete;

 private:
  Engine& engine_;
};

// Waits for the engine's turn and runs fn in its context, with `keep_on` asked while waiting and at every checkpoint.
template <class Fn>
auto with_engine(Engine& engine, const KeepOn& keep_on, Fn&& fn) -> decltype(fn()) {
  engine.refuse_reentry();
  std::exception_ptr thrown;  // by keep_on: the caller's own exception, handed back as it is
  try {
    return guarded([&] {
      std::function<void()> ask;
      if (keep_on)
        ask = [&] {
          bool go_on = false;
          try {
            go_on = keep_on();
          } catch (...) {
            thrown = std::current_exception();
          }
          if (!go_on) throw tap::Error(tap::ErrorCode::cancelled, "cancelled by keep_on");
        };
      const Owning owning(engine, std::move(ask));
      const ExecContext::Scope scope(engine.context);
      return fn();
    });
  } catch (const v1::Error&) {
    if (thrown) std::rethrow_exception(thrown);
    throw;
  }
}

// What the guards before a chat say of a turn's words and new pictures. Throws refused, unsupported.
void judge_input(std::span<const v1::Guard> guards, const Conversation& conversation, std::span<const v1::Image> images,
                 const KeepOn& keep_on);

std::vector<tap::Message> inner_messages(std::span<const v1::Message> messages);

// For the holder of the engine's turn.
GenerateOptions generate_options(const v1::AskOptions& options, Engine& engine);

}  // namespace tap::api
