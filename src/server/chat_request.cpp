#include "server/chat_request.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>

#include "server/json_fields.h"
#include "server/request_tools.h"
#include "server/status_error.h"

namespace tap::server {

namespace {

// Read here, and known but without effect on an answer.
constexpr std::array<std::string_view, 36> known_keys{"frequency_penalty",
                                                      "guided_choice",
                                                      "guided_grammar",
                                                      "guided_json",
                                                      "guided_regex",
                                                      "logit_bias",
                                                      "logprobs",
                                                      "max_completion_tokens",
                                                      "max_tokens",
                                                      "media_io_kwargs",
                                                      "messages",
                                                      "metadata",
                                                      "min_p",
                                                      "mm_processor_kwargs",
                                                      "modalities",
                                                      "model",
                                                      "n",
                                                      "parallel_tool_calls",
                                                      "presence_penalty",
                                                      "prompt_cache_key",
                                                      "repetition_penalty",
                                                      "response_format",
                                                      "safety_identifier",
                                                      "seed",
                                                      "service_tier",
                                                      "stop",
                                                      "store",
                                                      "stream",
                                                      "stream_options",
                                                      "temperature",
                                                      "tool_choice",
                                                      "tools",
                                                      "top_k",
                                                      "top_logprobs",
                                                      "top_p",
                                                      "user"};

constexpr std::int64_t int_max = std::numeric_limits<std::int32_t>::max();

// Calls of an earlier turn, their arguments as the object that templates expect (a text where they are none).
Json calls_of(const Json& value, const std::string& at) {
  if (!value.is_array()) refuse(at, value, "a list of calls");
  Json calls = Json::array();
  for (std::size_t i = 0; i < value.size(); ++i) {
    const JsonFields call(value[i], fmt::format("{}[{}]", at, i));
    call.word("type", {"function"});
    const JsonFields function(call.need("function"), call.place("function"));
    const std::string* id = call.text("id");
    const Json* given = function.find("arguments");
    Json arguments = given ? *given : Json::object();
    if (arguments.is_string()) {
      const auto parsed = parse_json(arguments.get_ref<const std::string&>(), function.place("arguments"));
      if (parsed.ok() && parsed->is_object()) arguments = *parsed;
    } else if (!arguments.is_object()) {
      refuse(function.place("arguments"), arguments, "text, the JSON of an object");
    }
    calls.push_back({{"id", id ? *id : ""},
                     {"type", "function"},
                     {"function", {{"name", function.need_text("name")}, {"arguments", std::move(arguments)}}}});
  }
  return calls;
}

RequestMessage message_of(const Json& value, const std::string& at) {
  const JsonFields fields(value, at);
  RequestMessage message{fields.need_word("role", {"system", "developer", "user", "assistant", "tool"}), {}};
  if (message.role == "developer") message.role = "system";
  if (message.role == "tool") {
    message.fields = {{"tool_call_id", fields.need_text("tool_call_id")}};
    if (const std::string* name = fields.text("name")) message.fields["name"] = *name;
  }
  if (const Json* calls = fields.find("tool_calls")) {
    if (message.role != "assistant") refuse(fields.place("tool_calls"), "stands in a message that is no assistant's");
    Json read = calls_of(*calls, fields.place("tool_calls"));
    if (!read.empty()) message.fields = {{"tool_calls", std::move(read)}};
  }
  if (!message.fields.is_null() && message.role == "assistant" && !fields.find("content")) return message;
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
                      fmt::format("messages have {} pictures, the limit is {}", images, most_request_images),
                      "messages");
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

void read_bias(const JsonFields& body, Dim vocabulary, SamplingOptions& sampling) {
  const Json* bias = body.find("logit_bias");
  if (!bias) return;
  if (!bias->is_object()) refuse("logit_bias", *bias, "an object of biases by token id");
  if (bias->size() > most_biases)
    throw Error(ErrorCode::limit, fmt::format("logit_bias has {} tokens, the limit is {}", bias->size(), most_biases),
                "logit_bias");
  const JsonFields fields(*bias, "logit_bias");
  std::map<TokenId, float> biases;
  for (const auto& [key, value] : bias->items()) {
    TokenId id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= vocabulary)
      refuse("logit_bias",
             fmt::format("has the key {}: must be the id of a token, 0 to {}", shown(key), vocabulary - 1));
    if (value.is_null()) refuse(fields.place(key), value, "a number from -100 to 100");
    biases[id] = static_cast<float>(*fields.number(key, -100, 100));
  }
  sampling.logit_bias.assign(biases.begin(), biases.end());
}

void read_form(const JsonFields& body, ChatRequest& request) {
  const auto take = [&](const std::string& place, Json value) {
    if (!request.form_place.empty())
      refuse(place, fmt::format("stands beside {}: give one of them", request.form_place));
    request.form_place = place;
    request.form = std::move(value);
  };
  const auto text = [&](std::string_view key, const char* form) {
    if (const std::string* value = body.text(key)) take(std::string(key), {{form, *value}});
  };
  if (const Json* format = body.find("response_format")) {
    const JsonFields fields(*format, "response_format");
    const std::string& type = fields.need_word("type", {"text", "json_object", "json_schema"});
    if (type == "json_object") take("response_format", {{"schema", {{"type", "object"}}}});
    if (type == "json_schema") {
      const JsonFields schema(fields.need("json_schema"), fields.place("json_schema"));
      take(schema.place("schema"), {{"schema", schema.need("schema")}});
    }
  }
  if (const Json* schema = body.find("guided_json")) {
    Json value = *schema;  // vLLM takes the JSON's text, too
    if (value.is_string()) value = parse_json(value.get_ref<const std::string&>(), "guided_json").value();
    take("guided_json", {{"schema", std::move(value)}});
  }
  text("guided_regex", "regex");
  text("guided_grammar", "grammar");
  if (const Json* choices = body.find("guided_choice")) {
    if (!choices->is_array()) refuse("guided_choice", *choices, "a list of texts");
    for (std::size_t i = 0; i < choices->size(); ++i) text_at((*choices)[i], fmt::format("guided_choice[{}]", i));
    take("guided_choice", {{"choices", *choices}});
  }
}

}  // namespace

std::string requested_model(const Json& body) {
  const std::string* model = JsonFields(body, "").text("model");
  return model ? *model : "";
}

ChatRequest parse_chat_request(const Json& json, const GenerateOptions& defaults, Dim vocabulary) {
  const JsonFields body(json, "");
  for (const auto& [key, value] : json.items())
    if (std::ranges::find(known_keys, key) == known_keys.end())
      throw Error(ErrorCode::bad_input, fmt::format("unknown field {}", shown(key)), key.substr(0, 60));
  ChatRequest request;
  request.model = requested_model(json);
  request.generate = defaults;
  read_generate(body, request.generate);
  request.clip = clip_wish_of_body(json);
  read_bias(body, vocabulary, request.generate.sampling);
  read_form(body, request);
  request.tools = tools_of(body, ToolStyle::chat);
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

const ToolFormat& tool_format_of(const Model& model) {
  if (!model.has_chat_template()) return tool_format("", false);
  const ChatTemplate& chat = model.chat_template();
  return tool_format(chat.source(), chat.mentions("tools"));
}

std::shared_ptr<const Constraint> constraint_of(const ChatRequest& request, const Model& model,
                                                ConstraintCache& cache) {
  if (!request.has_tools()) {
    if (request.form.is_null()) return nullptr;
    try {
      return cache(model, request.form);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}: {}", request.form_place, error.message()), request.form_place);
    }
  }
  const Json content = request.tools.required ? Json(nullptr) : request.form;
  return cache(model, form_of_calls(request.tools, tool_format_of(model), content));
}

}  // namespace tap::server
