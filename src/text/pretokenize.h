// Pre-tokenizers: text to words. The split rules of the known families are matched by hand in linear time; other
// regular expressions run in PCRE2 with a budget.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/pretokenize_regex.h"

namespace tap {

enum class SplitRule { gpt2, qwen2, llama3, kimi };

// The rule whose published expression is exactly this text.
std::optional<SplitRule> known_split_rule(std::string_view pattern);
// Every word of `range` in order; the words cover it without gaps.
void split_by_rule(SplitRule rule, std::string_view text, TextRange range, std::vector<TextRange>& words);

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct PreTokenizeStep {
  enum class Kind {
    rule,
    text,
    regex,
    digits,
    digits_each,
    punctuation,
    spaces,
    words,
    character,
    metaspace,
    byte_level
  };
  enum class Prepend { never, first, always };
  Kind kind = Kind::rule;
  SplitRule rule = SplitRule::gpt2;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
  std::string text;  // what to split at, or Metaspace's replacement
  std::optional<TokenRegex> regex;
  Prepend prepend = Prepend::never;  // metaspace
  bool split = true;                 // metaspace
  bool add_prefix_space = false;     // byte_level
  bool use_regex = false;            // byte_level
};

// Words of one stretch of text between added tokens. A step may change the text, so words are ranges of the text left
// behind. `at_start`: the stretch begins the whole input.
void pre_tokenize(const std::vector<PreTokenizeStep>& steps, std::string& text, bool at_start,
                  std::vector<TextRange>& words);

// Kimi's own limits before its expression (tokenization_moonshot.py): at most 400 000 characters at a time and 25 000
// of one kind (white space or not) in a row.
void split_for_kimi(std::string_view text, std::vector<TextRange>& words);

}  // namespace tap
