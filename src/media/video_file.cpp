#include "media/video_file.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/exec_context.h"
#include "base/file.h"

namespace tap {

namespace {

using namespace media_protocol;

constexpr int lowest_fd = 64;  // above the numbers that the helper finds its own under
constexpr int look_ms = 50;    // between questions whether to go on

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

double patience_s() {  // for one reply
  const char* given = std::getenv("TAPETUM_MEDIA_SECONDS");
  const double seconds = given ? std::atof(given) : 0;
  return seconds > 0 ? seconds : 120;
}

// Beside the program, as in an installation.
std::string helper_path() {
  if (const char* given = std::getenv("TAPETUM_MEDIA"); given && *given) return given;
  std::string self(4096, '\0');
  const ssize_t length = ::readlink("/proc/self/exe", self.data(), self.size());
  if (length <= 0) return {};
  self.resize(static_cast<std::size_t>(length));
  return self.substr(0, self.rfind('/')) + "/tapetum-media";
}

// What the helper said, cut to what may be printed.
std::string said(const Reply& reply) {
  std::string text(reply.message, ::strnlen(reply.message, sizeof reply.message));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126) c = '?';
  return text;
}

ErrorCode code_of(Status status) {
  switch (status) {
    case Status::unsupported: return ErrorCode::unsupported;
    case Status::limit: return ErrorCode::limit;
    case Status::failed: return ErrorCode::internal;
    default: return ErrorCode::bad_file;
  }
}

void read_all(int fd, void* to, std::size_t bytes, const std::string& path) {
  auto* at = static_cast<char*>(to);
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t got = ::pread(fd, at + done, bytes - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw Error(ErrorCode::io, fmt::format("{}: the media helper sent less than it said", path), path);
    done += static_cast<std::size_t>(got);
  }
}

// Takes the descriptors: none of the helper's stays open here, so that its end is seen.
pid_t spawn_helper(const std::string& program, Fd socket, Fd file, const std::string& path) {
  const Fd high_socket(::fcntl(socket.get(), F_DUPFD_CLOEXEC, lowest_fd));
  const Fd high_file(::fcntl(file.get(), F_DUPFD_CLOEXEC, lowest_fd));
  pid_t pid = -1;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, high_socket.get(), socket_fd);
  ::posix_spawn_file_actions_adddup2(&actions, high_file.get(), file_fd);
  posix_spawnattr_t attributes;  // Ctrl-C is ours to take, and signals begin as a program finds them
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t none, usual;
  ::sigemptyset(&none);
  ::sigfillset(&usual);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &usual);
  std::string name = "tapetum-media", language = "LC_ALL=C";
  char* arguments[] = {name.data(), nullptr};
  char* environment[] = {language.data(), nullptr};
  const int failed = high_socket.get() < 0 || high_file.get() < 0
                         ? errno
                         : ::posix_spawn(&pid, program.c_str(), &actions, &attributes, arguments, environment);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0)
    throw Error(ErrorCode::io, fmt::format("{}: cannot start the media helper: {}", path, std::strerror(failed)), path);
  return pid;
}

}  // namespace

struct VideoFile::Helper {
  pid_t pid = -1;
  Fd socket;

  ~Helper() {
    if (pid <= 0) return;
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  // How it ended, once it has: it leaves no zombie behind.
  std::string ending() {
    int status = 0;
    for (int i = 0; i < 100; ++i) {
      const pid_t got = ::waitpid(pid, &status, WNOHANG);
      if (got == pid) {
        pid = -1;
        if (WIFSIGNALED(status)) return fmt::format("was killed by signal {}", WTERMSIG(status));
        return WEXITSTATUS(status) == 4 ? "could not enter its sandbox"
                                        : fmt::format("ended with code {}", WEXITSTATUS(status));
      }
      if (got < 0 && errno != EINTR) break;
      ::usleep(2000);
    }
    return "went away";
  }
};

bool is_video_file(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char head[16] = {};
  if (fd.get() < 0 || ::pread(fd.get(), head, sizeof head, 0) != static_cast<ssize_t>(sizeof head)) return false;
  const std::string_view text(head, sizeof head);
  const auto at = [&](std::size_t begin, std::string_view bytes) { return text.substr(begin, bytes.size()) == bytes; };
  using namespace std::string_view_literals;
  if (at(4, "ftyp")) {  // pictures are in the same boxes
    for (const std::string_view picture : {"avif"sv, "avis"sv, "heic"sv, "heix"sv, "hevc"sv, "mif1"sv, "msf1"sv})
      if (at(8, picture)) return false;
    return true;
  }
  return at(4, "moov") || at(4, "mdat") || at(4, "wide") || at(0, "\x1a\x45\xdf\xa3"sv) ||
         (at(0, "RIFF") && at(8, "AVI ")) || at(0, "\0\0\1\xba"sv) || at(0, "\0\0\1\xb3"sv) || at(0, "FLV\1"sv) ||
         at(0, "OggS");
}

VideoFile::VideoFile(const std::string& path) : path_(path), helper_(std::make_unique<Helper>()) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0)
    throw Error(errno == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                fmt::format("{}: {}", path, std::strerror(errno)), path);
  const std::string program = helper_path();
  if (!file_exists(program))
    throw Error(
        ErrorCode::unsupported,
        fmt::format("{}: videos are read by tapetum-media, which is not installed beside tapetum (it needs FFmpeg's "
                    "libraries: libavformat59, libavcodec59, libswscale6)",
                    path),
        path);
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    throw Error(ErrorCode::io, fmt::format("{}: no socket for the media helper: {}", path, std::strerror(errno)), path);
  helper_->socket = Fd(pair[0]);
  helper_->pid = spawn_helper(program, Fd(pair[1]), std::move(file), path);

  int memory = -1;
  const Reply reply = ask({.ask = Ask::open_video}, memory);
  const Fd held(memory);
  const auto count = static_cast<std::uint64_t>(reply.frames);
  if (reply.frames < 1 || reply.frames > most_frames || reply.bytes != count * sizeof(double) || memory < 0 ||
      reply.width < 1 || reply.height < 1 || reply.width > most_edge || reply.height > most_edge ||
      reply.width * reply.height > most_pixels)
    throw Error(ErrorCode::io, fmt::format("{}: the media helper speaks no sense", path), path);
  seconds_.resize(count);
  read_all(memory, seconds_.data(), reply.bytes, path);
  double before = 0;
  for (double& at : seconds_) before = at = std::isfinite(at) ? std::max(before, at) : before;
  width_ = reply.width;
  height_ = reply.height;
  codec_.assign(reply.codec, ::strnlen(reply.codec, sizeof reply.codec));
}

VideoFile::~VideoFile() = default;
VideoFile::VideoFile(VideoFile&&) noexcept = default;

double VideoFile::fps() const {
  const double span = seconds_.back() - seconds_.front();
  return span > 0 ? static_cast<double>(frames() - 1) / span : 1;
}

double VideoFile::duration() const { return seconds_.back() - seconds_.front() + 1 / fps(); }

Reply VideoFile::ask(const Request& request, int& memory) {
  memory = -1;
  const auto gone = [&] {
    return Error(ErrorCode::io, fmt::format("{}: the media helper {}", path_, helper_->ending()), path_);
  };
  if (helper_->pid <= 0) throw Error(ErrorCode::io, fmt::format("{}: the media helper went away before", path_), path_);
  if (::send(helper_->socket.get(), &request, sizeof request, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof request))
    throw gone();
  const Stopwatch watch;
  const double patience = patience_s();
  for (;;) {
    pollfd ready{helper_->socket.get(), POLLIN, 0};
    const int got = ::poll(&ready, 1, look_ms);
    if (got > 0) break;
    ExecContext::current().checkpoint();
    if (watch.ms() > patience * 1000) {
      helper_ = std::make_unique<Helper>();
      throw Error(ErrorCode::io, fmt::format("{}: the media helper gave no answer in {} seconds", path_, patience),
                  path_);
    }
  }
  Reply reply;
  iovec part{&reply, sizeof reply};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t bytes = ::recvmsg(helper_->socket.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head))
    if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int)))
      std::memcpy(&memory, CMSG_DATA(head), sizeof memory);
  const Fd held(memory);
  if (bytes <= 0) throw gone();
  if (bytes != static_cast<ssize_t>(sizeof reply) || reply.version != version || reply.status > Status::failed)
    throw Error(ErrorCode::io, fmt::format("{}: the media helper speaks no sense", path_), path_);
  if (reply.status != Status::good)
    throw Error(code_of(reply.status), fmt::format("{}: {}", path_, said(reply)), path_);
  memory = memory < 0 ? -1 : ::fcntl(memory, F_DUPFD_CLOEXEC, lowest_fd);
  return reply;
}

VideoFile::Frame VideoFile::frame(Dim index) {
  if (index < 0 || index >= frames())
    throw Error(ErrorCode::bad_input, fmt::format("{}: has no frame {}: it holds {}", path_, index, frames()), path_);
  int memory = -1;
  const Reply reply = ask({.ask = Ask::frame, .index = index}, memory);
  const Fd held(memory);
  Frame frame{Image(width_, height_), reply.index, 0};
  if (memory < 0 || reply.width != width_ || reply.height != height_ || reply.bytes != frame.image.pixels.size() ||
      reply.index < index || reply.index >= frames())
    throw Error(ErrorCode::io, fmt::format("{}: the media helper speaks no sense", path_), path_);
  read_all(memory, frame.image.pixels.data(), frame.image.pixels.size(), path_);
  frame.seconds = seconds_[static_cast<std::size_t>(reply.index)];
  broken_ = reply.broken;
  return frame;
}

}  // namespace tap
