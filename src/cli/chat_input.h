// Where a conversation's lines come from: a terminal with an editor and a history, or any stream.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/line_editor.h"

namespace tap::cli {

class ChatInput {
 public:
  enum class Got { line, end, interrupted };  // end: EOF or Ctrl-D; interrupted: a signal, or Ctrl-C twice
  virtual ~ChatInput() = default;
  // The next line, its continuations joined. Throws Error(limit) for a line past LineEditor::max_bytes (reading may go
  // on) and Error(io).
  virtual Got read(std::string& line) = 0;
  virtual bool is_terminal() const = 0;
};

std::unique_ptr<ChatInput> terminal_input(LineEditor::Completer completer);  // Terminal::usable() must hold
std::unique_ptr<ChatInput> stream_input();                                   // stdin

// The lines of earlier conversations: at most 1000, one a line ("\n" and "\\" within), 0600. What cannot be read or
// written is silently not there, for a history is no reason to fail.
class HistoryFile {
 public:
  static constexpr std::size_t most_lines = 1000, longest_line = 10'000;
  explicit HistoryFile(std::string path) : path_(std::move(path)) {}  // empty: none
  static std::string default_path();  // $XDG_STATE_HOME or ~/.local/state, then tapetum/history; empty without a home
  std::vector<std::string> load() const;
  void append(const std::vector<std::string>& lines) const noexcept;

 private:
  std::string path_;
};

}  // namespace tap::cli
