// A line of text that is being edited, on a terminal: where each character stands, and the bytes that show it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tap::cli {

struct ScreenSize {
  int columns = 80, rows = 24;
};

class LineView {
 public:
  // Bytes that put prompt and text in place of what was drawn before and leave the terminal's cursor at byte `cursor`
  // of the text. Rows are broken here and never by the terminal. Of a text with more rows than the screen, those
  // around the cursor are shown.
  std::string draw(std::string_view prompt, std::string_view text, std::size_t cursor, ScreenSize screen);
  // Bytes that go to the start of the row below all that was drawn. Nothing is drawn then.
  std::string leave();
  // The screen has another width: the terminal may have broken the rows that were drawn anew.
  void resized(int columns);
  // The screen was cleared, or another program wrote to it.
  void forget();

 private:
  std::vector<int> widths_;  // of the rows drawn, in columns
  int cursor_row_ = 0, cursor_column_ = 0;
};

// For a terminal: control characters (but not line ends and tabs) and the controls of writing direction become U+FFFD,
// for they move the cursor or reorder the screen. Invalid UTF-8 becomes U+FFFD too.
std::string printable(std::string_view text);

}  // namespace tap::cli
