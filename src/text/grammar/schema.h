// JSON Schema to rules of a grammar. What is supported, and where the written JSON is narrower than the schema, stands
// in docs/constrained-answers.md.
#pragma once

#include <string_view>
#include <vector>

#include "text/grammar/grammar.h"

namespace tap::grammar {

// Throws Error naming the path of the keyword. `all`: see Budget.
GrammarRules compile_schema(std::string_view text, std::string_view what, Budget* all = nullptr);

// Decimal numbers between bounds, as a JSON number without exponent (schema_number.cpp).
struct NumberRange {
  bool integer = false;
  std::string least, most;                       // decimal texts without exponent; empty = none
  bool above_least = false, below_most = false;  // the bound itself is excluded
  std::uint64_t multiple_of = 0;                 // of an integer; 0 = none
};
Dfa number_range(const NumberRange& range, Budget& budget);

// A regex for the values of a "format"; empty when it is not known.
std::string_view format_pattern(std::string_view format);

}  // namespace tap::grammar
