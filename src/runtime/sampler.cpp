#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "kernels/logits.h"

namespace tap {

namespace {

void count(std::vector<std::uint32_t>& counts, TokenId id) {
  if (id < 0) return;
  if (counts.size() <= static_cast<std::size_t>(id)) counts.resize(static_cast<std::size_t>(id) + 1, 0);
  ++counts[static_cast<std::size_t>(id)];
}

constexpr float impossible = -std::numeric_limits<float>::infinity();
constexpr float lowest = std::numeric_limits<float>::lowest();
constexpr float likely = -16;  // of scores: those below weigh less than 0.02 together, of 150,000 tokens

float clamped(float score) { return std::clamp(score, lowest, -lowest); }

std::uint32_t count_of(const std::vector<std::uint32_t>& counts, TokenId id) {
  return static_cast<std::size_t>(id) < counts.size() ? counts[static_cast<std::size_t>(id)] : 0;
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options, std::span<const TokenId> prompt) : options_(options) {
  options_.validate();
  if (options_.repetition_penalty != 1)
    for (const TokenId id : prompt) count(prompt_count_, id);
}

bool Sampler::penalises() const {
  return options_.repetition_penalty != 1 || options_.presence_penalty != 0 || options_.frequency_penalty != 0;
}

void Sampler::penalise() {
  const float repeat = options_.repetition_penalty;
  const std::size_t seen = std::min(scores_.size(), std::max(prompt_count_.size(), output_count_.size()));
  for (std::size_t i = 0; i < seen; ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::uint32_t in_output = count_of(output_count_, id);
    if ((in_output == 0 && count_of(prompt_count_, id) == 0) || scores_[i] == impossible) continue;
    float& score = scores_[i];
    if (repeat != 1) score = score > 0 ? score / repeat : score * repeat;
    if (in_output > 0) score -= options_.presence_penalty + options_.frequency_penalty * static_cast<float>(in_output);
    score = clamped(score);  // a penalty of 1e-38 reaches infinity, and inf - inf sorts as nothing
  }
}

void Sampler::forbid_others(std::span<const std::uint64_t> allowed) {
  for (std::size_t word = 0; word * 64 < scores_.size(); ++word) {
    const std::uint64_t bits = word < allowed.size() ? allowed[word] : 0;
    const std::span<float> scores =
        std::span(scores_).subspan(word * 64, std::min<std::size_t>(64, scores_.size() - word * 64));
    if (bits == 0) std::ranges::fill(scores, impossible);
    if (bits == 0 || bits == ~std::uint64_t{0}) continue;
    for (std::size_t i = 0; i < scores.size(); ++i)
      if (!(bits >> i & 1)) scores[i] = impossible;
  }
}

// No more than the score of the k-th best, and little less: the best k of the blocks' best are k of them all.
float Sampler::floor_of_best(Dim k) const {
  constexpr std::size_t block = 64;
  std::vector<float> tops;
  for (std::size_t i = 0; i < scores_.size(); i += block)
    tops.push_back(
        *std::max_element(scores_.begin() + static_cast<std::ptrdiff_t>(i),
                          scores_.begin() + static_cast<std::ptrdiff_t>(std::min(scores_.size(), i + block))));
  if (k > static_cast<Dim>(tops.size())) return lowest;
  std::nth_element(tops.begin(), tops.begin() + k - 1, tops.end(), std::greater<>());
  return std::max(lowest, tops[static_cast<std::size_t>(k - 1)]);
}

void Sampler::gather(float least) {
  candidates_.clear();
  for (std::size_t i = 0; i < scores_.size(); ++i)
    if (scores_[i] >= least) candidates_.push_back({scores_[i], static_cast<TokenId>(i)});
}

double log_softmax(std::span<const float> logits, std::span<const TokenId> ids) {
  float top = -std::numeric_limits<float>::infinity();
  for (const float logit : logits)
    if (std::isfinite(logit)) top = std::max(top, logit);
  double all = 0, some = 0;
  for (const float logit : logits)
    if (std::isfinite(logit)) all += std::exp(static_cast<double>(logit) - static_cast<double>(top));
  for (const TokenId id : ids)
    if (id >= 0 && static_cast<std::size_t>(id) < logits.size() && std::isfinite(logits[static_cast<std::size_t>(id)]))
      some += std::exp(static_cast<double>(logits[static_cast<std::size_t>(id)]) - static_cast<double>(top));
  return std::log(some) - std::log(all);
}

// By the scores, the largest of which is `top`, of `best`.
TokenId Sampler::draw(float top, TokenId best, Rng& rng) {
  const auto width = static_cast<Dim>(scores_.size());
  if (options_.top_k <= 0 && options_.top_p >= 1 && options_.min_p <= 0) {
    kernels::exp_row(scores_.data(), width, top, options_.temperature, scores_.data());
    double left = rng.uniform() * std::accumulate(scores_.begin(), scores_.end(), 0.0);
    for (std::size_t i = 0; i < scores_.size(); ++i)
      if ((left -= static_cast<double>(scores_[i])) < 0) return static_cast<TokenId>(i);
    return best;  // rounding ate the last sliver
  }
  for (float& score : scores_)
    if (score != impossible) score = std::max(lowest, (score - top) / options_.temperature);
  const auto weight = [](const Candidate& c) { return std::exp(static_cast<double>(c.score)); };
  const auto weight_of_all = [&] {
    return std::transform_reduce(candidates_.begin(), candidates_.end(), 0.0, std::plus<>(), weight);
  };
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
  };
  if (options_.top_k > 0) {
    gather(floor_of_best(options_.top_k));
    if (options_.top_k < static_cast<Dim>(candidates_.size())) {
      std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k - 1, candidates_.end(), better);
      candidates_.resize(static_cast<std::size_t>(options_.top_k));
    }
  } else if (options_.top_p < 1) {
    gather(likely);
  } else {
    gather(std::log(options_.min_p));
  }
  if (options_.top_p < 1) {
    const double wanted = static_cast<double>(options_.top_p) *
                          (options_.top_k > 0 ? weight_of_all() : kernels::peak_of(scores_.data(), width).sum);
    if (options_.top_k <= 0 && weight_of_all() < wanted) gather(lowest);
    std::sort(candidates_.begin(), candidates_.end(), better);
    double before = 0;
    std::size_t kept = 0;
    while (kept < candidates_.size() && (kept == 0 || before < wanted)) before += weight(candidates_[kept++]);
    candidates_.resize(kept);
  }
  if (options_.min_p > 0)
    std::erase_if(candidates_, [least = std::log(options_.min_p)](const Candidate& c) { return c.score < least; });
  double left = rng.uniform() * weight_of_all();
  for (const Candidate& c : candidates_)
    if ((left -= weight(c)) < 0) return c.id;
  return best;
}

Sampler::Choice Sampler::operator()(std::span<const float> logits, Rng& rng, std::span<const std::uint64_t> allowed) {
  const kernels::RowPeak raw = kernels::peak_of(logits.data(), static_cast<Dim>(logits.size()));
  if (raw.at < 0) fail(ErrorCode::internal, "the model gave no finite logit; its weights may be damaged");
  const double log_sum = static_cast<double>(raw.top) + std::log(raw.sum);
  const auto choose = [&](TokenId id) {
    count(output_count_, id);
    return Choice{id, static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(id)]) - log_sum)};
  };
  const bool as_it_is = options_.logit_bias.empty() && allowed.empty() && !penalises();
  if (as_it_is && options_.temperature == 0) return choose(static_cast<TokenId>(raw.at));

  scores_.resize(logits.size());
  std::ranges::transform(logits, scores_.begin(), [](float x) { return std::isfinite(x) ? x : impossible; });
  for (const auto& [id, bias] : options_.logit_bias)
    if (static_cast<std::size_t>(id) < scores_.size() && scores_[static_cast<std::size_t>(id)] != impossible)
      scores_[static_cast<std::size_t>(id)] = clamped(scores_[static_cast<std::size_t>(id)] + bias);
  if (!allowed.empty()) forbid_others(allowed);
  if (penalises()) penalise();
  const kernels::RowPeak best = as_it_is ? raw : kernels::peak_of(scores_.data(), static_cast<Dim>(scores_.size()));
  if (best.at < 0) fail(ErrorCode::internal, "the model gave no finite logit to any token that is allowed");
  const auto id = static_cast<TokenId>(best.at);
  return choose(options_.temperature == 0 ? id : draw(best.top, id, rng));
}

}  // namespace tap
