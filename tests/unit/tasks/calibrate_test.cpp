#include "tasks/calibrate.h"

#include <doctest/doctest.h>

#include "base/rng.h"

using namespace tap;

namespace {
std::string refusal(std::string_view csv) {
  const auto labels = read_labels(csv, "labels.csv");
  return labels ? "" : labels.error().message();
}
}  // namespace

TEST_CASE("labels: quoted fields, other columns, line ends of both kinds") {
  const auto labels = read_labels(
      "\xEF\xBB\xBFnote,text,policy,violates\r\nx,\"say \"\"hi\"\", \nplease\",hate,Yes\r\n\r\ny,plain,dangerous,0",
      "labels.csv");
  REQUIRE(labels);
  REQUIRE(labels->size() == 2);
  CHECK((*labels)[0].thing == "say \"hi\", \nplease");
  CHECK((*labels)[0].policy == "hate");
  CHECK((*labels)[0].violates);
  CHECK_FALSE((*labels)[0].is_picture);
  CHECK((*labels)[1].line == 5);
  CHECK_FALSE((*labels)[1].violates);
}

TEST_CASE("labels that cannot be used are named by file and line") {
  CHECK(refusal("") == "labels.csv: line 1: no line that names the columns");
  CHECK(refusal("image,policy\n") == "labels.csv: line 1: the columns must be image or text, policy, violates");
  CHECK(refusal("image,policy,violates\n") == "labels.csv: line 1: no examples");
  CHECK(refusal("image,policy,violates\na.png,x,maybe\n") ==
        "labels.csv: line 2: violates is \"maybe\": must be 1 or 0, yes or no");
  CHECK(refusal("image,policy,violates\na.png,x\n") == "labels.csv: line 2: 2 fields, the head has 3");
  CHECK(refusal("image,policy,violates\n,x,1\n") == "labels.csv: line 2: must have an image or a text");
  CHECK(refusal("image,text,policy,violates\na.png,words,x,1\n") == "labels.csv: line 2: must have an image or a text");
  CHECK(refusal("image,policy,violates\n\"a.png,x,1\n") == "labels.csv: line 2: a quote is not closed");
}

TEST_CASE("precision, recall, F1 and false positives of a threshold") {
  const std::vector<ScoredExample> examples = {{0.9, true}, {0.8, false}, {0.4, true}, {0.1, false}};
  const ThresholdQuality q = quality_at(examples, 0.5);
  CHECK(q.precision == 0.5);
  CHECK(q.recall == 0.5);
  CHECK(q.f1 == 0.5);
  CHECK(q.false_positive_rate == 0.5);
}

TEST_CASE("the best threshold has the highest F1 of all") {
  Rng rng(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<ScoredExample> examples;
    for (int i = 0; i < 12; ++i) examples.push_back({rng.next_u32() % 10 / 10.0, rng.next_u32() % 2 == 0});
    examples[0].violates = true;
    double best = 0;
    for (const ScoredExample& e : examples) best = std::max(best, quality_at(examples, e.p_violates).f1);
    CHECK(calibrate(examples).best.f1 == doctest::Approx(best));
  }
}
