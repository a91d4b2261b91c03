// The answer to a chat completion: one JSON object, or a stream of server-sent events.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/batch_generator.h"
#include "server/chat_request.h"
#include "server/http_server.h"
#include "server/reply.h"

namespace tap::server {

// {"error": {"message", "type", "param", "code"}}, and the status that goes with it.
struct Failure {
  int status;
  std::string body;
};
Failure failure_of(const Error& error);
std::string failure_body(int status, std::string_view message);
std::string random_id();  // 24 hex digits

// For one request; its parts are called on the engine's thread.
class ChatReply final : public Reply {
 public:
  ChatReply(std::shared_ptr<HttpExchange> exchange, const Model& model, const ChatRequest& request);

  void token(std::size_t choice, const BatchGenerator::Event& event) override;
  void end(std::size_t choice, const BatchGenerator::Finished& finished) override;
  bool failed() const { return failed_; }

 private:
  struct Choice {
    AnswerReader reader;
    std::string text = {};  // that has come
    Json logprobs = Json::array();
    std::string finish = {};
    Json calls = Json::array();  // as the message has them
  };
  // What a client is told of a piece of the answer.
  struct Delta {
    std::string content;
    Json calls;  // of a stream's "tool_calls"; null: none
  };
  static Delta read(Choice& choice, std::string_view piece, bool last);
  void say(std::size_t choice, Json delta, Json logprobs, Json finish);
  void fail(const Error& error);
  void finish();
  Json head(std::string_view object) const;
  Json usage() const;
  Json logprob_of(const BatchGenerator::Event& event) const;

  std::shared_ptr<HttpExchange> exchange_;
  const Model* model_;
  std::string id_, name_;
  std::int64_t created_;
  bool stream_, include_usage_, logprobs_;
  int top_logprobs_;
  std::vector<Choice> choices_;
  std::size_t ended_ = 0;
  bool begun_ = false, failed_ = false;
  Timings timings_;  // of the first choice, with the output of all
};

}  // namespace tap::server
