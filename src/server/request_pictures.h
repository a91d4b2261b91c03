// The pictures of a request: data: URLs, and what http and https URLs of public addresses hold.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "codec/image.h"
#include "server/chat_request.h"
#include "runtime/conversation.h"

namespace tap::server {

struct PictureLimits {
  std::size_t file_bytes = std::size_t{64} << 20;
  std::size_t pixel_bytes = std::size_t{512} << 20;  // of one request's pictures together
  double fetch_seconds = 20;
  bool allow_private = false;  // fetch from private, loopback and link-local addresses too
};

// Throws Error naming `at`, the field that the URL stands in.
std::shared_ptr<const Image> picture_of(const std::string& url, const std::string& at, const PictureLimits& limits);

// Decodes them, each URL once, and tells the model of the tools. Throws Error naming the part.
Conversation conversation_of(const ChatRequest& request, const PictureLimits& limits, const Model& model);

}  // namespace tap::server
