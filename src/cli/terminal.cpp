#include "cli/terminal.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/interrupt.h"
#include "cli/output.h"

namespace tap::cli {

namespace {

constexpr std::string_view paste_on = "\x1b[?2004h", paste_off = "\x1b[?2004l";
constexpr std::array fatal_signals = {SIGQUIT, SIGABRT};  // end the program outside its own ways out

termios settings_before;
std::atomic<bool> changed{false}, pastes_bracketed{false}, size_changed{false};
std::array<struct sigaction, fatal_signals.size()> actions_before;
struct sigaction resize_action_before;

// Async-signal-safe (POSIX: tcsetattr, write).
void restore() noexcept {
  if (pastes_bracketed.exchange(false)) (void)!::write(STDOUT_FILENO, paste_off.data(), paste_off.size());
  if (changed.exchange(false)) ::tcsetattr(STDIN_FILENO, TCSANOW, &settings_before);  // never waits for the reader
}

void on_resize(int) {
  size_changed = true;
  wake();
}

void on_fatal(int signal) {
  restore();
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void change(const termios& settings) {
  changed = true;
  while (::tcsetattr(STDIN_FILENO, TCSADRAIN, &settings) != 0 && errno == EINTR &&
         interruption() == Interruption::none) {
  }
}

}  // namespace

bool Terminal::usable() {
  const char* kind = std::getenv("TERM");
  return ::isatty(STDIN_FILENO) && ::isatty(STDOUT_FILENO) && !(kind && std::string_view(kind) == "dumb");
}

Terminal::Terminal() {
  if (::tcgetattr(STDIN_FILENO, &settings_before) != 0)
    fail(ErrorCode::io, "stdin: cannot read the terminal's settings: {}", reason_of(errno));
  on_forced_exit(restore);
  struct sigaction action = {};
  action.sa_handler = on_resize;
  ::sigaction(SIGWINCH, &action, &resize_action_before);
  action.sa_handler = on_fatal;
  for (std::size_t i = 0; i < fatal_signals.size(); ++i) ::sigaction(fatal_signals[i], &action, &actions_before[i]);
}

Terminal::~Terminal() {
  restore();
  on_forced_exit(nullptr);
  for (std::size_t i = 0; i < fatal_signals.size(); ++i) ::sigaction(fatal_signals[i], &actions_before[i], nullptr);
  ::sigaction(SIGWINCH, &resize_action_before, nullptr);
}

void Terminal::edit_mode() {
  termios settings = settings_before;
  settings.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | IEXTEN | ISIG);
  settings.c_cc[VMIN] = 1;
  settings.c_cc[VTIME] = 0;
  change(settings);
  pastes_bracketed = true;
  write_out(paste_on);
}

void Terminal::answer_mode() {
  termios settings = settings_before;
  settings.c_iflag &= ~static_cast<tcflag_t>(ICRNL);  // Enter typed ahead is the editor's Enter
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
  settings.c_lflag |= static_cast<tcflag_t>(ISIG);
  settings.c_cc[VMIN] = 1;
  settings.c_cc[VTIME] = 0;
  change(settings);
}

void Terminal::suspend() {
  restore();
  ::kill(0, SIGTSTP);  // the whole job, as the terminal would
  edit_mode();
}

Terminal::Wake Terminal::wait(std::string& bytes, int wait_ms) {
  for (;;) {
    if (interruption() != Interruption::none) return Wake::interrupted;
    if (size_changed.exchange(false)) return Wake::resized;
    std::array<pollfd, 2> sources = {pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{wake_fd(), POLLIN, 0}};
    const int ready = ::poll(sources.data(), sources.size(), wait_ms);
    if (ready == 0) return Wake::timeout;
    if (ready < 0 && errno != EINTR) fail(ErrorCode::io, "stdin: {}", reason_of(errno));
    if (ready < 0) continue;
    if (sources[1].revents) {
      drain_wake_fd();
      continue;
    }
    char buffer[4096];
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return Wake::closed;  // a terminal that is gone reads as EIO
    bytes.append(buffer, static_cast<std::size_t>(n));
    return Wake::bytes;
  }
}

bool Terminal::has_input() const {
  pollfd source = {STDIN_FILENO, POLLIN, 0};
  return ::poll(&source, 1, 0) > 0 && (source.revents & POLLIN);
}

ScreenSize Terminal::size() {
  winsize size = {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

}  // namespace tap::cli
