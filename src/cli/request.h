// A line of `tapetum batch`: what it asks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "io/json.h"
#include "runtime/conversation.h"
#include "runtime/token_loop.h"
#include "tasks/wants.h"

namespace tap::cli {

constexpr std::size_t request_limit_bytes = std::size_t{16} << 20;
constexpr std::size_t request_most_images = 256;

// A message whose pictures are named yet.
struct NamedPart {
  std::string text, image;  // one of them
};
struct NamedMessage {
  std::string role;
  std::vector<NamedPart> parts;
};

struct Request {
  enum class Task { ask, find };
  Json id;  // text, a number or null
  Task task = Task::ask;
  Want::Kind usual = Want::Kind::detect;  // of find: what "task" says
  std::string thing;                      // of find
  std::string system;
  std::vector<NamedMessage> messages;  // of ask: of "messages", or what "images" and "question" come to
  std::string image;                   // of find
  GenerateOptions generate;            // the defaults, with what the request says
  Json form;  // {"choices": […]}, {"regex": "…"}, {"schema": {…}} or {"grammar": "…"}; null: that of the defaults
};

// The id of a line, as far as it can be told, for the error of one that cannot be used.
Json request_id(const Json& line);

// Errors name the key, what it is and what it must be. Picture names are as in the line.
Result<Request> parse_request(const Json& line, const GenerateOptions& defaults);

}  // namespace tap::cli
