// Routes beside chat: /v1/detect, /v1/moderations, /v1/embeddings, /v1/tokenize. Each reads its body, lets the engine
// work, and answers.
#pragma once

#include "server/asked.h"

namespace tap::server {

// {"model", "image": URL, "prompt": "birds ; windows", "task": "detect" | "segment" | "count" | "point", "system",
// "max_tokens", "temperature", "seed"}: {"object": "detections", "model", "width", "height", "objects": [{"label",
// "box", "score"}], …}
void detect(const Asked& asked, const Json& body);

// {"model", "input": text, picture part, or a list of them}: OpenAI's moderation object, one result an input. The
// model judges, when it is a guard; else those of --guard do.
void moderate(const Asked& asked, const Json& body);

// {"model", "input": text, picture part, or a list of them}: OpenAI's list of embeddings.
void embed(const Asked& asked, const Json& body);

// {"model", "messages", "tools"} or {"model", "prompt"}: how many tokens that is, and what pictures come to; nothing is
// computed.
void tokenize(const Asked& asked, const Json& body);

}  // namespace tap::server
