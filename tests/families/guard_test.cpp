// Guards against what the reference says of the same pictures and texts, and answers that pass one on their way out.
#include "golden.h"

#include <doctest/doctest.h>

#include "tasks/guard.h"

using namespace tap;

namespace {

std::shared_ptr<const Model> model_of(const std::string& family, const Json& change = {}) {
  return load_model(golden::root + "/" + family + "/checkpoint",
                    {.dtype = Dtype::f32, .config_change = change, .processor_options = {}, .weights = true});
}

golden::Case case_of(const std::string& family, const std::string& name) {
  for (const golden::Folder& folder : golden::folders())
    if (folder.name == family)
      for (const golden::Case& one : folder.cases)
        if (one.name == name) return one;
  FAIL("no such case");
  return {};
}

constexpr const char* harm =
    "\"No Dangerous Content\": The prompt shall not contain or seek generation of content that harms oneself.";

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::shared_ptr<const Model> text_judge() {
  static const auto model = model_of("shieldgemma1");
  return model;
}

constexpr std::string_view long_answer =
    "First take the cup. Then fill it with water! Is it full? Good.\nNow a very long sentence without any end that "
    "goes on and on over many words, so that it must be let out in the middle because nobody would wait for its end, "
    "however long it takes to come to that end, and héré it comes with é and 中文。 And the rest";

}  // namespace

TEST_CASE("P(Yes) of pictures is the reference's, policy by policy") {
  const auto model = model_of("shieldgemma2");
  for (const char* name : {"two_policies", "one_policy"}) {
    CAPTURE(name);
    const golden::Case one = case_of("shieldgemma2", name);
    std::vector<std::string> policies = one.entry["policies"].get<std::vector<std::string>>();
    Guard guard(model, {.policies = policies});
    const Safety safety = guard.judge_picture(one.images().front());
    const Tensor wanted = one.read("probabilities");  // [n, Yes and No]
    REQUIRE(safety.scores.size() == policies.size());
    CHECK(safety.checked == "image");
    for (std::size_t i = 0; i < policies.size(); ++i) {
      CHECK(safety.scores[i].policy == policies[i]);
      CHECK(safety.scores[i].p_violates == doctest::Approx(wanted.data<float>()[2 * i]).epsilon(1e-4));
    }
  }
}

TEST_CASE("the probability that counts is that of Yes") {
  const golden::Case one = case_of("shieldgemma2", "two_policies");
  const Tensor logits = one.read("last_logits").rows(0, 1);  // the tokens liked most and least become Yes and No
  const auto values = logits.values<float>();
  const auto most = std::ranges::max_element(values), least = std::ranges::min_element(values);
  const auto judge = [&](auto yes, auto no) {
    const Json change = {{"yes_token_index", yes - values.begin()}, {"no_token_index", no - values.begin()}};
    Guard guard(model_of("shieldgemma2", change), {.policies = {"dangerous"}});
    return guard.judge_picture(one.images().front()).scores.front().p_violates;
  };
  CHECK(judge(most, least) > 0.99);
  CHECK(judge(least, most) < 0.01);
  CHECK(judge(most, least) == doctest::Approx(sigmoid(*most - *least)).epsilon(1e-4));
}

TEST_CASE("P(Yes) of a text is what the reference's logits come to") {
  const golden::Case one = case_of("shieldgemma1", "guideline");
  const golden::Case tokens = case_of("shieldgemma1", "two_prompts");
  const Tensor logits = one.read("logits");  // [1, t, vocab]
  const float* last = logits.data<float>() + (logits.dim(1) - 1) * logits.dim(2);
  const double yes = last[tokens.entry["yes_token"].get<Dim>()], no = last[tokens.entry["no_token"].get<Dim>()];
  Guard guard(text_judge(), {.policies = {"harm"}, .own = {{"harm", harm}}});
  const Safety safety = guard.judge_text("Create 20 paraphrases of I hate you");
  REQUIRE(safety.scores.size() == 1);
  CHECK(safety.checked == "text");
  CHECK(safety.scores[0].p_violates == doctest::Approx(sigmoid(yes - no)).epsilon(1e-4));
}

TEST_CASE("policies are the card's by default, and prompts and answers have their own wording") {
  const Guard guard(text_judge(), {});
  std::vector<std::string> names;
  for (const SafetyHead::Policy& policy : guard.policies()) {
    names.push_back(policy.name);
    CHECK(policy.text.find("The prompt shall not contain or seek generation of") != std::string::npos);
    CHECK(policy.of_answers.find("The chatbot shall not generate content that") != std::string::npos);
  }
  CHECK(names == std::vector<std::string>{"dangerous", "harassment", "hate", "sexual"});
  CHECK(Guard(text_judge(), {.policies = {"hate"}, .own = {{"mine", "No cats."}}}).policies().size() == 2);
}

TEST_CASE("wrong policies, thresholds and kinds are named") {
  const auto pictures = model_of("shieldgemma2");
  const auto code = [](const auto& run) {
    try {
      run();
    } catch (const Error& error) {
      return std::pair(error.code(), error.message());
    }
    return std::pair(ErrorCode::internal, std::string("nothing thrown"));
  };
  auto [kind, message] = code([&] { Guard(pictures, {.policies = {"gore"}}); });
  CHECK(kind == ErrorCode::usage);
  CHECK(message.find("\"gore\"") != std::string::npos);
  CHECK(message.find("dangerous, sexual, violence") != std::string::npos);
  for (const double threshold : {-0.1, 1.5, std::nan("")})
    CHECK(code([&] { Guard(pictures, {.policies = {}, .threshold = threshold}); }).first == ErrorCode::usage);
  std::tie(kind, message) = code([&] { Guard(pictures, {}).judge_text("hello"); });
  CHECK(kind == ErrorCode::unsupported);
  CHECK(message.find("google/shieldgemma-2b") != std::string::npos);
  std::tie(kind, message) = code([&] { Guard(text_judge(), {}).judge_picture(golden::picture(20, 20)); });
  CHECK(kind == ErrorCode::unsupported);
  CHECK(message.find("google/shieldgemma-2-4b-it") != std::string::npos);
  CHECK(code([&] { Guard(model_of("gemma3"), {}); }).first == ErrorCode::unsupported);
  Guard behind(pictures, {});
  CHECK(code([&] { AnswerFilter({&behind}, "", ""); }).first == ErrorCode::unsupported);
}

TEST_CASE("a text longer than the context is judged in parts, and the worst counts") {
  const auto small = model_of("shieldgemma1", {{"max_position_embeddings", 1700}});
  Guard guard(small, {.policies = {"harm"}, .own = {{"harm", harm}}});
  const std::string filler(2000, 'x');
  const double p = guard.judge_text(filler + "Create 20 paraphrases of I hate you" + filler).scores[0].p_violates;
  CHECK(guard.judged() >= 4);  // halves of halves
  CHECK(p > 0);
  CHECK(p <= 1);
}

TEST_CASE("an answer comes out whole when nothing is refused, and is never held back for long") {
  Guard guard(text_judge(), {.policies = {"dangerous"}, .threshold = 1});
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{64}, long_answer.size()}) {
    CAPTURE(step);
    AnswerFilter filter({&guard}, "How?", "the answer");
    std::string out, in;
    for (std::size_t at = 0; at < long_answer.size(); at += step) {
      in += long_answer.substr(at, step);
      out += filter.feed(long_answer.substr(at, step));
      CHECK(in.starts_with(out));
      CHECK(characters(in) - characters(out) <= guard_most_held_characters);
    }
    out += filter.finish();
    CHECK(out == long_answer);
    REQUIRE(filter.verdicts().size() == 1);
  }
}

TEST_CASE("nothing of a refused sentence comes out, nor of what follows it") {
  Guard measure(text_judge(), {.policies = {"harm"}, .own = {{"harm", harm}}});
  // What the random judge thinks of the answer as it grows; a threshold between two steps refuses at the second.
  std::vector<double> scores;
  std::vector<std::size_t> ends;
  for (std::size_t at = 0; const std::size_t part = judged_part(long_answer.substr(at), guard_most_held_characters);) {
    at += part;
    ends.push_back(at);
    scores.push_back(measure.judge_answer("How?", long_answer.substr(0, at)).scores[0].p_violates);
  }
  std::size_t bad = 1;
  while (bad < scores.size() &&
         scores[bad] <= *std::max_element(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(bad)))
    ++bad;
  const bool found = bad < scores.size();
  const std::size_t passes = found ? ends[bad - 1] : 0;
  const double threshold = found ? scores[bad] : 0;
  Guard guard(text_judge(), {.policies = {"harm"}, .own = {{"harm", harm}}, .threshold = threshold});
  AnswerFilter filter({&guard}, "How?", "the answer");
  std::string out;
  bool refused = false;
  try {
    for (const char c : long_answer) out += filter.feed(std::string_view(&c, 1));
    out += filter.finish();
  } catch (const Error& error) {
    refused = error.code() == ErrorCode::refused;
    CHECK(error.message().find("harm") != std::string::npos);
  }
  CHECK(refused);
  CHECK(out == long_answer.substr(0, passes));
}
