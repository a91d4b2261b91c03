#include "cli/line_view.h"

#include <algorithm>

#include <fmt/format.h>
#include <utf8proc.h>

#include "text/tokenizer_unicode.h"

namespace tap::cli {

namespace {

constexpr std::string_view continuation = "  ";  // before the second line of a text and those after it
constexpr int most_marks = 8;                    // shown over one character; any number may be in the text

bool controls_terminal(char32_t code) {
  return (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7F && code < 0xA0) || code == 0x061C ||
         (code >= 0x200E && code <= 0x200F) || (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

struct Row {
  std::string bytes;
  int width = 0;
};

struct Layout {
  std::vector<Row> rows{{}};
  int columns = 80;
  int marks = 0;

  void add(std::string_view bytes, int width) {
    marks = width == 0 ? marks + 1 : 0;
    if (marks > most_marks) return;
    if (rows.back().width + width > columns) rows.push_back({});
    rows.back().bytes += bytes;
    rows.back().width += width;
  }
  void add(std::string_view text, std::size_t at, std::size_t length, char32_t code) {
    if (code == '\n') {
      rows.push_back({std::string(continuation), static_cast<int>(continuation.size())});
      return;
    }
    const int width = code == '\t' ? 1 : utf8proc_charwidth(static_cast<utf8proc_int32_t>(code));
    if (code == '\t')
      add(" ", 1);
    else if (controls_terminal(code))
      add("\uFFFD", 1);
    else
      add(text.substr(at, length), std::clamp(width, 0, 2));
  }
};

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  const std::string valid = uni::sanitize(text);
  for (std::size_t at = 0; at < valid.size();) {
    const auto here = uni::decode(valid, at);
    if (controls_terminal(here.code))
      out += "\uFFFD";
    else
      out.append(valid, at, here.length);
    at += here.length;
  }
  return out;
}

std::string LineView::draw(std::string_view prompt, std::string_view text, std::size_t cursor, ScreenSize screen) {
  Layout layout;
  layout.columns = std::max(screen.columns, 4);
  for (std::size_t at = 0; at < prompt.size();) {
    const auto here = uni::decode(prompt, at);
    layout.add(prompt, at, here.length, here.code);
    at += here.length;
  }
  std::size_t cursor_row = 0;
  int cursor_column = 0;
  const auto mark_cursor = [&] {
    cursor_row = layout.rows.size() - 1;
    cursor_column = layout.rows.back().width;
  };
  for (std::size_t at = 0; at < text.size();) {
    const auto here = uni::decode(text, at);
    if (at == cursor) mark_cursor();
    const std::size_t rows_before = layout.rows.size();
    layout.add(text, at, here.length, here.code);
    if (at == cursor && here.code != '\n' && layout.rows.size() > rows_before) {  // the character went to a new row
      cursor_row = layout.rows.size() - 1;
      cursor_column = 0;
    }
    at += here.length;
  }
  if (cursor >= text.size()) mark_cursor();
  if (cursor_column >= layout.columns) {  // after a full row: a cursor there would hang in the margin
    if (++cursor_row == layout.rows.size()) layout.rows.push_back({});
    cursor_column = 0;
  }

  std::string out;
  if (cursor_row_ > 0) out += fmt::format("\x1b[{}A", cursor_row_);
  out += "\r\x1b[J";
  const std::size_t shown = std::min(layout.rows.size(), static_cast<std::size_t>(std::max(screen.rows, 1)));
  const std::size_t top = std::min(cursor_row < shown ? 0 : cursor_row - shown + 1, layout.rows.size() - shown);
  widths_.clear();
  for (std::size_t row = top; row < top + shown; ++row) {
    if (row > top) out += "\r\n";
    out += layout.rows[row].bytes;
    widths_.push_back(layout.rows[row].width);
  }
  cursor_row_ = static_cast<int>(cursor_row - top);
  cursor_column_ = cursor_column;
  const int up = static_cast<int>(shown) - 1 - cursor_row_;
  if (up > 0) out += fmt::format("\x1b[{}A", up);
  out += '\r';
  if (cursor_column > 0) out += fmt::format("\x1b[{}C", cursor_column);
  return out;
}

std::string LineView::leave() {
  std::string out;
  const int down = static_cast<int>(widths_.size()) - 1 - cursor_row_;
  if (down > 0) out += fmt::format("\x1b[{}B", down);
  forget();
  return out + "\r\n";
}

void LineView::resized(int columns) {
  columns = std::max(columns, 4);
  int row = cursor_column_ / columns;
  for (int i = 0; i < cursor_row_; ++i)
    row += std::max(1, (widths_[static_cast<std::size_t>(i)] + columns - 1) / columns);
  cursor_row_ = row;
}

void LineView::forget() {
  widths_.clear();
  cursor_row_ = cursor_column_ = 0;
}

}  // namespace tap::cli
