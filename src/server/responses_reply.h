// The answer of POST /v1/responses: a response object, or a stream of typed events. It consists of items: what is said
// ("message") and what is called ("function_call").
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/http_server.h"
#include "server/json_fields.h"
#include "server/reply.h"
#include "server/response_store.h"
#include "server/responses_request.h"

namespace tap::server {

class ResponsesReply final : public Reply {
 public:
  // `echo` and `messages`: the request's. `store` must outlive it.
  ResponsesReply(std::shared_ptr<HttpExchange> exchange, const Model& model, const ChatRequest& chat, Json echo,
                 Json messages, ResponseStore& store, std::string owner);
  void token(std::size_t choice, const BatchGenerator::Event& event) override;
  void end(std::size_t choice, const BatchGenerator::Finished& finished) override;

 private:
  void begin();
  void read(std::string_view text, bool last);
  void open(Json item);
  void open_message();
  void close(std::string_view status);
  bool is_open(std::string_view type) const { return open_ && is_word(output_.back().at("type"), type); }
  void say(std::string_view type, Json event);
  void say_of_item(std::string_view type, Json event);  // of the newest
  Json response(std::string_view status) const;
  void fail(const Error& error);

  std::shared_ptr<HttpExchange> exchange_;
  AnswerReader reader_;
  bool stream_;
  Json echo_, messages_;
  ResponseStore* store_;
  std::string owner_, id_;
  std::int64_t created_;
  std::vector<Json> output_;  // items
  bool open_ = false;         // the newest item may grow
  Timings timings_;
  Json error_;
  bool begun_ = false;
  std::int64_t sequence_ = 0;
};

}  // namespace tap::server
