// What a request brings besides text: data: URLs, and what http and https URLs of public addresses hold. All of it is
// decoded by the media helper, in its sandbox.
#pragma once

#include <memory>
#include <string>

#include "codec/image.h"
#include "media/helper_starter.h"
#include "runtime/conversation.h"
#include "runtime/model.h"
#include "server/chat_request.h"

namespace tap::server {

struct MediaLimits {
  std::size_t file_bytes = std::size_t{64} << 20;    // of a picture or another file
  std::size_t video_bytes = std::size_t{256} << 20;  // of a video
  std::size_t pixel_bytes = std::size_t{512} << 20;  // of one request's pictures and frames together
  double video_seconds = 4 * 3600;                   // of a video's length
  double fetch_seconds = 20;                         // for one URL
  double decode_seconds = 30;                        // for one picture or frame
  double request_seconds = 90;                       // for all that one request brings
  bool allow_private = false;                        // fetch from private, loopback and link-local addresses too
};

class MediaReader {
 public:
  explicit MediaReader(MediaLimits limits) : limits_(limits) {}

  // Throw Error naming `at`, the field that the URL stands in; for what passes a limit StatusError 413.
  std::shared_ptr<const Image> picture(const std::string& url, const std::string& at) const;
  // Reads them all, a picture's URL once.
  Conversation conversation(const ChatRequest& request, const Model& model) const;

 private:
  class Reading;
  MediaLimits limits_;
  mutable HelperStarter helpers_;
};

}  // namespace tap::server
