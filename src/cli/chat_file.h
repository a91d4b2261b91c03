// A conversation as it is kept: what was said, about which pictures; and its file.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/json.h"
#include "runtime/conversation.h"
#include "runtime/session.h"

namespace tap::cli {

struct ChatPicture {
  std::string source;  // an absolute path, or a web address
  std::shared_ptr<const Image> image;
  std::string sha256;  // of width, height and pixels: 64 hex digits
};

struct ChatTurn {
  std::string question;
  std::vector<ChatPicture> pictures;
  std::string answer;
  FinishReason finish = FinishReason::none;
};

struct Transcript {
  std::string system;
  std::vector<ChatTurn> turns;
  Conversation conversation() const;
};

std::string picture_sha256(const Image& image);

// {"model", "messages": [{"role", "content": [{"type": "image", "path", "sha256", "width", "height"},
// {"type": "text", "text"}], "finish_reason"?}]}: `tapetum render --messages` reads it too.
Json transcript_json(const Transcript& transcript, std::string_view model);

struct LoadedTranscript {
  Transcript transcript;
  std::vector<std::string> changed;  // pictures with other pixels than when they were saved
};

// The way back. `load` gives a picture by its source or throws. Throws Error(bad_file) that names the message, and one
// Error(not_found) that names every picture that `load` could not give.
LoadedTranscript read_transcript(const Json& file, std::string_view what,
                                 const std::function<ChatPicture(const std::string& source)>& load);

}  // namespace tap::cli
