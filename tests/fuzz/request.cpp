// A line of `tapetum batch`.
#include "cli/request.h"

#include "fuzz.h"

namespace {

using namespace tap;

void run(fuzz::Bytes bytes) {
  const auto line = parse_json(fuzz::text_of(bytes), "line 1", {.bytes = 1 << 16, .depth = 64, .values = 5000});
  if (!line) return fuzz::require_readable(line.error());
  const Json id = cli::request_id(*line);
  fuzz::require(id.is_null() || id.is_string() || id.is_number(), "an id is text or a number");
  const auto request = cli::parse_request(*line, {});
  if (!request) return fuzz::require_readable(request.error());
  fuzz::require(request->id == id, "the id of a request is that of its line");
  fuzz::require(request->generate.max_tokens >= 1, "the number of tokens is checked");
  if (request->task == cli::Request::Task::ask)
    fuzz::require(!request->messages.empty(), "a question has messages");
  else
    fuzz::require(!request->image.empty(), "a search has its picture");
}

const fuzz::FuzzTarget target("request", run);

}  // namespace
