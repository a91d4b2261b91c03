// How far one form of a model goes the way of another: the same texts, given token by token (teacher forced), and what
// each form thinks of every token.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/session.h"

namespace tap {

// A prompt whose last `answer` rows are judged, each by the row before it.
struct GivenText {
  std::string name;
  PreparedPrompt prepared;
  Dim answer = 0;
};

constexpr Dim given_text_rows = 512;  // of one window, at most

// A plain text in windows of at most `rows` tokens, each with the BOS that the tokenizer gives a text; special tokens
// written in it are words. Empty when the text has too few tokens.
std::vector<GivenText> text_windows(const Model& model, const std::string& name, std::string_view text,
                                    Dim rows = given_text_rows);
// A question with what this model answers (greedy, at most `max_tokens`): the text to hold another form to.
GivenText answered(const Model& model, const std::string& name, const Conversation& conversation, Dim max_tokens);

// One number for each judged token, in order.
struct TokenScores {
  std::vector<double> logprob;     // that the model gives the token
  std::vector<TokenId> likeliest;  // the model's own choice
  double log_sum() const;
};
TokenScores score(const Model& model, const GivenText& text);

// exp of the mean negative log-probability; NaN for no tokens.
double perplexity(std::span<const TokenScores> scores);
// Share of tokens at which both choose alike; NaN for no tokens. Both have judged the same.
double top1_agreement(std::span<const TokenScores> a, std::span<const TokenScores> b);

}  // namespace tap
