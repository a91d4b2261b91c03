#include "cli/line_editor.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <utf8proc.h>

#include "text/tokenizer_unicode.h"

namespace tap::cli {

namespace {

constexpr char control_key(char letter) { return static_cast<char>(letter & 0x1F); }
constexpr char escape_byte = '\x1b', delete_byte = '\x7f';
constexpr std::string_view paste_end = "\x1b[201~";
constexpr std::size_t longest_sequence = 32;  // parameter bytes of a CSI sequence; longer ones are dropped
constexpr std::size_t most_words_listed = 40;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n'; }

bool is_word_at(std::string_view text, std::size_t at) { return uni::is_word(uni::decode(text, at).code); }

// Pasted text as it may stand in a line: line ends are '\n', other control characters go, one line end at its end goes.
std::string tame(std::string_view pasted) {
  std::string text;
  for (std::size_t i = 0; i < pasted.size(); ++i) {
    const auto c = static_cast<unsigned char>(pasted[i]);
    if (c == '\r') {
      if (i + 1 == pasted.size() || pasted[i + 1] != '\n') text += '\n';
    } else if (c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7F)) {
      text += pasted[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return uni::sanitize(text);
}

}  // namespace

std::size_t next_cluster(std::string_view text, std::size_t at) {
  auto here = uni::decode(text, at);
  utf8proc_int32_t state = 0;
  for (at += here.length; at < text.size(); at += here.length) {
    const auto next = uni::decode(text, at);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(here.code),
                                         static_cast<utf8proc_int32_t>(next.code), &state))
      return at;
    here = next;
  }
  return at;
}

std::size_t previous_cluster(std::string_view text, std::size_t at) {
  // Clusters are found forwards only: from the last place that is a border for certain, between two ASCII characters.
  const auto ascii = [&](std::size_t i) { return static_cast<unsigned char>(text[i]) < 0x80; };
  std::size_t from = at - 1;
  while (from > 0 && !(ascii(from) && ascii(from - 1))) --from;
  for (;;) {
    const std::size_t next = next_cluster(text, from);
    if (next >= at) return from;
    from = next;
  }
}

bool continues(std::string_view line) {
  std::size_t backslashes = 0;
  while (backslashes < line.size() && line[line.size() - 1 - backslashes] == '\\') ++backslashes;
  return backslashes % 2 == 1;
}

LineEditor::Event LineEditor::feed(char byte) {
  switch (state_) {
    case State::text: break;
    case State::escape: return escape(byte), Event::none;
    case State::csi:
      if (byte >= 0x40 && byte <= 0x7E)
        sequence(byte);
      else if (parameters_.size() < longest_sequence)
        parameters_ += byte;
      else
        state_ = State::text;
      return Event::none;
    case State::ss3: return parameters_.clear(), sequence(byte), Event::none;
    case State::paste:
      // A terminal takes control characters out of what it pastes: this one is a key, and the paste's end was lost.
      if (byte == control_key('c')) return state_ = State::text, pasted_.clear(), control(control_key('c'));
      return paste(byte), Event::none;
  }
  if (searching_ && search(byte)) return Event::none;
  const auto value = static_cast<unsigned char>(byte);
  if (value < 0x20 || byte == delete_byte) {
    partial_.clear();
    return control(value);
  }
  character(byte);
  return Event::none;
}

void LineEditor::pause() {
  if (waits_for_key()) state_ = State::text;
}

LineEditor::Event LineEditor::control(unsigned char byte) {
  const bool empty = text_.empty();
  switch (static_cast<char>(byte)) {
    case escape_byte: state_ = State::escape; break;
    case '\r':
    case '\n': return enter();
    case '\t': complete(); break;
    case control_key('a'): cursor_ = line_begin(); break;
    case control_key('e'): cursor_ = line_end(); break;
    case control_key('b'):
      if (cursor_ > 0) cursor_ = previous_cluster(text_, cursor_);
      break;
    case control_key('f'):
      if (cursor_ < text_.size()) cursor_ = next_cluster(text_, cursor_);
      break;
    case control_key('c'): return Event::interrupt;
    case control_key('d'):
      if (empty) return Event::end;
      if (cursor_ < text_.size()) erase(cursor_, next_cluster(text_, cursor_));
      break;
    case control_key('h'):
    case delete_byte:
      if (cursor_ > 0) erase(previous_cluster(text_, cursor_), cursor_);
      break;
    case control_key('k'): kill(cursor_, std::max(line_end(), std::min(cursor_ + 1, text_.size()))); break;
    case control_key('u'): kill(line_begin(), cursor_); break;
    case control_key('w'): {
      std::size_t begin = cursor_;
      while (begin > 0 && is_space(text_[begin - 1])) --begin;
      while (begin > 0 && !is_space(text_[begin - 1])) --begin;
      kill(begin, cursor_);
      break;
    }
    case control_key('y'): insert(killed_); break;
    case control_key('l'): return Event::clear_screen;
    case control_key('p'): up_or_down(true); break;
    case control_key('n'): up_or_down(false); break;
    case control_key('r'):
      searching_ = true;
      query_.clear();
      found_ = history_.size();
      break;
    case control_key('z'): return Event::suspend;
    default: break;  // other control characters are no text
  }
  return Event::none;
}

void LineEditor::escape(char byte) {
  state_ = State::text;
  switch (byte) {
    case '[':
      state_ = State::csi;
      parameters_.clear();
      break;
    case 'O': state_ = State::ss3; break;
    case escape_byte: state_ = State::escape; break;
    case 'b': cursor_ = word_before(cursor_); break;
    case 'f': cursor_ = word_after(cursor_); break;
    case 'd': kill(cursor_, word_after(cursor_)); break;
    case '\r':
    case '\n': insert("\n"); break;
    case control_key('h'):
    case delete_byte: kill(word_before(cursor_), cursor_); break;
    default: break;
  }
}

void LineEditor::sequence(char final) {
  state_ = State::text;
  const bool with_modifier = parameters_.find(';') != std::string::npos;  // Ctrl or Alt with an arrow: by words
  switch (final) {
    case 'A': up_or_down(true); break;
    case 'B': up_or_down(false); break;
    case 'C':
      if (with_modifier)
        cursor_ = word_after(cursor_);
      else
        control(control_key('f'));
      break;
    case 'D':
      if (with_modifier)
        cursor_ = word_before(cursor_);
      else
        control(control_key('b'));
      break;
    case 'H': cursor_ = line_begin(); break;
    case 'F': cursor_ = line_end(); break;
    case '~':
      if (parameters_ == "1" || parameters_ == "7") cursor_ = line_begin();
      if (parameters_ == "4" || parameters_ == "8") cursor_ = line_end();
      if (parameters_ == "3" && cursor_ < text_.size()) erase(cursor_, next_cluster(text_, cursor_));
      if (parameters_ == "200") {
        state_ = State::paste;
        pasted_.clear();
      }
      break;
    default: break;
  }
}

void LineEditor::character(char byte) {
  partial_ += byte;
  while (!partial_.empty()) {
    const uni::Part part = uni::next_part(partial_, 0);
    if (part.cut) return;
    if (!part.valid)
      insert("\uFFFD");
    else if (const char32_t code = uni::decode(partial_, 0).code; code < 0x80 || code >= 0xA0)  // not C1 controls
      insert(std::string_view(partial_).substr(0, part.length));
    partial_.erase(0, part.length);
  }
}

void LineEditor::paste(char byte) {
  pasted_ += byte;
  if (pasted_.size() > max_bytes + paste_end.size()) pasted_.erase(max_bytes, 1);  // only the end is still looked for
  if (!pasted_.ends_with(paste_end)) return;
  state_ = State::text;
  pasted_.resize(pasted_.size() - paste_end.size());
  insert(tame(pasted_));
  pasted_ = {};
}

void LineEditor::insert(std::string_view text) {
  if (text.size() > max_bytes - text_.size()) {
    notice_ = fmt::format("a line has at most {} bytes", max_bytes);
    return;
  }
  text_.insert(cursor_, text);
  cursor_ += text.size();
  // A mark joins the cluster of what stands before it; the cursor may not be left within one.
  if (cursor_ < text_.size() && static_cast<unsigned char>(text_[cursor_]) >= 0x80) {
    const std::size_t begin = previous_cluster(text_, cursor_);
    cursor_ = std::max(cursor_, next_cluster(text_, begin));
  }
}

void LineEditor::erase(std::size_t begin, std::size_t end) {
  text_.erase(begin, end - begin);
  cursor_ = begin;
}

void LineEditor::kill(std::size_t begin, std::size_t end) {
  if (begin == end) return;
  killed_ = text_.substr(begin, end - begin);
  erase(begin, end);
}

void LineEditor::set(std::string text) {
  text_ = std::move(text);
  cursor_ = text_.size();
}

std::string LineEditor::take() {
  entry_ = history_.size();
  written_.clear();
  cursor_ = 0;
  searching_ = false;
  partial_.clear();
  return std::exchange(text_, {});
}

LineEditor::Event LineEditor::enter() {
  if (!continues(text_)) return Event::submit;
  text_.back() = '\n';
  cursor_ = text_.size();
  return Event::none;
}

std::size_t LineEditor::line_begin() const {
  const std::size_t at = std::string_view(text_).substr(0, cursor_).rfind('\n');
  return at == std::string_view::npos ? 0 : at + 1;
}

std::size_t LineEditor::line_end() const { return std::min(text_.find('\n', cursor_), text_.size()); }

std::size_t LineEditor::word_before(std::size_t at) const {
  const auto before = [&] { return uni::previous(text_, at); };
  while (at > 0 && !is_word_at(text_, before())) at = before();
  while (at > 0 && is_word_at(text_, before())) at = before();
  return at;
}

std::size_t LineEditor::word_after(std::size_t at) const {
  const auto step = [&] { at += uni::decode(text_, at).length; };
  while (at < text_.size() && !is_word_at(text_, at)) step();
  while (at < text_.size() && is_word_at(text_, at)) step();
  return at;
}

// Within a text of several lines to the line above or below, beyond it through the history.
void LineEditor::up_or_down(bool up) {
  const std::size_t begin = line_begin(), end = line_end();
  if (up && begin > 0) {
    const std::size_t column = cursor_ - begin;
    cursor_ = begin - 1;
    const std::size_t above = line_begin();
    std::size_t at = above;
    while (at < begin - 1 && at - above < column) at = next_cluster(text_, at);
    cursor_ = std::min(at, begin - 1);
  } else if (!up && end < text_.size()) {
    const std::size_t column = cursor_ - begin;
    cursor_ = end + 1;
    const std::size_t below = line_end();
    while (cursor_ < below && cursor_ - (end + 1) < column) cursor_ = next_cluster(text_, cursor_);
    cursor_ = std::min(cursor_, below);
  } else if (up && entry_ > 0) {
    browse(entry_ - 1);
  } else if (!up && entry_ < history_.size()) {
    browse(entry_ + 1);
  }
}

void LineEditor::browse(std::size_t entry) {
  if (entry_ == history_.size()) written_ = text_;
  entry_ = entry;
  set(entry == history_.size() ? written_ : history_[entry]);
}

void LineEditor::remember(std::string line) {
  if (!line.empty() && (history_.empty() || history_.back() != line)) history_.push_back(std::move(line));
  entry_ = history_.size();
}

void LineEditor::complete() {
  if (!completer_) return;
  const Completion found = completer_(std::string_view(text_).substr(0, cursor_));
  if (found.words.empty() || found.start > cursor_) return;
  std::string common = found.words.front();
  for (const std::string& word : found.words) {
    const auto differs = std::mismatch(common.begin(), common.end(), word.begin(), word.end()).first;
    common.erase(differs, common.end());
  }
  common.resize(uni::sanitize(common) == common ? common.size() : uni::previous(common, common.size()));
  const std::size_t typed = cursor_ - found.start;
  if (found.words.size() > 1 && common.size() <= typed) {
    for (std::size_t i = 0; i < std::min(found.words.size(), most_words_listed); ++i)
      notice_ += (i == 0 ? "" : "  ") + found.words[i];
    if (found.words.size() > most_words_listed) notice_ += fmt::format("  … {} in all", found.words.size());
    return;
  }
  erase(found.start, cursor_);
  insert(common);
}

std::string LineEditor::prompt(std::string_view prompt) const {
  if (!searching_) return std::string(prompt);
  return fmt::format("(search `{}'{}) ", query_, found_ == history_.size() && !query_.empty() ? ": nothing older" : "");
}

std::string LineEditor::take_notice() { return std::exchange(notice_, {}); }

// The newest entry older than `before` that holds the query.
void LineEditor::find(std::size_t before) {
  for (std::size_t at = before; at-- > 0;)
    if (history_[at].find(query_) != std::string::npos) {
      browse(found_ = at);
      return;
    }
}

bool LineEditor::search(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  if (byte == control_key('r')) {
    find(found_);
  } else if (byte == control_key('h') || byte == delete_byte) {
    if (!query_.empty()) query_.resize(uni::previous(query_, query_.size()));
    found_ = history_.size();
    if (!query_.empty()) find(found_);
  } else if (byte == control_key('g') || byte == control_key('c')) {
    searching_ = false;
    if (entry_ < history_.size()) browse(history_.size());
  } else if (value < 0x20) {
    searching_ = false;  // keeps what was found and does what the key says
    return false;
  } else {
    partial_ += byte;
    const uni::Part part = uni::next_part(partial_, 0);
    if (part.cut) return true;
    if (part.valid) query_ += partial_;
    partial_.clear();
    find(found_ == history_.size() ? found_ : found_ + 1);
  }
  return true;
}

}  // namespace tap::cli
