#include "server/chat_reply.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <numeric>

#include <openssl/rand.h>

#include "server/status_error.h"

namespace tap::server {

namespace {

Json bytes_json(std::string_view bytes) {
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return list;
}

std::string event_of(const Json& json) { return "data: " + to_json_line(json) + "\n\n"; }

}  // namespace

std::string random_id() {
  std::array<unsigned char, 12> bytes{};
  RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

std::string failure_body(int status, std::string_view message) {
  const std::string_view type = status >= 500   ? "server_error"
                                : status == 401 ? "authentication_error"
                                : status == 403 ? "permission_error"
                                : status == 429 ? "rate_limit_error"
                                                : "invalid_request_error";
  return to_json_line({{"error", {{"message", message}, {"type", type}, {"param", nullptr}, {"code", nullptr}}}});
}

Failure failure_of(const Error& error) {
  int status = 500;
  switch (error.code()) {
    case ErrorCode::usage:
    case ErrorCode::bad_file:
    case ErrorCode::bad_input:
    case ErrorCode::unsupported:
    case ErrorCode::limit:
    case ErrorCode::io: status = 400; break;
    case ErrorCode::not_found: status = 404; break;
    case ErrorCode::refused: status = 403; break;
    case ErrorCode::cancelled:
    case ErrorCode::out_of_memory: status = 503; break;
    case ErrorCode::internal: status = 500; break;
  }
  if (const auto* own = dynamic_cast<const StatusError*>(&error)) status = own->status();
  Json body = Json::parse(failure_body(status, error.message()));
  if (!error.item().empty()) body["error"]["param"] = error.item();
  body["error"]["code"] = name(error.code());
  return {status, to_json_line(body)};
}

ChatReply::ChatReply(std::shared_ptr<HttpExchange> exchange, const Model& model, const ChatRequest& request)
    : exchange_(std::move(exchange)),
      model_(&model),
      id_("chatcmpl-" + random_id()),
      name_(request.model.empty() ? model.name() : request.model),
      created_(std::time(nullptr)),
      stream_(request.stream),
      include_usage_(request.include_usage),
      logprobs_(request.logprobs),
      top_logprobs_(request.top_logprobs),
      choices_(static_cast<std::size_t>(request.choices), Choice{AnswerReader(request, model)}) {}

Json ChatReply::head(std::string_view object) const {
  return {{"id", id_}, {"object", object}, {"created", created_}, {"model", name_}};
}

Json ChatReply::usage() const {
  return {
      {"prompt_tokens", timings_.prompt_tokens},
      {"completion_tokens", timings_.output_tokens},
      {"total_tokens", timings_.prompt_tokens + timings_.output_tokens},
      {"prompt_tokens_details", {{"cached_tokens", timings_.cached_tokens}, {"image_tokens", timings_.image_tokens}}}};
}

ChatReply::Delta ChatReply::read(Choice& choice, std::string_view piece, bool last) {
  using Kind = AnswerReader::Piece::Kind;
  Delta delta;
  for (AnswerReader::Piece& one : choice.reader.read(piece, last)) {
    if (one.kind == Kind::text) {
      choice.text += one.text;
      delta.content += one.text;
      continue;
    }
    if (delta.calls.is_null()) delta.calls = Json::array();
    if (one.kind == Kind::call) {
      const Json call = {{"id", "call_" + random_id()},
                         {"type", "function"},
                         {"function", {{"name", std::move(one.text)}, {"arguments", ""}}}};
      Json& added = delta.calls.emplace_back(Json{{"index", choice.calls.size()}});
      added.update(call);
      choice.calls.push_back(call);
      continue;
    }
    auto& known = choice.calls.back()["function"]["arguments"].get_ref<std::string&>();
    known += one.text;
    const std::size_t index = choice.calls.size() - 1;
    if (!delta.calls.empty() && delta.calls.back()["index"] == index)
      delta.calls.back()["function"]["arguments"].get_ref<std::string&>() += one.text;
    else
      delta.calls.push_back({{"index", index}, {"function", {{"arguments", std::move(one.text)}}}});
  }
  return delta;
}

Json ChatReply::logprob_of(const BatchGenerator::Event& event) const {
  const Tokenizer& tokenizer = model_->tokenizer();
  const auto entry = [&](TokenId id, double logprob) {
    const std::string bytes = tokenizer.bytes_of(id);
    return Json{{"token", bytes}, {"logprob", logprob}, {"bytes", bytes_json(bytes)}};
  };
  Json json = entry(event.token.id, static_cast<double>(event.token.logprob));
  Json top = Json::array();
  if (top_logprobs_ > 0) {
    const auto logits = event.logits.values<float>();
    std::vector<TokenId> ids(logits.size());
    std::iota(ids.begin(), ids.end(), TokenId{0});
    const auto count = std::min<std::size_t>(static_cast<std::size_t>(top_logprobs_), ids.size());
    std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                      [&](TokenId a, TokenId b) {
                        return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
                      });
    const float shift = event.token.logprob - logits[static_cast<std::size_t>(event.token.id)];
    for (std::size_t i = 0; i < count; ++i)
      top.push_back(entry(ids[i], static_cast<double>(logits[static_cast<std::size_t>(ids[i])] + shift)));
  }
  json["top_logprobs"] = std::move(top);
  return json;
}

void ChatReply::say(std::size_t number, Json delta, Json logprobs, Json finish) {
  Json chunk = head("chat.completion.chunk");
  Json choice = {{"index", number}, {"delta", std::move(delta)}};
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = std::move(finish);
  chunk["choices"] = Json::array({std::move(choice)});
  if (include_usage_) chunk["usage"] = nullptr;
  if (!begun_) exchange_->begin(200, "text/event-stream", {{"Cache-Control", "no-cache"}});
  begun_ = true;
  exchange_->write(event_of(chunk));
}

void ChatReply::token(std::size_t number, const BatchGenerator::Event& event) {
  if (failed_) return;
  Choice& choice = choices_[number];
  const bool first = choice.finish.empty();
  if (first) choice.finish = "none";
  Delta said = read(choice, event.token.text, false);
  Json logprob;
  if (logprobs_ && !event.token.is_end) logprob = logprob_of(event);
  if (!stream_) {
    if (!logprob.is_null()) choice.logprobs.push_back(std::move(logprob));
    return;
  }
  if (said.content.empty() && said.calls.is_null() && logprob.is_null() && !first) return;
  Json delta = Json::object();
  if (first) delta["role"] = "assistant";
  if (said.calls.is_null() || !said.content.empty())
    delta["content"] = std::move(said.content);
  else if (first)
    delta["content"] = nullptr;
  if (!said.calls.is_null()) delta["tool_calls"] = std::move(said.calls);
  Json logprobs;
  if (!logprob.is_null()) logprobs["content"] = Json::array({std::move(logprob)});
  say(number, std::move(delta), std::move(logprobs), nullptr);
}

void ChatReply::end(std::size_t number, const BatchGenerator::Finished& finished) {
  if (failed_) return;
  if (finished.error) return fail(*finished.error);
  Choice& choice = choices_[number];
  Delta rest = read(choice, finished.rest, true);
  choice.finish = name(finished.answer.finish_reason);
  if (choice.reader.calls_are_whole() && finished.answer.finish_reason == FinishReason::stop)
    choice.finish = "tool_calls";
  const Dim output = timings_.output_tokens;
  if (number == 0 || timings_.prompt_tokens == 0) timings_ = finished.answer.timings;
  timings_.output_tokens = output + finished.answer.timings.output_tokens;
  if (stream_) {
    Json delta = Json::object();
    if (!rest.content.empty()) delta["content"] = std::move(rest.content);
    if (!rest.calls.is_null()) delta["tool_calls"] = std::move(rest.calls);
    if (!delta.empty()) say(number, std::move(delta), nullptr, nullptr);
    say(number, Json::object(), nullptr, choice.finish);
  }
  if (++ended_ == choices_.size()) finish();
}

void ChatReply::finish() {
  if (stream_) {
    if (include_usage_) {
      Json chunk = head("chat.completion.chunk");
      chunk["choices"] = Json::array();
      chunk["usage"] = usage();
      exchange_->write(event_of(chunk));
    }
    exchange_->write("data: [DONE]\n\n");
    return exchange_->end();
  }
  Json json = head("chat.completion");
  Json choices = Json::array();
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    Json message = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    if (!choice.calls.empty()) {
      if (choice.text.empty()) message["content"] = nullptr;
      message["tool_calls"] = std::move(choice.calls);
    }
    choices.push_back({{"index", i},
                       {"message", std::move(message)},
                       {"logprobs", logprobs_ ? Json{{"content", std::move(choice.logprobs)}} : Json(nullptr)},
                       {"finish_reason", choice.finish}});
  }
  json["choices"] = std::move(choices);
  json["usage"] = usage();
  exchange_->respond(200, "application/json", to_json_line(json));
}

void ChatReply::fail(const Error& error) {
  failed_ = true;
  Failure failure = failure_of(error);
  if (!begun_) return exchange_->respond(failure.status, "application/json", std::move(failure.body));
  exchange_->write("data: " + failure.body + "\n\n");
  exchange_->end();
}

}  // namespace tap::server
