// GBNF, the grammars of llama.cpp (its grammars/README.md), to rules of a grammar:
//
//   root   ::= "yes" | list       # the whole answer; a rule ends with its line, but not within ( ) or after |
//   list   ::= item (", " item){0,3}
//   item   ::= [a-z]+ | [^,\n] . | "\x41\u00E9\U0001F600"
//
// Repeats are * + ? {m} {m,} {m,n}. A rule that begins with itself (left recursion) is refused, and so are llama.cpp's
// tokens (<think>, <[7]>, !<think>): what is written counts, not how a vocabulary cuts it.
#pragma once

#include <string_view>

#include "text/grammar/grammar.h"

namespace tap::grammar {

inline constexpr std::size_t kMostGrammarBytes = 256 << 10;
inline constexpr std::size_t kMostGrammarRules = 4096;

// Throws Error naming the line.
GrammarRules compile_gbnf(std::string_view text, std::string_view what);

}  // namespace tap::grammar
