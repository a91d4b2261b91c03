#include "server/request_media.h"

#include <algorithm>
#include <new>
#include <span>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "base/log.h"
#include "io/url.h"
#include "media/picture_bytes.h"
#include "server/status_error.h"

namespace tap::server {

namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

bool begins(const std::string& bytes, std::string_view magic) { return std::string_view(bytes).starts_with(magic); }

bool is_sound(const std::string& bytes) {
  const std::string_view text(bytes);
  return text.starts_with("ID3") || text.starts_with("fLaC") || text.starts_with("\xff\xfb") ||
         (text.starts_with("RIFF") && text.substr(0, 12).ends_with("WAVE"));
}

}  // namespace

// One request's way through what it brings.
class MediaReader::Reading {
 public:
  Reading(const MediaLimits& limits, HelperStarter& helpers, const Model* model)
      : limits_(limits), helpers_(helpers), model_(model) {}

  std::shared_ptr<const Image> picture(const std::string& url, const std::string& at) {
    return located(at, [&] {
      require_time();
      return decoded(picture_url_bytes(required(url), fetching(limits_.file_bytes)));
    });
  }

  Medium medium(const RequestPart& part, const ClipWish& usual) {
    if (part.kind == PartKind::picture) return {picture(part.url, part.place), nullptr};
    return located(part.place, [&]() -> Medium {
      if (part.kind == PartKind::sound) fail(ErrorCode::unsupported, "model {} takes no audio", model_->name());
      require_time();
      const ClipWish& wish = part.clip ? *part.clip : usual;
      const bool video = part.kind == PartKind::video;
      const std::string bytes = file_bytes(required(part.url), video);
      if (begins(bytes, "%PDF"))
        fail(ErrorCode::unsupported, "PDF is not read by this build: send its pages as pictures");
      if (is_sound(bytes)) fail(ErrorCode::unsupported, "model {} takes no audio", model_->name());
      if (video && bytes.empty()) fail(ErrorCode::bad_file, "video: is empty");
      if (video || is_video(bytes_of(bytes))) return {nullptr, clip(bytes, wish)};
      return {decoded(bytes), nullptr};
    });
  }

 private:
  template <class Fn>
  static auto located(const std::string& at, Fn&& read) -> decltype(read()) {
    try {
      return read();
    } catch (const Error& error) {
      const std::string message = fmt::format("{}: {}", at, error.message());
      if (error.code() == ErrorCode::limit) throw StatusError(413, error.code(), message, at);
      // A URL that holds nothing is a fault of the request; 404 is for routes and models.
      if (error.code() == ErrorCode::not_found) throw StatusError(400, error.code(), message, at);
      throw Error(error.code(), message, at);
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::out_of_memory, fmt::format("{}: out of memory", at), at);
    }
  }

  static const std::string& required(const std::string& url) {
    if (!is_url(url)) fail(ErrorCode::bad_input, "{}: must be a data:, http: or https: URL", shortened_url(url));
    return url;
  }

  void require_time() const {
    if (watch_.ms() > limits_.request_seconds * 1000)
      fail(ErrorCode::limit, "reading what the request brings took more than {} s", limits_.request_seconds);
  }

  FetchOptions fetching(std::size_t bytes) const {
    FetchOptions options;
    options.max_bytes = bytes;
    options.total_seconds =
        std::min(limits_.fetch_seconds, std::max(1.0, limits_.request_seconds - watch_.ms() / 1000));
    options.allow_private = limits_.allow_private;
    return options;
  }

  std::string file_bytes(const std::string& url, bool video) const {
    const std::size_t most = video ? limits_.video_bytes : std::max(limits_.video_bytes, limits_.file_bytes);
    if (!is_data_url(url)) return fetch(url, fetching(most)).value();
    DataUrl data = parse_data_url(url, most).value();
    if (video && !data.mime.starts_with("video/") && data.mime != "application/octet-stream")
      fail(ErrorCode::bad_input, "{}: its type is {}: must be video/…", shortened_url(url), log::one_line(data.mime));
    return std::move(data.bytes);
  }

  std::shared_ptr<const Image> decoded(const std::string& bytes) {
    if (bytes.size() > limits_.file_bytes)
      fail(ErrorCode::limit, "picture: {} bytes; the limit is {}", bytes.size(), limits_.file_bytes);
    auto image = std::make_shared<const Image>(helpers_.picture(bytes_of(bytes), "picture", limits_.decode_seconds));
    add_pixels(image->pixels.size());
    return image;
  }

  void add_pixels(std::size_t bytes) {
    pixel_bytes_ += bytes;
    if (pixel_bytes_ > limits_.pixel_bytes)
      fail(ErrorCode::limit, "the pictures of the request hold more than {} bytes of pixels", limits_.pixel_bytes);
  }

  std::shared_ptr<const Clip> clip(const std::string& bytes, const ClipWish& wish) {
    VideoFile video(helpers_.take(bytes_of(bytes), "video"), "video", limits_.decode_seconds);
    if (video.duration() > limits_.video_seconds)
      fail(ErrorCode::limit, "video: lasts {:.0f} s; the limit is {:.0f}", video.duration(), limits_.video_seconds);
    const PlannedClip planned = plan_clip(video, model_->processor(), wish);
    add_frames(planned, video, model_->processor(), {}, [&](std::size_t frame_bytes) {
      add_pixels(frame_bytes);
      require_time();
    });
    return planned.clip;
  }

  const MediaLimits& limits_;
  HelperStarter& helpers_;
  const Model* model_;
  std::size_t pixel_bytes_ = 0;
  Stopwatch watch_;
};

std::shared_ptr<const Image> MediaReader::picture(const std::string& url, const std::string& at) const {
  return Reading(limits_, helpers_, nullptr).picture(url, at);
}

Conversation MediaReader::conversation(const ChatRequest& request, const Model& model) const {
  Reading reading(limits_, helpers_, &model);
  std::unordered_map<std::string_view, std::shared_ptr<const Image>> known;
  Conversation conversation;
  for (const RequestMessage& message : request.messages) {
    Message& to = conversation.messages.emplace_back(Message{message.role, {}, message.fields});
    for (const RequestPart& part : message.parts) {
      if (part.kind == PartKind::text) {
        to.parts.push_back({part.text});
      } else if (part.kind == PartKind::picture) {
        auto& image = known[part.url];
        if (!image) image = reading.picture(part.url, part.place);
        to.parts.push_back({{}, image});
      } else {
        const Medium medium = reading.medium(part, request.clip);
        to.parts.push_back({{}, medium.image, medium.clip});
      }
    }
  }
  tell_tools(conversation, request.tools, tool_format_of(model), model.has_chat_template());
  return conversation;
}

}  // namespace tap::server
