// The words of a line that somebody types or drops into a conversation: commands, and pictures among the text.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tap::cli {

struct Word {
  std::string text;            // without quotes and escapes
  std::size_t begin = 0, end;  // where it stands in the line
  bool plain = true;           // written without quotes or escapes
};

// Splits at white space. A quote at the start of a word quotes to its pair, as a shell's; a backslash keeps the next
// character. An apostrophe within a word, or a quote without its pair, is text.
std::vector<Word> split_words(std::string_view line);

// "file:///a%20b.png" and "file://localhost/…" to the path; anything else as it is. Keeps what is no valid %XX.
std::string path_of_url(std::string_view word);

// Ends like a picture's file or address (".png", ".JPG", "…/a.webp?width=80"); no file is opened.
bool has_picture_name(std::string_view word);
bool is_web_address(std::string_view word);  // http:// or https://

struct Line {
  std::vector<std::string> pictures;  // paths and addresses, in order
  std::string text;                   // the question; empty when the line is pictures only
};

// Finds the pictures of a line: words (or the line as a whole) that `is_file` knows and that are named like a picture,
// and web addresses of pictures. Before the sentence and after its end a picture's word is taken out of the text;
// within a sentence its file name stays, because a sentence with a hole is no question. A word named like a picture
// with a folder in it, or alone in its line, is a picture even when no such file is there: so the user hears of it.
Line find_pictures(std::string_view line, const std::function<bool(const std::string&)>& is_file);

// "/image a b" to ("image", "a b"); a line is a command when it begins with '/' and a letter, and its first word holds
// no further '/' or '.' (that is a path).
struct ChatCommand {
  std::string name, argument;
};
bool parse_command(std::string_view line, ChatCommand& command);

}  // namespace tap::cli
