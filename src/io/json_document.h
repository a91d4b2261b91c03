// JSON of large files, read only. Apart from io/json.h because simdjson is a third of what that one takes to compile.
#pragma once

#include <memory>
#include <string_view>

#include <simdjson.h>

#include "io/json.h"

namespace tap {

// The fast door for large files (tokenizer.json): a tape of simdjson; the document owns text and tape. Duplicate keys
// and the range of integers are the caller's to judge: integers beyond 64 bits are refused.
class JsonDocument {
 public:
  static Result<JsonDocument> parse(std::string_view text, std::string_view what, const JsonLimits& limits = {});
  simdjson::dom::element root() const { return root_; }

 private:
  std::unique_ptr<simdjson::dom::parser> parser_;
  simdjson::dom::element root_;
};

}  // namespace tap
