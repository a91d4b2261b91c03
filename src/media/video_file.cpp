#include "media/video_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace tap {

using namespace media_protocol;

bool is_video(std::span<const std::byte> bytes) {
  if (bytes.size() < 16) return false;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), 16);
  const auto at = [&](std::size_t begin, std::string_view magic) { return text.substr(begin, magic.size()) == magic; };
  using namespace std::string_view_literals;
  if (at(4, "ftyp"))  // pictures are in the same boxes
    return !at(8, "avif") && !at(8, "avis") && !is_heif(bytes.first(16));
  return at(4, "moov") || at(4, "mdat") || at(4, "wide") || at(0, "\x1a\x45\xdf\xa3"sv) ||
         (at(0, "RIFF") && at(8, "AVI ")) || at(0, "\0\0\1\xba"sv) || at(0, "\0\0\1\xb3"sv) || at(0, "FLV\1"sv) ||
         at(0, "OggS");
}

bool is_video_file(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char head[16] = {};
  const bool read = fd >= 0 && ::pread(fd, head, sizeof head, 0) == static_cast<ssize_t>(sizeof head);
  if (fd >= 0) ::close(fd);
  return read && is_video(std::as_bytes(std::span(head)));
}

VideoFile::VideoFile(const std::string& path) : VideoFile(HelperProcess::of_file(path), path) {}

VideoFile::VideoFile(HelperProcess helper, const std::string& path, double answer_seconds)
    : path_(path), helper_(std::move(helper)), answer_seconds_(answer_seconds) {
  const auto [reply, bytes] = helper_.ask({.ask = Ask::open_video}, sizeof(double) * most_frames, answer_seconds_);
  const auto count = static_cast<std::uint64_t>(std::max<std::int64_t>(0, reply.frames));
  if (count < 1 || bytes.size() != count * sizeof(double) || reply.width < 1 || reply.height < 1 ||
      reply.width > most_edge || reply.height > most_edge || reply.width * reply.height > most_pixels)
    throw Error(ErrorCode::io, fmt::format("{}: the media helper speaks no sense", path), path);
  seconds_.resize(count);
  std::memcpy(seconds_.data(), bytes.data(), bytes.size());
  double before = 0;
  for (double& at : seconds_) before = at = std::isfinite(at) ? std::max(before, at) : before;
  width_ = reply.width;
  height_ = reply.height;
  codec_.assign(reply.codec, ::strnlen(reply.codec, sizeof reply.codec));
}

double VideoFile::fps() const {
  const double span = seconds_.back() - seconds_.front();
  return span > 0 ? static_cast<double>(frames() - 1) / span : 1;
}

double VideoFile::duration() const { return seconds_.back() - seconds_.front() + 1 / fps(); }

VideoFile::Frame VideoFile::frame(Dim index) {
  if (index < 0 || index >= frames())
    throw Error(ErrorCode::bad_input, fmt::format("{}: has no frame {}: it holds {}", path_, index, frames()), path_);
  Frame frame{Image(width_, height_), 0, 0};
  const auto [reply, bytes] =
      helper_.ask({.ask = Ask::frame, .index = index}, frame.image.pixels.size(), answer_seconds_);
  if (reply.width != width_ || reply.height != height_ || bytes.size() != frame.image.pixels.size() ||
      reply.index < index || reply.index >= frames())
    throw Error(ErrorCode::io, fmt::format("{}: the media helper speaks no sense", path_), path_);
  std::memcpy(frame.image.pixels.data(), bytes.data(), bytes.size());
  frame.index = reply.index;
  frame.seconds = seconds_[static_cast<std::size_t>(reply.index)];
  broken_ = reply.broken;
  return frame;
}

}  // namespace tap
