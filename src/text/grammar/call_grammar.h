// Answers that may call tools: free text up to a mark, then calls whose bodies JSON Schemas allow ("structural tags").
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/grammar.h"

namespace tap::grammar {

struct CallGrammar {
  struct Call {
    std::vector<std::string> begins;  // one of them stands before the body
    std::string schema;               // of the body, as JSON text
    std::string what;                 // names it in errors
    std::string end;
  };
  // section_begin call (between call)* section_end
  std::vector<Call> calls;  // at least one
  std::string section_begin, between, section_end;
  bool many = false;      // more than one call
  bool required = false;  // nothing but calls
  // What may stand instead of calls; unset: any text without `mark`, also before them. section_begin and the calls'
  // beginnings, joined, begin with the mark.
  std::optional<GrammarRules> content = {};
  std::string mark;
};

// Throws Error naming the call and the path of its schema's keyword.
GrammarRules compile_calls(const CallGrammar& calls);

}  // namespace tap::grammar
