// Strings of the template interpreter: valid UTF-8, each byte with its origin. Positions in Python's sense count code
// points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tap::jinja {

class Text {
 public:
  Text() = default;
  Text(std::string bytes, bool trusted) : bytes_(std::move(bytes)), trusted_(trusted) {}

  const std::string& bytes() const { return bytes_; }
  std::string_view view() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  bool markup = false;  // Python's Markup: concatenation escapes the other side

  void append(std::string_view piece, bool trusted);
  void append(const Text& other) { append(other, 0, other.size()); }
  void append(const Text& other, std::size_t begin, std::size_t end);
  Text slice(std::size_t begin, std::size_t end) const;  // bytes

  bool all_trusted() const { return runs_.empty() ? trusted_ || bytes_.empty() : false; }
  // fn(piece, trusted) for each maximal run, in order.
  template <class Fn>
  void each_run(Fn&& fn) const {
    if (runs_.empty()) {
      if (!bytes_.empty()) fn(std::string_view(bytes_), trusted_);
      return;
    }
    std::size_t begin = 0;
    for (const Run& run : runs_) {
      fn(std::string_view(bytes_).substr(begin, run.end - begin), run.trusted);
      begin = run.end;
    }
  }
  // fn(piece) -> string, run by run: the origin follows the characters.
  template <class Fn>
  Text map_runs(Fn&& fn) const {
    Text out;
    out.markup = markup;
    each_run([&](std::string_view piece, bool trusted) { out.append(fn(piece), trusted); });
    return out;
  }

 private:
  struct Run {
    std::size_t end;
    bool trusted;
  };
  std::string bytes_;
  std::vector<Run> runs_;  // two or more, else empty and trusted_ holds for all
  bool trusted_ = true;
};

// --- code points
// -----------------------------------------------------------------------------------------------------------
char32_t decode_at(std::string_view utf8, std::size_t& at);  // reads one code point of valid UTF-8 and moves on
void encode_to(std::string& out, char32_t code);             // lone surrogates become U+FFFD
std::size_t count_chars(std::string_view utf8);
std::size_t byte_of_char(std::string_view utf8,
                         std::size_t index);  // byte offset of the index-th code point, size() at most
std::string valid_utf8(std::string_view bytes);                      // invalid parts become U+FFFD

bool is_space(char32_t code);      // Python's str.isspace
bool is_printable(char32_t code);  // Python's str.isprintable
bool is_alpha(char32_t code);
bool is_decimal(char32_t code);
bool is_digit(char32_t code);
bool is_numeric(char32_t code);
bool is_upper(char32_t code);
bool is_lower(char32_t code);
bool is_title(char32_t code);
bool is_cased(char32_t code);
bool is_identifier_part(char32_t code);  // letters, digits, marks, connectors
int decimal_value(char32_t code);  // 0-9, or -1

std::string to_upper(std::string_view utf8);
std::string to_lower(std::string_view utf8);
std::string to_casefold(std::string_view utf8);
std::string to_title_char(char32_t code);

// Linear in the worst case, unlike std::string_view::find.
std::size_t find_bytes(std::string_view text, std::string_view needle, std::size_t from = 0);
// Python's splitlines: [begin, end without the break, end with it] of each line.
struct LineSpan {
  std::size_t begin, end, next;
};
std::vector<LineSpan> split_lines(std::string_view utf8);
// [begin, end) of the text without Python whitespace at its sides.
struct Trim {
  std::size_t begin, end;
};
Trim trim_space(std::string_view utf8, bool left, bool right);

}  // namespace tap::jinja
