#include "server/request_pictures.h"

#include <span>

#include "io/url.h"
#include "media/picture_bytes.h"

namespace tap::server {

std::shared_ptr<const Image> picture_of(const std::string& url, const std::string& at, const PictureLimits& limits) {
  try {
    if (!is_url(url)) throw Error(ErrorCode::bad_input, fmt::format("{}: must be a data:, http: or https: URL", shortened_url(url)));
    FetchOptions fetching;
    fetching.max_bytes = limits.file_bytes;
    fetching.total_seconds = limits.fetch_seconds;
    fetching.allow_private = limits.allow_private;
    const std::string bytes = picture_url_bytes(url, fetching);
    return std::make_shared<const Image>(decode_picture(std::as_bytes(std::span(bytes)), "picture"));
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", at, error.message()), at);
  }
}

Conversation conversation_of(const ChatRequest& request, const PictureLimits& limits, const Model& model) {
  std::unordered_map<std::string_view, std::shared_ptr<const Image>> known;
  std::size_t pixel_bytes = 0;
  Conversation conversation;
  for (const RequestMessage& message : request.messages) {
    Message& to = conversation.messages.emplace_back(Message{message.role, {}, message.fields});
    for (const RequestPart& part : message.parts) {
      if (!part.picture) {
        to.parts.push_back({part.text});
        continue;
      }
      auto& image = known[part.url];
      if (!image) {
        image = picture_of(part.url, part.place, limits);
        pixel_bytes += image->pixels.size();
        if (pixel_bytes > limits.pixel_bytes)
          throw Error(ErrorCode::limit,
                      fmt::format("{}: the pictures of the request hold more than {} bytes of pixels", part.place,
                                  limits.pixel_bytes),
                      part.place);
      }
      to.parts.push_back({{}, image});
    }
  }
  tell_tools(conversation, request.tools, tool_format_of(model), model.has_chat_template());
  return conversation;
}

}  // namespace tap::server
