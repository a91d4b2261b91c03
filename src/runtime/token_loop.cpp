#include "runtime/token_loop.h"

#include <algorithm>

namespace tap {

std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::none: return "none";
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::cancelled: return "cancelled";
  }
  return "?";
}

void require_fits(const PreparedPrompt& prepared, const GenerateOptions& options, Dim context) {
  if (options.max_tokens < 1)
    throw Error(ErrorCode::usage, fmt::format("max_tokens is {}, must be at least 1", options.max_tokens),
                "max_tokens");
  for (const ImagePlan& plan : prepared.plans)
    if (plan.tokens >= context)
      fail(ErrorCode::limit, "the picture of {}x{} becomes {} tokens, the context is {}", plan.source.width,
           plan.source.height, plan.tokens, context);
  const Prompt& prompt = prepared.prompt;
  if (prompt.rows() < 1) fail(ErrorCode::bad_input, "the prompt is empty");
  if (prompt.rows() >= context)
    fail(ErrorCode::limit, "the prompt has {} tokens, the context is {}, one of them for the answer", prompt.rows(),
         context);
  if (prompt.pictures.size() != prepared.media.size() || prepared.plans.size() != prepared.media.size())
    fail(ErrorCode::bad_input, "the prompt has slots for {} pictures, {} are given", prompt.pictures.size(),
         prepared.media.size());
}

TokenLoop::TokenLoop(const Model& model, const PreparedPrompt& prepared, GenerateOptions options, Dim context)
    : model_(&model),
      options_(std::move(options)),
      sampler_(options_.sampling, prepared.prompt.ids),
      rng_(options_.sampling.seed),
      decoder_(model.tokenizer()),
      stop_(options_.stop),
      first_position_(prepared.prompt.next_position()) {
  if (options_.constraint) constraint_.emplace(options_.constraint);
  options_.max_tokens = std::min(options_.max_tokens, context - prepared.prompt.rows());
}

std::int32_t TokenLoop::newest_position() const {
  return first_position_ + static_cast<std::int32_t>(output_.size()) - 1;
}

void TokenLoop::end(FinishReason reason) {
  finish_ = reason;
  if (!stop_.stopped()) {
    rest_ = stop_.push(decoder_.finish());
    if (!stop_.stopped()) rest_ += stop_.finish();
  }
}

TokenEvent TokenLoop::take(std::span<const float> logits) {
  const auto allowed = constraint_ ? constraint_->allowed(options_.ignore_end) : std::span<const std::uint64_t>();
  const Sampler::Choice choice = sampler_(logits, rng_, allowed);
  output_.push_back(choice.id);
  logprobs_.push_back(choice.logprob);
  TokenEvent event{choice.id, {}, choice.logprob, false};
  const auto& ends = model_->end_tokens();
  if (!options_.ignore_end && std::binary_search(ends.begin(), ends.end(), choice.id)) {
    event.is_end = true;
    end(FinishReason::stop);
    return event;
  }
  event.text = stop_.push(constraint_ ? constraint_->accept(choice.id) : decoder_.push(choice.id));
  if (stop_.stopped() || (constraint_ && constraint_->must_end()))
    end(FinishReason::stop);
  else if (static_cast<Dim>(output_.size()) >= options_.max_tokens)
    end(FinishReason::length);
  return event;
}

}  // namespace tap
