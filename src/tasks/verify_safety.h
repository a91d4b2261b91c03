// The stages of a golden case that a classifier of policies answers: rows of a padded batch, one a picture and policy.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/model.h"

namespace tap {

// The rows of a batch [n, width] of ids without what a mask of the same shape leaves out before them. Throws
// Error(bad_file) where the mask leaves out anything else.
std::vector<std::vector<TokenId>> unpadded_rows(std::span<const std::int64_t> ids, std::span<const std::int64_t> mask,
                                                Dim rows);

// What the checkpoint's template makes of each picture and policy, pictures outermost. Throws Error(bad_file) for a
// policy that the checkpoint has no text for.
std::vector<PreparedPrompt> policy_prompts(const Model& model, std::span<const std::shared_ptr<const Image>> images,
                                           std::span<const std::string> policies);

struct Judgement {
  Tensor last_logits;    // [n, vocab]
  Tensor yes_no_logits;  // [n, 2]; undefined, as the probabilities, where the checkpoint is no classifier
  Tensor probabilities;  // [n, 2]
};
// `features`: [rows, d] of each prompt's pictures, undefined where it has none.
Judgement judge(const Model& model, std::span<const Prompt> prompts, std::span<const Tensor> features);

}  // namespace tap
