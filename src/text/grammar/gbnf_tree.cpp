#include "text/grammar/gbnf_tree.h"

#include <algorithm>
#include <unordered_map>

#include "text/grammar/gbnf.h"
#include "text/grammar/regex.h"
#include "text/tokenizer_unicode.h"

namespace tap::grammar {

namespace {

constexpr std::uint32_t kMostCount = 1'000'000;

class Parser {
 public:
  Parser(std::string_view text, const Budget& budget) : text_(text), what_(budget.what()) {}

  Gbnf parse() {
    if (text_.size() > kMostGrammarBytes)
      fail(ErrorCode::limit, "{}: a grammar of {} bytes, the limit is {}", what_, text_.size(), kMostGrammarBytes);
    if (!uni::is_valid_utf8(text_)) fail(ErrorCode::bad_input, "{}: the grammar is not valid UTF-8", what_);
    number_of("root");
    for (skip(true); more(); skip(true)) rule();
    for (const Gbnf::RuleText& one : out_.rules) {
      if (one.given) continue;
      if (&one == &out_.rules[0]) fail(ErrorCode::bad_input, "{}: there is no rule root", what_);
      fail(ErrorCode::bad_input, "{}: line {}: there is no rule {}", what_, one.line, one.name);
    }
    return std::move(out_);
  }

 private:
  using Kind = Gbnf::Kind;

  [[noreturn]] void bad(std::string_view why) const {
    fail(ErrorCode::bad_input, "{}: line {}: {}", what_, line_, why);
  }
  bool more() const { return at_ < text_.size(); }
  char here() const { return more() ? text_[at_] : '\0'; }
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  // Spaces and comments, and with `lines` the ends of lines.
  void skip(bool lines) {
    for (; more(); ++at_) {
      if (here() == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
        if (!more()) return;
      }
      if (here() == '\n') {
        if (!lines) return;
        ++line_;
      } else if (here() != ' ' && here() != '\t' && here() != '\r') {
        return;
      }
    }
  }
  static bool is_name(char c) {
    return c == '-' || c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  }
  std::string_view name() {
    const std::size_t begin = at_;
    while (is_name(here())) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  std::uint32_t number_of(std::string_view name) {
    const auto [at, fresh] = numbers_.emplace(name, static_cast<std::uint32_t>(out_.rules.size()));
    if (fresh) {
      if (out_.rules.size() >= kMostGrammarRules)
        fail(ErrorCode::limit, "{}: line {}: more than {} rules", what_, line_, kMostGrammarRules);
      out_.rules.push_back({std::string(name), line_});
    }
    return at->second;
  }
  std::uint32_t add(Gbnf::Node node) {
    out_.nodes.push_back(std::move(node));
    return static_cast<std::uint32_t>(out_.nodes.size() - 1);
  }

  void rule() {
    const std::string_view named = name();
    if (named.empty()) bad(fmt::format("a rule's name is wanted, got {}", shown()));
    skip(false);
    if (!take("::=")) bad(fmt::format("::= is wanted after {}, got {}", named, shown()));
    const std::uint32_t number = number_of(named);
    if (out_.rules[number].given) bad(fmt::format("{} is given already, in line {}", named, out_.rules[number].line));
    out_.rules[number].given = true;
    out_.rules[number].line = line_;
    skip(true);
    const std::uint32_t body = alternatives(0);
    out_.rules[number].body = body;
    skip(false);
    if (more() && here() != '\n')
      bad(fmt::format("a part of a rule or the end of the line is wanted, got {}", shown()));
  }

  std::string shown() const { return more() ? uni::quoted(text_.substr(at_, 12)) : "the end"; }

  std::uint32_t alternatives(std::size_t depth) {
    std::vector<std::uint32_t> branches{sequence(depth)};
    while (next_branch()) branches.push_back(sequence(depth));
    return branches.size() == 1 ? branches[0] : add({.kind = Kind::alternate, .parts = std::move(branches)});
  }

  // A | may also begin the next line.
  bool next_branch() {
    const std::size_t at = at_, line = line_;
    skip(true);
    if (take("|")) {
      skip(true);
      return true;
    }
    at_ = at;
    line_ = line;
    return false;
  }

  std::uint32_t sequence(std::size_t depth) {
    std::vector<std::uint32_t> parts;
    for (;;) {
      const std::size_t before = parts.size();
      item(depth, parts);
      if (parts.size() == before) break;
      skip(depth > 0);
      repeat(parts);
      skip(depth > 0);
      std::uint32_t least = 0, most = 0;
      if (quantifier(least, most)) bad("a repeat of a repeat; put the inner one into ( )");
    }
    return parts.size() == 1 ? parts[0] : add({.kind = Kind::concat, .parts = std::move(parts)});
  }

  void repeat(std::vector<std::uint32_t>& parts) {
    std::uint32_t least = 0, most = 0;
    if (!quantifier(least, most)) return;
    parts.back() = add({.kind = Kind::repeat, .parts = {parts.back()}, .least = least, .most = most});
  }

  bool quantifier(std::uint32_t& least, std::uint32_t& most) {
    if (take("*")) return least = 0, most = kNoMost, true;
    if (take("+")) return least = 1, most = kNoMost, true;
    if (take("?")) return least = 0, most = 1, true;
    if (!take("{")) return false;
    const auto number = [&](std::uint32_t& value) {
      skip(false);
      const std::size_t begin = at_;
      for (value = 0; here() >= '0' && here() <= '9'; ++at_) {
        value = value * 10 + static_cast<std::uint32_t>(here() - '0');
        if (value > kMostCount) fail(ErrorCode::limit, "{}: line {}: a count above {}", what_, line_, kMostCount);
      }
      const bool found = at_ > begin;
      skip(false);
      return found;
    };
    const bool good = number(least);
    most = least;
    if (good && take(",") && !number(most)) most = kNoMost;
    if (!good || !take("}")) bad("not a repeat like {2} or {2,5}");
    if (most < least) bad("a repeat whose least count is above its most");
    return true;
  }

  // Nothing is added where the sequence ends.
  void item(std::size_t depth, std::vector<std::uint32_t>& parts) {
    const char c = here();
    if (c == '"') {
      parts.push_back(literal());
    } else if (c == '[') {
      parts.push_back(add({.kind = Kind::chars, .set = char_class()}));
    } else if (c == '.') {
      ++at_;
      parts.push_back(add({.kind = Kind::chars, .set = CodeSet::all()}));
    } else if (c == '(') {
      if (depth + 1 > kMostNesting)
        fail(ErrorCode::limit, "{}: line {}: groups nested deeper than {}", what_, line_, kMostNesting);
      const std::size_t open = line_;
      ++at_;
      skip(true);
      parts.push_back(alternatives(depth + 1));
      skip(true);
      if (!take(")")) fail(ErrorCode::bad_input, "{}: line {}: a ( without its )", what_, open);
    } else if (is_name(c)) {
      parts.push_back(add({.kind = Kind::rule, .rule = number_of(name())}));
    } else if (c == '<' || c == '!') {
      fail(ErrorCode::unsupported, "{}: line {}: tokens (<…>) are not supported; write their text", what_, line_);
    } else if (c == '*' || c == '+' || c == '?' || c == '{') {
      bad(fmt::format("nothing to repeat before {}", c));
    }
  }

  std::uint32_t literal() {
    std::string text;
    for (++at_; here() != '"';) {
      if (!more() || here() == '\n') bad("a \" without its end");
      uni::append(text, character());
    }
    ++at_;
    return add({.kind = Kind::literal, .text = std::move(text)});
  }

  char32_t character() {
    if (!take("\\")) {
      const auto [code, length] = uni::decode(text_, at_);
      at_ += length;
      return code;
    }
    const char c = here();
    ++at_;
    switch (c) {
      case 'x': return hex(2);
      case 'u': return hex(4);
      case 'U': return hex(8);
      case 't': return '\t';
      case 'r': return '\r';
      case 'n': return '\n';
      case '"':
      case '\\':
      case '[':
      case ']':
      case '-':
      case '^': return static_cast<char32_t>(static_cast<unsigned char>(c));
      default: --at_; bad(fmt::format("an escape that is none: \\ before {}", shown()));
    }
  }

  char32_t hex(unsigned digits) {
    char32_t code = 0;
    for (unsigned i = 0; i < digits; ++i, ++at_) {
      const char c = here();
      const bool digit = c >= '0' && c <= '9', lower = c >= 'a' && c <= 'f', upper = c >= 'A' && c <= 'F';
      if (!digit && !lower && !upper) bad(fmt::format("an escape that wants {} hexadecimal digits", digits));
      code = code * 16 + static_cast<char32_t>(digit ? c - '0' : (lower ? c - 'a' : c - 'A') + 10);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) bad("an escape that is no character of Unicode");
    return code;
  }

  CodeSet char_class() {
    ++at_;
    const bool inverted = take("^");
    std::vector<CodeRange> ranges;
    while (here() != ']') {
      if (!more() || here() == '\n') bad("a [ without its ]");
      const char32_t low = character();
      char32_t high = low;
      if (here() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        if (here() == '\n') bad("a [ without its ]");
        high = character();
        if (high < low) bad("a range of a class must go from one character up to another");
      }
      ranges.push_back({low, high});
    }
    ++at_;
    if (ranges.empty() && !inverted) bad("an empty class");
    const CodeSet set = CodeSet(std::move(ranges)).both(CodeSet::all());
    return inverted ? set.complement() : set;
  }

  std::string_view text_;
  std::string what_;
  std::size_t at_ = 0, line_ = 1;
  std::unordered_map<std::string_view, std::uint32_t> numbers_;  // of names; they lie in the text
  Gbnf out_;
};

}  // namespace

Gbnf parse_gbnf(std::string_view text, const Budget& budget) { return Parser(text, budget).parse(); }

}  // namespace tap::grammar
