#include "io/config_reader.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/file.h"
#include "io/hub.h"

namespace tap {

struct ConfigReader::Shared {
  Json root;
  std::string file;
  std::set<std::string> read;  // dotted keys
};

namespace {

constexpr std::size_t max_config_bytes = std::size_t{16} << 20;
constexpr std::int64_t max_dim = std::numeric_limits<std::int32_t>::max();

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// The value as it stands in the file, short enough for one line.
std::string shown(const Json& value) {
  std::string text = to_json_line(value);
  if (text.size() <= 80) return text;
  std::size_t end = 80;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

const Json& empty_object() {
  static const Json object = Json::object();
  return object;
}

}  // namespace

Result<ConfigReader> ConfigReader::load(const std::string& path) {
  if (auto error = refuse_foreign_link(path)) return *std::move(error);
  auto text = read_file(path, max_config_bytes);
  if (!text.ok()) return text.error();
  const std::string file = last_part(path);
  auto parsed = parse_json(*text, file, {.bytes = max_config_bytes});
  if (!parsed.ok()) return parsed.error();
  if (!parsed->is_object())
    return Error(ErrorCode::bad_file, fmt::format("{}: is {}, want an object", file, shown(*parsed)), file);
  return ConfigReader(std::move(*parsed), file);
}

ConfigReader::ConfigReader(Json object, std::string file) : shared_(std::make_shared<Shared>()) {
  if (!object.is_object()) fail(ErrorCode::bad_file, "{}: is {}, want an object", file, shown(object));
  shared_->root = std::move(object);
  shared_->file = std::move(file);
  object_ = &shared_->root;
}

const Json* ConfigReader::find(std::string_view key) const {
  shared_->read.insert(prefix_ + std::string(key));
  const auto at = object_->find(key);
  return at == object_->end() || at->is_null() ? nullptr : &*at;
}

const Json& ConfigReader::need(std::string_view key, std::string_view wanted) const {
  const Json* const value = find(key);
  if (!value)
    throw Error(ErrorCode::bad_file, fmt::format("{}: {}{} is missing, want {}", shared_->file, prefix_, key, wanted),
                prefix_ + std::string(key));
  return *value;
}

void ConfigReader::refuse(std::string_view key, std::string_view why) const {
  const auto at = object_->find(key);
  const std::string value = at == object_->end() ? "missing" : shown(*at);
  throw Error(ErrorCode::bad_file, fmt::format("{}: {}{} is {}: {}", shared_->file, prefix_, key, value, why),
              prefix_ + std::string(key));
}

Dim ConfigReader::integer_in(std::string_view key, const Json& value, std::int64_t least) const {
  // An unsigned beyond 2^63 turns negative as int64: compare as what it is.
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(max_dim));
  if (!fits || value.get<std::int64_t>() < least || value.get<std::int64_t>() > max_dim)
    refuse(key, fmt::format("want an integer from {} to {}", least, max_dim));
  return value.get<std::int64_t>();
}

float ConfigReader::finite(std::string_view key, const Json& value) const {
  if (!value.is_number()) refuse(key, "want a number");
  const auto number = static_cast<float>(value.get<double>());
  if (!std::isfinite(number))
    refuse(key, fmt::format("want a number of at most {:g} in size", std::numeric_limits<float>::max()));
  return number;
}

Dim ConfigReader::positive(std::string_view key) const {
  return integer_in(key, need(key, "an integer of at least 1"), 1);
}

Dim ConfigReader::positive_or(std::string_view key, Dim fallback) const {
  const Json* const value = find(key);
  return value ? integer_in(key, *value, 1) : fallback;
}

Dim ConfigReader::non_negative_or(std::string_view key, Dim fallback) const {
  const Json* const value = find(key);
  return value ? integer_in(key, *value, 0) : fallback;
}

float ConfigReader::number(std::string_view key) const { return finite(key, need(key, "a number")); }

float ConfigReader::number_or(std::string_view key, float fallback) const {
  const Json* const value = find(key);
  return value ? finite(key, *value) : fallback;
}

bool ConfigReader::flag_or(std::string_view key, bool fallback) const {
  const Json* const value = find(key);
  if (value && !value->is_boolean()) refuse(key, "want true or false");
  return value ? value->get<bool>() : fallback;
}

std::string ConfigReader::text(std::string_view key) const {
  const Json& value = need(key, "a string");
  if (!value.is_string()) refuse(key, "want a string");
  return value.get<std::string>();
}

std::string ConfigReader::text_or(std::string_view key, std::string_view fallback) const {
  return find(key) ? text(key) : std::string(fallback);
}

std::vector<float> ConfigReader::numbers_or(std::string_view key, std::vector<float> fallback) const {
  const Json* const value = find(key);
  if (!value) return fallback;
  if (!value->is_array()) refuse(key, "want a list of numbers");
  std::vector<float> numbers;
  for (const Json& item : *value) numbers.push_back(finite(key, item));
  return numbers;
}

std::vector<std::string> ConfigReader::texts_or(std::string_view key, std::vector<std::string> fallback) const {
  const Json* const value = find(key);
  if (!value) return fallback;
  if (!value->is_array()) refuse(key, "want a list of strings");
  std::vector<std::string> texts;
  for (const Json& item : *value) {
    if (!item.is_string()) refuse(key, "want a list of strings");
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

std::vector<std::int64_t> ConfigReader::integers_or(std::string_view key, std::vector<std::int64_t> fallback) const {
  const Json* const value = find(key);
  if (!value) return fallback;
  const auto one = [&](const Json& item) {
    const bool fits =
        item.is_number_integer() &&
        !(item.is_number_unsigned() &&
          item.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
    if (!fits) refuse(key, "want an integer or a list of integers");
    return item.get<std::int64_t>();
  };
  if (!value->is_array()) return {one(*value)};
  std::vector<std::int64_t> integers;
  for (const Json& item : *value) integers.push_back(one(item));
  return integers;
}

bool ConfigReader::has(std::string_view key) const { return find(key) != nullptr; }

ConfigReader ConfigReader::child(std::string_view key) const {
  const Json& value = need(key, "an object");
  if (!value.is_object()) refuse(key, "want an object");
  ConfigReader reader = *this;
  reader.object_ = &value;
  reader.prefix_ += std::string(key) + ".";
  return reader;
}

ConfigReader ConfigReader::child_or_empty(std::string_view key) const {
  if (find(key)) return child(key);
  ConfigReader reader = *this;
  reader.object_ = &empty_object();
  reader.prefix_ += std::string(key) + ".";
  return reader;
}

std::string ConfigReader::one_of(std::string_view key, std::initializer_list<std::string_view> allowed,
                                 std::string_view fallback) const {
  const std::string value = text_or(key, fallback);
  for (const std::string_view choice : allowed)
    if (value == choice) return value;
  std::string names;
  for (const std::string_view choice : allowed) names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", choice);
  refuse(key, fmt::format("{} {} supported", allowed.size() == 1 ? "only" : "one of",
                          names + (allowed.size() == 1 ? " is" : " are")));
}

// A key is unread when nobody asked for it; an object counts as read when it was opened, and then its own keys are
// judged.
std::vector<std::string> ConfigReader::unread() const {
  std::vector<std::string> keys;
  const auto walk = [&](const auto& self, const Json& object, const std::string& prefix) -> void {
    for (const auto& [key, value] : object.items()) {
      const std::string dotted = prefix + key;
      if (!shared_->read.contains(dotted)) {
        keys.push_back(dotted);
      } else if (value.is_object()) {
        const auto inside = shared_->read.upper_bound(dotted + ".");
        const bool opened = inside != shared_->read.end() && inside->starts_with(dotted + ".");
        if (opened) self(self, value, dotted + ".");
      }
    }
  };
  walk(walk, shared_->root, "");
  return keys;
}

const std::string& ConfigReader::file() const { return shared_->file; }
const Json& ConfigReader::json() const { return *object_; }

}  // namespace tap
