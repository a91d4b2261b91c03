// How a token is chosen: what users may ask for.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "io/config_reader.h"
#include "ops/ops.h"

namespace tap {

struct SamplingOptions {
  float temperature = 0;         // 0 = argmax, ties to the lowest id
  Dim top_k = 0;                 // 0 = off
  float top_p = 1;               // [0, 1]; the token that crosses p stays, so at least one does
  float min_p = 0;               // [0, 1): of the best token's probability
  float repetition_penalty = 1;  // over prompt and output; positive logits divided, negative multiplied (HF)
  float presence_penalty = 0;    // over the output only (OpenAI)
  float frequency_penalty = 0;
  std::uint64_t seed = 0;
  // Added to the logits first of all: no id twice, each within the vocabulary. -100 bans a token, 100 all but forces it
  // (OpenAI).
  std::vector<std::pair<TokenId, float>> logit_bias = {};

  // Throws Error(usage) naming the option, its value and the limits.
  void validate() const;
  // generation_config.json: sampling only where do_sample is true, else greedy.
  static SamplingOptions from_config(const ConfigReader& generation_config);
};

}  // namespace tap
