#include "cli/line_view.h"

#include <algorithm>

#include <doctest/doctest.h>
#include <utf8proc.h>

#include "cli/line_editor.h"
#include "text/tokenizer_unicode.h"

namespace tap::cli {

namespace {

// As much of a terminal as LineView uses: rows of cells, wide characters, no scrolling back.
class Screen {
 public:
  explicit Screen(int columns) : columns_(columns), rows_(1) {}

  void write(std::string_view bytes) {
    for (std::size_t at = 0; at < bytes.size();) {
      if (bytes.substr(at, 2) == "\x1b[") {
        std::size_t end = at + 2;
        while (bytes[end] >= '0' && bytes[end] <= '9') ++end;
        const int count = end == at + 2 ? 0 : std::stoi(std::string(bytes.substr(at + 2, end - at - 2)));
        obey(bytes[end], count);
        at = end + 1;
        continue;
      }
      const auto here = uni::decode(bytes, at);
      const std::string_view character = bytes.substr(at, here.length);
      at += here.length;
      if (character == "\r") {
        column_ = 0;
      } else if (character == "\n") {
        if (++row_ == rows_.size()) rows_.emplace_back();
      } else {
        put(character, utf8proc_charwidth(static_cast<utf8proc_int32_t>(here.code)));
      }
    }
  }
  // All rows, with | where the cursor stands.
  std::string text() const {
    std::string all;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      if (r > 0) all += '/';
      for (std::size_t c = 0; c <= rows_[r].size(); ++c) {
        if (r == row_ && static_cast<int>(c) == column_) all += '|';
        if (c < rows_[r].size()) all += rows_[r][c];
      }
    }
    return all;
  }
  std::size_t rows() const { return rows_.size(); }
  bool overflowed = false;  // a character went past the right margin

 private:
  void obey(char command, int count) {
    if (command == 'A') row_ -= std::min<std::size_t>(static_cast<std::size_t>(count), row_);
    if (command == 'B') row_ = std::min(row_ + static_cast<std::size_t>(count), rows_.size() - 1);
    if (command == 'C') column_ += count;
    if (command == 'J') {
      rows_.resize(row_ + 1);
      rows_[row_].resize(std::min(rows_[row_].size(), static_cast<std::size_t>(column_)));
    }
  }
  void put(std::string_view character, int width) {
    auto& row = rows_[row_];
    if (width == 0) {
      if (!row.empty()) row.back() += character;
      return;
    }
    overflowed |= column_ + width > columns_;
    row.resize(static_cast<std::size_t>(column_));
    row.emplace_back(character);
    if (width == 2) row.emplace_back();  // the second cell of a wide character
    column_ += width;
  }
  int columns_;
  std::vector<std::vector<std::string>> rows_;
  std::size_t row_ = 0;
  int column_ = 0;
};

std::string drawn(std::string_view text, std::size_t cursor, int columns, int rows = 24) {
  LineView view;
  Screen screen(columns);
  screen.write(view.draw("> ", text, cursor, {columns, rows}));
  CHECK_FALSE(screen.overflowed);
  return screen.text();
}

}  // namespace

TEST_CASE("a line is shown after its prompt with the cursor at its place") {
  CHECK(drawn("", 0, 20) == "> |");
  CHECK(drawn("abc", 3, 20) == "> abc|");
  CHECK(drawn("abc", 1, 20) == "> a|bc");
}

TEST_CASE("rows are broken before the terminal would") {
  CHECK(drawn("abcdefgh", 8, 6) == "> abcd/efgh|");
  CHECK(drawn("abcd", 4, 6) == "> abcd/|");
  CHECK(drawn("abcdef", 4, 6) == "> abcd/|ef");
  CHECK(drawn("abcdef", 2, 6) == "> ab|cd/ef");
}

TEST_CASE("a wide character is not cut at the margin") {
  CHECK(drawn("漢字漢", 9, 7) == "> 漢字/漢|");
  CHECK(drawn("漢字漢", 6, 7) == "> 漢字/|漢");
  CHECK(drawn("a漢b", 4, 20) == "> a漢|b");
}

TEST_CASE("lines of a text stand below one another") {
  CHECK(drawn("ab\ncd", 5, 20) == "> ab/  cd|");
  CHECK(drawn("ab\ncd", 2, 20) == "> ab|/  cd");
  CHECK(drawn("ab\n", 3, 20) == "> ab/  |");
}

TEST_CASE("marks take no column and are not shown without end") {
  CHECK(drawn("e\u0301x", 4, 20) == "> e\u0301x|");
  std::string many = "e";
  for (int i = 0; i < 1000; ++i) many += "\u0301";
  CHECK(drawn(many, many.size(), 20).size() < 40);
}

TEST_CASE("[B28] what commands a terminal is not sent to it") {
  CHECK(drawn("a\x1b[2Jb", 6, 20) == "> a\uFFFD[2Jb|");
  CHECK(drawn("a\u202eb", 5, 20) ==
        "> a\uFFFD"
        "b|");
  CHECK(printable("a\x1b]0;x\x07\r\n\tb\u202e\u009b\xff") == "a\uFFFD]0;x\uFFFD\uFFFD\n\tb\uFFFD\uFFFD\uFFFD");
  CHECK(printable("é漢👩‍👩‍👧") == "é漢👩‍👩‍👧");
}

TEST_CASE("a text with more rows than the screen shows those around the cursor") {
  CHECK(drawn("a\nb\nc\nd\ne", 9, 20, 3) == "  c/  d/  e|");
  CHECK(drawn("a\nb\nc\nd\ne", 0, 20, 3) == "> |a/  b/  c");
  CHECK(drawn("a\nb\nc\nd\ne", 6, 20, 3) == "  b/  c/  |d");
}

TEST_CASE("each drawing replaces the one before") {
  LineView view;
  Screen screen(8);
  LineEditor editor;
  for (const char byte : std::string("one two three four\x01\x06\x1b[200~x\ny\n漢\x1b[201~\x05\x0b\x15\x7f\x7f!")) {
    editor.feed(byte);
    screen.write(view.draw("> ", editor.text(), editor.cursor(), {8, 24}));
    LineView fresh;
    Screen clean(8);
    clean.write(fresh.draw("> ", editor.text(), editor.cursor(), {8, 24}));
    CHECK(screen.text() == clean.text());
  }
  screen.write(view.leave());
  const std::string text = screen.text();
  CHECK(text.ends_with("/|"));
}

TEST_CASE("after another width the old rows are cleared") {
  LineView view;
  (void)view.draw("> ", "abcdefgh", 8, {20, 24});
  view.resized(5);  // a terminal breaks the 10 columns into 2 rows and puts the cursor on the third or at the margin
  CHECK(view.draw("> ", "abcdefgh", 8, {5, 24}).starts_with("\x1b[2A\r\x1b[J"));
  view.resized(80);
  CHECK(view.draw("> ", "abcdefgh", 8, {80, 24}).starts_with("\x1b[2A\r\x1b[J"));
}

}  // namespace tap::cli
