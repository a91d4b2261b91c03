// The embedded model answers as the reference implementation does (data/samples/reference.json).
#include "golden.h"

#include <doctest/doctest.h>

#include "codec/decode.h"

using namespace tap;

TEST_CASE("nano answers every sample question as the reference in f32") {
  LoadOptions options;
  options.dtype = Dtype::f32;
  const auto model = load_model(TAPETUM_SOURCE_DIR "/data/nano", options);
  CHECK(model->grounding().has_value());
  const Json reference = Json::parse(read_file(TAPETUM_SOURCE_DIR "/data/samples/reference.json", 1 << 22).value());
  int compared = 0;
  for (const auto& [sample, questions] : reference["answers"].items()) {
    const auto image = std::make_shared<const Image>(
        load_image(fmt::format(TAPETUM_SOURCE_DIR "/data/samples/{}.png", sample)).value());
    Session session(*model);
    for (const Json& one : questions) {
      const auto question = one["q"].get<std::string>();
      CAPTURE(sample);
      CAPTURE(question);
      GenerateOptions how;
      how.max_tokens = 80;
      const Conversation talk = Conversation().user(question, {image});
      CHECK(model->prepare(talk).prompt.ids == one["input_ids"].get<std::vector<TokenId>>());
      const Answer got = answer(session, talk, how);
      if (one["least_margin"].get<double>() <= 0.01) continue;
      CHECK(got.text == one["text"].get<std::string>());
      CHECK(got.tokens == one["tokens"].get<std::vector<TokenId>>());
      ++compared;
    }
    CHECK(session.pictures_encoded() == 1);
  }
  CHECK(compared >= 50);
}

TEST_CASE("nano in its own bf16 gives nearly all of the reference's answers") {
  const auto model = load_model(TAPETUM_SOURCE_DIR "/data/nano");
  CHECK(model->weight_type() == WeightType::bf16);
  const Json reference = Json::parse(read_file(TAPETUM_SOURCE_DIR "/data/samples/reference.json", 1 << 22).value());
  int compared = 0, equal = 0;
  for (const auto& [sample, questions] : reference["answers"].items()) {
    const auto image = std::make_shared<const Image>(
        load_image(fmt::format(TAPETUM_SOURCE_DIR "/data/samples/{}.png", sample)).value());
    Session session(*model);
    for (const Json& one : questions) {
      if (one["least_margin"].get<double>() <= 0.5) continue;
      GenerateOptions how;
      how.max_tokens = 80;
      ++compared;
      equal += answer(session, Conversation().user(one["q"].get<std::string>(), {image}), how).text ==
               one["text"].get<std::string>();
    }
  }
  CHECK(compared >= 40);
  CHECK(equal == compared);
}
