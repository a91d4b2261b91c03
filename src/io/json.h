// JSON as a value tree (nlohmann, keys in file order), for configs and for what is changed or printed. Large files go
// through io/json_document.h, behind the same limits.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace tap {

using Json = nlohmann::ordered_json;

}  // namespace tap

// The library's own first moves what a value holds to a list on the heap, for any depth: in a destructor, where a lack
// of memory ends the program. What we hold is no deeper than parse_json allows.
template <>
inline void tap::Json::json_value::destroy(value_t type) {
  if (type == value_t::object) delete object;
  if (type == value_t::array) delete array;
  if (type == value_t::string) delete string;
  if (type == value_t::binary) delete binary;
}

namespace tap {

struct JsonLimits {
  std::size_t bytes = std::size_t{64} << 20;
  std::size_t depth = 128;
  std::size_t values = 4'000'000;
};

// Parses one document. `what` names the text in errors ("config.json: not valid JSON: line 3, column 7: …"). Refuses:
// not UTF-8, lone surrogates, NaN/Infinity, a byte order mark, trailing text, nesting deeper than the limit, duplicate
// keys of one object. Integers beyond 64 bits become doubles (Python writes model_max_length as
// 1000000000000000019884624838656).
Result<Json> parse_json(std::string_view text, std::string_view what, const JsonLimits& limits = {});

// One line of JSON; invalid UTF-8 is replaced by U+FFFD instead of throwing.
std::string to_json_line(const Json& value);

}  // namespace tap
