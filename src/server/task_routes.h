// Routes beside chat: /v1/detect, /v1/moderations, /v1/embeddings, /v1/tokenize. Each reads its body, lets the engine
// work, and answers.
#pragma once

#include <memory>

#include "server/engine.h"
#include "server/http_server.h"
#include "server/request_pictures.h"
#include "tasks/guard.h"

namespace tap::server {

struct Asked {
  std::shared_ptr<HttpExchange> exchange;
  std::shared_ptr<Engine> engine;
  const Json& body;
  const PictureLimits& pictures;
  GenerateOptions generate;  // the defaults
  std::string owner;         // of what is cached
};

// {"model", "image": URL, "prompt": "birds ; windows", "task": "detect" | "segment" | "count" | "point", "system", "max_tokens",
// "temperature", "seed"}: {"object": "detections", "model", "width", "height", "objects": [{"label", "box", "score"}], …}
void detect(const Asked& asked);

// {"model", "input": text, picture part, or a list of them}: OpenAI's moderation object, one result an input. `guard` lives on
// the engine's thread; null: there is none.
void moderate(const Asked& asked, const std::shared_ptr<Guard>& guard);

// {"model", "input": text, picture part, or a list of them}: OpenAI's list of embeddings.
void embed(const Asked& asked);

// {"model", "messages", "tools"} or {"model", "prompt"}: how many tokens that is, and what pictures come to; nothing is computed.
void tokenize(const Asked& asked);

}  // namespace tap::server
