// Regular expressions out of a tokenizer.json (Oniguruma's syntax), run by PCRE2 within a budget of match steps.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tap {

struct TextRange {
  std::size_t begin = 0, end = 0;  // bytes
};

class TokenRegex {
 public:
  // Refuses what PCRE2 would read differently: class intersection (&&), nested classes, \h, inline (?m).
  static Result<TokenRegex> compile(std::string_view pattern, std::string_view where);
  // All matches from left to right, empty ones included. Throws Error(limit) when the expression backtracks without end
  // (100 million match steps at one place, or 400 million in all).
  void find_all(std::string_view valid_utf8, std::vector<TextRange>& matches) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace tap
