// --choices, --regex, --schema, --grammar and --logprobs: the form that an answer must have, and how likely it was.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cli/options.h"
#include "io/json.h"
#include "runtime/session.h"

namespace tap::cli {

// "yes,no"; \, is a comma and \\ a backslash. Throws Error(usage) for an empty or a repeated choice.
std::vector<std::string> split_choices(std::string_view text);
// Null without a flag. Throws Error(usage) when flags contradict each other or a pattern or list is wrong, and what the
// schema's file is refused for. Needs no model.
GrammarPtr grammar_of(const Options& options);

// Adds "logprobs", the answer's tokens with their log-probabilities under the raw logits (before any constraint and
// temperature), and "logprob", their sum.
void add_logprobs(Json& json, const Answer& answer, const Tokenizer& tokenizer);

// {"yes": {"logprob", "probability"}, …}: each choice scored on the prompt by teacher forcing, end included, with and
// without a space before it; probabilities add up to 1 over the choices.
Json score_choices(Session& session, const PreparedPrompt& prepared, std::span<const std::string> choices);

}  // namespace tap::cli
