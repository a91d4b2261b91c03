#include "server/chat_request.h"

#include <algorithm>
#include <array>
#include <limits>

#include "server/json_fields.h"
#include "server/status_error.h"

namespace tap::server {

namespace {

// Read here, and known but without effect on an answer.
constexpr std::array<std::string_view, 33> known_keys{
    "model", "messages", "temperature", "top_p", "top_k", "min_p", "n", "stream", "stream_options", "stop",
    "max_tokens", "max_completion_tokens", "seed", "logprobs", "top_logprobs", "presence_penalty",
    "frequency_penalty", "repetition_penalty", "response_format", "guided_json", "guided_regex", "guided_choice",
    "logit_bias", "user", "store", "metadata", "service_tier", "parallel_tool_calls", "safety_identifier",
    "prompt_cache_key", "modalities", "mm_processor_kwargs", "media_io_kwargs"};

constexpr std::int64_t int_max = std::numeric_limits<std::int32_t>::max();

RequestMessage message_of(const Json& value, const std::string& at) {
  const JsonFields fields(value, at);
  RequestMessage message{fields.need_word("role", {"system", "developer", "user", "assistant"}), {}};
  if (message.role == "developer") message.role = "system";
  const Json& content = fields.need("content");
  const std::string place = fields.place("content");
  if (content.is_string()) {
    message.parts.push_back({content.get<std::string>()});
    return message;
  }
  if (!content.is_array()) refuse(place, content, "text or a list of parts");
  for (std::size_t i = 0; i < content.size(); ++i)
    message.parts.push_back(part_of(content[i], fmt::format("{}[{}]", place, i)));
  return message;
}

std::vector<RequestMessage> messages_of(const Json& value) {
  if (!value.is_array() || value.empty()) refuse("messages", value, "a list of messages, at least one");
  std::vector<RequestMessage> messages;
  std::size_t images = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    messages.push_back(message_of(value[i], fmt::format("messages[{}]", i)));
    for (const RequestPart& part : messages.back().parts) images += part.kind != PartKind::text;
  }
  if (images > most_request_images)
    throw StatusError(413, ErrorCode::limit,
                      fmt::format("messages have {} pictures, the limit is {}", images, most_request_images), "messages");
  return messages;
}

void read_stop(const JsonFields& body, GenerateOptions& generate) {
  const Json* stop = body.find("stop");
  if (!stop) return;
  generate.stop.clear();
  if (stop->is_string()) {
    generate.stop.push_back(stop->get<std::string>());
  } else {
    if (!stop->is_array()) refuse("stop", *stop, "text or a list of texts");
    for (std::size_t i = 0; i < stop->size(); ++i)
      generate.stop.push_back(text_at((*stop)[i], fmt::format("stop[{}]", i)));
  }
  StopMatcher{generate.stop};
}

void read_generate(const JsonFields& body, GenerateOptions& generate) {
  SamplingOptions& sampling = generate.sampling;
  const auto set = [&](std::string_view key, double least, double most, float& to) {
    if (const auto value = body.number(key, least, most)) to = static_cast<float>(*value);
  };
  set("temperature", 0, 100, sampling.temperature);
  set("top_p", 0, 1, sampling.top_p);
  set("min_p", 0, 1, sampling.min_p);
  set("presence_penalty", -2, 2, sampling.presence_penalty);
  set("frequency_penalty", -2, 2, sampling.frequency_penalty);
  set("repetition_penalty", 0.01, 100, sampling.repetition_penalty);
  if (const auto top_k = body.whole("top_k", -1, int_max)) sampling.top_k = std::max<Dim>(0, *top_k);  // -1: all (vLLM)
  if (const auto seed = body.whole("seed", INT64_MIN, INT64_MAX)) sampling.seed = static_cast<std::uint64_t>(*seed);
  for (const std::string_view key : {"max_tokens", "max_completion_tokens"})
    if (const auto tokens = body.whole(key, 1, int_max)) generate.max_tokens = *tokens;
  sampling.validate();
  read_stop(body, generate);
}

Json form_of(const JsonFields& body) {
  Json form;
  std::string taken;
  const auto take = [&](const std::string& place, Json value) {
    if (!taken.empty()) refuse(place, fmt::format("stands beside {}: give one of them", taken));
    taken = place;
    form = std::move(value);
  };
  if (const Json* format = body.find("response_format")) {
    const JsonFields fields(*format, "response_format");
    const std::string& type = fields.need_word("type", {"text", "json_object", "json_schema"});
    if (type == "json_object") take("response_format", {{"schema", {{"type", "object"}}}});
    if (type == "json_schema") {
      const JsonFields schema(fields.need("json_schema"), fields.place("json_schema"));
      take("response_format", {{"schema", schema.need("schema")}});
    }
  }
  if (const Json* schema = body.find("guided_json")) take("guided_json", {{"schema", *schema}});
  if (const std::string* regex = body.text("guided_regex")) take("guided_regex", {{"regex", *regex}});
  if (const Json* choices = body.find("guided_choice")) {
    if (!choices->is_array()) refuse("guided_choice", *choices, "a list of texts");
    for (std::size_t i = 0; i < choices->size(); ++i) text_at((*choices)[i], fmt::format("guided_choice[{}]", i));
    take("guided_choice", {{"choices", *choices}});
  }
  return form;
}

}  // namespace

std::string requested_model(const Json& body) {
  const std::string* model = JsonFields(body, "").text("model");
  return model ? *model : "";
}

ChatRequest parse_chat_request(const Json& json, const GenerateOptions& defaults) {
  const JsonFields body(json, "");
  for (const auto& [key, value] : json.items())
    if (std::ranges::find(known_keys, key) == known_keys.end())
      throw Error(ErrorCode::bad_input, fmt::format("unknown field {}", shown(key)), key.substr(0, 60));
  ChatRequest request;
  request.model = requested_model(json);
  request.generate = defaults;
  read_generate(body, request.generate);
  request.form = form_of(body);
  request.clip = clip_wish_of_body(json);
  request.choices = static_cast<int>(body.whole("n", 1, 16).value_or(1));
  request.stream = body.truth("stream").value_or(false);
  if (const Json* options = body.find("stream_options"))
    request.include_usage = JsonFields(*options, "stream_options").truth("include_usage").value_or(false);
  request.logprobs = body.truth("logprobs").value_or(false);
  request.top_logprobs = static_cast<int>(body.whole("top_logprobs", 0, 20).value_or(0));
  if (request.top_logprobs > 0 && !request.logprobs) refuse("top_logprobs", "needs \"logprobs\": true");
  request.messages = messages_of(body.need("messages"));
  return request;
}

}  // namespace tap::server
