// The regexes of constrained answers. Supported: literals, ., [classes], \d \w \s (ASCII) and \D \W \S (their Unicode
// complements), escapes \t \n \r \f \v \0 \xHH \uHHHH and of punctuation, groups ( ) (?: ) (?P<name> ) (?<name> ), |,
// and * + ? {m} {m,} {m,n}, greedy or lazy (the same language). ^ may stand at the beginning and $ at the end of a
// top-level alternative. Refused by name and place: look-around, back references, \b, \p, flags, possessive repeats.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/grammar/automaton.h"

namespace tap::grammar {

enum class Match : std::uint8_t { whole, anywhere };  // re.fullmatch, re.search
enum class Encoding : std::uint8_t { utf8, json };    // how a code point is written: itself, or inside a JSON string
inline constexpr std::uint32_t kNoMost = ~std::uint32_t{0};

// A syntax tree; nodes refer to earlier ones.
struct Regex {
  enum class Kind : std::uint8_t { chars, concat, alternate, repeat };
  struct Node {
    Kind kind;
    std::vector<std::uint32_t> parts;   // none: matches nothing (alternate), or the empty text (concat)
    CodeSet set;                        // chars
    std::uint32_t least = 0, most = 0;  // repeat
  };
  std::vector<Node> nodes;
  std::uint32_t root = 0;
};

// Throws Error(bad_input), or Error(unsupported) for known syntax outside the subset: "WHAT: position 3: …".
Regex parse_regex(std::string_view pattern, Match match, const Budget& budget);
void build(Nfa& nfa, State from, const Regex& regex, Encoding encoding, State to);
Dfa compile(const Regex& regex, Encoding encoding, Budget& budget);
inline Dfa compile_regex(std::string_view pattern, Match match, Encoding encoding, Budget& budget) {
  return compile(parse_regex(pattern, match, budget), encoding, budget);
}

// One code point of `set` as it stands in a JSON string: itself, or the short escape where JSON demands one (\u00XX for
// control characters without one). One spelling each, so that languages of texts can be intersected.
void json_codes(Nfa& nfa, State from, const CodeSet& set, State to);
std::string json_string(std::string_view text);  // quoted, in the same spelling

}  // namespace tap::grammar
