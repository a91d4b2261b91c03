// A finished answer.
#pragma once

#include <string>
#include <vector>

#include "runtime/timings.h"
#include "runtime/token_loop.h"

namespace tap {

struct Answer {
  std::string text;  // without white space at its ends, unless a constraint made it
  FinishReason finish_reason = FinishReason::none;
  std::vector<TokenId> tokens;  // end token included
  std::vector<float> logprobs;  // of each token, under the raw logits
  Timings timings;
  std::string prompt_sent;
};

// `text`: all that the loop gave out. The loop is finished.
Answer answer_of(const TokenLoop& loop, std::string text, const Timings& timings, std::string prompt_sent);

}  // namespace tap
