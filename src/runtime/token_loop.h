// From a row of logits to the next token of one answer: sampler, end tokens, stop strings, text, the limit of tokens.
// Computes nothing of the network, so one conversation and a batch share it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/constraint.h"
#include "runtime/model.h"
#include "runtime/prompt_lookup.h"
#include "runtime/sampler.h"
#include "runtime/stop_matcher.h"

namespace tap {

struct GenerateOptions {
  Dim max_tokens = 512;                          // cut to what the context leaves; at least 1
  SamplingOptions sampling;                      // start from Model::sampling_defaults()
  std::vector<std::string> stop;                 // matched over text, across token borders; not part of the answer
  bool ignore_end = false;                       // do not stop at end tokens (goldens)
  std::shared_ptr<const Constraint> constraint;  // null: any answer
  Lookup lookup = Lookup::automatic;             // drafts from the prompt and the answer; changes no token
};

enum class FinishReason : std::uint8_t { none, stop, length, cancelled };
std::string_view name(FinishReason reason);  // "stop"

struct TokenEvent {
  TokenId id = 0;
  std::string text;  // safe to print now; may be empty (half a character, a possible stop string, an end token)
  float logprob = 0;
  bool is_end = false;  // an end token
};

// Throws Error(usage) for options that cannot be, Error(limit) naming both numbers when a picture, or the prompt and at
// least one token, do not fit `context` rows, Error(bad_input) when pictures and slots differ.
void require_fits(const PreparedPrompt& prepared, const GenerateOptions& options, Dim context);

class TokenLoop {
 public:
  // `prepared` fits `context` (require_fits). Throws Error(usage) for sampling options or stop strings out of range.
  TokenLoop(const Model& model, const PreparedPrompt& prepared, GenerateOptions options, Dim context);

  // logits: [vocab], of the prompt's last row or of the newest token. Throws Error(internal) when none is finite.
  TokenEvent take(std::span<const float> logits);
  // Ends an answer that is not finished: text held back becomes rest().
  void end(FinishReason reason);

  FinishReason finish_reason() const { return finish_; }
  bool constrained() const { return constraint_.has_value(); }  // every byte of its text counts
  bool finished() const { return finish_ != FinishReason::none; }
  std::string rest() { return std::exchange(rest_, {}); }           // text still held back, once finished
  const std::vector<TokenId>& output() const { return output_; }    // end token included
  const std::vector<float>& logprobs() const { return logprobs_; }  // of each token of it
  const std::string& stop_string() const { return stop_.matched(); }
  Dim max_tokens() const { return options_.max_tokens; }  // as the context leaves them
  std::int32_t newest_position() const;                   // where output().back() stands; there is one

 private:
  const Model* model_;
  GenerateOptions options_;
  Sampler sampler_;
  Rng rng_;
  StreamDecoder decoder_;
  StopMatcher stop_;
  std::optional<TokenConstraint> constraint_;
  std::vector<TokenId> output_;
  std::vector<float> logprobs_;
  std::string rest_;
  std::int32_t first_position_;  // of the answer
  FinishReason finish_ = FinishReason::none;
};

}  // namespace tap
