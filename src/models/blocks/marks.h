// Marks: the text that stands for a picture in a rendered template, and the slots its rows take in a prompt.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/family.h"

namespace tap {

struct Mark {
  std::string text;    // "<image>"
  bool video = false;  // stands for a video
};

// Each mark in trusted text becomes `text_of` its plan; what a user types stays text. Throws Error(bad_input) unless
// there are as many marks as plans, each of its plan's kind.
std::vector<TextSpan> expand_marks(std::span<const TextSpan> spans, std::span<const Mark> marks,
                                   std::span<const ImagePlan> plans,
                                   const std::function<std::string(const ImagePlan&)>& text_of);

// Spans without marks as `processor` lays them out, with the text they were tokenized from.
Prompt prompt_of(const Processor& processor, const Tokenizer& tokenizer, std::span<const TextSpan> spans,
                 std::span<const ImagePlan> plans, bool add_special_tokens);

// The text of an added token that config.json names by `key`. Throws Error naming the key when it is none.
std::string added_token(const ModelFiles& files, std::string_view key, TokenId id);
std::string repeated(const std::string& text, Dim count);

// Rows that see all before them, at positions 0, 1, 2, …; no slots yet.
Prompt causal_prompt(std::span<const TokenId> ids);

// Fills `slots` and `pictures` from the rows whose id is one of `ids`. Throws Error(bad_file) when they are not as many
// as the plans' tokens; without plans they are one picture's.
void fill_slots(Prompt& prompt, std::span<const TokenId> ids, std::span<const ImagePlan> plans);

}  // namespace tap
