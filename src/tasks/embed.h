// Vectors of pictures and texts, for comparing like with like.
#pragma once

#include <string_view>
#include <vector>

#include "runtime/session.h"

namespace tap {

// [d]: the mean over the picture's feature rows [tokens, d], from the session's cache or computed. Throws Error(limit)
// when the picture alone fills the context.
std::vector<float> embed_picture(Session& session, const Image& image);

// [d]: the decoder's last hidden state (after its final norm) at the prompt's last row. Throws Error(bad_input) for a
// prompt without rows, Error(limit) when it does not fit the context.
std::vector<float> embed_prompt(Session& session, const PreparedPrompt& prepared);

// The prompt of a bare text that a user typed: no template, a begin token where the tokenizer adds one.
PreparedPrompt bare_prompt(const Model& model, std::string_view text);

}  // namespace tap
