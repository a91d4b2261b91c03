// Reads config.json: every value checked for type and sign where it is used; an error names file, key and value; keys
// nobody read can be listed.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/dim.h"
#include "io/json.h"

namespace tap {

class ConfigReader {
 public:
  static Result<ConfigReader> load(const std::string& path);  // a JSON object of at most 16 MiB
  ConfigReader(Json object, std::string file);

  Dim positive(std::string_view key) const;  // integer in [1, 2^31)
  Dim positive_or(std::string_view key, Dim fallback) const;
  Dim non_negative_or(std::string_view key, Dim fallback) const;
  float number(std::string_view key) const;  // finite
  float number_or(std::string_view key, float fallback) const;
  bool flag_or(std::string_view key, bool fallback) const;
  std::string text(std::string_view key) const;
  std::string text_or(std::string_view key, std::string_view fallback) const;
  std::vector<float> numbers_or(std::string_view key, std::vector<float> fallback) const;
  std::vector<std::string> texts_or(std::string_view key, std::vector<std::string> fallback) const;
  // An integer or a list of integers (eos_token_id); null or absent gives the fallback.
  std::vector<std::int64_t> integers_or(std::string_view key, std::vector<std::int64_t> fallback) const;
  bool has(std::string_view key) const;            // present and not null
  ConfigReader child(std::string_view key) const;  // an object; its errors are named "text_config.hidden_size"
  ConfigReader child_or_empty(std::string_view key) const;

  // "config.json: text_config.hidden_act is "relu": only "silu" is supported".
  [[noreturn]] void refuse(std::string_view key, std::string_view why) const;
  // Throws unless the text value (or its absence: the fallback) is one of `allowed`.
  std::string one_of(std::string_view key, std::initializer_list<std::string_view> allowed,
                     std::string_view fallback) const;

  std::vector<std::string> unread() const;  // dotted keys of the whole file that nobody asked for
  const std::string& file() const;
  const Json& json() const;  // this object

 private:
  const Json* find(std::string_view key) const;  // null when absent or null; the key counts as read
  const Json& need(std::string_view key, std::string_view wanted) const;
  Dim integer_in(std::string_view key, const Json& value, std::int64_t least) const;
  float finite(std::string_view key, const Json& value) const;
  struct Shared;
  std::shared_ptr<Shared> shared_;
  const Json* object_ = nullptr;
  std::string prefix_;
};

}  // namespace tap
