#include "tasks/agreement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace tap {

namespace {

constexpr Dim logit_rows = 32;  // at a time: a row of logits may be a megabyte

}  // namespace

double TokenScores::log_sum() const { return std::accumulate(logprob.begin(), logprob.end(), 0.0); }

std::vector<GivenText> text_windows(const Model& model, const std::string& name, std::string_view text, Dim rows) {
  const TextSpan span{std::string(text), false};
  const std::vector<TokenId> ids = model.tokenizer().encode(std::span(&span, 1), false);
  const std::vector<TokenId> special = model.tokenizer().encode(std::string_view(), true);
  // A post-processor may add an EOS as well; only what stands first begins a text.
  const std::vector<TokenId> begin(special.begin(), special.begin() + std::min<std::ptrdiff_t>(1, std::ssize(special)));
  if (model.context() > 0) rows = std::min(rows, model.context());
  const Dim most = std::max<Dim>(2, rows - std::ssize(begin));
  std::vector<GivenText> windows;
  for (Dim at = 0; at < std::ssize(ids); at += most) {
    const Dim count = std::min(most, static_cast<Dim>(std::ssize(ids)) - at);
    std::vector<TokenId> window = begin;
    window.insert(window.end(), ids.begin() + at, ids.begin() + at + count);
    const Dim answer = static_cast<Dim>(window.size()) - 1;  // nothing stands before the first one
    if (answer < 1) continue;
    GivenText given{name, {}, answer};
    given.prepared.prompt = model.processor().from_ids(window, {}, answer);
    windows.push_back(std::move(given));
  }
  return windows;
}

GivenText answered(const Model& model, const std::string& name, const Conversation& conversation, Dim max_tokens) {
  Session session(model);
  GenerateOptions options;
  options.max_tokens = max_tokens;
  Generation generation = session.ask(conversation, options);
  while (generation.next()) {
  }
  GivenText given{name, generation.prepared(), static_cast<Dim>(generation.output().size())};
  std::vector<TokenId> ids = given.prepared.prompt.ids;
  ids.insert(ids.end(), generation.output().begin(), generation.output().end());
  given.prepared.prompt = model.processor().from_ids(ids, given.prepared.plans, given.answer);
  return given;
}

TokenScores score(const Model& model, const GivenText& text) {
  const Network& network = model.network();
  const Prompt& prompt = text.prepared.prompt;
  PictureEncoder encoder(model, nullptr);
  std::vector<Tensor> features;
  for (std::size_t i = 0; i < text.prepared.media.size(); ++i) {
    const Medium& medium = text.prepared.media[i];
    features.push_back(encoder.rows(encoder.key_of(medium), medium, text.prepared.plans[i]));
  }
  KvCache cache(network.kv_shape(), model.cache_type(), prompt.rows());
  cache.reserve(prompt.rows());
  const Dim first = prompt.rows() - text.answer - 1;  // the row that judges the first token
  TokenScores scores;
  for (Dim begin = 0; begin < prompt.rows();) {
    const Dim end = chunk_end(prompt, begin);
    ForwardInput input;
    input.add_prompt(prompt, begin, end, features);
    const Tensor hidden = network.forward(input.embed(network), input.batch(), &cache);
    for (Dim row = std::max(begin, first); row < std::min(end, prompt.rows() - 1); row += logit_rows) {
      const Dim last = std::min({row + logit_rows, end, prompt.rows() - 1});
      const Tensor logits = network.logits(hidden.rows(row - begin, last - begin));
      for (Dim i = row; i < last; ++i) {
        const std::span<const float> values(logits.row(i - row), static_cast<std::size_t>(logits.width()));
        const TokenId next = prompt.ids[static_cast<std::size_t>(i + 1)];
        scores.logprob.push_back(log_softmax(values, {&next, 1}));
        scores.likeliest.push_back(static_cast<TokenId>(std::ranges::max_element(values) - values.begin()));
      }
    }
    begin = end;
  }
  return scores;
}

double perplexity(std::span<const TokenScores> scores) {
  double sum = 0;
  std::size_t count = 0;
  for (const TokenScores& one : scores) sum += one.log_sum(), count += one.logprob.size();
  return count ? std::exp(-sum / static_cast<double>(count)) : std::numeric_limits<double>::quiet_NaN();
}

double top1_agreement(std::span<const TokenScores> a, std::span<const TokenScores> b) {
  std::size_t same = 0, count = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t t = 0; t < a[i].likeliest.size(); ++t, ++count) same += a[i].likeliest[t] == b[i].likeliest.at(t);
  return count ? static_cast<double>(same) / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace tap
