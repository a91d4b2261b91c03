#include "io/json.h"

#include <vector>

namespace tap {

namespace {

Error json_error(std::string_view what, std::string_view problem) {
  return Error(ErrorCode::bad_file, fmt::format("{}: {}", what, problem), std::string(what));
}

// simdjson allocates by depth; scan first, so that 100 000 brackets cost nothing and the message has both numbers.
std::size_t nesting_depth(std::string_view text) {
  std::size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

// Depth is bounded by the scan above, so recursion is too.
Json to_tree(const simdjson::dom::element& element, std::string_view what) {
  using Type = simdjson::dom::element_type;
  switch (element.type()) {
    case Type::ARRAY: {
      Json array = Json::array();
      for (const auto item : simdjson::dom::array(element)) array.push_back(to_tree(item, what));
      return array;
    }
    case Type::OBJECT: {
      Json object = Json::object();
      for (const auto [key, value] : simdjson::dom::object(element)) {
        if (object.contains(std::string(key))) throw json_error(what, fmt::format("key \"{}\" stands twice", key));
        object.emplace(std::string(key), to_tree(value, what));
      }
      return object;
    }
    case Type::INT64: return Json(std::int64_t(element));
    case Type::UINT64: return Json(std::uint64_t(element));
    case Type::DOUBLE: return Json(double(element));
    case Type::STRING: return Json(std::string(std::string_view(element)));
    case Type::BOOL: return Json(bool(element));
    case Type::NULL_VALUE: break;
  }
  return Json(nullptr);
}

}  // namespace

Result<JsonDocument> JsonDocument::parse(std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (text.size() > limits.bytes)
    return Error(ErrorCode::limit, fmt::format("{}: {} bytes of JSON, the limit is {}", what, text.size(), limits.bytes), std::string(what));
  if (text.starts_with("\xEF\xBB\xBF")) return json_error(what, "starts with a byte order mark, JSON must not");
  if (const std::size_t depth = nesting_depth(text); depth > limits.depth)
    return Error(ErrorCode::limit, fmt::format("{}: nested {} deep, the limit is {}", what, depth, limits.depth), std::string(what));
  JsonDocument document;
  document.parser_ = std::make_unique<simdjson::dom::parser>();
  const auto parsed = document.parser_->parse(text.data(), text.size());
  if (parsed.error() != simdjson::SUCCESS)
    return json_error(what, fmt::format("not valid JSON: {}", simdjson::error_message(parsed.error())));
  document.root_ = parsed.value_unsafe();
  return document;
}

Result<Json> parse_json(std::string_view text, std::string_view what, const JsonLimits& limits) {
  const auto document = JsonDocument::parse(text, what, limits);
  if (!document.ok()) return document.error();
  try {
    return to_tree(document->root(), what);
  } catch (const Error& error) {
    return error;
  }
}

std::string to_json_line(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace tap
