// Follows the rules of jinja2 3.1 (Lexer.tokeniter) with trim_blocks and lstrip_blocks on and no line statements.
#include "text/jinja/lexer.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "text/jinja/text.h"

namespace tap::jinja {

namespace {

bool is_name_start(char32_t c) { return c == '_' || (c < 0x80 ? (c | 32) >= 'a' && (c | 32) <= 'z' : is_alpha(c)); }
bool is_name_part(char32_t c) { return is_name_start(c) || (c < 0x80 ? c >= '0' && c <= '9' : is_identifier_part(c)); }
bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

std::string with_plain_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      out += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_plain_newlines(source)) {
    if (source_.ends_with('\n')) source_.pop_back();  // keep_trailing_newline is off
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) root();
    add(TokenType::end);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(std::string message) const { throw SyntaxFailure{line_, std::move(message)}; }
  bool looking_at(std::string_view text, std::size_t at) const { return source_.compare(at, text.size(), text) == 0; }
  bool looking_at(std::string_view text) const { return looking_at(text, at_); }
  void add(TokenType type, std::string text = {}) { tokens_.push_back({type, line_, std::move(text), 0, 0}); }

  // Moves on and counts lines.
  void advance(std::size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  std::size_t past_space(std::size_t at) const {
    while (at < source_.size()) {
      std::size_t next = at;
      if (!is_space(decode_at(source_, next))) break;
      at = next;
    }
    return at;
  }

  // The text before a tag, which begins at `tag`, after its sign and lstrip_blocks were applied.
  void add_data(std::size_t tag, char sign, bool is_variable) {
    std::string_view text(source_.data() + at_, tag - at_);
    if (sign == '-') {
      text = text.substr(0, trim_space(text, false, true).end);
    } else if (sign != '+' && !is_variable) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
      if (begin > 0 || line_starting_) {
        const std::string_view last_line = text.substr(begin);
        if (!last_line.empty() && trim_space(last_line, true, false).begin == last_line.size())
          text = text.substr(0, begin);
      }
    }
    if (!text.empty()) add(TokenType::data, std::string(text));
    advance(tag);
  }

  // The end of a comment, block or raw tag: returns the place after it, or npos.
  std::size_t past_tag_end(std::string_view end, std::size_t at) const {
    if (at < source_.size() && source_[at] == '-' && looking_at(end, at + 1)) return past_space(at + 1 + end.size());
    const bool plus = at < source_.size() && source_[at] == '+' && looking_at(end, at + 1);
    if (plus) return at + 1 + end.size();
    if (!looking_at(end, at)) return std::string::npos;
    at += end.size();
    return at < source_.size() && source_[at] == '\n' ? at + 1 : at;  // trim_blocks
  }

  void finish_tag(std::size_t to) {
    line_starting_ = to > 0 && source_[to - 1] == '\n';
    advance(to);
  }

  void root() {
    std::size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        add(TokenType::data, source_.substr(at_));
        return advance(source_.size());
      }
      const char kind = source_[tag + 1];
      if (kind == '%' || kind == '{' || kind == '#') break;
      ++tag;
    }
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const std::size_t inside = tag + 2 + (sign == '-' || sign == '+' ? 1 : 0);
    add_data(tag, sign, kind == '{');
    if (kind == '#') return comment(inside);
    if (kind == '{') {
      add(TokenType::variable_begin);
      advance(inside);
      return expression(false);
    }
    if (const std::size_t body = raw_begin(inside); body != std::string::npos) return raw(body);
    add(TokenType::block_begin);
    advance(inside);
    expression(true);
  }

  void comment(std::size_t inside) {
    if (inside >= source_.size()) return advance(inside);  // jinja2 lets a lone "{#" at the end pass
    for (std::size_t end = inside;; ++end) {
      end = source_.find("#}", end);
      if (end == std::string::npos) fail("Missing end of comment tag");
      std::size_t from = end;
      if (from > inside && (source_[from - 1] == '-' || source_[from - 1] == '+')) --from;
      const std::size_t past = past_tag_end("#}", from);
      if (past != std::string::npos) return finish_tag(past);
    }
  }

  // After "{%": the place where a raw block's text begins, or npos.
  std::size_t raw_begin(std::size_t at) const {
    at = past_space(at);
    if (!looking_at("raw", at)) return std::string::npos;
    at = past_space(at + 3);
    if (at < source_.size() && source_[at] == '-' && looking_at("%}", at + 1)) return past_space(at + 3);
    return looking_at("%}", at) ? at + 2 : std::string::npos;
  }

  void raw(std::size_t body) {
    finish_tag(body);
    if (body >= source_.size()) return;
    for (std::size_t tag = body;; ++tag) {
      tag = source_.find("{%", tag);
      if (tag == std::string::npos) fail("Missing end of raw directive");
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      std::size_t at = past_space(tag + 2 + (sign == '-' || sign == '+' ? 1 : 0));
      if (!looking_at("endraw", at)) continue;
      const std::size_t past = past_tag_end("%}", past_space(at + 6));
      if (past == std::string::npos) continue;
      add_data(tag, sign, false);
      return finish_tag(past);
    }
  }

  // Tokens up to the end of the tag.
  void expression(bool block) {
    std::string brackets;
    while (true) {
      if (at_ >= source_.size()) return;  // the parser says what is missing
      if (brackets.empty()) {
        const std::size_t past = block ? past_tag_end("%}", at_) : past_variable_end();
        if (past != std::string::npos) {
          add(block ? TokenType::block_end : TokenType::variable_end);
          return finish_tag(past);
        }
      }
      const std::size_t space = past_space(at_);
      if (space > at_) {
        advance(space);
        continue;
      }
      token(brackets);
    }
  }

  std::size_t past_variable_end() const {
    if (source_[at_] == '-' && looking_at("}}", at_ + 1)) return past_space(at_ + 3);
    return looking_at("}}") ? at_ + 2 : std::string::npos;
  }

  void token(std::string& brackets) {
    const char c = source_[at_];
    if (is_ascii_digit(c)) return number();
    std::size_t next = at_;
    if (is_name_start(decode_at(source_, next))) return name();
    if ((c == '\'' || c == '"') && string(c)) return;
    for (const std::string_view op : {"//", "**", "==", "!=", ">=", "<="})
      if (looking_at(op)) {
        add(TokenType::op, std::string(op));
        return advance(at_ + 2);
      }
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
      std::size_t past = at_;
      decode_at(source_, past);
      fail(fmt::format("unexpected char '{}'", source_.substr(at_, past - at_)));
    }
    if (c == '(') brackets += ')';
    if (c == '[') brackets += ']';
    if (c == '{') brackets += '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty()) fail(fmt::format("unexpected '{}'", c));
      if (brackets.back() != c) fail(fmt::format("unexpected '{}', expected '{}'", c, brackets.back()));
      brackets.pop_back();
    }
    add(TokenType::op, std::string(1, c));
    advance(at_ + 1);
  }

  void name() {
    std::size_t end = at_;
    while (end < source_.size()) {
      std::size_t next = end;
      if (!is_name_part(decode_at(source_, next))) break;
      end = next;
    }
    add(TokenType::name, source_.substr(at_, end - at_));
    advance(end);
  }

  std::size_t past_digits(std::size_t at) const {  // (\d+_)*\d+
    if (at >= source_.size() || !is_ascii_digit(source_[at])) return at;
    while (at < source_.size() && (is_ascii_digit(source_[at]) ||
                                   (source_[at] == '_' && at + 1 < source_.size() && is_ascii_digit(source_[at + 1]))))
      ++at;
    return at;
  }

  void number() {
    const std::size_t whole = past_digits(at_);
    std::size_t end = whole;
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    if (!after_dot) {
      if (end + 1 < source_.size() && source_[end] == '.' && is_ascii_digit(source_[end + 1]))
        end = past_digits(end + 1);
      if (end < source_.size() && (source_[end] | 32) == 'e') {
        std::size_t power = end + 1;
        if (power < source_.size() && (source_[power] == '+' || source_[power] == '-')) ++power;
        if (past_digits(power) > power) end = past_digits(power);
      }
    }
    if (end > whole) {
      std::string digits = source_.substr(at_, end - at_);
      std::erase(digits, '_');
      add(TokenType::real);
      tokens_.back().real = std::strtod(digits.c_str(), nullptr);
      return advance(end);
    }
    int base = 10;
    std::size_t begin = at_;
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char mark = static_cast<char>(source_[at_ + 1] | 32);
      base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
    }
    end = whole;
    if (base != 10) {
      begin = at_ + 2;
      const auto digit = [&](std::size_t i) {
        if (i >= source_.size()) return false;
        const char d = static_cast<char>(source_[i] | 32);
        const int value = is_ascii_digit(source_[i]) ? source_[i] - '0' : d >= 'a' && d <= 'f' ? d - 'a' + 10 : 99;
        return value < base;
      };
      end = begin;
      while (digit(end) || (end < source_.size() && source_[end] == '_' && digit(end + 1))) ++end;
      if (end == begin) base = 10, begin = at_, end = at_ + 1;
    } else if (source_[at_] == '0') {
      end = at_ + 1;  // "0", "00", "0_0" only: the digits after are a token of their own, as in jinja2
      while (end < whole && (source_[end] == '0' || source_[end] == '_')) ++end;
    }
    std::string digits = source_.substr(begin, end - begin);
    std::erase(digits, '_');
    add(TokenType::integer);
    const auto [rest, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), tokens_.back().integer, base);
    if (problem != std::errc() || rest != digits.data() + digits.size())
      fail(fmt::format("the integer {} is out of range", digits));
    advance(end);
  }

  bool string(char quote) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return false;
    add(TokenType::string, unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
    advance(end + 1);
    return true;
  }

  std::string unescape(std::string_view raw) const {  // Python's unicode-escape
    std::string out;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] != '\\') {
        out += raw[i];
        continue;
      }
      const char c = raw[++i];
      const std::size_t hex = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
      if (hex > 0) {
        std::uint32_t code = 0;
        const std::string_view digits = raw.substr(i + 1, hex);
        const auto [rest, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
        if (digits.size() != hex || problem != std::errc() || rest != digits.data() + hex || code > 0x10FFFF)
          fail(fmt::format("truncated \\{}{} escape", c, std::string(hex, 'X')));
        encode_to(out, code);
        i += hex;
      } else if (c >= '0' && c <= '7') {
        char32_t code = 0;
        std::size_t digits = 0;
        for (; digits < 3 && i + digits < raw.size() && raw[i + digits] >= '0' && raw[i + digits] <= '7'; ++digits)
          code = code * 8 + static_cast<char32_t>(raw[i + digits] - '0');
        encode_to(out, code);
        i += digits - 1;
      } else if (c == 'N') {
        fail("named characters (\\N{...}) are not supported");
      } else if (c != '\n') {
        constexpr std::string_view from = "\\'\"abfnrtv", to = "\\'\"\a\b\f\n\r\t\v";
        const std::size_t found = from.find(c);
        if (found != std::string_view::npos) out += to[found];
        else (out += '\\') += c;
      }
    }
    return out;
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace tap::jinja
