// What a program and its media helper (src/helper) say to each other over a SOCK_SEQPACKET pair: one fixed-size
// request, one fixed-size reply, what is large in a memfd that comes with the reply. Both sides are of one build and
// machine; the program takes nothing in a reply for granted, because the helper reads hostile files.
#pragma once

#include <cstdint>

#include <sys/types.h>

namespace tap::media_protocol {

constexpr int socket_fd = 3, file_fd = 4;  // in the helper
constexpr std::uint32_t version = 3;

enum class Ask : std::uint32_t {
  open_video = 1,  // reply: size, frames; with doubles: the seconds of each frame, ascending from 0
  frame = 2,       // `index` of open_video's list; reply: RGB pixels, upright, and the index it really is
  heif = 3,        // picture `index` of a HEIC or HEIF file; reply: RGB pixels, upright, and how many it holds
  picture = 4      // picture `index` of a file of the formats that codec reads; reply: RGB pixels, upright
};

enum class Status : std::uint32_t { good = 0, bad_file = 1, unsupported = 2, limit = 3, failed = 4 };

struct Request {
  std::uint32_t version = media_protocol::version;
  Ask ask = Ask::open_video;
  std::int64_t index = 0;
};

struct Reply {
  std::uint32_t version = media_protocol::version;
  Status status = Status::good;
  std::int64_t width = 0, height = 0;  // upright
  std::int64_t frames = 0, index = 0;
  std::int64_t broken = 0;  // frames that could not be decoded so far
  std::uint64_t bytes = 0;  // in the memfd; 0: none comes
  char codec[32] = {};
  char message[192] = {};  // why, when not good
};

// A helper started with the argument `starter` reads no file. For every Start, which comes with the descriptors of a
// socket and of a file, it forks a helper that has them, a child of the program's: linking takes a new one 50 ms.
constexpr const char* starter = "starter";
struct Start {
  std::uint32_t version = media_protocol::version;
};
struct Started {
  std::uint32_t version = media_protocol::version;
  int error = 0;  // errno of a failed fork
  pid_t pid = -1;
};

constexpr std::int64_t most_frames = 20'000'000;  // of one file: 92 hours at 60 a second
constexpr std::int64_t most_pixels = 80'000'000, most_edge = 16'384;

}  // namespace tap::media_protocol
