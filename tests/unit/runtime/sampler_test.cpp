#include "runtime/sampler.h"

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <algorithm>

#include <doctest/doctest.h>

using namespace tap;

namespace {

// How often each id comes, of `draws`.
std::map<TokenId, int> histogram(const SamplingOptions& options, std::span<const float> logits, int draws) {
  Rng rng(7);
  std::map<TokenId, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[Sampler(options, {})(logits, rng).id];
  return counts;
}

std::string refusal(auto change) {
  SamplingOptions options;
  change(options);
  try {
    options.validate();
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::usage);
    return error.message();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("temperature 0 takes the best token and of equals the lowest id") {
  Rng rng(1);
  CHECK(Sampler({}, {})(std::array{1.0f, 3.0f, 3.0f, 2.0f}, rng).id == 1);
  CHECK(Sampler({}, {})(std::array{-5.0f, -5.0f}, rng).id == 0);
}

TEST_CASE("logprob is the log softmax of the raw logits whatever the options") {
  const std::array logits{0.0f, std::log(3.0f)};  // probabilities 1/4 and 3/4
  Rng rng(1);
  SamplingOptions options;
  options.repetition_penalty = 2;
  const std::array<TokenId, 1> prompt{1};
  CHECK(Sampler(options, prompt)(logits, rng).logprob == doctest::Approx(std::log(0.75)).epsilon(1e-6));
}

TEST_CASE("draws follow the softmax") {
  SamplingOptions options;
  options.temperature = 1;
  const std::array logits{std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  const int draws = 100'000;
  auto counts = histogram(options, logits, draws);
  double chi = 0;
  for (const auto& [id, p] : std::map<TokenId, double>{{0, 0.5}, {1, 0.3}, {2, 0.2}})
    chi += std::pow(counts[id] - p * draws, 2) / (p * draws);
  CHECK(chi < 9.21);  // 1 % of a chi-square with two degrees of freedom
}

TEST_CASE("temperature sharpens before the cut of top-p") {
  SamplingOptions options;
  options.temperature = 0.5;  // squares the odds: 0.5, 0.3, 0.2 become 0.658, 0.237, 0.105
  options.top_p = 0.65f;
  const std::array logits{std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  CHECK(histogram(options, logits, 2000).size() == 1);
  options.top_p = 0.67f;
  CHECK(histogram(options, logits, 2000).size() == 2);
}

TEST_CASE("top-p keeps the token that crosses p") {
  SamplingOptions options;
  options.temperature = 1;
  options.top_p = 0.6f;
  const auto counts = histogram(options, std::array{std::log(0.2f), std::log(0.5f), std::log(0.3f)}, 5000);
  CHECK(counts.size() == 2);
  CHECK(counts.count(0) == 0);
  for (const float least : {1e-6f, 0.0f}) {
    options.top_p = least;
    const auto best = histogram(options, std::array{std::log(0.2f), std::log(0.5f), std::log(0.3f)}, 500);
    CHECK(best.size() == 1);
    CHECK(best.count(1) == 1);
  }
}

TEST_CASE("top-k keeps k tokens and min-p those near the best") {
  SamplingOptions options;
  options.temperature = 1;
  const std::array logits{std::log(0.4f), std::log(0.3f), std::log(0.2f), std::log(0.1f)};
  options.top_k = 3;
  CHECK(histogram(options, logits, 5000).size() == 3);
  options.top_k = 0;
  options.min_p = 0.6f;  // at least 0.24
  CHECK(histogram(options, logits, 5000).size() == 2);
  options.min_p = 1;
  CHECK(histogram(options, logits, 500).size() == 1);
}

TEST_CASE("of a large vocabulary those are drawn that sorting all of it keeps") {
  Rng rng(5);
  for (const double spread : {30.0, 6.0, 0.01}) {  // few likely tokens, many, all alike
    std::vector<float> logits(5000);
    for (float& logit : logits) logit = static_cast<float>(rng.uniform() * spread);
    std::vector<TokenId> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto logit_of = [&](TokenId id) { return static_cast<double>(logits[static_cast<std::size_t>(id)]); };
    std::ranges::stable_sort(order, [&](TokenId a, TokenId b) { return logit_of(a) > logit_of(b); });
    const auto weight = [&](TokenId id) { return std::exp(logit_of(id) - logit_of(order[0])); };
    double all = 0;
    for (const TokenId id : order) all += weight(id);
    const auto check = [&](const SamplingOptions& options, std::size_t kept) {
      CAPTURE(spread);
      CAPTURE(kept);
      const auto counts = histogram(options, logits, 3000);
      for (const auto& [id, count] : counts)
        CHECK(std::find(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), id) !=
              order.begin() + static_cast<std::ptrdiff_t>(kept));
      double sum = 0, expected = 0;  // of those that are drawn at least once
      for (std::size_t i = 0; i < kept; ++i) sum += weight(order[i]);
      for (std::size_t i = 0; i < kept; ++i) expected += 1 - std::pow(1 - weight(order[i]) / sum, 3000);
      CHECK(static_cast<double>(counts.size()) == doctest::Approx(expected).epsilon(0.1));
    };
    SamplingOptions options;
    options.temperature = 1;
    check(options, order.size());
    for (const Dim k : {1, 40, 300}) {
      options.top_k = k;
      check(options, static_cast<std::size_t>(k));
    }
    options.top_k = 0;
    options.top_p = 0.9f;
    std::size_t kept = 0;
    for (double before = 0; before < 0.9 * all; ++kept) before += weight(order[kept]);
    check(options, kept);
    options.top_p = 1;
    options.min_p = 0.2f;
    check(options,
          static_cast<std::size_t>(std::ranges::count_if(order, [&](TokenId id) { return weight(id) >= 0.2; })));
  }
}

TEST_CASE("repetition counts the prompt and presence only the output") {
  Rng rng(1);
  SamplingOptions options;
  options.repetition_penalty = 1.5;
  const std::array<TokenId, 1> prompt{0};
  CHECK(Sampler(options, prompt)(std::array{3.0f, 2.5f}, rng).id == 1);    // 3 / 1.5 = 2
  CHECK(Sampler(options, prompt)(std::array{-2.0f, -2.5f}, rng).id == 1);  // -2 * 1.5 = -3
  options = {};
  options.presence_penalty = 1;
  Sampler present(options, prompt);
  CHECK(present(std::array{3.0f, 2.5f}, rng).id == 0);
  CHECK(present(std::array{3.0f, 2.5f}, rng).id == 1);
  options = {};
  options.frequency_penalty = 0.3f;
  Sampler frequent(options, {});
  for (const TokenId expected : {0, 0, 1, 0})
    CHECK(frequent(std::array{3.0f, 2.5f}, rng).id == expected);  // 3, 2.7, 2.4 | 2.4 : 2.2
}

TEST_CASE("a seed gives the same tokens and another seed others") {
  SamplingOptions options;
  options.temperature = 1;
  std::vector<float> logits(50, 0.0f);
  const auto draw = [&](std::uint64_t seed) {
    Rng rng(seed);
    Sampler sampler(options, {});
    std::vector<TokenId> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(sampler(logits, rng).id);
    return ids;
  };
  CHECK(draw(1) == draw(1));
  CHECK(draw(1) != draw(2));
}

TEST_CASE("huge and infinite logits are taken in stride and none at all is an error") {
  Rng rng(1);
  SamplingOptions options;
  options.temperature = 1e-6f;
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  CHECK(Sampler(options, {})(std::array{-infinity, 3e38f, -3e38f, nan}, rng).id == 1);
  CHECK_THROWS_WITH_AS(Sampler({}, {})(std::array{nan, -infinity}, rng), doctest::Contains("no finite logit"), Error);
}

TEST_CASE("a penalty that takes logits past the largest float still draws among the best") {
  SamplingOptions options;
  options.temperature = 1;
  options.repetition_penalty = 1e-38f;
  std::vector<float> logits(64);
  std::vector<TokenId> prompt;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(i) - 20;
    if (i % 2) prompt.push_back(static_cast<TokenId>(i));  // of these, the positive ones become the largest float
  }
  for (const float top_p : {1.0f, 0.9f}) {
    options.top_p = top_p;
    Rng rng(3);
    Sampler sampler(options, prompt);
    std::map<TokenId, int> counts;
    for (int i = 0; i < 100; ++i) ++counts[sampler(logits, rng).id];
    for (const auto& [id, count] : counts) CHECK((id > 20 && id % 2 == 1));
    CHECK(counts.size() > 5);  // 22 are equal: not the same one every time
  }
}

TEST_CASE("options out of range are refused by name with their limits") {
  CHECK(refusal([](auto& o) { o.temperature = -1; }) == "temperature is -1, must be from 0 to 100");
  CHECK(refusal([](auto& o) { o.temperature = std::nanf(""); }) == "temperature is nan, must be from 0 to 100");
  CHECK(refusal([](auto& o) { o.top_p = -0.5f; }) == "top_p is -0.5, must be from 0 to 1");
  CHECK(refusal([](auto& o) { o.top_p = 1.5f; }) == "top_p is 1.5, must be from 0 to 1");
  CHECK(refusal([](auto& o) { o.min_p = 1.5f; }) == "min_p is 1.5, must be from 0 to 1");
  CHECK(refusal([](auto& o) { o.top_k = -1; }) == "top_k is -1, must be from 0 (off) to 2147483647");
  CHECK(refusal([](auto& o) { o.repetition_penalty = 0; }) == "repetition_penalty is 0, must be above 0, at most 100");
  CHECK(refusal([](auto&) {}) == "accepted");
}

TEST_CASE("generation_config.json samples only where do_sample is true") {
  const auto read = [](const char* text) {
    return SamplingOptions::from_config(ConfigReader(Json::parse(text), "generation_config.json"));
  };
  CHECK(read(R"({"temperature": 0.7, "top_p": 0.8})").temperature == 0);
  const SamplingOptions options =
      read(R"({"do_sample": true, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05})");
  CHECK(options.temperature == 0.7f);
  CHECK(options.top_p == 0.8f);
  CHECK(options.top_k == 20);
  CHECK(options.repetition_penalty == 1.05f);
  CHECK_THROWS_WITH_AS(read(R"({"do_sample": true, "top_p": 2.0})"), doctest::Contains("generation_config.json: top_p"),
                       Error);
}

TEST_CASE("a bias is added before everything else, and log-probabilities do not know it") {
  Rng rng(1);
  SamplingOptions options;
  const std::array logits{1.0f, 3.0f, 2.0f, 0.0f};
  const float plain = Sampler(options, {})(logits, rng).logprob;
  options.logit_bias = {{1, -100.0f}, {3, 2.5f}, {7, 100.0f}};  // 7 is beyond the row
  const Sampler::Choice choice = Sampler(options, {})(logits, rng);
  CHECK(choice.id == 3);
  CHECK(choice.logprob == doctest::Approx(plain - 3.0f));
  const std::array<std::uint64_t, 1> allowed{0b0111};
  CHECK(Sampler(options, {})(logits, rng, allowed).id == 2);
  options.temperature = 1;
  CHECK(histogram(options, logits, 1000).count(1) == 0);
  options.logit_bias = {{0, 100.0f}};
  CHECK(histogram(options, logits, 1000)[0] == 1000);
  CHECK(refusal([](SamplingOptions& o) {
          o.logit_bias = {{1, 101.0f}};
        }).find("logit_bias is 101") != std::string::npos);
  CHECK(refusal([](SamplingOptions& o) { o.logit_bias = {{-1, 1.0f}}; }).find("logit_bias is -1") != std::string::npos);
}
