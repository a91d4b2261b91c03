// The parts of a message as OpenAI's and vLLM's clients write them: text, picture, video, sound, file.
#pragma once

#include <optional>
#include <string>

#include "io/json.h"
#include "runtime/clip.h"

namespace tap::server {

enum class PartKind { text, picture, video, sound, file };  // a file is what its bytes say

struct RequestPart {
  std::string text;
  PartKind kind = PartKind::text;
  std::string url = {};               // of what is no text
  std::string place = {};             // "messages[0].content[1]", for errors
  std::optional<ClipWish> clip = {};  // of a video, where the part itself says something
};

constexpr std::int64_t most_video_frames = 768;  // that a request may ask for

// {"type": "text" | "image_url" | "video_url" | "input_audio" | "file" | …}. Throws Error naming the field.
RequestPart part_of(const Json& value, const std::string& at);

// What a body says of all its videos: "mm_processor_kwargs" and "media_io_kwargs": {"video": …}, as vLLM has them.
ClipWish clip_wish_of_body(const Json& body);

// {"file_data": data: URL or base64, "file_url", "filename", "file_id"}: the first two are read.
RequestPart file_part(const Json& file, const std::string& at, const std::string& place);

}  // namespace tap::server
