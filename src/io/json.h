// JSON. One door for untrusted text: simdjson validates (UTF-8, depth, numbers), then either a fast read-only document or a
// value tree (nlohmann, keys in file order) for small things that are changed or printed.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>
#include <simdjson.h>

#include "base/error.h"

namespace tap {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  std::size_t bytes = std::size_t{64} << 20;
  std::size_t depth = 128;
};

// Parses one document. `what` names the text in errors ("config.json"). Refuses: not UTF-8, lone surrogates, NaN/Infinity, a byte
// order mark, trailing text, nesting deeper than the limit, duplicate keys of one object.
Result<Json> parse_json(std::string_view text, std::string_view what, const JsonLimits& limits = {});

// The fast door for large files (tokenizer.json, safetensors headers): a tape of simdjson; the document owns text and tape.
class JsonDocument {
 public:
  static Result<JsonDocument> parse(std::string_view text, std::string_view what, const JsonLimits& limits = {});
  simdjson::dom::element root() const { return root_; }

 private:
  std::unique_ptr<simdjson::dom::parser> parser_;
  simdjson::dom::element root_;
};

// One line of JSON; invalid UTF-8 is replaced by U+FFFD instead of throwing.
std::string to_json_line(const Json& value);

}  // namespace tap
