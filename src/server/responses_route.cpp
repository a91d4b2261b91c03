#include "server/responses_route.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <limits>
#include <utility>
#include <vector>

#include "server/chat_reply.h"
#include "server/json_fields.h"
#include "server/status_error.h"

namespace tap::server {

namespace {

// Read here, and known but without effect on an answer.
constexpr std::array<std::string_view, 23> own_keys{"model",
                                                    "input",
                                                    "instructions",
                                                    "max_output_tokens",
                                                    "text",
                                                    "previous_response_id",
                                                    "store",
                                                    "metadata",
                                                    "tools",
                                                    "tool_choice",
                                                    "parallel_tool_calls",
                                                    "truncation",
                                                    "include",
                                                    "background",
                                                    "reasoning",
                                                    "top_logprobs",
                                                    "service_tier",
                                                    "safety_identifier",
                                                    "prompt_cache_key",
                                                    "stream_options",
                                                    "prompt",
                                                    "conversation",
                                                    "max_tool_calls"};
// What means the same in a chat.
constexpr std::array<std::string_view, 14> chat_keys{"model",
                                                     "temperature",
                                                     "top_p",
                                                     "stream",
                                                     "user",
                                                     "seed",
                                                     "top_k",
                                                     "min_p",
                                                     "stop",
                                                     "presence_penalty",
                                                     "frequency_penalty",
                                                     "repetition_penalty",
                                                     "mm_processor_kwargs",
                                                     "media_io_kwargs"};

constexpr std::size_t most_metadata = 16;

// The messages of a chat, and the fields of this body that their parts stand in.
struct Translation {
  Json messages = Json::array();
  std::vector<std::vector<std::string>> places;  // of the messages' parts
};

Json chat_part(const Json& value, const std::string& at) {
  const JsonFields part(value, at);
  const std::string& type = part.need_text("type");
  if (type == "input_text" || type == "output_text" || type == "text")
    return {{"type", "text"}, {"text", part.need_text("text")}};
  if (type == "refusal") return {{"type", "text"}, {"text", part.need_text("refusal")}};
  if (type == "input_image") {
    if (part.find("file_id"))
      throw Error(ErrorCode::unsupported,
                  fmt::format("{}: this server keeps no files: send image_url", part.place("file_id")),
                  part.place("file_id"));
    part.word("detail", {"auto", "low", "high", "original"});
    return {{"type", "image_url"}, {"image_url", {{"url", part.need_text("image_url")}}}};
  }
  if (type == "input_file") {
    (void)file_part(value, at, at);
    Json file = Json::object();
    for (const char* key : {"file_data", "file_url", "filename"})
      if (const std::string* text = part.text(key)) file[key] = *text;
    return {{"type", "file"}, {"file", std::move(file)}};
  }
  if (type == "input_audio") return {{"type", "input_audio"}};
  if (type == "video_url") {
    (void)part_of(value, at);
    return value;
  }
  refuse(part.place("type"), fmt::format("is {}: must be input_text, input_image, input_file, output_text or video_url",
                                         shown(part.need("type"))));
}

void add_item(const Json& value, const std::string& at, Translation& to) {
  const JsonFields item(value, at);
  if (const std::string* type = item.text("type"); type && *type != "message")
    throw Error(ErrorCode::unsupported,
                fmt::format("{} is {}: this server takes messages only", item.place("type"), shown(*type)),
                item.place("type"));
  const std::string& role = item.need_word("role", {"user", "assistant", "system", "developer"});
  const Json& content = item.need("content");
  std::vector<std::string> places;
  Json parts = Json::array();
  if (content.is_string()) {
    places.push_back(item.place("content"));
    parts.push_back({{"type", "text"}, {"text", content}});
  } else {
    if (!content.is_array()) refuse(item.place("content"), content, "text or a list of parts");
    for (std::size_t i = 0; i < content.size(); ++i) {
      places.push_back(fmt::format("{}[{}]", item.place("content"), i));
      parts.push_back(chat_part(content[i], places.back()));
    }
  }
  to.messages.push_back({{"role", role}, {"content", std::move(parts)}});
  to.places.push_back(std::move(places));
}

void add_text(std::string_view role, const std::string& text, const std::string& place, Translation& to) {
  to.messages.push_back({{"role", role}, {"content", Json::array({{{"type", "text"}, {"text", text}}})}});
  to.places.push_back({place});
}

Translation translated(const JsonFields& body, const Json& before) {
  Translation to;
  if (const std::string* instructions = body.text("instructions"))
    add_text("system", *instructions, "instructions", to);
  for (const Json& message : before) {
    to.messages.push_back(message);
    to.places.emplace_back(message.at("content").size(), "previous_response_id");
  }
  const Json& input = body.need("input");
  if (input.is_string()) {
    add_text("user", input.get_ref<const std::string&>(), "input", to);
  } else {
    if (!input.is_array() || input.empty()) refuse("input", input, "text or a list of messages, at least one");
    for (std::size_t i = 0; i < input.size(); ++i) add_item(input[i], fmt::format("input[{}]", i), to);
  }
  return to;
}

// text.format as a chat's response_format, or null.
Json format_of(const JsonFields& body) {
  const Json* text = body.find("text");
  if (!text) return nullptr;
  const JsonFields fields(*text, "text");
  fields.word("verbosity", {"low", "medium", "high"});
  const Json* given = fields.find("format");
  if (!given) return nullptr;
  const JsonFields format(*given, "text.format");
  const std::string& type = format.need_word("type", {"text", "json_object", "json_schema"});
  if (type != "json_schema") return {{"type", type}};
  const Json& schema = format.need("schema");
  if (!schema.is_object()) refuse("text.format.schema", schema, "an object");
  return {{"type", type}, {"json_schema", {{"name", format.need_text("name")}, {"schema", schema}}}};
}

void refuse_absent_features(const JsonFields& body) {
  const auto unsupported = [](std::string_view key, std::string_view what) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: {}", key, what), std::string(key));
  };
  if (const Json* tools = body.find("tools")) {
    if (!tools->is_array()) refuse("tools", *tools, "a list");
    if (!tools->empty()) unsupported("tools", "this route calls no tools");
  }
  if (const Json* choice = body.find("tool_choice"); choice && *choice != "none" && *choice != "auto")
    unsupported("tool_choice", "is none or auto: this route calls no tools");
  if (const Json* include = body.find("include"); include && *include != Json::array())
    unsupported("include", "must be empty: nothing else is given");
  if (body.truth("background").value_or(false)) unsupported("background", "this server answers while it is asked");
  for (const std::string_view key : {"conversation", "prompt"})
    if (body.find(key)) unsupported(key, "this server keeps none: say it in input");
  body.word("truncation", {"disabled", "auto"});
  (void)body.whole("top_logprobs", 0, 0);
}

Json metadata_of(const JsonFields& body) {
  const Json* given = body.find("metadata");
  if (!given) return Json::object();
  const JsonFields fields(*given, "metadata");
  if (given->size() > most_metadata)
    refuse("metadata", fmt::format("has {} entries, the limit is {}", given->size(), most_metadata));
  for (const auto& [key, value] : given->items()) (void)text_at(value, fields.place(key.substr(0, 60)));
  return *given;
}

}  // namespace

ResponsesRequest parse_responses_request(const Json& json, const GenerateOptions& defaults, Dim vocabulary,
                                         const ResponseStore& store, const std::string& owner) {
  const JsonFields body(json, "");
  Json chat = Json::object();
  for (const auto& [key, value] : json.items()) {
    if (std::ranges::find(chat_keys, key) != chat_keys.end())
      chat[key] = value;
    else if (std::ranges::find(own_keys, key) == own_keys.end())
      throw Error(ErrorCode::bad_input, fmt::format("unknown field {}", shown(key)), key.substr(0, 60));
  }
  refuse_absent_features(body);
  const std::string* previous = body.text("previous_response_id");
  Json before = Json::array();
  if (previous) {
    const auto found = store.find(*previous, owner);
    if (!found)
      throw StatusError(
          404, ErrorCode::not_found,
          fmt::format("previous_response_id: no response {} is kept (the newest {} of all, {} bytes at most)",
                      shown(*previous), ResponseStore::usual_count, ResponseStore::usual_bytes),
          "previous_response_id");
    before = parse_json(*found, "the previous response", {.bytes = found->size()}).value();
  }
  ResponsesRequest request;
  const std::size_t instructions = body.text("instructions") ? 1 : 0;
  Translation to = translated(body, before);
  chat["messages"] = to.messages;
  const Json format = format_of(body);
  if (!format.is_null()) chat["response_format"] = format;
  const auto most = body.whole("max_output_tokens", 1, std::numeric_limits<std::int32_t>::max());
  if (most) chat["max_completion_tokens"] = *most;
  request.chat = parse_chat_request(chat, defaults, vocabulary);
  for (std::size_t i = 0; i < request.chat.messages.size(); ++i)
    for (std::size_t j = 0; j < request.chat.messages[i].parts.size(); ++j)
      request.chat.messages[i].parts[j].place = to.places.at(i).at(j);
  to.messages.erase(to.messages.begin(), to.messages.begin() + static_cast<std::ptrdiff_t>(instructions));
  request.messages = std::move(to.messages);  // instructions are of one response (as OpenAI's)
  request.store = body.truth("store").value_or(true);
  const auto text_or_null = [&](std::string_view key) {
    const std::string* text = body.text(key);
    return text ? Json(*text) : Json(nullptr);
  };
  Json shown_format = {{"type", "text"}};
  if (!format.is_null()) shown_format = body.find("text")->at("format");
  const SamplingOptions& sampling = request.chat.generate.sampling;
  request.echo = {{"background", false},
                  {"instructions", text_or_null("instructions")},
                  {"max_output_tokens", most ? Json(*most) : Json(nullptr)},
                  {"metadata", metadata_of(body)},
                  {"parallel_tool_calls", body.truth("parallel_tool_calls").value_or(true)},
                  {"previous_response_id", text_or_null("previous_response_id")},
                  {"store", request.store},
                  {"temperature", sampling.temperature},
                  {"text", {{"format", std::move(shown_format)}}},
                  {"tool_choice", "auto"},
                  {"tools", Json::array()},
                  {"top_p", sampling.top_p},
                  {"truncation", "disabled"},
                  {"user", text_or_null("user")}};
  return request;
}

ResponsesReply::ResponsesReply(std::shared_ptr<HttpExchange> exchange, std::string model, ResponsesRequest request,
                               ResponseStore& store, std::string owner)
    : exchange_(std::move(exchange)),
      request_(std::move(request)),
      store_(&store),
      owner_(std::move(owner)),
      id_("resp_" + random_id()),
      item_id_("msg_" + random_id()),
      created_(std::time(nullptr)) {
  request_.echo["model"] = request_.chat.model.empty() ? std::move(model) : request_.chat.model;
}

Json ResponsesReply::part() const {
  return {{"type", "output_text"}, {"annotations", Json::array()}, {"logprobs", Json::array()}, {"text", text_.text}};
}

Json ResponsesReply::item(std::string_view status) const {
  Json content = Json::array();
  if (status != "in_progress") content.push_back(part());
  return {{"id", item_id_},
          {"type", "message"},
          {"role", "assistant"},
          {"status", status},
          {"content", std::move(content)}};
}

Json ResponsesReply::response(std::string_view status) const {
  Json json = request_.echo;
  json["id"] = id_;
  json["object"] = "response";
  json["created_at"] = created_;
  json["status"] = status;
  json["error"] = error_;
  json["incomplete_details"] = status == "incomplete" ? Json{{"reason", "max_output_tokens"}} : Json(nullptr);
  json["output"] = Json::array();
  json["usage"] = nullptr;
  if (status != "completed" && status != "incomplete") return json;
  json["output"].push_back(item(status));
  json["usage"] = {
      {"input_tokens", timings_.prompt_tokens},
      {"input_tokens_details", {{"cached_tokens", timings_.cached_tokens}, {"image_tokens", timings_.image_tokens}}},
      {"output_tokens", timings_.output_tokens},
      {"output_tokens_details", {{"reasoning_tokens", 0}}},
      {"total_tokens", timings_.prompt_tokens + timings_.output_tokens}};
  return json;
}

void ResponsesReply::say(const char* type, Json event) {
  event["type"] = type;
  event["sequence_number"] = sequence_++;
  exchange_->write(fmt::format("event: {}\ndata: {}\n\n", type, to_json_line(event)));
}

void ResponsesReply::begin() {
  if (std::exchange(begun_, true)) return;
  exchange_->begin(200, "text/event-stream", {{"Cache-Control", "no-cache"}});
  say("response.created", {{"response", response("in_progress")}});
  say("response.in_progress", {{"response", response("in_progress")}});
  say("response.output_item.added", {{"output_index", 0}, {"item", item("in_progress")}});
  Json empty = part();
  empty["text"] = "";
  say("response.content_part.added",
      {{"item_id", item_id_}, {"output_index", 0}, {"content_index", 0}, {"part", std::move(empty)}});
}

void ResponsesReply::say_delta(const std::string& text) {
  if (text.empty()) return;
  say("response.output_text.delta",
      {{"item_id", item_id_}, {"output_index", 0}, {"content_index", 0}, {"delta", text}, {"logprobs", Json::array()}});
}

void ResponsesReply::token(std::size_t, const BatchGenerator::Event& event) {
  if (request_.chat.stream) begin();  // before the first text, with an empty part
  const std::string more = text_.add(event.token.text, !request_.chat.form.is_null());
  if (request_.chat.stream) say_delta(more);
}

void ResponsesReply::end(std::size_t, const BatchGenerator::Finished& finished) {
  if (finished.error) return fail(*finished.error);
  if (request_.chat.stream) begin();
  const std::string rest = text_.add(finished.rest, !request_.chat.form.is_null());
  timings_ = finished.answer.timings;
  const std::string_view status = finished.answer.finish_reason == FinishReason::length ? "incomplete" : "completed";
  keep();
  if (!request_.chat.stream) return exchange_->respond(200, "application/json", to_json_line(response(status)));
  say_delta(rest);
  const Json at = {{"item_id", item_id_}, {"output_index", 0}, {"content_index", 0}};
  Json done = at, part_done = at;
  done.update({{"text", text_.text}, {"logprobs", Json::array()}});
  part_done["part"] = part();
  say("response.output_text.done", std::move(done));
  say("response.content_part.done", std::move(part_done));
  say("response.output_item.done", {{"output_index", 0}, {"item", item(status)}});
  say(status == "completed" ? "response.completed" : "response.incomplete", {{"response", response(status)}});
  exchange_->end();
}

void ResponsesReply::fail(const Error& error) {
  Failure failure = failure_of(error);
  if (!begun_) return exchange_->respond(failure.status, "application/json", std::move(failure.body));
  error_ = {{"code", "server_error"}, {"message", error.message()}};
  say("response.failed", {{"response", response("failed")}});
  exchange_->end();
}

void ResponsesReply::keep() {
  if (!request_.store) return;
  request_.messages.push_back(
      {{"role", "assistant"}, {"content", Json::array({{{"type", "text"}, {"text", text_.text}}})}});
  store_->put(id_, owner_, to_json_line(request_.messages));
}

}  // namespace tap::server
