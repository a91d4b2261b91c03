#include "text/pretokenize.h"

#include <algorithm>

#include "text/tokenizer_unicode.h"

namespace tap {

namespace {

using uni::classes;
using Kind = PreTokenizeStep::Kind;

// Reads characters with their classes; past the end the class is 0 and the length 0.
struct Reader {
  std::string_view text;
  std::size_t end;
  struct Char {
    char32_t code;
    std::uint8_t bits;
    unsigned length;
  };
  Char at(std::size_t i) const {
    if (i >= end) return {0, 0, 0};
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 128) return {byte, uni::kAsciiClasses[byte], 1};
    const auto [code, length] = uni::decode(text, i);
    return {code, uni::wide_classes(code), length};
  }
  // End of the run of characters that have one of the bits.
  std::size_t run(std::size_t i, unsigned bits) const {
    for (Char c = at(i); c.length && (c.bits & bits); c = at(i)) i += c.length;
    return i;
  }
  std::size_t run_without(std::size_t i, unsigned bits) const {
    for (Char c = at(i); c.length && !(c.bits & bits); c = at(i)) i += c.length;
    return i;
  }
};

constexpr unsigned kWordish = uni::letter | uni::number | uni::space;

// 's 't 're 've 'm 'll 'd at an apostrophe: its length in bytes, 0 when none. With `fold` letters of either case, and
// U+017F for s.
std::size_t contraction(const Reader& in, std::size_t i, bool fold) {
  if (i + 1 >= in.end || in.text[i] != '\'') return 0;
  const auto lower = [&](std::size_t k) -> char {
    if (k >= in.end) return '\0';
    const char c = in.text[k];
    return fold && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = lower(i + 1), second = lower(i + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l')) return 3;
  if (fold && first == '\xC5' && second == '\xBF') return 3;
  return 0;
}

// \s+(?!\S)|\s+ : all of a run at the end of the text, else all but its last character, else that one.
std::size_t spaces_end(const Reader& in, std::size_t i) {
  std::size_t last = i, next = i;
  for (auto c = in.at(next); c.length && (c.bits & uni::space); c = in.at(next)) {
    last = next;
    next += c.length;
  }
  return next == in.end || last == i ? next : last;
}

std::size_t gpt2_end(const Reader& in, std::size_t i) {
  if (const std::size_t length = contraction(in, i, false)) return i + length;
  const std::size_t start = in.text[i] == ' ' && i + 1 < in.end ? i + 1 : i;
  const auto c = in.at(start);
  if (c.bits & uni::letter) return in.run(start, uni::letter);
  if (c.bits & uni::number) return in.run(start, uni::number);
  if (!(c.bits & uni::space)) return in.run_without(start, kWordish);
  return spaces_end(in, i);
}

// The tail that Qwen2, Llama 3 and Kimi share:  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
std::size_t punctuation_or_spaces_end(const Reader& in, std::size_t i) {
  const std::size_t start = in.text[i] == ' ' && i + 1 < in.end ? i + 1 : i;
  if (!(in.at(start).bits & kWordish)) return in.run(in.run_without(start, kWordish), uni::newline);
  std::size_t after_newline = i;
  std::size_t next = i;
  for (auto c = in.at(next); c.length && (c.bits & uni::space); c = in.at(next)) {
    next += c.length;
    if (c.bits & uni::newline) after_newline = next;
  }
  return after_newline > i ? after_newline : spaces_end(in, i);
}

std::size_t digits_end(const Reader& in, std::size_t i, int most) {
  for (auto c = in.at(i); most > 0 && c.length && (c.bits & uni::number); c = in.at(i), --most) i += c.length;
  return i;
}

std::size_t qwen2_end(const Reader& in, std::size_t i, int digits) {
  if (const std::size_t length = contraction(in, i, true)) return i + length;
  const auto c = in.at(i);
  if (c.bits & uni::letter) return in.run(i, uni::letter);
  if (c.bits & uni::number) return digits_end(in, i, digits);
  if (!(c.bits & uni::newline) && (in.at(i + c.length).bits & uni::letter)) return in.run(i + c.length, uni::letter);
  return punctuation_or_spaces_end(in, i);
}

// [upperish]*[lowerish]+ or [upperish]+[lowerish]* from `start`, both without Han; 0 when neither matches. The two
// classes share Lm, Lo and M: when no lowerish character follows the upperish run, the run gives its last shared
// character back.
std::size_t cased_word_end(const Reader& in, std::size_t start) {
  const auto bits_at = [&](std::size_t k) {
    auto c = in.at(k);
    if (c.bits & (uni::upperish | uni::lowerish) && uni::is_han(c.code)) c.bits = 0;
    return c;
  };
  std::size_t next = start, after_shared = 0;
  for (auto c = bits_at(next); c.bits & uni::upperish; c = bits_at(next)) {
    next += c.length;
    if (c.bits & uni::lowerish) after_shared = next;
  }
  const std::size_t upper_end = next;
  for (auto c = bits_at(next); c.bits & uni::lowerish; c = bits_at(next)) next += c.length;
  if (next > upper_end) return next;
  if (after_shared) return after_shared;
  return upper_end > start ? upper_end : 0;
}

std::size_t kimi_end(const Reader& in, std::size_t i) {
  const auto c = in.at(i);
  if (c.code >= 0x2E80 && uni::is_han(c.code)) {
    std::size_t next = i;
    for (auto h = in.at(next); h.length && uni::is_han(h.code); h = in.at(next)) next += h.length;
    return next;
  }
  std::size_t end = 0;
  const bool may_lead = !(c.bits & (uni::letter | uni::number | uni::newline));
  // The expression's order: a word that ends in [lowerish]+, first with and then without the leading character; then
  // one that begins with [upperish]+, likewise.
  const auto ends_in_lower = [&](std::size_t from) {
    const Reader& r = in;
    std::size_t next = from;
    bool shared = false;
    for (auto k = r.at(next); (k.bits & uni::upperish) && !uni::is_han(k.code); k = r.at(next)) {
      next += k.length;
      shared = shared || (k.bits & uni::lowerish);
    }
    const auto k = r.at(next);
    return shared || ((k.bits & uni::lowerish) && !uni::is_han(k.code));
  };
  if (may_lead && ends_in_lower(i + c.length))
    end = cased_word_end(in, i + c.length);
  else if (ends_in_lower(i))
    end = cased_word_end(in, i);
  else if (may_lead)
    end = cased_word_end(in, i + c.length);
  if (!end) end = cased_word_end(in, i);
  if (end) return end + contraction(in, end, true);
  if (c.bits & uni::number) return digits_end(in, i, 3);
  return punctuation_or_spaces_end(in, i);
}

struct Piece {
  TextRange range;
  bool matched;
};

// Joins matches and the text between them as the behaviour says; empty words are dropped.
void apply_behavior(SplitBehavior behavior, const std::vector<Piece>& pieces, std::vector<TextRange>& words) {
  const std::size_t first = words.size();
  const auto push = [&](const TextRange& range) { words.push_back(range); };
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::isolated:
      for (const Piece& piece : pieces) push(piece.range);
      break;
    case SplitBehavior::removed:
      for (const Piece& piece : pieces)
        if (!piece.matched) push(piece.range);
      break;
    case SplitBehavior::contiguous:
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        if (i > 0 && pieces[i].matched == pieces[i - 1].matched)
          words.back().end = pieces[i].range.end;
        else
          push(pieces[i].range);
      }
      break;
    case SplitBehavior::merged_with_previous:
      for (const Piece& piece : pieces) {
        if (piece.matched && !previous && words.size() > first)
          words.back().end = piece.range.end;
        else
          push(piece.range);
        previous = piece.matched;
      }
      break;
    case SplitBehavior::merged_with_next:
      for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
        if (piece->matched && !previous && words.size() > first)
          words.back().begin = piece->range.begin;
        else
          push(piece->range);
        previous = piece->matched;
      }
      std::reverse(words.begin() + static_cast<std::ptrdiff_t>(first), words.end());
      break;
  }
  words.erase(std::remove_if(words.begin() + static_cast<std::ptrdiff_t>(first), words.end(),
                             [](const TextRange& range) { return range.begin == range.end; }),
              words.end());
}

// Each character that `is` accepts is a match of its own; the others between them are one piece.
template <class Is>
void find_characters(std::string_view text, TextRange range, Is&& is, std::vector<Piece>& pieces) {
  std::size_t start = range.begin;
  for (std::size_t i = range.begin; i < range.end;) {
    const auto [code, length] = uni::decode(text, i);
    if (is(code)) {
      if (start < i) pieces.push_back({{start, i}, false});
      pieces.push_back({{i, i + length}, true});
      start = i + length;
    }
    i += length;
  }
  if (start < range.end) pieces.push_back({{start, range.end}, false});
}

void pieces_between(const std::vector<TextRange>& matches, TextRange range, std::vector<Piece>& pieces) {
  std::size_t start = range.begin;
  for (const TextRange& match : matches) {
    if (start < match.begin) pieces.push_back({{start, match.begin}, false});
    pieces.push_back({match, true});
    start = match.end;
  }
  if (start < range.end) pieces.push_back({{start, range.end}, false});
}

// \w+|[^\w\s]+ of the "Whitespace" pre-tokenizer.
void find_word_runs(std::string_view text, TextRange range, std::vector<Piece>& pieces) {
  const auto kind = [](char32_t code) { return uni::is_word(code) ? 2 : (classes(code) & uni::space) ? 0 : 1; };
  for (std::size_t i = range.begin; i < range.end;) {
    const int wanted = kind(uni::decode(text, i).code);
    std::size_t next = i;
    while (next < range.end) {
      const auto [code, length] = uni::decode(text, next);
      if (kind(code) != wanted) break;
      next += length;
    }
    pieces.push_back({{i, next}, wanted != 0});
    i = next;
  }
}

void find_pieces(const PreTokenizeStep& step, std::string_view text, TextRange range, std::vector<Piece>& pieces) {
  pieces.clear();
  const auto is_number = [](char32_t code) { return (classes(code) & uni::number) != 0; };
  switch (step.kind) {
    case Kind::rule: {
      std::vector<TextRange> words;
      split_by_rule(step.rule, text, range, words);
      for (const TextRange& word : words) pieces.push_back({word, true});
      break;
    }
    case Kind::text: {
      std::vector<TextRange> matches;
      for (std::size_t at = range.begin;
           !step.text.empty() && (at = text.substr(0, range.end).find(step.text, at)) != std::string_view::npos;
           at += step.text.size())
        matches.push_back({at, at + step.text.size()});
      pieces_between(matches, range, pieces);
      break;
    }
    case Kind::regex: {
      std::vector<TextRange> matches;
      step.regex->find_all(text.substr(range.begin, range.end - range.begin), matches);
      for (TextRange& match : matches) match = {match.begin + range.begin, match.end + range.begin};
      pieces_between(matches, range, pieces);
      break;
    }
    case Kind::digits:
    case Kind::digits_each: find_characters(text, range, is_number, pieces); break;
    case Kind::punctuation:
      find_characters(
          text, range,
          [](char32_t code) {
            return (classes(code) & uni::punctuation) != 0 || code == '$' || code == '+' ||
                   (code >= '<' && code <= '>') || code == '^' || code == '`' || code == '|' || code == '~';
          },
          pieces);
      break;
    case Kind::spaces:
      find_characters(
          text, range, [](char32_t code) { return (classes(code) & uni::space) != 0; }, pieces);
      break;
    case Kind::words: find_word_runs(text, range, pieces); break;
    case Kind::character: {
      const char32_t wanted = uni::decode(step.text, 0).code;
      find_characters(
          text, range, [wanted](char32_t code) { return code == wanted; }, pieces);
      break;
    }
    case Kind::metaspace:
    case Kind::byte_level: break;
  }
  if (step.invert)
    for (Piece& piece : pieces) piece.matched = !piece.matched;
}

// Rebuilds the text word by word through `change(word, is_first, out)`; words move with it.
template <class Change>
void rewrite(std::string& text, std::vector<TextRange>& words, Change&& change) {
  std::string out;
  out.reserve(text.size() + words.size() + 16);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::size_t begin = out.size();
    change(std::string_view(text).substr(words[i].begin, words[i].end - words[i].begin), words[i].begin == 0, out);
    words[i] = {begin, out.size()};
  }
  text = std::move(out);
}

void run_metaspace(const PreTokenizeStep& step, std::string& text, bool at_start, std::vector<TextRange>& words) {
  rewrite(text, words, [&](std::string_view word, bool is_first, std::string& out) {
    const bool wanted = step.prepend == PreTokenizeStep::Prepend::always ||
                        (step.prepend == PreTokenizeStep::Prepend::first && at_start && is_first);
    if (wanted && !word.starts_with(' ') && !word.starts_with(step.text)) out += step.text;
    for (const char c : word) {
      if (c == ' ')
        out += step.text;
      else
        out += c;
    }
  });
  if (!step.split) return;
  PreTokenizeStep cut;
  cut.kind = Kind::text;
  cut.text = step.text;
  std::vector<TextRange> result;
  std::vector<Piece> pieces;
  for (const TextRange& word : words) {
    find_pieces(cut, text, word, pieces);
    apply_behavior(SplitBehavior::merged_with_next, pieces, result);
  }
  words.swap(result);
}

}  // namespace

std::optional<SplitRule> known_split_rule(std::string_view pattern) {
  if (pattern == R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)")
    return SplitRule::gpt2;
  if (pattern ==
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
      R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)")
    return SplitRule::qwen2;
  if (pattern ==
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
      R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)")
    return SplitRule::llama3;
  return std::nullopt;
}

void split_by_rule(SplitRule rule, std::string_view text, TextRange range, std::vector<TextRange>& words) {
  const Reader in{text, range.end};
  const auto all = [&](auto&& end_of) {
    for (std::size_t i = range.begin; i < range.end;) {
      const std::size_t end = end_of(i);
      words.push_back({i, end});
      i = end;
    }
  };
  switch (rule) {
    case SplitRule::gpt2: all([&](std::size_t i) { return gpt2_end(in, i); }); break;
    case SplitRule::qwen2: all([&](std::size_t i) { return qwen2_end(in, i, 1); }); break;
    case SplitRule::llama3: all([&](std::size_t i) { return qwen2_end(in, i, 3); }); break;
    case SplitRule::kimi: all([&](std::size_t i) { return kimi_end(in, i); }); break;
  }
}

void pre_tokenize(const std::vector<PreTokenizeStep>& steps, std::string& text, bool at_start,
                  std::vector<TextRange>& words) {
  words.clear();
  if (text.empty()) return;
  words.push_back({0, text.size()});
  std::vector<TextRange> next;
  std::vector<Piece> pieces;
  for (const PreTokenizeStep& step : steps) {
    next.clear();
    if (step.kind == Kind::metaspace) {
      run_metaspace(step, text, at_start, words);
      continue;
    }
    if (step.kind == Kind::byte_level) {
      if (step.add_prefix_space)
        rewrite(text, words, [](std::string_view word, bool, std::string& out) {
          if (!word.starts_with(' ')) out += ' ';
          out += word;
        });
      if (!step.use_regex) continue;
      for (const TextRange& word : words) split_by_rule(SplitRule::gpt2, text, word, next);
    } else if (step.kind == Kind::rule && step.behavior == SplitBehavior::isolated) {
      for (const TextRange& word : words) split_by_rule(step.rule, text, word, next);
    } else {
      for (const TextRange& word : words) {
        find_pieces(step, text, word, pieces);
        apply_behavior(step.behavior, pieces, next);
      }
    }
    words.swap(next);
  }
}

void split_for_kimi(std::string_view text, std::vector<TextRange>& words) {
  constexpr std::size_t kMostChars = 400'000, kMostAlike = 25'000;
  words.clear();
  std::size_t start = 0, chars = 0, alike = 0;
  bool was_space = false;
  const auto cut = [&](std::size_t at) {
    if (at > start) split_by_rule(SplitRule::kimi, text, {start, at}, words);
    start = at;
  };
  for (std::size_t i = 0; i < text.size();) {
    const auto [code, length] = uni::decode(text, i);
    const bool is_space = uni::is_python_space(code);
    if (chars == kMostChars) {
      cut(i);
      chars = alike = 0;
    }
    if (alike > 0 && is_space == was_space) {
      if (++alike > kMostAlike) {
        cut(i);
        alike = 1;
      }
    } else {
      alike = 1;
    }
    was_space = is_space;
    ++chars;
    i += length;
  }
  cut(text.size());
}

}  // namespace tap
