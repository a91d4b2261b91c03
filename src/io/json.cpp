#include "io/json.h"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include "io/json_document.h"

namespace tap {

namespace {

Error json_error(std::string_view what, std::string_view problem) {
  return Error(ErrorCode::bad_file, fmt::format("{}: {}", what, problem), std::string(what));
}

struct Extent {
  std::size_t depth = 0, values = 0;
};

// Both parsers allocate by depth and by value; scan first, so that 100 000 brackets cost nothing and the message has
// both numbers.
Extent scan(std::string_view text) {
  Extent extent;
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      extent.depth = std::max(extent.depth, ++depth);
      ++extent.values;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    } else if (c == ',') {
      ++extent.values;
    }
  }
  return extent;
}

std::optional<Error> over_limits(std::string_view text, std::string_view what, const JsonLimits& limits) {
  const auto over = [&](const std::string& problem) {
    return Error(ErrorCode::limit, fmt::format("{}: {}", what, problem), std::string(what));
  };
  if (text.size() > limits.bytes)
    return over(fmt::format("{} bytes of JSON, the limit is {}", text.size(), limits.bytes));
  if (text.starts_with("\xEF\xBB\xBF")) return json_error(what, "starts with a byte order mark, JSON must not");
  // nlohmann's parser takes a NUL for the end of the text and would not see what follows.
  if (const auto nul = text.find('\0'); nul != std::string_view::npos)
    return json_error(what, fmt::format("not valid JSON: byte {} is NUL", nul));
  const Extent extent = scan(text);
  if (extent.depth > limits.depth)
    return over(fmt::format("nested {} deep, the limit is {}", extent.depth, limits.depth));
  if (extent.values > limits.values)
    return over(fmt::format("{} values, the limit is {}", extent.values, limits.values));
  return std::nullopt;
}

// The library's "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error while …" as "line 1,
// column 5: …".
std::string place_and_reason(std::string_view library_text) {
  if (const auto end = library_text.find("] "); library_text.starts_with('[') && end != std::string_view::npos)
    library_text.remove_prefix(end + 2);
  constexpr std::string_view lead = "parse error at ";
  if (library_text.starts_with(lead)) library_text.remove_prefix(lead.size());
  constexpr std::string_view quoting = "; last read: '";
  std::string text(library_text);
  if (const auto quote = text.find(quoting);
      quote != std::string::npos) {  // what was read may be long or hold other lines
    std::string read = text.substr(quote + quoting.size());
    if (const auto close = read.rfind('\''); close != std::string::npos) read.resize(close);
    if (read.size() > 40) read = read.substr(read.size() - 40);
    for (char& c : read)
      if (c < ' ' || c > '~') c = '?';
    text = text.substr(0, quote) + fmt::format(" after \"{}\"", read);
  }
  for (char& c : text)
    if (c == '\n' || c == '\r') c = ' ';
  return text;
}

// Where nlohmann's parser stops; empty when it would accept the text.
class PlaceFinder : public nlohmann::json_sax<Json> {
 public:
  std::string problem;
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool key(string_t&) override { return true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    problem = place_and_reason(error.what());
    return false;
  }
};

// Builds the tree and refuses a key that stands twice. Objects are appended to, not searched: a million keys take
// linear time.
class TreeBuilder final : public PlaceFinder {
 public:
  Json root;

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (!levels_.back().keys.insert(name).second) {
      problem = fmt::format("key \"{}\" stands twice", name.substr(0, 100));
      return false;
    }
    levels_.back().key = std::move(name);
    return true;
  }

 private:
  struct Level {
    Json value;
    std::string key;
    std::unordered_set<std::string> keys;
  };
  bool put(Json value) {
    if (levels_.empty()) {
      root = std::move(value);
      return true;
    }
    Level& level = levels_.back();
    if (level.value.is_array()) {
      level.value.get_ref<Json::array_t&>().push_back(std::move(value));
    } else {
      Json::object_t::Container& items = level.value.get_ref<Json::object_t&>();
      items.emplace_back(std::move(level.key), std::move(value));
    }
    return true;
  }
  bool open(Json value) {
    levels_.push_back({std::move(value), {}, {}});
    return true;
  }
  bool close() {
    Json value = std::move(levels_.back().value);
    levels_.pop_back();
    return put(std::move(value));
  }
  std::vector<Level> levels_;
};

}  // namespace

Result<JsonDocument> JsonDocument::parse(std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (auto error = over_limits(text, what, limits)) return *std::move(error);
  JsonDocument document;
  document.parser_ = std::make_unique<simdjson::dom::parser>();
  const auto parsed = document.parser_->parse(text.empty() ? "" : text.data(), text.size());  // it copies from there
  if (parsed.error() != simdjson::SUCCESS) {
    PlaceFinder finder;
    Json::sax_parse(text, &finder);
    return json_error(what, finder.problem.empty()
                                ? fmt::format("not valid JSON: {}", simdjson::error_message(parsed.error()))
                                : fmt::format("not valid JSON: {}", finder.problem));
  }
  document.root_ = parsed.value_unsafe();
  return document;
}

Result<Json> parse_json(std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (auto error = over_limits(text, what, limits)) return *std::move(error);
  TreeBuilder builder;
  if (!Json::sax_parse(text, &builder)) {
    const bool twice = builder.problem.ends_with("stands twice");
    return json_error(what, twice ? builder.problem : fmt::format("not valid JSON: {}", builder.problem));
  }
  return std::move(builder.root);
}

std::string to_json_line(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace tap
