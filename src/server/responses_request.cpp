#include "server/responses_request.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "server/json_fields.h"
#include "server/request_tools.h"
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
  std::set<std::string> calls;                   // their ids
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

// The text or list of parts under `key`, and where each stands.
Json chat_parts(const JsonFields& item, std::string_view key, std::vector<std::string>& places) {
  const Json& content = item.need(key);
  const std::string at = item.place(key);
  if (content.is_string()) {
    places.push_back(at);
    return Json::array({{{"type", "text"}, {"text", content}}});
  }
  if (!content.is_array()) refuse(at, content, "text or a list of parts");
  Json parts = Json::array();
  for (std::size_t i = 0; i < content.size(); ++i) {
    places.push_back(fmt::format("{}[{}]", at, i));
    parts.push_back(chat_part(content[i], places.back()));
  }
  return parts;
}

// A call belongs to the message that the assistant had begun.
void add_call(Json& messages, const std::string& id, const std::string& name, const std::string& arguments) {
  if (messages.empty() || !is_word(messages.back().at("role"), "assistant"))
    messages.push_back({{"role", "assistant"}});
  messages.back()["tool_calls"].push_back(
      {{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}});
}

// What an item of a response may bring back, without effect.
void read_state(const JsonFields& item) {
  (void)item.text("id");
  (void)item.word("status", {"in_progress", "completed", "incomplete"});
}

void add_item(const Json& value, const std::string& at, Translation& to) {
  const JsonFields item(value, at);
  const std::string* given = item.text("type");
  const std::string type = given ? *given : "message";
  if (type == "message") {
    const std::string& role = item.need_word("role", {"user", "assistant", "system", "developer"});
    Json parts = chat_parts(item, "content", to.places.emplace_back());
    to.messages.push_back({{"role", role}, {"content", std::move(parts)}});
  } else if (type == "function_call") {
    read_state(item);
    const std::string& id = item.need_text("call_id");
    add_call(to.messages, id, item.need_text("name"), item.need_text("arguments"));
    to.places.resize(to.messages.size());
    to.calls.insert(id);
  } else if (type == "function_call_output") {
    read_state(item);
    const std::string& id = item.need_text("call_id");
    if (!to.calls.contains(id))
      refuse(item.place("call_id"), fmt::format("is {}: no function_call before it has that call_id", shown(id)));
    Json message = {{"role", "tool"}, {"tool_call_id", id}};
    if (const std::string* name = item.text("name")) message["name"] = *name;
    message["content"] = chat_parts(item, "output", to.places.emplace_back());
    to.messages.push_back(std::move(message));
  } else {
    throw Error(ErrorCode::unsupported,
                fmt::format("{} is {}: this server takes message, function_call and function_call_output",
                            item.place("type"), shown(type)),
                item.place("type"));
  }
}

void add_text(std::string_view role, const std::string& text, const std::string& place, Translation& to) {
  to.messages.push_back({{"role", role}, {"content", Json::array({{{"type", "text"}, {"text", text}}})}});
  to.places.push_back({place});
}

Translation translated(const JsonFields& body, Json before) {
  Translation to;
  if (const std::string* instructions = body.text("instructions"))
    add_text("system", *instructions, "instructions", to);
  for (Json& message : before) {
    to.places.emplace_back(message.contains("content") ? message.at("content").size() : 0, "previous_response_id");
    if (message.contains("tool_calls"))
      for (const Json& call : message.at("tool_calls")) to.calls.insert(call.at("id").get<std::string>());
    to.messages.push_back(std::move(message));
  }
  const Json& input = body.need("input");
  if (input.is_string()) {
    add_text("user", input.get_ref<const std::string&>(), "input", to);
  } else {
    if (!input.is_array() || input.empty()) refuse("input", input, "text or a list of items, at least one");
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
  if (const Json* include = body.find("include"); include && *include != Json::array())
    unsupported("include", "must be empty: nothing else is given");
  if (body.truth("background").value_or(false)) unsupported("background", "this server answers while it is asked");
  for (const std::string_view key : {"conversation", "prompt"})
    if (body.find(key)) unsupported(key, "this server keeps none: say it in input");
  body.word("truncation", {"disabled", "auto"});
  (void)body.whole("top_logprobs", 0, 0);
}

// The tools as a response repeats them: every field is there. Arguments always match, "strict" or not.
Json shown_tools(const JsonFields& body) {
  Json list = Json::array();
  if (const Json* tools = body.find("tools"))
    for (const Json& tool : *tools)
      list.push_back({{"type", "function"},
                      {"name", tool.at("name")},
                      {"description", tool.value("description", Json(nullptr))},
                      {"parameters", tool.value("parameters", Json(nullptr))},
                      {"strict", tool.value("strict", Json(true))}});
  return list;
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
  Translation to = translated(body, std::move(before));
  chat["messages"] = std::move(to.messages);
  const Json format = format_of(body);
  if (!format.is_null()) chat["response_format"] = format;
  const auto most = body.whole("max_output_tokens", 1, std::numeric_limits<std::int32_t>::max());
  if (most) chat["max_completion_tokens"] = *most;
  request.chat = parse_chat_request(chat, defaults, vocabulary);
  for (std::size_t i = 0; i < request.chat.messages.size(); ++i)
    for (std::size_t j = 0; j < request.chat.messages[i].parts.size(); ++j)
      request.chat.messages[i].parts[j].place = to.places.at(i).at(j);
  request.chat.tools = tools_of(body, ToolStyle::responses);
  if (!request.chat.form_place.empty())
    request.chat.form_place = format.contains("json_schema") ? "text.format.schema" : "text.format";
  const bool stored = body.truth("store").value_or(true);
  if (stored) {
    request.messages = std::move(chat["messages"]);
    if (body.text("instructions")) request.messages.erase(std::size_t{0});  // they are of one response (as OpenAI's)
  }
  const auto text_or_null = [&](std::string_view key) {
    const std::string* text = body.text(key);
    return text ? Json(*text) : Json(nullptr);
  };
  Json shown_format = {{"type", "text"}};
  if (!format.is_null()) shown_format = body.find("text")->at("format");
  const Json* choice = body.find("tool_choice");
  const SamplingOptions& sampling = request.chat.generate.sampling;
  request.echo = {{"background", false},
                  {"instructions", text_or_null("instructions")},
                  {"max_output_tokens", most ? Json(*most) : Json(nullptr)},
                  {"metadata", metadata_of(body)},
                  {"parallel_tool_calls", body.truth("parallel_tool_calls").value_or(true)},
                  {"previous_response_id", text_or_null("previous_response_id")},
                  {"store", stored},
                  {"temperature", sampling.temperature},
                  {"text", {{"format", std::move(shown_format)}}},
                  {"tool_choice", choice ? *choice : Json("auto")},
                  {"tools", shown_tools(body)},
                  {"top_p", sampling.top_p},
                  {"truncation", "disabled"},
                  {"user", text_or_null("user")}};
  return request;
}

void add_output(Json& messages, const std::vector<Json>& output) {
  for (const Json& item : output) {
    const auto text = [](const Json& value) -> const std::string& { return value.get_ref<const std::string&>(); };
    if (is_word(item.at("type"), "function_call")) {
      add_call(messages, text(item.at("call_id")), text(item.at("name")), text(item.at("arguments")));
      continue;
    }
    Json parts = Json::array();
    for (const Json& part : item.at("content")) parts.push_back({{"type", "text"}, {"text", part.at("text")}});
    messages.push_back({{"role", "assistant"}, {"content", std::move(parts)}});
  }
}

}  // namespace tap::server
