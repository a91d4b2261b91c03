// The body of POST /v1/chat/completions, as OpenAI's clients write it (platform.openai.com/docs/api-reference/chat).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/json.h"
#include "runtime/constraint_cache.h"
#include "runtime/token_loop.h"
#include "runtime/tool_calls.h"
#include "server/request_parts.h"

namespace tap::server {

struct RequestMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::vector<RequestPart> parts;
  Json fields = {};  // "tool_calls" of an assistant, "tool_call_id" and "name" of a tool's result, or null
};

struct ChatRequest {
  std::string model;  // as given; empty: the only one
  std::vector<RequestMessage> messages;
  GenerateOptions generate;  // the model's defaults, with what the body says
  Json form;  // {"schema": {…}}, {"regex": "…"}, {"choices": […]}, {"grammar": "…"}; null: any answer
  std::string form_place;  // the field that it stands in, for errors
  ToolUse tools;           // as "tool_choice" says; none that may be called: any answer, or one of the form
  bool has_tools() const { return !tools.tools.empty(); }
  ClipWish clip;    // of videos that say nothing themselves
  int choices = 1;  // "n"
  bool stream = false, include_usage = false;
  bool logprobs = false;
  int top_logprobs = 0;
};

constexpr std::size_t most_request_images = 256;
constexpr std::size_t most_biases = 1024;

// The name in "model", for finding the defaults that the rest is read with. Throws Error(bad_input).
std::string requested_model(const Json& body);
// Throws Error naming the field: bad_input, limit, usage for sampling options out of range. `vocabulary`: tokens that
// the model has.
ChatRequest parse_chat_request(const Json& body, const GenerateOptions& defaults, Dim vocabulary);

const ToolFormat& tool_format_of(const Model& model);
// What holds the answer to its form and to calls of tools; null: nothing. Throws Error naming the field.
std::shared_ptr<const Constraint> constraint_of(const ChatRequest& request, const Model& model, ConstraintCache& cache);

}  // namespace tap::server
