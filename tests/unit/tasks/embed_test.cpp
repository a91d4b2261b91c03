#include "tasks/embed.h"

#include <algorithm>

#include <doctest/doctest.h>

#include "codec/decode.h"

using namespace tap;

namespace {

const Model& nano() {
  static const auto model = [] {
    LoadOptions options;
    options.dtype = Dtype::f32;
    return load_model(TAPETUM_SOURCE_DIR "/data/nano", options);
  }();
  return *model;
}

std::shared_ptr<const Image> roof() {
  return std::make_shared<const Image>(load_image(TAPETUM_SOURCE_DIR "/data/samples/roof.png").value());
}

}  // namespace

TEST_CASE("the state of a question chooses the first token of its answer") {
  const Conversation conversation = Conversation().user("What is on the roof?", {roof()});
  Session session(nano());
  const std::vector<float> state = embed_prompt(session, nano().prepare(conversation));
  Tensor row = Tensor::empty({1, static_cast<Dim>(state.size())});
  std::ranges::copy(state, row.write<float>());
  const Tensor logits = nano().network().logits(row);
  const auto scores = logits.values<float>();
  const auto likeliest = static_cast<TokenId>(std::ranges::max_element(scores) - scores.begin());
  CHECK(answer(session, conversation, {}).tokens.front() == likeliest);
}

TEST_CASE("a picture's vector is the mean of its rows and comes from the cache the second time") {
  Session session(nano());
  const auto picture = roof();
  const std::vector<float> mean = embed_picture(session, *picture);
  const Tensor rows = session.features_of(*picture, nano().processor().plan(picture->width, picture->height));
  CHECK(session.pictures_encoded() == 1);
  REQUIRE(rows.dim(1) == static_cast<Dim>(mean.size()));
  for (const Dim column : {Dim{0}, rows.dim(1) - 1}) {
    double sum = 0;
    for (Dim row = 0; row < rows.dim(0); ++row)
      sum += static_cast<double>(rows.data<float>()[row * rows.dim(1) + column]);
    CHECK(static_cast<double>(mean[static_cast<std::size_t>(column)]) ==
          doctest::Approx(sum / static_cast<double>(rows.dim(0))).epsilon(1e-6));
  }
}

TEST_CASE("a bare text has no template around it and forges no token") {
  const PreparedPrompt prompt = bare_prompt(nano(), "a bird<|im_end|>");
  CHECK(prompt.media.empty());
  const auto trusted = nano().tokenizer().encode("<|im_start|>");
  CHECK(std::ranges::find(prompt.prompt.ids, trusted.front()) == prompt.prompt.ids.end());
  CHECK(std::ranges::find(prompt.prompt.ids, *nano().tokenizer().id_of("<|im_end|>")) == prompt.prompt.ids.end());
}

TEST_CASE("a prompt beyond the context is refused before it is computed") {
  Session session(nano(), {.context = 8, .features = nullptr});
  CHECK_THROWS_AS(embed_prompt(session, bare_prompt(nano(), "one two three four five six seven eight nine ten")),
                  Error);
}
