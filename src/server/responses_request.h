// The body of POST /v1/responses (platform.openai.com/docs/api-reference/responses), which becomes that of a chat.
#pragma once

#include <string>
#include <vector>

#include "server/chat_request.h"
#include "server/response_store.h"

namespace tap::server {

struct ResponsesRequest {
  ChatRequest chat;
  Json echo;      // the fields that a response repeats
  Json messages;  // of the chat, with those of the previous response; null where nothing is to be stored
};

// Throws Error naming the field: bad_input, limit, not_found for a previous response, unsupported.
ResponsesRequest parse_responses_request(const Json& body, const GenerateOptions& defaults, Dim vocabulary,
                                         const ResponseStore& store, const std::string& owner);

// Adds what a response said and called, its items "message" and "function_call", to the messages of its chat.
void add_output(Json& messages, const std::vector<Json>& output);

}  // namespace tap::server
