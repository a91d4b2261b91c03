// One row of logits to one token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"
#include "ops/ops.h"
#include "runtime/sampling_options.h"

namespace tap {

// log of the probability that softmax of `logits` gives to `ids` together. Not finite logits count as impossible.
double log_softmax(std::span<const float> logits, std::span<const TokenId> ids);

// Order: bias, mask, penalties, temperature, top-k, top-p, min-p, draw (as HF). Holds the counts that penalties need;
// no text.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, std::span<const TokenId> prompt);
  struct Choice {
    TokenId id;
    float logprob;  // log softmax of the raw logits, before bias, mask, penalties and temperature
  };
  // logits: [vocab]. allowed: the tokens to choose from, 64 to a word, none beyond its end; all when empty. Throws
  // Error(internal) when none is finite.
  Choice operator()(std::span<const float> logits, Rng& rng, std::span<const std::uint64_t> allowed = {});

 private:
  struct Candidate {
    float score;
    TokenId id;
  };
  bool penalises() const;
  void penalise();
  void forbid_others(std::span<const std::uint64_t> allowed);
  TokenId draw(float top, TokenId best, Rng& rng);
  float floor_of_best(Dim k) const;
  void gather(float least);
  SamplingOptions options_;
  std::vector<std::uint32_t> prompt_count_, output_count_;  // by id, grown as needed
  std::vector<float> scores_;                               // by id; -inf: impossible. While drawing, the best has 0
  std::vector<Candidate> candidates_;
};

}  // namespace tap
