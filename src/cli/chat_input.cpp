#include "cli/chat_input.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/interrupt.h"
#include "cli/line_view.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "text/tokenizer_unicode.h"

namespace tap::cli {

namespace {

constexpr std::string_view prompt = "> ";
constexpr int escape_wait_ms = 50;  // a key's sequence arrives at once, a lone ESC has nothing behind it
constexpr std::size_t history_bytes = std::size_t{16} << 20;

class TerminalInput final : public ChatInput {
 public:
  explicit TerminalInput(LineEditor::Completer completer)
      : editor_(std::move(completer)), file_(HistoryFile::default_path()) {
    for (std::string& line : file_.load()) editor_.remember(std::move(line));
  }
  ~TerminalInput() override { file_.append(said_); }
  bool is_terminal() const override { return true; }

  Got read(std::string& line) override {
    terminal_.edit_mode();
    const Got got = edit();
    if (got == Got::line) {
      line = editor_.take();
      editor_.remember(line);
      if (!line.empty() && line.front() != ' ' && line.size() <= HistoryFile::longest_line) said_.push_back(line);
    }
    terminal_.answer_mode();
    return got;
  }

 private:
  void draw() {
    if (const std::string notice = editor_.take_notice(); !notice.empty())
      write_out(view_.leave() + printable(notice) + "\n");
    write_out(view_.draw(editor_.prompt(prompt), editor_.text(), editor_.cursor(), Terminal::size()));
  }
  void leave_line() {
    draw();
    write_out(view_.leave());
  }

  Got edit() {
    bool asked_to_leave = false;  // Ctrl-C on an empty line, just now
    for (;;) {
      while (!keys_.empty()) {
        const char key = keys_.front();
        keys_.erase(0, 1);
        const LineEditor::Event event = editor_.feed(key);
        if (event != LineEditor::Event::interrupt && event != LineEditor::Event::none) asked_to_leave = false;
        if (event == LineEditor::Event::none && key != '\x03') asked_to_leave = false;
        switch (event) {
          case LineEditor::Event::none: break;
          case LineEditor::Event::submit: return leave_line(), Got::line;
          case LineEditor::Event::end: return leave_line(), Got::end;
          case LineEditor::Event::interrupt:
            if (interrupt(asked_to_leave)) return Got::interrupted;
            break;
          case LineEditor::Event::suspend:
            leave_line();
            terminal_.suspend();
            break;
          case LineEditor::Event::clear_screen:
            write_out("\x1b[H\x1b[2J");
            view_.forget();
            break;
        }
      }
      if (!terminal_.has_input()) draw();
      switch (terminal_.wait(keys_, editor_.waits_for_key() ? escape_wait_ms : -1)) {
        case Terminal::Wake::bytes: break;
        case Terminal::Wake::timeout: editor_.pause(); break;
        case Terminal::Wake::resized: view_.resized(Terminal::size().columns); break;
        case Terminal::Wake::closed: return Got::end;
        case Terminal::Wake::interrupted:
          if (interruption() == Interruption::leave) return leave_line(), Got::interrupted;
          resume();
          if (interrupt(asked_to_leave)) return Got::interrupted;
          break;
      }
    }
  }

  // Ctrl-C: clears the line; true when it came twice on an empty one.
  bool interrupt(bool& asked_to_leave) {
    leave_line();
    if (!editor_.take().empty()) return asked_to_leave = false;
    if (asked_to_leave) return true;
    write_out("(Ctrl-C again or Ctrl-D leaves)\n");
    asked_to_leave = true;
    return false;
  }

  Terminal terminal_;
  LineEditor editor_;
  LineView view_;
  HistoryFile file_;
  std::vector<std::string> said_;
  std::string keys_;  // read and not yet obeyed: what follows a line belongs to the next one
};

class StreamInput final : public ChatInput {
 public:
  bool is_terminal() const override { return false; }

  Got read(std::string& line) override {
    line.clear();
    for (;;) {
      std::string part;
      if (const Got got = read_part(part); got != Got::line) {
        if (got == Got::end && !line.empty()) return Got::line;  // the last line ended in a backslash
        return got;
      }
      if (part.ends_with('\r')) part.pop_back();
      if (line.size() + part.size() > LineEditor::max_bytes)
        fail(ErrorCode::limit, "a line of {} bytes, the limit is {}", line.size() + part.size(), LineEditor::max_bytes);
      line += part;
      if (!continues(part)) return Got::line;
      line.back() = '\n';
    }
  }

 private:
  Got read_part(std::string& part) {
    for (std::size_t scanned = 0, dropped = 0;;) {
      const std::size_t end = bytes_.find('\n', scanned);
      if (end != std::string::npos || (ended_ && (!bytes_.empty() || dropped > 0))) {
        part = bytes_.substr(0, end);
        bytes_.erase(0, end == std::string::npos ? end : end + 1);
        if (dropped > 0)
          fail(ErrorCode::limit, "a line of {} bytes, the limit is {}", dropped + part.size(), LineEditor::max_bytes);
        return Got::line;
      }
      if (ended_) return Got::end;
      if (bytes_.size() > LineEditor::max_bytes) {
        dropped += bytes_.size();
        bytes_.clear();
      }
      scanned = bytes_.size();
      if (!fill()) return Got::interrupted;
    }
  }

  // More bytes, or the end; false after a signal.
  bool fill() {
    for (;;) {
      if (interruption() != Interruption::none) return false;
      std::array<pollfd, 2> sources = {pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{wake_fd(), POLLIN, 0}};
      const int ready = ::poll(sources.data(), sources.size(), -1);
      if (ready < 0 && errno == EINTR) continue;
      if (ready >= 0 && sources[1].revents) {
        drain_wake_fd();
        continue;
      }
      std::array<char, 1 << 16> buffer;
      const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n < 0) throw Error(ErrorCode::io, fmt::format("stdin: {}", reason_of(errno)), "stdin");
      if (n == 0) ended_ = true;
      bytes_.append(buffer.data(), static_cast<std::size_t>(n));
      return true;
    }
  }

  std::string bytes_;
  bool ended_ = false;
};

std::string escaped(std::string_view line) {
  std::string out;
  for (const char c : line) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

std::string unescaped(std::string_view line) {
  std::string out;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size()) {
      out += line[i + 1] == 'n' ? '\n' : line[i + 1];
      ++i;
    } else {
      out += line[i];
    }
  }
  return out;
}

}  // namespace

std::unique_ptr<ChatInput> terminal_input(LineEditor::Completer completer) {
  return std::make_unique<TerminalInput>(std::move(completer));
}

std::unique_ptr<ChatInput> stream_input() { return std::make_unique<StreamInput>(); }

std::string HistoryFile::default_path() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state && state[0] == '/') return std::string(state) + "/tapetum/history";  // the XDG rules ignore relative ones
  const char* home = std::getenv("HOME");
  return home && home[0] == '/' ? std::string(home) + "/.local/state/tapetum/history" : std::string();
}

std::vector<std::string> HistoryFile::load() const {
  std::vector<std::string> lines;
  if (path_.empty()) return lines;
  const auto text = read_file(path_, history_bytes);
  if (!text.ok()) return lines;
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\n', at), text->size());
    std::string line = uni::sanitize(unescaped(std::string_view(*text).substr(at, end - at)));
    if (!line.empty() && line.size() <= longest_line) lines.push_back(std::move(line));
    at = end + 1;
  }
  if (lines.size() > most_lines) lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(most_lines));
  return lines;
}

void HistoryFile::append(const std::vector<std::string>& lines) const noexcept {
  if (path_.empty() || lines.empty()) return;
  try {
    std::vector<std::string> all = load();  // what another conversation has written meanwhile stays
    for (const std::string& line : lines)
      if (all.empty() || all.back() != line) all.push_back(line);
    std::string text;
    for (std::size_t i = all.size() - std::min(all.size(), most_lines); i < all.size(); ++i)
      text += escaped(all[i]) + "\n";
    const mode_t umask_before = ::umask(0077);
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
    try {
      write_file_atomic(path_, text);
    } catch (const Error&) {  // a read-only home
    }
    ::umask(umask_before);
  } catch (...) {  // no memory for it
  }
}

}  // namespace tap::cli
