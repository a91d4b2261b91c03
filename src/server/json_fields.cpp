#include "server/json_fields.h"

#include <algorithm>

namespace tap::server {

std::string shown(const Json& value) {
  std::string text = to_json_line(value);
  if (text.size() > 60) text = text.substr(0, 57) + "…";
  return text;
}

void refuse(const std::string& at, std::string_view what) {
  throw Error(ErrorCode::bad_input, at.empty() ? fmt::format("the body {}", what) : fmt::format("{} {}", at, what), at);
}

void refuse(const std::string& at, const Json& value, std::string_view wanted) {
  refuse(at, fmt::format("is {}: must be {}", shown(value), wanted));
}

const std::string& text_at(const Json& value, const std::string& at) {
  if (!value.is_string()) refuse(at, value, "text");
  return value.get_ref<const std::string&>();
}

bool is_word(const Json& value, std::string_view word) {
  return value.is_string() && value.get_ref<const std::string&>() == word;
}

JsonFields::JsonFields(const Json& object, std::string at) : object_(&object), at_(std::move(at)) {
  if (!object.is_object()) refuse(at_, object, "an object");
}

std::string JsonFields::place(std::string_view key) const {
  return at_.empty() ? std::string(key) : fmt::format("{}.{}", at_, key);
}

const Json* JsonFields::find(std::string_view key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

const Json& JsonFields::need(std::string_view key) const {
  const Json* value = find(key);
  if (!value) refuse(place(key), "is missing");
  return *value;
}

const std::string* JsonFields::text(std::string_view key) const {
  const Json* value = find(key);
  return value ? &text_at(*value, place(key)) : nullptr;
}

const std::string& JsonFields::need_text(std::string_view key) const { return text_at(need(key), place(key)); }

std::optional<bool> JsonFields::truth(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) refuse(place(key), *value, "true or false");
  return value->get<bool>();
}

std::optional<double> JsonFields::number(std::string_view key, double least, double most) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_number()) refuse(place(key), *value, fmt::format("a number from {} to {}", least, most));
  const double number = value->get<double>();
  if (!(number >= least && number <= most)) refuse(place(key), *value, fmt::format("from {} to {}", least, most));
  return number;
}

std::optional<std::int64_t> JsonFields::whole(std::string_view key, std::int64_t least, std::int64_t most) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  const std::string wanted = fmt::format("a whole number from {} to {}", least, most);
  if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX))
    refuse(place(key), *value, wanted);
  const auto number = value->get<std::int64_t>();
  if (number < least || number > most) refuse(place(key), *value, wanted);
  return number;
}

const std::string* JsonFields::word(std::string_view key, std::initializer_list<std::string_view> words) const {
  const std::string* value = text(key);
  if (!value || std::ranges::find(words, std::string_view(*value)) != words.end()) return value;
  std::string wanted;
  for (const std::string_view word : words) wanted += fmt::format("{}{}", wanted.empty() ? "" : ", ", word);
  refuse(place(key), fmt::format("is {}: must be one of {}", shown(*value), wanted));
}

const std::string& JsonFields::need_word(std::string_view key, std::initializer_list<std::string_view> words) const {
  (void)need(key);
  return *word(key, words);
}

}  // namespace tap::server
