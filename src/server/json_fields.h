// Reading the fields of a JSON body: every error names the field by its place ("messages[1].content"), what it is and
// what it must be.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "io/json.h"

namespace tap::server {

std::string shown(const Json& value);  // at most 60 bytes

// Whether it is this text. The library's == makes a value of the text, and promises not to throw.
bool is_word(const Json& value, std::string_view word);

// `what` follows the field's name: "is …: must be …".
[[noreturn]] void refuse(const std::string& at, std::string_view what);
[[noreturn]] void refuse(const std::string& at, const Json& value, std::string_view wanted);

// An object, and where it stands ("" is the body itself).
class JsonFields {
 public:
  JsonFields(const Json& object, std::string at);

  std::string place(std::string_view key) const;
  // Null where the key is absent or null.
  const Json* find(std::string_view key) const;
  const Json& need(std::string_view key) const;

  const std::string* text(std::string_view key) const;
  const std::string& need_text(std::string_view key) const;
  std::optional<bool> truth(std::string_view key) const;
  std::optional<double> number(std::string_view key, double least, double most) const;
  std::optional<std::int64_t> whole(std::string_view key, std::int64_t least, std::int64_t most) const;
  // One of `words`, or null.
  const std::string* word(std::string_view key, std::initializer_list<std::string_view> words) const;

  const std::string& need_word(std::string_view key, std::initializer_list<std::string_view> words) const;

  const Json& json() const { return *object_; }

 private:
  const Json* object_;
  std::string at_;
};

const std::string& text_at(const Json& value, const std::string& at);

}  // namespace tap::server
