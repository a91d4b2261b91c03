#include "text/grammar/regex.h"

#include <algorithm>
#include <array>

#include "text/tokenizer_unicode.h"

namespace tap::grammar {

namespace {

constexpr std::uint32_t kMostRepeat = 1'000'000;

CodeSet ascii_class(char letter) {
  switch (letter) {
    case 'd': return CodeSet({{'0', '9'}});
    case 'w': return CodeSet({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
    default: return CodeSet({{'\t', '\r'}, {' ', ' '}});
  }
}

// What no dialect counts as a digit, a word character or a space. \D \W \S are this and \d \w \s are ASCII, so that
// ASCII and Unicode readers of the same pattern both accept the answer.
const CodeSet& unicode_complement(char letter) {
  static const std::array<CodeSet, 3> sets = [] {
    std::array<std::vector<CodeRange>, 3> in;
    for (char32_t code = 0; code <= 0x10FFFF; ++code) {
      const std::uint8_t classes = uni::classes(code);
      const std::array<bool, 3> member = {
          (classes & uni::number) != 0, (classes & (uni::letter | uni::number | uni::mark)) != 0 || uni::is_word(code),
          (classes & uni::space) != 0 || uni::is_python_space(code) || code == 0xFEFF};
      for (std::size_t i = 0; i < 3; ++i) {
        if (!member[i]) continue;
        if (!in[i].empty() && in[i].back().high + 1 == code)
          in[i].back().high = code;
        else
          in[i].push_back({code, code});
      }
    }
    return std::array{CodeSet(in[0]).complement(), CodeSet(in[1]).complement(), CodeSet(in[2]).complement()};
  }();
  return sets[letter == 'D' ? 0 : letter == 'W' ? 1 : 2];
}

class Parser {
 public:
  Parser(std::string_view pattern, Match match, const Budget& budget)
      : text_(pattern), match_(match), what_(budget.what()) {}

  Regex parse() {
    if (text_.size() > kMostPatternBytes)
      fail(ErrorCode::limit, "{}: a pattern of {} bytes, the limit is {}", what_, text_.size(), kMostPatternBytes);
    if (!uni::is_valid_utf8(text_)) fail(ErrorCode::bad_input, "{}: the pattern is not valid UTF-8", what_);
    out_.root = alternatives(0);
    if (at_ < text_.size()) bad("unmatched )");
    return std::move(out_);
  }

 private:
  using Kind = Regex::Kind;

  [[noreturn]] void bad(std::string_view why) const {
    fail(ErrorCode::bad_input, "{}: position {}: {}", what_, at_, why);
  }
  [[noreturn]] void unsupported(std::string_view name) const {
    fail(ErrorCode::unsupported, "{}: position {}: {} is not supported", what_, at_, name);
  }
  bool more() const { return at_ < text_.size(); }
  bool next_is(char c) const { return more() && text_[at_] == c; }
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  char32_t take_code() {
    const auto [code, length] = uni::decode(text_, at_);
    at_ += length;
    return code;
  }
  std::uint32_t add(Kind kind, std::vector<std::uint32_t> parts, CodeSet set = {}, std::uint32_t least = 0,
                    std::uint32_t most = 0) {
    out_.nodes.push_back({kind, std::move(parts), std::move(set), least, most});
    return static_cast<std::uint32_t>(out_.nodes.size() - 1);
  }
  std::uint32_t anything() { return add(Kind::repeat, {add(Kind::chars, {}, CodeSet::all())}, {}, 0, kNoMost); }

  std::uint32_t alternatives(std::size_t depth) {
    std::vector<std::uint32_t> branches;
    do branches.push_back(sequence(depth));
    while (take("|"));
    return branches.size() == 1 ? branches[0] : add(Kind::alternate, std::move(branches));
  }

  std::uint32_t sequence(std::size_t depth) {
    std::vector<std::uint32_t> parts;
    const bool starts = depth == 0 && take("^");
    bool ends = false;
    if (depth == 0 && match_ == Match::anywhere && !starts) parts.push_back(anything());
    while (more() && text_[at_] != '|' && text_[at_] != ')') {
      if (depth == 0 && next_is('$') && (at_ + 1 == text_.size() || text_[at_ + 1] == '|')) {
        ++at_;
        ends = true;
        break;
      }
      parts.push_back(repeated(depth));
    }
    if (depth == 0 && match_ == Match::anywhere && !ends) parts.push_back(anything());
    return parts.size() == 1 ? parts[0] : add(Kind::concat, std::move(parts));
  }

  std::uint32_t repeated(std::size_t depth) {
    const std::uint32_t one = atom(depth);
    std::uint32_t least = 0, most = 0;
    if (!quantifier(least, most)) return one;
    if (!take("?") && next_is('+')) unsupported("a possessive repeat");
    std::uint32_t again_least = 0, again_most = 0;
    const std::size_t place = at_;
    if (quantifier(again_least, again_most)) {
      at_ = place;
      bad("a repeat of a repeat; put the inner one into ( )");
    }
    return add(Kind::repeat, {one}, {}, least, most);
  }

  bool quantifier(std::uint32_t& least, std::uint32_t& most) {
    if (take("*")) return least = 0, most = kNoMost, true;
    if (take("+")) return least = 1, most = kNoMost, true;
    if (take("?")) return least = 0, most = 1, true;
    if (!next_is('{')) return false;
    const std::size_t place = at_++;
    const auto number = [&](std::uint32_t& value) {
      const std::size_t begin = at_;
      for (value = 0; more() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        value = value * 10 + static_cast<std::uint32_t>(text_[at_] - '0');
        if (value > kMostRepeat) fail(ErrorCode::limit, "{}: position {}: a count above {}", what_, begin, kMostRepeat);
      }
      return at_ > begin;
    };
    bool good = number(least);
    most = least;
    if (good && take(",") && !number(most)) most = kNoMost;
    if (!good || !take("}")) {
      at_ = place;
      bad("not a repeat like {2} or {2,5}; write \\{ for the character");
    }
    if (most < least) bad("a repeat whose least count is above its most");
    return true;
  }

  std::uint32_t atom(std::size_t depth) {
    const char c = text_[at_];
    if (c == '(') return group(depth);
    if (c == '[') return add(Kind::chars, {}, char_class());
    if (c == '*' || c == '+' || c == '?' || c == '{') bad(fmt::format("nothing to repeat before {}", c));
    if (c == '^' || c == '$')
      unsupported(fmt::format("{} {}", c,
                              c == '^' ? "other than at the beginning of a top-level alternative"
                                       : "other than at the end of a top-level alternative"));
    if (c == '.') {
      ++at_;
      // In a schema's pattern also without the other line ends of ECMA 262, so that every reader agrees.
      if (match_ == Match::anywhere)
        return add(Kind::chars, {}, CodeSet({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}).complement());
      return add(Kind::chars, {}, CodeSet({{'\n', '\n'}}).complement());
    }
    if (c == '\\') return add(Kind::chars, {}, escape(Place::outside));
    const char32_t code = take_code();
    return add(Kind::chars, {}, CodeSet({{code, code}}));
  }

  std::uint32_t group(std::size_t depth) {
    if (depth + 1 > kMostNesting)
      fail(ErrorCode::limit, "{}: position {}: groups nested deeper than {}", what_, at_, kMostNesting);
    const std::string_view rest = text_.substr(at_);
    for (const auto& [mark, name] : {std::pair<std::string_view, std::string_view>{"(?=", "look-ahead (?="},
                                     {"(?!", "look-ahead (?!"},
                                     {"(?<=", "look-behind (?<="},
                                     {"(?<!", "look-behind (?<!"},
                                     {"(?>", "an atomic group (?>"},
                                     {"(?P=", "a back reference (?P="},
                                     {"(?#", "a comment (?#"},
                                     {"(?(", "a conditional (?("}})
      if (rest.starts_with(mark)) unsupported(name);
    const std::size_t open = at_;
    if (take("(?P<") || take("(?<")) {
      const std::size_t end = text_.find('>', at_);
      const std::string_view name = text_.substr(at_, end == std::string_view::npos ? 0 : end - at_);
      if (name.empty() || !std::ranges::all_of(name, [](char n) {
            return n == '_' || (n >= '0' && n <= '9') || (n >= 'a' && n <= 'z') || (n >= 'A' && n <= 'Z');
          }))
        bad("a group's name must be letters, digits and _, and end with >");
      at_ = end + 1;
    } else if (!take("(?:")) {
      if (rest.starts_with("(?")) unsupported("a flag or extension (?");
      take("(");
    }
    const std::uint32_t inside = alternatives(depth + 1);
    if (!take(")")) {
      at_ = open;
      bad("a ( without its )");
    }
    return inside;
  }

  char32_t hex(unsigned digits) {
    char32_t code = 0;
    for (unsigned i = 0; i < digits; ++i, ++at_) {
      const char c = more() ? text_[at_] : ' ';
      const bool digit = c >= '0' && c <= '9', lower = c >= 'a' && c <= 'f', upper = c >= 'A' && c <= 'F';
      if (!digit && !lower && !upper) bad(fmt::format("an escape that wants {} hexadecimal digits", digits));
      code = code * 16 + static_cast<char32_t>(digit ? c - '0' : (lower ? c - 'a' : c - 'A') + 10);
    }
    return code;
  }

  enum class Place : std::uint8_t { outside, in_class, in_inverted_class };

  // Where the set will be inverted, the widest reading of \d … \S makes what is left the narrowest.
  CodeSet class_escape(char letter, Place place) {
    const bool upper = letter < 'a';
    const char low = upper ? static_cast<char>(letter - 'A' + 'a') : letter;
    const char high = upper ? letter : static_cast<char>(letter - 'a' + 'A');
    if (place != Place::in_inverted_class) return upper ? unicode_complement(high) : ascii_class(low);
    return upper ? ascii_class(low).complement() : unicode_complement(high).complement();
  }

  CodeSet escape(Place context) {
    const std::size_t place = at_++;
    if (!more()) {
      at_ = place;
      bad("a \\ at the end");
    }
    const auto one = [](char32_t code) { return CodeSet({{code, code}}); };
    const char c = text_[at_];
    switch (c) {
      case 'd':
      case 'w':
      case 's':
      case 'D':
      case 'W':
      case 'S': ++at_; return class_escape(c, context);
      case 't': ++at_; return one('\t');
      case 'n': ++at_; return one('\n');
      case 'r': ++at_; return one('\r');
      case 'f': ++at_; return one('\f');
      case 'v': ++at_; return one('\v');
      case 'x': ++at_; return one(hex(2));
      case 'u': {
        ++at_;
        char32_t code = hex(4);
        if (code >= 0xD800 && code < 0xDC00 && take("\\u")) {
          const char32_t low = hex(4);
          if (low < 0xDC00 || low > 0xDFFF) bad("half a surrogate pair");
          code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        if (code >= 0xD800 && code <= 0xDFFF) bad("half a surrogate pair");
        return one(code);
      }
      default: break;
    }
    if (c == '0' && !(at_ + 1 < text_.size() && text_[at_ + 1] >= '0' && text_[at_ + 1] <= '9')) return ++at_, one(0);
    if (c == 'b' && context != Place::outside) return ++at_, one('\b');
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), digit = c >= '0' && c <= '9';
    if (letter || digit) {
      at_ = place;
      if (digit || c == 'k') unsupported("a back reference");
      if (c == 'b' || c == 'B') unsupported("a word boundary");
      if (c == 'p' || c == 'P') unsupported("a Unicode property \\p");
      unsupported(fmt::format("the escape \\{}", c));
    }
    return one(take_code());
  }

  CodeSet char_class() {
    const std::size_t open = at_++;
    const bool inverted = take("^");
    std::vector<CodeRange> ranges;
    const auto item = [&]() -> CodeSet {
      if (next_is('\\')) return escape(inverted ? Place::in_inverted_class : Place::in_class);
      const char32_t code = take_code();
      return CodeSet({{code, code}});
    };
    const auto is_one = [](const CodeSet& set) {
      return set.ranges().size() == 1 && set.ranges()[0].low == set.ranges()[0].high;
    };
    for (bool first = true;; first = false) {
      if (!more()) {
        at_ = open;
        bad("a [ without its ]");
      }
      if (next_is(']') && first) bad("an empty class; write \\] for the character");
      if (take("]")) break;
      const std::size_t place = at_;
      const CodeSet low = item();
      if (next_is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        const CodeSet high = item();
        if (!is_one(low) || !is_one(high) || low.ranges()[0].low > high.ranges()[0].low) {
          at_ = place;
          bad("a range of a class must go from one character up to another");
        }
        ranges.push_back({low.ranges()[0].low, high.ranges()[0].low});
      } else {
        ranges.insert(ranges.end(), low.ranges().begin(), low.ranges().end());
      }
    }
    const CodeSet set = CodeSet(std::move(ranges)).both(CodeSet::all());
    return inverted ? set.complement() : set;
  }

  std::string_view text_;
  Match match_;
  std::string what_;
  std::size_t at_ = 0;
  Regex out_;
};

constexpr std::string_view kShortEscapes = "\"\\\b\f\n\r\t", kShortLetters = "\"\\bfnrt";

class Builder {
 public:
  Builder(Nfa& nfa, const Regex& regex, Encoding encoding) : nfa_(nfa), regex_(regex), encoding_(encoding) {}

  // The depth of recursion is bounded by the parser's limit on groups.
  void operator()(State from, std::uint32_t index, State to) {
    const Regex::Node& node = regex_.nodes[index];
    nfa_.budget().steps(1);
    switch (node.kind) {
      case Regex::Kind::chars:
        if (encoding_ == Encoding::json)
          json_codes(nfa_, from, node.set, to);
        else
          nfa_.codes(from, node.set, to);
        return;
      case Regex::Kind::alternate:
        for (const std::uint32_t part : node.parts) (*this)(from, part, to);
        return;
      case Regex::Kind::concat: {
        for (const std::uint32_t part : node.parts) {
          const State next = nfa_.add();
          (*this)(from, part, next);
          from = next;
        }
        nfa_.empty(from, to);
        return;
      }
      case Regex::Kind::repeat: repeat(from, node, to);
    }
  }

 private:
  void repeat(State from, const Regex::Node& node, State to) {
    const std::uint32_t part = node.parts[0];
    for (std::uint32_t i = 0; i < node.least; ++i) {
      const State next = nfa_.add();
      (*this)(from, part, next);
      from = next;
    }
    if (node.most == kNoMost) {
      const State loop = nfa_.add(), body = nfa_.add();
      nfa_.empty(from, loop);
      nfa_.empty(loop, body);  // a state of its own: nothing that leads back to `from` joins the loop
      (*this)(body, part, loop);
      nfa_.empty(loop, to);
      return;
    }
    nfa_.empty(from, to);
    for (std::uint32_t i = node.least; i < node.most; ++i) {
      const State next = nfa_.add();
      (*this)(from, part, next);
      from = next;
      nfa_.empty(from, to);
    }
  }
  Nfa& nfa_;
  const Regex& regex_;
  Encoding encoding_;
};

}  // namespace

Regex parse_regex(std::string_view pattern, Match match, const Budget& budget) {
  return Parser(pattern, match, budget).parse();
}

void build(Nfa& nfa, State from, const Regex& regex, Encoding encoding, State to) {
  const State inside = nfa.add();
  nfa.empty(from, inside);
  Builder(nfa, regex, encoding)(inside, regex.root, to);
}

Dfa compile(const Regex& regex, Encoding encoding, Budget& budget) {
  Nfa nfa(budget);
  const State from = nfa.add(), to = nfa.add();
  build(nfa, from, regex, encoding, to);
  return determinize(nfa, from, to);
}

void json_codes(Nfa& nfa, State from, const CodeSet& set, State to) {
  static const CodeSet escaped({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
  nfa.codes(from, set.without(escaped), to);
  const CodeSet special = set.both(escaped);
  for (const CodeRange& range : special.ranges())
    for (char32_t code = range.low; code <= range.high; ++code) {
      const auto place = kShortEscapes.find(static_cast<char>(code));
      if (place != std::string_view::npos)
        nfa.literal(from, std::string{'\\', kShortLetters[place]}, to);
      else
        nfa.literal(from, fmt::format("\\u{:04x}", static_cast<unsigned>(code)), to);
    }
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto place = kShortEscapes.find(c);
    if (place != std::string_view::npos)
      (out += '\\') += kShortLetters[place];
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + '"';
}

}  // namespace tap::grammar
