#include "cli/clipboard.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child_program.h"
#include "base/clock.h"
#include "base/exec_context.h"
#include "base/file.h"

extern char** environ;

namespace tap::cli {

namespace {

constexpr double patience_ms = 10'000;

using Words = std::vector<const char*>;

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value && *value;
}

bool on_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path ? path : "";
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::string file = std::string(rest.substr(0, end)) + "/" + program;
    if (::access(file.c_str(), X_OK) == 0 && !is_directory(file)) return true;
    rest.remove_prefix(std::min(rest.size(), end + 1));
  }
  return false;
}

// The tool of this desktop, without a null at its end; empty when none is installed.
Words tool() {
  if (is_set("WAYLAND_DISPLAY") && on_path("wl-paste")) return {"wl-paste", "--no-newline", "--type", "image/png"};
  if (is_set("DISPLAY") && on_path("xclip")) return {"xclip", "-selection", "clipboard", "-t", "image/png", "-o"};
  if (on_path("pbpaste")) return {"pbpaste"};
  return {};
}

// A child that is ended and waited for when this goes.
class Child {
 public:
  // `words` without a shell; its stdout comes out of `fd()`, stdin and stderr are empty.
  explicit Child(Words words) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail(ErrorCode::io, "pipe: {}", reason_of(errno));
    read_end_ = ends[0];
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    ::posix_spawnattr_setsigdefault(&attributes, &defaults);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    words.push_back(nullptr);
    const int failed =
        ::posix_spawnp(&pid_, words[0], &actions, &attributes, const_cast<char* const*>(words.data()), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    if (failed != 0) {
      pid_ = -1;
      ::close(read_end_);
      fail(ErrorCode::io, "{}: cannot run it: {}", words[0], reason_of(failed));
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    ::close(read_end_);
    if (pid_ > 0) end_child(pid_);
  }
  int fd() const { return read_end_; }
  // Its exit code, or -1 when a signal ended it or it goes on for longer than that.
  int wait(double most_ms) {
    const Stopwatch watch;
    int status = 0;
    pid_t ended = 0;
    while ((ended = ::waitpid(pid_, &status, WNOHANG)) == 0 && watch.ms() < most_ms) ::usleep(1000);
    if (ended != pid_) return -1;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  int read_end_ = -1;
  pid_t pid_ = -1;
};

}  // namespace

Result<std::string> clipboard_picture(std::size_t limit_bytes) {
  const std::string item = "clipboard";
  const Words words = tool();
  if (words.empty())
    return Error(ErrorCode::unsupported,
                 is_set("WAYLAND_DISPLAY") || is_set("DISPLAY")
                     ? "clipboard: reading it needs a tool that is not installed: wl-paste (package wl-clipboard) on "
                       "Wayland, xclip (package xclip) on X11"
                     : "clipboard: there is no desktop here (neither WAYLAND_DISPLAY nor DISPLAY is set)",
                 item);
  const Stopwatch watch;
  Child child(words);
  std::string bytes;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    ExecContext::current().checkpoint();
    const double left_ms = patience_ms - watch.ms();
    if (left_ms <= 0)
      return Error(ErrorCode::io,
                   fmt::format("clipboard: {} gave no answer in {:.0f} seconds", words[0], patience_ms / 1000), item);
    pollfd waiting{child.fd(), POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(left_ms) + 1) <= 0) continue;
    const ssize_t n = ::read(child.fd(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    if (bytes.size() + static_cast<std::size_t>(n) > limit_bytes)
      return Error(ErrorCode::limit, fmt::format("clipboard: larger than the limit of {} bytes", limit_bytes), item);
    bytes.append(buffer.data(), static_cast<std::size_t>(n));
  }
  if (child.wait(1000) != 0 || bytes.empty())
    return Error(ErrorCode::not_found, fmt::format("clipboard: there is no picture in it (asked {})", words[0]), item);
  return bytes;
}

}  // namespace tap::cli
