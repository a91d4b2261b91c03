// The body of POST /v1/chat/completions, as OpenAI's clients write it (platform.openai.com/docs/api-reference/chat).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "runtime/token_loop.h"
#include "server/request_parts.h"

namespace tap::server {

struct RequestMessage {
  std::string role;  // "system", "user", "assistant"
  std::vector<RequestPart> parts;
};

struct ChatRequest {
  std::string model;  // as given; empty: the only one
  std::vector<RequestMessage> messages;
  GenerateOptions generate;  // the model's defaults, with what the body says
  Json form;                 // {"schema": {…}}, {"regex": "…"}, {"choices": […]}; null: any answer
  ClipWish clip;             // of videos that say nothing themselves
  int choices = 1;           // "n"
  bool stream = false, include_usage = false;
  bool logprobs = false;
  int top_logprobs = 0;
};

constexpr std::size_t most_request_images = 256;

// The name in "model", for finding the defaults that the rest is read with. Throws Error(bad_input).
std::string requested_model(const Json& body);
// Throws Error naming the field: bad_input, limit, usage for sampling options out of range.
ChatRequest parse_chat_request(const Json& body, const GenerateOptions& defaults);

}  // namespace tap::server
