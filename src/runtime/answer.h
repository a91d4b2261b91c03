// A finished answer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/timings.h"
#include "runtime/token_loop.h"

namespace tap {

struct Answer {
  std::string text;  // without white space at its ends
  FinishReason finish_reason = FinishReason::none;
  std::vector<TokenId> tokens;  // end token included
  Timings timings;
  std::string prompt_sent;
};

std::string without_blank_ends(std::string_view text);

}  // namespace tap
