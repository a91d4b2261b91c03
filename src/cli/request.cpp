#include "cli/request.h"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_set>

namespace tap::cli {

namespace {

constexpr std::array<std::string_view, 19> known_keys{
    "id",   "image", "images", "question", "messages",    "system", "task",  "max_tokens", "stop",
    "seed", "thing", "top_p",  "top_k",    "temperature", "min_p",  "regex", "choices",    "schema", "grammar"};

std::string shown(const Json& value) {
  std::string text = to_json_line(value);
  if (text.size() > 60) text = text.substr(0, 57) + "…";
  return text;
}

[[noreturn]] void refuse(std::string_view key, std::string_view what) {
  throw Error(ErrorCode::bad_input, fmt::format("\"{}\" {}", key, what), std::string(key));
}

[[noreturn]] void refuse(std::string_view key, const Json& value, std::string_view wanted) {
  refuse(key, fmt::format("is {}: must be {}", shown(value), wanted));
}

const std::string& text_of(std::string_view key, const Json& value) {
  if (!value.is_string()) refuse(key, value, "text");
  return value.get_ref<const std::string&>();
}

const std::string& image_of(std::string_view key, const Json& value) {
  const std::string& name = text_of(key, value);
  if (name.empty() || name.find('\0') != std::string::npos) refuse(key, value, "a file or a URL");
  return name;
}

double number_of(std::string_view key, const Json& value) {
  if (!value.is_number()) refuse(key, value, "a number");
  return value.get<double>();
}

std::int64_t whole_of(std::string_view key, const Json& value, std::int64_t least, std::int64_t most) {
  if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX))
    refuse(key, value, fmt::format("a whole number from {} to {}", least, most));
  const auto number = value.get<std::int64_t>();
  if (number < least || number > most) refuse(key, value, fmt::format("from {} to {}", least, most));
  return number;
}

std::vector<std::string> stops_of(const Json& value) {
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array()) refuse("stop", value, "text or a list of texts");
  std::vector<std::string> stops;
  for (const Json& one : value) stops.push_back(text_of("stop", one));
  return stops;
}

NamedPart part_of(const Json& value) {
  if (!value.is_object() || !value.contains("type"))
    refuse("messages", value, R"(text, or parts {"type": "text" | "image" | "image_url"})");
  const std::string& type = text_of("messages", value["type"]);
  const auto member = [&](const char* key) -> const Json& {
    if (!value.contains(key)) refuse("messages", fmt::format("has a part of type {} without \"{}\"", type, key));
    return value[key];
  };
  if (type == "text") return {text_of("text", member("text")), {}};
  if (type == "image") return {{}, image_of("image", member("image"))};
  if (type != "image_url")
    refuse("messages", fmt::format("has a part of type \"{}\": must be text, image or image_url", type));
  const Json& url = member("image_url");
  if (url.is_object() && url.contains("url")) return {{}, image_of("image_url", url["url"])};
  return {{}, image_of("image_url", url)};
}

std::vector<NamedMessage> messages_of(const Json& value) {
  if (!value.is_array() || value.empty()) refuse("messages", value, "a list of messages");
  std::vector<NamedMessage> messages;
  for (const Json& one : value) {
    if (!one.is_object() || !one.contains("role") || !one.contains("content"))
      refuse("messages", one, R"({"role", "content"})");
    for (const auto& [key, unused] : one.items())
      if (key != "role" && key != "content")
        refuse("messages", fmt::format("has a message with the unknown key \"{}\"", key));
    NamedMessage message{text_of("role", one["role"]), {}};
    if (message.role != "system" && message.role != "user" && message.role != "assistant")
      refuse("role", one["role"], "system, user or assistant");
    const Json& content = one["content"];
    if (content.is_array())
      for (const Json& part : content) message.parts.push_back(part_of(part));
    else
      message.parts.push_back({text_of("content", content), {}});
    messages.push_back(std::move(message));
  }
  return messages;
}

std::vector<std::string> images_of(const Json& line) {
  if (line.contains("image") && line.contains("images")) refuse("images", "stands beside \"image\": give one of them");
  if (line.contains("image")) return {image_of("image", line["image"])};
  std::vector<std::string> images;
  if (!line.contains("images")) return images;
  if (!line["images"].is_array()) refuse("images", line["images"], "a list of files or URLs");
  for (const Json& one : line["images"]) images.push_back(image_of("images", one));
  return images;
}

void read_generate(const Json& line, GenerateOptions& generate) {
  SamplingOptions& sampling = generate.sampling;
  constexpr std::int64_t int_max = std::numeric_limits<std::int32_t>::max();
  for (const auto& [key, value] : line.items()) {
    if (key == "max_tokens") generate.max_tokens = whole_of(key, value, 1, int_max);
    if (key == "temperature") sampling.temperature = static_cast<float>(number_of(key, value));
    if (key == "top_p") sampling.top_p = static_cast<float>(number_of(key, value));
    if (key == "min_p") sampling.min_p = static_cast<float>(number_of(key, value));
    if (key == "top_k") sampling.top_k = whole_of(key, value, 0, int_max);
    if (key == "seed") sampling.seed = static_cast<std::uint64_t>(whole_of(key, value, 0, std::int64_t{1} << 53));
    if (key == "stop") generate.stop = stops_of(value);
  }
  sampling.validate();
  StopMatcher{generate.stop};
}

void read_form(const Json& line, Json& form) {
  for (const char* key : {"choices", "regex", "schema", "grammar"}) {
    if (!line.contains(key)) continue;
    if (!form.is_null()) refuse(key, fmt::format("stands beside \"{}\": give one of them", form.begin().key()));
    const Json& value = line[key];
    if (key == std::string_view("regex") || key == std::string_view("grammar")) text_of(key, value);
    if (key == std::string_view("schema") && !value.is_object() && !value.is_boolean())
      refuse(key, value, "a JSON Schema");
    if (key == std::string_view("choices")) {
      if (!value.is_array()) refuse(key, value, "a list of texts");
      std::unordered_set<std::string_view> seen;
      for (const Json& one : value)
        if (!seen.insert(text_of(key, one)).second) refuse(key, fmt::format("has {} twice", shown(one)));
    }
    form = Json{{key, value}};
  }
  const Json task = line.value("task", Json());
  if (form.is_object() && task.is_string() && task != "ask")
    refuse(form.begin().key(), fmt::format("does not go with the task {}: its answers have a form of their own",
                                           task.get_ref<const std::string&>()));
}

void read_task(const Json& line, Request& request) {
  std::vector<std::string> images = images_of(line);
  if (line.contains("system")) request.system = text_of("system", line["system"]);
  if (line.contains("task")) {
    const std::string& task = text_of("task", line["task"]);
    if (task == "detect")
      request.usual = Want::Kind::detect;
    else if (task == "segment")
      request.usual = Want::Kind::segment;
    else if (task == "count")
      request.usual = Want::Kind::count;
    else if (task != "ask")
      refuse("task", line["task"], "ask or detect, segment, count");
    if (task != "ask") request.task = Request::Task::find;
  }
  if (request.task == Request::Task::find) {
    const std::string& task = line["task"].get_ref<const std::string&>();
    for (const char* key : {"question", "messages"})
      if (line.contains(key))
        refuse(key, fmt::format("does not go with the task {}: \"thing\" says what to look for", task));
    if (!line.contains("thing")) refuse("thing", fmt::format("is missing: the task {} needs it", task));
    request.thing = text_of("thing", line["thing"]);
    if (images.size() != 1)
      refuse("image", fmt::format("is wanted once by the task {}, {} are given", task, images.size()));
    request.image = std::move(images.front());
    return;
  }
  if (line.contains("thing")) refuse("thing", "goes with the tasks detect, segment and count only");
  if (line.contains("messages")) {
    for (const char* key : {"question", "image", "images", "system"})
      if (line.contains(key)) refuse(key, "stands beside \"messages\": give one of them");
    request.messages = messages_of(line["messages"]);
  } else {
    if (!line.contains("question")) refuse("question", "is missing (or \"messages\")");
    NamedMessage message{"user", {}};
    for (std::string& image : images) message.parts.push_back({{}, std::move(image)});
    message.parts.push_back({text_of("question", line["question"]), {}});
    if (message.parts.back().text.find_first_not_of(" \t\r\n") == std::string::npos) refuse("question", "is empty");
    request.messages.push_back(std::move(message));
  }
  std::size_t count = 0;
  for (const NamedMessage& message : request.messages)
    for (const NamedPart& part : message.parts) count += !part.image.empty();
  if (count > request_most_images)
    throw Error(ErrorCode::limit,
                fmt::format("{} pictures in one request, the limit is {}", count, request_most_images), "images");
}

}  // namespace

Json request_id(const Json& line) {
  if (!line.is_object() || !line.contains("id")) return nullptr;
  const Json& id = line["id"];
  return id.is_string() || id.is_number() ? id : Json(nullptr);
}

Result<Request> parse_request(const Json& line, const GenerateOptions& defaults) {
  try {
    if (!line.is_object()) return Error(ErrorCode::bad_input, fmt::format("is {}: must be an object", shown(line)), "");
    for (const auto& [key, value] : line.items())
      if (std::find(known_keys.begin(), known_keys.end(), key) == known_keys.end())
        throw Error(ErrorCode::bad_input, fmt::format("unknown key \"{}\"", key.substr(0, 60)), key.substr(0, 60));
    Request request;
    request.generate = defaults;
    if (line.contains("id") && request_id(line).is_null()) refuse("id", line["id"], "text or a number");
    request.id = request_id(line);
    read_generate(line, request.generate);
    read_form(line, request.form);
    read_task(line, request);
    return request;
  } catch (const Error& error) {
    return error;
  }
}

}  // namespace tap::cli
