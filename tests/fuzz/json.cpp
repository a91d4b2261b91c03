// Both doors for JSON: they agree, and what was read can be written and read again.
#include "fuzz.h"
#include "io/json_document.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  const std::string_view text = fuzz::text_of(bytes);
  const JsonLimits limits{.bytes = 1 << 16, .depth = 32, .values = 1000};
  const auto tree = parse_json(text, "config.json", limits);
  const auto document = JsonDocument::parse(text, "config.json", limits);
  if (!tree) fuzz::require_readable(tree.error());
  if (!document) fuzz::require_readable(document.error());
  if (document && !tree)
    fuzz::require(tree.error().message().ends_with("stands twice"), "the tree refuses only double keys beyond that");
  if (!tree) return;
  const std::string line = to_json_line(*tree);
  const auto again = parse_json(line, "again", limits);
  fuzz::require(again.ok() && to_json_line(*again) == line, "JSON that was written reads back");
}

const fuzz::FuzzTarget target("json", run);

}  // namespace
