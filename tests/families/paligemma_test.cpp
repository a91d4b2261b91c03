// What a prefix-LM has that other families have not: prompts whose rows all see each other, no turns, plain words.
#include "golden.h"

#include <doctest/doctest.h>

#include "runtime/batch_generator.h"

using namespace tap;
using golden::picture;
using golden::Run;
using golden::run;
using golden::tokens;

namespace {

std::unique_ptr<Model> model_of(const char* name, const Json& change = {}) {
  LoadOptions options;
  options.dtype = Dtype::f32;
  options.config_change = change;
  return load_model(golden::root + "/" + name + "/checkpoint", options);
}

}  // namespace

TEST_CASE("a question without a template is pictures, BOS, the words and a newline of its own") {
  const auto model = model_of("paligemma");
  const auto& tokenizer = model->tokenizer();
  const TokenId image = *tokenizer.id_of("<image>"), newline = *tokenizer.id_of("\n");
  const auto ids = [&](const std::string& words, int pictures = 1) {
    const std::vector<std::shared_ptr<const Image>> images(static_cast<std::size_t>(pictures), picture(30, 20));
    return model->prepare(Conversation().user(words, images)).prompt.ids;
  };
  const std::vector<TokenId> detect = ids("detect cat ; dog");
  const golden::Case golden_case = [] {
    for (const golden::Folder& folder : golden::folders())
      if (folder.name == "paligemma") return folder.cases.front();
    FAIL("no golden");
    return golden::Case{};
  }();
  CHECK(detect == golden_case.ids("input_ids"));
  const std::vector<TokenId> ended = ids("cat\n");  // never the token of two newlines
  REQUIRE(ended.size() > 2);
  CHECK(ended.back() == newline);
  CHECK(ended[ended.size() - 2] == newline);
  const std::vector<TokenId> two = ids("cat", 2), none = ids("cat", 0);
  CHECK(std::ranges::count(two, image) == 32);
  CHECK(none.front() == 2);
  CHECK(std::equal(none.rbegin(), none.rend(), two.rbegin()));
}

TEST_CASE("what a user types is no token of a prompt without a template either") {
  const auto model = model_of("paligemma");
  const Prompt prompt = model->prepare(Conversation().user("<image><loc0001><bos> cat", {picture(30, 20)})).prompt;
  CHECK(prompt.slots.size() == 16);
  CHECK(std::ranges::count(prompt.ids, 2) == 1);
  CHECK(std::ranges::count(prompt.ids, *model->tokenizer().id_of("<loc0001>")) == 0);
  // In trusted text they are, and marks say where pictures stand.
  const PreparedPrompt trusted = model->prepare_trusted("<image>segment <loc0001>", {picture(30, 20)});
  CHECK(std::ranges::count(trusted.prompt.ids, *model->tokenizer().id_of("<loc0001>")) == 1);
  CHECK(trusted.prompt.ids[16] == 2);
  CHECK(trusted.prompt.slots.size() == 16);
  CHECK_THROWS_AS(model->prepare_trusted("<image><image>x", {picture(30, 20)}), Error);
  CHECK_THROWS_AS(model->prepare(Conversation().system("Be brief.").user("cat")), Error);
  CHECK_THROWS_AS(model->prepare(Conversation().user("cat").assistant("dog").user("cat")), Error);
}

TEST_CASE("rows of a prompt see all of it, rows of an answer what is before them, and positions count from 1") {
  const auto model = model_of("paligemma");
  const Prompt prompt = model->processor().from_ids(std::vector<TokenId>{1738, 2, 30, 5, 40, 41}, {}, 2);
  CHECK(prompt.intervals == std::vector<Interval>{{0, 4}, {0, 4}, {0, 4}, {0, 4}, {0, 5}, {0, 6}});
  CHECK(prompt.positions[0] == std::vector<std::int32_t>{1, 2, 3, 4, 5, 6});
  REQUIRE(prompt.atomic.size() == 1);
  CHECK(prompt.atomic[0].end == 4);
  CHECK(prompt.next_position() == 7);
  CHECK_THROWS_AS(model->processor().from_ids(std::vector<TokenId>{2}, {}, 2), Error);
}

TEST_CASE("an answer read through a cache of small windows is what one forward gives") {
  const auto model = model_of("paligemma2", {{"text_config.sliding_window", 6}});
  const Network& network = model->network();
  std::vector<TokenId> ids{2};
  for (TokenId i = 0; i < 89; ++i) ids.push_back(20 + i * 7 % 400);
  const Prompt prompt = model->processor().from_ids(ids, {}, 60);
  const Tensor x = network.embed(ids);
  const Tensor full = network.forward(x, prompt.batch(0, 90), nullptr);
  const Prompt causal_before = model->processor().from_ids(ids, {}, 90);  // the prefix matters
  CHECK(golden::max_abs(network.forward(x, causal_before.batch(0, 90), nullptr), full) > 0.1);
  for (const Dim spare : {1, 512}) {
    KvShape shape = network.kv_shape();
    REQUIRE(shape.windows == std::vector<Dim>{6, 0, 6, 0});
    shape.spare = spare;
    KvCache cache(shape, DType::f32, 90);
    CHECK(golden::max_abs(network.forward(x.rows(0, 30), prompt.batch(0, 30), &cache), full.rows(0, 30)) < 1e-4);
    for (Dim row = 30; row < 90; ++row)
      CHECK(golden::max_abs(network.forward(x.rows(row, row + 1), prompt.batch(row, row + 1), &cache),
                            full.rows(row, row + 1)) < 1e-4);
  }
}

TEST_CASE("a prompt that sees itself is never continued from a part of it") {
  for (const char* name : {"paligemma", "paligemma2"}) {
    const auto model = model_of(name);
    const auto image = picture(30, 20);
    Session session(*model);
    run(session, Conversation().user("detect cat", {image}), 4);
    const Run second = run(session, Conversation().user("detect cat ; dog", {image}), 4);
    CHECK(second.timings.cached_tokens == 0);
    CHECK(session.pictures_encoded() == 1);
    Session fresh(*model);
    CHECK(run(fresh, Conversation().user("detect cat ; dog", {image}), 4).ids == second.ids);
  }
}

TEST_CASE("a batch of prompts that see themselves answers as each alone") {
  const auto model = model_of("paligemma2", {{"text_config.sliding_window", 8}});
  std::vector<Conversation> talks;
  for (int i = 0; i < 5; ++i)
    talks.push_back(Conversation().user("caption en " + std::string(static_cast<std::size_t>(i * 9), 'x'),
                                        {picture(30 + i, 20, i + 1)}));
  BatchGenerator batch(*model, {.sequences = 3, .context = 0, .rows_per_step = 40, .features = nullptr});
  std::vector<std::vector<TokenId>> ids(talks.size());
  for (std::size_t next = 0; next < talks.size() || !batch.idle();) {
    for (; next < talks.size() && batch.has_room(); ++next) CHECK(batch.add(talks[next], tokens(12)) == next);
    for (const auto& event : batch.step().events) ids[event.id].push_back(event.token.id);
  }
  for (std::size_t i = 0; i < talks.size(); ++i) {
    Session session(*model);
    CHECK(run(session, talks[i], 12).ids == ids[i]);
  }
}

TEST_CASE("[B06] configs of PaliGemma that contradict themselves are refused by key") {
  const auto refuses = [&](const char* name, const std::string& key, const Json& value) {
    CAPTURE(key);
    CAPTURE(value.dump());
    try {
      model_of(name, {{key, value}});
      FAIL("loaded");
    } catch (const Error& error) {
      CHECK(error.message().starts_with("config.json: " + key));
    }
  };
  refuses("paligemma", "projection_dim", 40);
  refuses("paligemma", "image_token_index", 5000);
  refuses("paligemma", "image_token_index", 40);
  refuses("paligemma", "bos_token_id", 5000);
  refuses("paligemma", "text_config", nullptr);
  refuses("paligemma", "vision_config", nullptr);
  refuses("paligemma", "text_config.model_type", "llama");
  refuses("paligemma", "text_config.use_bidirectional_attention", false);
  refuses("paligemma2", "text_config.final_logit_softcapping", 0);
  refuses("paligemma2", "text_config.query_pre_attn_scalar", -2);
}
