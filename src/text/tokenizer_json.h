// A place in a JSON document that knows its path, for errors that name the key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"
#include "io/json_document.h"

namespace tap {

class JsonPlace {
 public:
  JsonPlace(simdjson::dom::element element, std::string path) : element_(element), path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  simdjson::dom::element element() const { return element_; }
  bool is_text() const { return element_.is_string(); }
  [[noreturn]] void bad(std::string_view wanted) const {
    fail(ErrorCode::bad_file, "{}: got {}, wanted {}", path_, got(), wanted);
  }
  // A key's value; absent and null are the same. A key that stands twice is refused: readers differ in which one
  // counts.
  std::optional<JsonPlace> find(std::string_view key) const {
    std::optional<simdjson::dom::element> value;
    for (const auto& [name, element] : object()) {
      if (name != key) continue;
      if (value) fail(ErrorCode::bad_file, "{}: stands twice", path_of(key));
      value = element;
    }
    if (!value || value->is_null()) return std::nullopt;
    return JsonPlace(*value, path_of(key));
  }
  JsonPlace at(std::string_view key) const {
    auto value = find(key);
    if (!value) fail(ErrorCode::bad_file, "{}: missing", path_of(key));
    return *std::move(value);
  }
  simdjson::dom::object object() const {
    simdjson::dom::object value;
    if (element_.get(value) != simdjson::SUCCESS) bad("an object");
    return value;
  }
  simdjson::dom::array array() const {
    simdjson::dom::array value;
    if (element_.get(value) != simdjson::SUCCESS) bad("an array");
    return value;
  }
  std::string_view text() const {
    std::string_view value;
    if (element_.get(value) != simdjson::SUCCESS) bad("a string");
    return value;
  }
  bool boolean() const {
    bool value = false;
    if (element_.get(value) != simdjson::SUCCESS) bad("true or false");
    return value;
  }
  std::int64_t integer(std::int64_t low, std::int64_t high) const {
    std::int64_t value = 0;
    if (element_.get(value) != simdjson::SUCCESS || value < low || value > high)
      bad(fmt::format("an integer from {} to {}", low, high));
    return value;
  }
  bool flag(std::string_view key, bool otherwise) const {
    const auto value = find(key);
    return value ? value->boolean() : otherwise;
  }
  template <class Fn>
  void each(Fn&& fn) const {
    std::size_t i = 0;
    for (const simdjson::dom::element item : array()) fn(JsonPlace(item, fmt::format("{}[{}]", path_, i++)));
  }

 private:
  std::string path_of(std::string_view key) const {
    return fmt::format("{}{}{}", path_, path_.ends_with(": ") ? "" : ".", key);
  }
  std::string got() const {
    using Type = simdjson::dom::element_type;
    switch (element_.type()) {
      case Type::ARRAY: return "an array";
      case Type::OBJECT: return "an object";
      case Type::STRING: return "a string";
      case Type::BOOL: return bool(element_) ? "true" : "false";
      case Type::INT64: return fmt::format("{}", std::int64_t(element_));
      case Type::UINT64: return fmt::format("{}", std::uint64_t(element_));
      case Type::DOUBLE: return fmt::format("{}", double(element_));
      case Type::NULL_VALUE: break;
    }
    return "null";
  }
  simdjson::dom::element element_;
  std::string path_;
};

}  // namespace tap
