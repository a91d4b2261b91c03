#include "server/responses_reply.h"

#include <ctime>
#include <utility>

#include "server/chat_reply.h"

namespace tap::server {

ResponsesReply::ResponsesReply(std::shared_ptr<HttpExchange> exchange, const Model& model, const ChatRequest& chat,
                               Json echo, Json messages, ResponseStore& store, std::string owner)
    : exchange_(std::move(exchange)),
      reader_(chat, model),
      stream_(chat.stream),
      echo_(std::move(echo)),
      messages_(std::move(messages)),
      store_(&store),
      owner_(std::move(owner)),
      id_("resp_" + random_id()),
      created_(std::time(nullptr)) {
  echo_["model"] = chat.model;
}

Json ResponsesReply::response(std::string_view status) const {
  Json json = echo_;
  json["id"] = id_;
  json["object"] = "response";
  json["created_at"] = created_;
  json["status"] = status;
  json["error"] = error_;
  json["incomplete_details"] = status == "incomplete" ? Json{{"reason", "max_output_tokens"}} : Json(nullptr);
  json["output"] = Json::array();
  json["usage"] = nullptr;
  if (status != "completed" && status != "incomplete") return json;
  json["output"] = output_;
  json["usage"] = {
      {"input_tokens", timings_.prompt_tokens},
      {"input_tokens_details", {{"cached_tokens", timings_.cached_tokens}, {"image_tokens", timings_.image_tokens}}},
      {"output_tokens", timings_.output_tokens},
      {"output_tokens_details", {{"reasoning_tokens", 0}}},
      {"total_tokens", timings_.prompt_tokens + timings_.output_tokens}};
  return json;
}

void ResponsesReply::say(std::string_view type, Json event) {
  if (!stream_) return;
  event["type"] = type;
  event["sequence_number"] = sequence_++;
  exchange_->write(fmt::format("event: {}\ndata: {}\n\n", type, to_json_line(event)));
}

void ResponsesReply::say_of_item(std::string_view type, Json event) {
  event["item_id"] = output_.back().at("id");
  event["output_index"] = output_.size() - 1;
  if (is_word(output_.back().at("type"), "message")) event["content_index"] = 0;
  say(type, std::move(event));
}

void ResponsesReply::begin() {
  if (!stream_ || begun_) return;
  exchange_->begin(200, "text/event-stream", {{"Cache-Control", "no-cache"}});
  begun_ = true;
  say("response.created", {{"response", response("in_progress")}});
  say("response.in_progress", {{"response", response("in_progress")}});
}

void ResponsesReply::open(Json item) {
  output_.push_back(std::move(item));
  open_ = true;
  say("response.output_item.added", {{"output_index", output_.size() - 1}, {"item", output_.back()}});
}

void ResponsesReply::open_message() {
  open({{"id", "msg_" + random_id()},
        {"type", "message"},
        {"role", "assistant"},
        {"status", "in_progress"},
        {"content", Json::array()}});
  const Json part = {
      {"type", "output_text"}, {"annotations", Json::array()}, {"logprobs", Json::array()}, {"text", ""}};
  output_.back()["content"].push_back(part);
  say_of_item("response.content_part.added", {{"part", part}});
}

void ResponsesReply::close(std::string_view status) {
  if (!std::exchange(open_, false)) return;
  Json& item = output_.back();
  item["status"] = status;
  if (is_word(item["type"], "function_call")) {
    say_of_item("response.function_call_arguments.done", {{"name", item["name"]}, {"arguments", item["arguments"]}});
  } else {
    const Json& part = item["content"][0];
    say_of_item("response.output_text.done", {{"text", part.at("text")}, {"logprobs", Json::array()}});
    say_of_item("response.content_part.done", {{"part", part}});
  }
  say("response.output_item.done", {{"output_index", output_.size() - 1}, {"item", item}});
}

void ResponsesReply::read(std::string_view text, bool last) {
  using Kind = AnswerReader::Piece::Kind;
  for (AnswerReader::Piece& piece : reader_.read(text, last)) {
    if (piece.kind == Kind::call) {
      close("completed");
      open({{"id", "fc_" + random_id()},
            {"type", "function_call"},
            {"status", "in_progress"},
            {"call_id", "call_" + random_id()},
            {"name", std::move(piece.text)},
            {"arguments", ""}});
    } else if (piece.kind == Kind::arguments) {
      output_.back()["arguments"].get_ref<std::string&>() += piece.text;
      say_of_item("response.function_call_arguments.delta", {{"delta", std::move(piece.text)}});
    } else {
      if (!is_open("message")) {
        close("completed");
        open_message();
      }
      output_.back()["content"][0]["text"].get_ref<std::string&>() += piece.text;
      say_of_item("response.output_text.delta", {{"delta", std::move(piece.text)}, {"logprobs", Json::array()}});
    }
  }
  if (is_open("function_call") && reader_.calls_are_whole()) close("completed");
}

void ResponsesReply::token(std::size_t, const BatchGenerator::Event& event) {
  begin();  // before the first text
  read(event.token.text, false);
}

void ResponsesReply::end(std::size_t, const BatchGenerator::Finished& finished) {
  if (finished.error) return fail(*finished.error);
  begin();
  read(finished.rest, true);
  timings_ = finished.answer.timings;
  const std::string status = finished.answer.finish_reason == FinishReason::length ? "incomplete" : "completed";
  if (output_.empty()) open_message();
  close(status);
  if (!messages_.is_null()) {
    add_output(messages_, output_);
    store_->put(id_, owner_, to_json_line(messages_));
  }
  if (!stream_) return exchange_->respond(200, "application/json", to_json_line(response(status)));
  say("response." + status, {{"response", response(status)}});
  exchange_->end();
}

void ResponsesReply::fail(const Error& error) {
  Failure failure = failure_of(error);
  if (!begun_) return exchange_->respond(failure.status, "application/json", std::move(failure.body));
  error_ = {{"code", "server_error"}, {"message", error.message()}};
  say("response.failed", {{"response", response("failed")}});
  exchange_->end();
}

}  // namespace tap::server
