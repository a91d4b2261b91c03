// POST /v1/responses (platform.openai.com/docs/api-reference/responses): its body becomes the request of a chat, its
// answer a response object or a stream of typed events.
#pragma once

#include <memory>
#include <string>

#include "server/chat_request.h"
#include "server/http_server.h"
#include "server/reply.h"
#include "server/response_store.h"

namespace tap::server {

struct ResponsesRequest {
  ChatRequest chat;
  Json echo;      // the fields that a response repeats
  Json messages;  // of the chat, with those of the previous response
  bool store = true;
};

// Throws Error naming the field: bad_input, limit, not_found for a previous response, unsupported.
ResponsesRequest parse_responses_request(const Json& body, const GenerateOptions& defaults, Dim vocabulary,
                                         const ResponseStore& store, const std::string& owner);

class ResponsesReply final : public Reply {
 public:
  ResponsesReply(std::shared_ptr<HttpExchange> exchange, std::string model, ResponsesRequest request,
                 ResponseStore& store, std::string owner);
  void token(std::size_t choice, const BatchGenerator::Event& event) override;
  void end(std::size_t choice, const BatchGenerator::Finished& finished) override;

 private:
  void begin();
  void say(const char* type, Json event);
  void say_delta(const std::string& text);
  Json part() const;
  Json item(std::string_view status) const;
  Json response(std::string_view status) const;
  void fail(const Error& error);
  void keep();

  std::shared_ptr<HttpExchange> exchange_;
  ResponsesRequest request_;
  ResponseStore* store_;
  std::string owner_, id_, item_id_;
  std::int64_t created_;
  AnswerText text_;
  Timings timings_;
  Json error_;
  bool begun_ = false;
  std::int64_t sequence_ = 0;
};

}  // namespace tap::server
