// One request on its way through the server: what its route needs to answer it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/conversation.h"
#include "server/engine.h"
#include "server/metrics.h"
#include "server/observed_exchange.h"
#include "server/reply.h"
#include "server/request_media.h"
#include "tasks/guards.h"

namespace tap::server {

// Guards live on the engine thread.
struct GuardPost {
  Guards& guards;
  Metrics& metrics;
};

// Without its body, which is large where pictures stand in it: a route reads that at once, and this may wait.
struct Asked {
  std::shared_ptr<ObservedExchange> exchange;
  std::shared_ptr<Engine> engine;
  std::string model;  // the name that it goes by
  const MediaReader& media;
  GenerateOptions generate;  // the defaults
  std::string owner;         // of what is cached
  Asker asker;
  GuardPost& post;
  std::shared_ptr<void> place;  // a server that is told to stop waits until it is let go
};

// The answer to a request that failed.
void respond_error(HttpExchange& exchange, const Error& error);
// Takes a step of a request: what it fails with, a lack of memory among it, is the answer.
void answer_errors(HttpExchange& exchange, const std::function<void()>& step);

// Calls `cancel` when the client has left. Where that cannot be arranged, which it throws, at once.
void cancel_when_gone(HttpExchange& exchange, const std::function<void()>& cancel);

// Calls `then` once the input guards have passed the conversation: at once when there are none, else on the engine
// thread. It may throw; that, and a refusal, is the answer.
void after_judging(const Asked& asked, const Conversation& conversation, std::function<void()> then);

// What the engine makes of a request goes to `reply`, as far as the guards pass it.
void answer(const Asked& asked, const ChatRequest& request, const std::shared_ptr<Reply>& reply);

}  // namespace tap::server
