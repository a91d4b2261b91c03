#include "server/request_parts.h"

#include <algorithm>

#include "io/url.h"
#include "server/json_fields.h"

namespace tap::server {

namespace {

// The URL under `key`: a text, or an object with "url".
const std::string& url_of(const JsonFields& part, std::string_view key) {
  const Json& url = part.need(key);
  if (url.is_string()) return url.get_ref<const std::string&>();
  return JsonFields(url, part.place(key)).need_text("url");
}

// True when it said something.
bool read_clip(const JsonFields& fields, ClipWish& wish) {
  bool said = false;
  if (const auto fps = fields.number("fps", 0.001, 1000)) wish.frames.fps = *fps, said = true;
  if (const auto count = fields.whole("num_frames", -1, most_video_frames)) {  // -1: as many as the model takes (vLLM)
    if (*count == 0)
      refuse(fields.place("num_frames"), fmt::format("is 0: must be from 1 to {}, or -1", most_video_frames));
    if (*count > 0) wish.frames.frames = *count;
    said = true;
  }
  if (const auto most = fields.whole("max_frames", 1, most_video_frames)) wish.most_frames = *most, said = true;
  if (const auto start = fields.number("start", 0, 1e6)) wish.start = *start, said = true;
  if (const auto end = fields.number("end", 0, 1e6)) wish.end = *end, said = true;
  return said;
}

}  // namespace

RequestPart part_of(const Json& value, const std::string& at) {
  const JsonFields part(value, at);
  const std::string& type = part.need_text("type");
  if (type == "text") return {part.need_text("text")};
  if (type == "image_url") {
    const Json& url = part.need("image_url");
    if (url.is_object()) JsonFields(url, part.place("image_url")).word("detail", {"auto", "low", "high"});
    return {{}, PartKind::picture, url_of(part, "image_url"), at};
  }
  if (type == "image") return {{}, PartKind::picture, part.need_text("image"), at};
  if (type == "video_url" || type == "video") {
    RequestPart video{{}, PartKind::video, url_of(part, type), at};
    ClipWish wish;
    bool said = read_clip(part, wish);
    if (const Json& url = part.need(type); url.is_object()) said |= read_clip(JsonFields(url, part.place(type)), wish);
    if (said) video.clip = wish;
    return video;
  }
  if (type == "input_audio" || type == "audio_url") return {{}, PartKind::sound, {}, at};
  if (type == "file") return file_part(part.need("file"), at, part.place("file"));
  refuse(part.place("type"),
         fmt::format("is {}: must be text, image_url, video_url, input_audio or file", shown(part.need("type"))));
}

RequestPart file_part(const Json& file, const std::string& at, const std::string& place) {
  const JsonFields fields(file, place);
  (void)fields.text("filename");
  if (fields.find("file_id"))
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: this server keeps no files: send file_data", fields.place("file_id")),
                fields.place("file_id"));
  if (const std::string* url = fields.text("file_url")) return {{}, PartKind::file, *url, at};
  const std::string& data = fields.need_text("file_data");
  return {{}, PartKind::file, is_url(data) ? data : "data:application/octet-stream;base64," + data, at};
}

ClipWish clip_wish_of_body(const Json& body) {
  const JsonFields fields(body, "");
  ClipWish wish;
  if (const Json* options = fields.find("media_io_kwargs")) {
    const JsonFields kinds(*options, "media_io_kwargs");
    if (const Json* video = kinds.find("video")) read_clip(JsonFields(*video, kinds.place("video")), wish);
  }
  if (const Json* options = fields.find("mm_processor_kwargs"))
    read_clip(JsonFields(*options, "mm_processor_kwargs"), wish);
  return wish;
}

}  // namespace tap::server
