#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tap {

namespace {

void require(bool ok, std::string_view option, double value, std::string_view limits) {
  if (!ok)
    throw Error(ErrorCode::usage, fmt::format("{} is {}, must be {}", option, value, limits), std::string(option));
}

void count(std::vector<std::uint32_t>& counts, TokenId id) {
  if (id < 0) return;
  if (counts.size() <= static_cast<std::size_t>(id)) counts.resize(static_cast<std::size_t>(id) + 1, 0);
  ++counts[static_cast<std::size_t>(id)];
}

std::uint32_t count_of(const std::vector<std::uint32_t>& counts, TokenId id) {
  return static_cast<std::size_t>(id) < counts.size() ? counts[static_cast<std::size_t>(id)] : 0;
}

}  // namespace

void SamplingOptions::validate() const {
  require(temperature >= 0 && temperature <= 100, "temperature", temperature,
          "from 0 to 100");  // a NaN fails every comparison
  require(top_k >= 0 && top_k <= std::numeric_limits<std::int32_t>::max(), "top_k", static_cast<double>(top_k),
          "from 0 (off) to 2147483647");
  require(top_p >= 0 && top_p <= 1, "top_p", top_p, "from 0 to 1");
  require(min_p >= 0 && min_p <= 1, "min_p", min_p, "from 0 to 1");
  require(repetition_penalty > 0 && repetition_penalty <= 100, "repetition_penalty", repetition_penalty,
          "above 0, at most 100");
  require(std::abs(presence_penalty) <= 100, "presence_penalty", presence_penalty, "from -100 to 100");
  require(std::abs(frequency_penalty) <= 100, "frequency_penalty", frequency_penalty, "from -100 to 100");
  for (const auto& [id, bias] : logit_bias) {
    require(id >= 0, "logit_bias", id, "of a token's id, 0 or above");
    require(std::abs(bias) <= 100, "logit_bias", bias, "from -100 to 100");
  }
}

SamplingOptions SamplingOptions::from_config(const ConfigReader& in) {
  SamplingOptions options;
  if (in.flag_or("do_sample", false)) {
    options.temperature = in.number_or("temperature", 1.0f);
    options.top_k = in.non_negative_or("top_k", 50);  // HF GenerationConfig's default
    options.top_p = in.number_or("top_p", 1.0f);
    options.min_p = in.number_or("min_p", 0.0f);
  }
  options.repetition_penalty = in.number_or("repetition_penalty", 1.0f);
  try {
    options.validate();
  } catch (const Error& error) {
    in.refuse(error.item(), error.message());
  }
  return options;
}

Sampler::Sampler(const SamplingOptions& options, std::span<const TokenId> prompt) : options_(options) {
  options_.validate();
  if (options_.repetition_penalty != 1)
    for (const TokenId id : prompt) count(prompt_count_, id);
}

void Sampler::penalise(std::vector<Candidate>& candidates) const {
  constexpr float limit = std::numeric_limits<float>::max();
  const float repeat = options_.repetition_penalty;
  for (Candidate& c : candidates) {
    const std::uint32_t in_output = count_of(output_count_, c.id);
    if (in_output == 0 && count_of(prompt_count_, c.id) == 0) continue;
    if (repeat != 1) c.logit = c.logit > 0 ? c.logit / repeat : c.logit * repeat;
    if (in_output > 0)
      c.logit -= options_.presence_penalty + options_.frequency_penalty * static_cast<float>(in_output);
    c.logit =
        std::clamp(c.logit, -limit, limit);  // a penalty of 1e-38 reaches infinity, and inf - inf sorts as nothing
  }
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

Sampler::Choice Sampler::operator()(std::span<const float> logits, Rng& rng, std::span<const std::uint64_t> allowed) {
  candidates_.clear();
  float top = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!std::isfinite(logits[i])) continue;
    candidates_.push_back({logits[i], static_cast<TokenId>(i)});
    top = std::max(top, logits[i]);
  }
  if (candidates_.empty()) fail(ErrorCode::internal, "the model gave no finite logit; its weights may be damaged");
  double sum = 0;
  for (const Candidate& c : candidates_) sum += std::exp(c.logit - top);
  const double log_sum = static_cast<double>(top) + std::log(sum);
  for (const auto& [id, bias] : options_.logit_bias) {
    const auto at = std::ranges::lower_bound(candidates_, id, {}, &Candidate::id);
    if (at != candidates_.end() && at->id == id) at->logit += bias;
  }
  if (!allowed.empty()) {
    std::erase_if(candidates_, [&](const Candidate& c) {
      const auto id = static_cast<std::size_t>(c.id);
      return id / 64 >= allowed.size() || !(allowed[id / 64] >> (id % 64) & 1);
    });
    if (candidates_.empty()) fail(ErrorCode::internal, "the model gave no finite logit to any token that is allowed");
  }
  const auto choose = [&](TokenId id) {
    count(output_count_, id);
    return Choice{id, static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(id)]) - log_sum)};
  };
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };

  if (options_.repetition_penalty != 1 || options_.presence_penalty != 0 || options_.frequency_penalty != 0)
    penalise(candidates_);
  const Candidate best = *std::min_element(candidates_.begin(), candidates_.end(), better);
  if (options_.temperature == 0) return choose(best.id);

  for (Candidate& c : candidates_)
    c.logit = (c.logit - best.logit) / options_.temperature;  // the best is 0: no overflow
  if (options_.top_k > 0 && options_.top_k < static_cast<Dim>(candidates_.size())) {
    std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k - 1, candidates_.end(), better);
    candidates_.resize(static_cast<std::size_t>(options_.top_k));
  }
  if (options_.top_p < 1) {
    std::sort(candidates_.begin(), candidates_.end(), better);
    double total = 0, before = 0;
    for (const Candidate& c : candidates_) total += std::exp(static_cast<double>(c.logit));
    std::size_t kept = 0;
    while (kept < candidates_.size() && (kept == 0 || before < static_cast<double>(options_.top_p) * total))
      before += std::exp(static_cast<double>(candidates_[kept++].logit));
    candidates_.resize(kept);
  }
  if (options_.min_p > 0) {
    const float least = std::log(options_.min_p);
    std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < least; });
  }
  double total = 0;
  for (const Candidate& c : candidates_) total += std::exp(static_cast<double>(c.logit));
  double left = rng.uniform() * total;
  for (const Candidate& c : candidates_) {
    left -= std::exp(static_cast<double>(c.logit));
    if (left < 0) return choose(c.id);
  }
  return choose(best.id);  // rounding ate the last sliver
}

}  // namespace tap
