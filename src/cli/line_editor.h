// Editing of one line of text as a state machine: a terminal's bytes in, text and events out. Touches no terminal.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tap::cli {

// What Tab may put in place of text[start, cursor): the words that fit, whole.
struct Completion {
  std::size_t start = 0;
  std::vector<std::string> words;
};

class LineEditor {
 public:
  static constexpr std::size_t max_bytes = std::size_t{1} << 20;  // of the text; what goes past it is not taken

  enum class Event { none, submit, interrupt, end, suspend, clear_screen };
  using Completer = std::function<Completion(std::string_view before_cursor)>;

  explicit LineEditor(Completer completer = {}) : completer_(std::move(completer)) {}

  Event feed(char byte);
  // No byte came for a while after ESC: it was the key itself and begins no sequence.
  void pause();
  bool waits_for_key() const { return state_ == State::escape || state_ == State::csi || state_ == State::ss3; }

  // The text, always valid UTF-8; '\n' parts its lines. `cursor` is a byte offset between two grapheme clusters.
  const std::string& text() const { return text_; }
  std::size_t cursor() const { return cursor_; }
  std::string take();  // gives the text and begins a new line
  // What to show before the text: `prompt`, or the state of a search through the history.
  std::string prompt(std::string_view prompt) const;
  std::string take_notice();  // one line to show once (the words that Tab found, a limit), else empty

  void remember(std::string line);  // the newest entry of the history
  const std::vector<std::string>& history() const { return history_; }

 private:
  enum class State { text, escape, csi, ss3, paste };
  Event control(unsigned char byte);
  void escape(char byte);
  void sequence(char final);
  void character(char byte);
  void paste(char byte);
  void insert(std::string_view text);
  void erase(std::size_t begin, std::size_t end);
  void kill(std::size_t begin, std::size_t end);
  void set(std::string text);
  Event enter();
  void up_or_down(bool up);
  void browse(std::size_t entry);
  void complete();
  bool search(char byte);  // false: the byte ended the search and is still to be obeyed
  void find(std::size_t before);
  std::size_t line_begin() const;
  std::size_t line_end() const;
  std::size_t word_before(std::size_t at) const;
  std::size_t word_after(std::size_t at) const;

  Completer completer_;
  std::string text_, killed_, notice_;
  std::size_t cursor_ = 0;
  State state_ = State::text;
  std::string partial_, parameters_, pasted_;  // of a character, of a CSI sequence, of a bracketed paste
  std::vector<std::string> history_;           // oldest first
  std::size_t entry_ = 0;                      // shown; history_.size() is the line being written
  std::string written_;                        // that line, while an entry is shown
  bool searching_ = false;
  std::string query_;
  std::size_t found_ = 0;  // entry that the search shows
};

// Borders of grapheme clusters (what a reader takes for one character) in valid UTF-8.
std::size_t next_cluster(std::string_view text, std::size_t at);      // at < text.size()
std::size_t previous_cluster(std::string_view text, std::size_t at);  // at > 0

// Whether the line ends in an odd number of backslashes: it goes on in the next one, without the last of them.
bool continues(std::string_view line);

}  // namespace tap::cli
