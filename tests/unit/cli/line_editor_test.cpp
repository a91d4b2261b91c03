#include "cli/line_editor.h"

#include <doctest/doctest.h>

namespace tap::cli {

namespace {

using Event = LineEditor::Event;

// Feeds all bytes; gives the last event.
Event type(LineEditor& editor, std::string_view bytes) {
  Event event = Event::none;
  for (const char byte : bytes) event = editor.feed(byte);
  return event;
}

// The text with | where the cursor stands.
std::string shown(const LineEditor& editor) {
  std::string text = editor.text();
  return text.insert(editor.cursor(), "|");
}

std::string after(std::string_view bytes) {
  LineEditor editor;
  type(editor, bytes);
  return shown(editor);
}

constexpr const char* left = "\x1b[D";
constexpr const char* right = "\x1b[C";
constexpr const char* up = "\x1b[A";
constexpr const char* down = "\x1b[B";

std::string paste(std::string_view text) { return "\x1b[200~" + std::string(text) + "\x1b[201~"; }

}  // namespace

TEST_CASE("letters are inserted at the cursor") {
  CHECK(after("abc") == "abc|");
  CHECK(after(std::string("ac") + left + "b") == "ab|c");
  CHECK(after("ac\x02"
              "b") == "ab|c");
  CHECK(after(std::string("ac") + left + left + left + "b" + right + right + right + "d") == "bacd|");
}

TEST_CASE("the keys of lines and words move and delete as in a shell") {
  CHECK(after("one two\x01") == "|one two");
  CHECK(after("one two\x01\x05") == "one two|");
  CHECK(after("one two\x1b[H") == "|one two");
  CHECK(after("one two\x1b[1~\x1b[4~") == "one two|");
  CHECK(after("one two\x1bOH\x1bOF") == "one two|");
  CHECK(after("one, two\x1b"
              "b") == "one, |two");
  CHECK(after("one, two\x1b"
              "b\x1b"
              "b\x1b"
              "f") == "one|, two");
  CHECK(after("one two\x1b[1;5D") == "one |two");
  CHECK(after("one two\x01\x1b[1;3C") == "one| two");
  CHECK(after("one two\x01\x1b"
              "d") == "| two");
  CHECK(after("one two\x1b\x7f") == "one |");
  CHECK(after("one a/b.png \x17") == "one |");
  CHECK(after("one two\x15") == "|");
  CHECK(after("one two\x01\x06\x0b") == "o|");
  CHECK(after("one two\x17\x01\x19") == "two|one ");
  CHECK(after("ab\x02\x04") == "a|");
  CHECK(after("ab\x01\x1b[3~") == "|b");
  CHECK(after("ab\x08\x7f\x7f") == "|");
}

TEST_CASE("a character of several bytes or codes is one step") {
  const std::string accent = "e\u0301", family = "👩‍👩‍👧", flag = "🇩🇪";
  for (const std::string& one : {std::string("é"), std::string("漢"), accent, family, flag}) {
    CAPTURE(one);
    CHECK(after("a" + one + "\x7f") == "a|");
    CHECK(after("a" + one + left + left + "\x04" + right) == one + "|");
  }
  CHECK(after(flag + flag + left) == flag + "|" + flag);
  CHECK(after("b" + accent + "\x01" + "a" + right + right + "\x7f") == "ab|");
}

TEST_CASE("the cursor never stands within a cluster") {
  LineEditor editor;
  type(editor, std::string("\u0301") + "\x01" + "e");  // the mark joins the e before it
  CHECK(editor.cursor() == editor.text().size());
}

TEST_CASE("[B28] bytes that are no text become U+FFFD and control characters are no text") {
  CHECK(after("a\xff"
              "b") ==
        "a\uFFFD"
        "b|");
  CHECK(after("a\xe2\x82"
              "b") ==
        "a\uFFFD"
        "b|");
  CHECK(after(std::string("a\0b", 3)) == "ab|");
  CHECK(after("a\x1c\x1e"
              "b") == "ab|");
  CHECK(after("a\xc2\x9b"
              "b") == "ab|");  // CSI of eight bits
  CHECK(after(paste(std::string("a\0\x07\xff"
                                "b",
                                5))) ==
        "a\uFFFD"
        "b|");
}

TEST_CASE("[B28] a hundred thousand combining marks are one character") {
  std::string text = "e";
  for (int i = 0; i < 100'000; ++i) text += "\u0301";
  LineEditor editor;
  type(editor, "a" + paste(text) + "b");
  CHECK(editor.text() == "a" + text + "b");
  type(editor, "\x7f\x7f");
  CHECK(shown(editor) == "a|");
}

TEST_CASE("[B28] a line has a limit and says so once") {
  LineEditor editor;
  type(editor, paste(std::string(LineEditor::max_bytes, 'A')));
  CHECK(editor.text().size() == LineEditor::max_bytes);
  CHECK(editor.take_notice().empty());
  type(editor, "B");
  CHECK(editor.text().size() == LineEditor::max_bytes);
  CHECK(editor.take_notice() == "a line has at most 1048576 bytes");
  CHECK(editor.take_notice().empty());
  type(editor, paste(std::string(2 * LineEditor::max_bytes, 'A')));
  CHECK(editor.text().size() == LineEditor::max_bytes);
  CHECK(type(editor, "\r") == Event::submit);
}

TEST_CASE("unknown and endless sequences change nothing") {
  CHECK(after("a\x1b[24~\x1b[?1;2c\x1bOP\x1bzb") == "ab|");
  CHECK(after("a\x1b[" + std::string(100, '1')).size() < 80);
  LineEditor editor;
  type(editor, "a\x1b");
  CHECK(editor.waits_for_key());
  editor.pause();
  type(editor, "b");
  CHECK(shown(editor) == "ab|");
}

TEST_CASE("a pasted line end does not send") {
  LineEditor editor;
  CHECK(type(editor, paste("one\r\ntwo\rthree\n")) == Event::none);
  CHECK(editor.text() == "one\ntwo\nthree");
  CHECK(type(editor, "\r") == Event::submit);
  CHECK(editor.take() == "one\ntwo\nthree");
  CHECK(editor.text().empty());
}

TEST_CASE("a paste that never ends gives way to Ctrl-C") {
  LineEditor editor;
  CHECK(type(editor, "a\x1b[200~lost\r") == Event::none);
  CHECK(type(editor, "\x03") == Event::interrupt);
  type(editor, "b");
  CHECK(editor.text() == "ab");
}

TEST_CASE("a backslash at the end goes on in the next line, two do not") {
  LineEditor editor;
  CHECK(type(editor, "one\\\r") == Event::none);
  CHECK(shown(editor) == "one\n|");
  CHECK(type(editor, "two\\\\\r") == Event::submit);
  CHECK(editor.take() == "one\ntwo\\\\");
  CHECK(type(editor, "one\x1b\r") == Event::none);  // Alt-Enter
  CHECK(shown(editor) == "one\n|");
}

TEST_CASE("up and down go through lines of the text and then through the history") {
  LineEditor editor;
  editor.remember("first");
  editor.remember("second");
  editor.remember("second");
  CHECK(editor.history().size() == 2);
  type(editor, "now");
  type(editor, up);
  CHECK(shown(editor) == "second|");
  type(editor, up);
  type(editor, up);
  CHECK(shown(editor) == "first|");
  type(editor, std::string(down) + down);
  CHECK(shown(editor) == "now|");
  type(editor, down);
  CHECK(shown(editor) == "now|");
  type(editor, "\x15" + paste("abc\nd\nefgh") + up);
  CHECK(shown(editor) == "abc\nd|\nefgh");
  type(editor, up);
  CHECK(shown(editor) == "a|bc\nd\nefgh");
  type(editor, std::string(down) + "\x05" + down);
  CHECK(shown(editor) == "abc\nd\ne|fgh");
  type(editor, std::string(up) + up + up);
  CHECK(shown(editor) == "second|");
}

TEST_CASE("Ctrl-R searches the history backwards") {
  LineEditor editor;
  for (const char* line : {"red house", "blue house", "green tree"}) editor.remember(line);
  type(editor, "\x12hou");
  CHECK(editor.prompt("> ") == "(search `hou') ");
  CHECK(shown(editor) == "blue house|");
  type(editor, "\x12");
  CHECK(shown(editor) == "red house|");
  type(editor, "\x7f\x7f\x7ftree");
  CHECK(shown(editor) == "green tree|");
  CHECK(type(editor, "\r") == Event::submit);
  CHECK(editor.take() == "green tree");
  CHECK(editor.prompt("> ") == "> ");
  type(editor, "mine\x12zzz\x07");
  CHECK(shown(editor) == "mine|");
  type(editor, std::string("\x15\x12red") + left);
  CHECK(shown(editor) == "red hous|e");
}

TEST_CASE("Ctrl-C and Ctrl-D and Ctrl-Z and Ctrl-L are events") {
  LineEditor editor;
  CHECK(type(editor, "\x04") == Event::end);
  CHECK(type(editor, "a\x03") == Event::interrupt);
  CHECK(type(editor, "\x04") == Event::none);
  CHECK(type(editor, "\x1a") == Event::suspend);
  CHECK(type(editor, "\x0c") == Event::clear_screen);
}

TEST_CASE("Tab puts in what all words share and then shows them") {
  LineEditor editor([](std::string_view before) {
    Completion found{before.rfind(' ') == std::string_view::npos ? 0 : before.rfind(' ') + 1, {}};
    for (const std::string word : {"/image ", "/params ", "/quit ", "däne", "dänen", "dån"})
      if (word.starts_with(before.substr(found.start))) found.words.push_back(word);
    return found;
  });
  type(editor, "/q\t");
  CHECK(shown(editor) == "/quit |");
  type(editor, "\x15x d\t");
  CHECK(shown(editor) == "x d|");  // ä and å share a byte, but no character
  CHECK(editor.take_notice() == "däne  dänen  dån");
  type(editor, "ä\t");
  CHECK(shown(editor) == "x däne|");
  type(editor, "\x15zzz\t");
  CHECK(shown(editor) == "zzz|");
  CHECK(editor.take_notice().empty());
}

}  // namespace tap::cli
