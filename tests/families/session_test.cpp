// Conversations on a golden checkpoint: reuse of prefixes and pictures, limits, cancelling.
#include "golden.h"

#include <doctest/doctest.h>

using namespace tap;
using golden::picture;
using golden::tokens;

namespace {

std::unique_ptr<Model> model_of(Dtype dtype = Dtype::f32, const Json& change = {}, const Json& processor = {}) {
  LoadOptions options;
  options.dtype = dtype;
  options.config_change = change;
  options.processor_options = processor;
  return load_model(golden::root + "/smolvlm/checkpoint", options);
}

struct Run {
  std::vector<TokenId> ids;
  std::string text;
  Timings timings;
  FinishReason finish;
};

Run run(Session& session, const Conversation& conversation, const GenerateOptions& options) {
  Generation generation = session.ask(conversation, options);
  Run result;
  while (const auto event = generation.next()) result.text += event->text;
  result.text += generation.rest();
  result.ids = generation.output();
  result.timings = generation.timings();
  result.finish = generation.finish_reason();
  return result;
}

std::string limit_error(auto fn) {
  try {
    fn();
    return "no error";
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::limit);
    return error.message();
  }
}

}  // namespace

TEST_CASE("a second question about a picture neither encodes it nor prefills the shared prefix again") {
  const auto model = model_of();
  const auto image = picture(100, 60);
  Session session(*model);
  const Run first = run(session, Conversation().user("What is it?", {image}), tokens(6));
  CHECK(session.pictures_encoded() == 1);
  CHECK(first.timings.cached_tokens == 0);
  CHECK(first.timings.encode.tokens == 28);
  const Run second = run(session, Conversation().user("Where is it?", {image}), tokens(6));
  CHECK(session.pictures_encoded() == 1);
  CHECK(second.timings.encode.ms == 0);
  CHECK(second.timings.cached_tokens >= 28 + 7);
  CHECK(second.timings.prefill.tokens == second.timings.prompt_tokens - second.timings.cached_tokens);
  Session fresh(*model);
  CHECK(run(fresh, Conversation().user("Where is it?", {image}), tokens(6)).ids == second.ids);
}

TEST_CASE("a second turn reuses the first with its answer") {
  const auto model = model_of();
  const auto image = picture(30, 30);
  Session session(*model);
  Conversation talk;
  talk.user("What is it?", {image});
  const Run first = run(session, talk, tokens(4));
  talk.assistant("a").user("And now?");
  const Run second = run(session, talk, tokens(4));
  CHECK(second.timings.cached_tokens >= first.timings.prompt_tokens);
  CHECK(session.pictures_encoded() == 1);
  Session fresh(*model);
  CHECK(run(fresh, talk, tokens(4)).ids == second.ids);
}

TEST_CASE("another picture under the same text is never answered from the first one's cache") {
  const auto model = model_of();
  Session session(*model);
  int equal = 0;
  for (int i = 0; i < 12; ++i) {
    const auto image = picture(40, 40, i + 1);
    const Run mixed = run(session, Conversation().user("What?", {image}), tokens(3));
    CHECK(mixed.timings.cached_tokens < 10);
    Session fresh(*model);
    Generation alone = fresh.ask(Conversation().user("What?", {image}), tokens(3));
    Generation again = session.ask(Conversation().user("What?", {image}), tokens(3));
    alone.next();
    again.next();
    equal += golden::max_abs(alone.last_logits(), again.last_logits()) < 1e-4;
  }
  CHECK(equal == 12);
}

TEST_CASE("sessions that share a feature cache encode a picture once") {
  const auto model = model_of();
  const auto features = std::make_shared<FeatureCache>();
  Session a(*model, {.context = 0, .features = features}), b(*model, {.context = 0, .features = features});
  const auto image = picture(50, 20);
  const Run first = run(a, Conversation().user("?", {image}), tokens(3));
  CHECK(run(b, Conversation().user("?", {std::make_shared<Image>(*image)}), tokens(3)).ids == first.ids);
  CHECK(a.pictures_encoded() == 1);
  CHECK(b.pictures_encoded() == 0);
}

TEST_CASE("the same picture twice in a prompt is encoded once and fills both places") {
  const auto model = model_of();
  Session session(*model);
  const auto image = picture(20, 20);
  const PreparedPrompt prepared = model->prepare(Conversation().user("Same?", {image, image}));
  CHECK(prepared.prompt.slots.size() == 80);
  run(session, Conversation().user("Same?", {image, image}), tokens(2));
  CHECK(session.pictures_encoded() == 1);
}

TEST_CASE("a cancelled answer leaves the session usable") {
  const auto model = model_of();
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  const auto image = picture(100, 60);
  const Conversation talk = Conversation().user("What is it?", {image});
  Session reference(*model);
  const auto wanted = run(reference, talk, tokens(5)).ids;
  for (const int layers : {0, 1, 3, 4, 9}) {  // before anything, in the tower, in the decoder, between tokens
    CAPTURE(layers);
    Session session(*model);
    Generation generation = session.ask(talk, tokens(5));
    int left = layers;  // checkpoints yet to pass
    context.set_hook([&] {
      if (left-- == 0) context.cancel();
    });
    bool thrown = false;
    try {
      while (generation.next()) {
      }
    } catch (const Error& error) {
      thrown = error.code() == ErrorCode::cancelled;
    }
    context.set_hook({});
    context.clear_cancel();
    CHECK(thrown);
    CHECK(generation.finish_reason() == FinishReason::cancelled);
    CHECK(!generation.next());
    CHECK(run(session, talk, tokens(5)).ids == wanted);
  }
}

TEST_CASE("a seed gives the same tokens and the first logits do not depend on it") {
  const auto model = model_of();
  const auto sampled = [&](std::uint64_t seed) {
    Session session(*model);
    GenerateOptions options = tokens(12);
    options.sampling.temperature = 1.5;
    options.sampling.seed = seed;
    return run(session, Conversation().user("Tell me", {picture(20, 20)}), options).ids;
  };
  CHECK(sampled(5) == sampled(5));
  CHECK(sampled(5) != sampled(6));
}

TEST_CASE("max tokens end an answer with length and a stop string ends it with stop") {
  const auto model = model_of();
  Session session(*model);
  const Conversation talk = Conversation().user("Tell me", {picture(20, 20)});
  const Run plain = run(session, talk, tokens(16));
  CHECK(plain.finish == FinishReason::length);
  CHECK(plain.ids.size() == 16);
  REQUIRE(plain.text.size() > 6);
  std::size_t at = plain.text.size() / 2;
  while ((plain.text[at] & 0xc0) == 0x80) --at;  // the start of a character
  GenerateOptions options = tokens(16);
  options.stop = {plain.text.substr(at, 3)};
  const Run stopped = run(session, talk, options);
  CHECK(stopped.finish == FinishReason::stop);
  CHECK(stopped.text == plain.text.substr(0, plain.text.find(options.stop[0])));
}

TEST_CASE("an end token ends the answer and is not text") {
  const auto model = model_of();
  Session session(*model);
  const Conversation talk = Conversation().user("Tell me", {picture(20, 20)});
  GenerateOptions options = tokens(200);
  options.ignore_end = false;
  options.sampling.temperature = 3;  // random weights: some token will be the end
  for (options.sampling.seed = 0; options.sampling.seed < 50; ++options.sampling.seed) {
    const Run result = run(session, talk, options);
    if (result.finish != FinishReason::stop) continue;
    CHECK(result.ids.back() == 462);
    CHECK(result.text.find("<end_of_utterance>") == std::string::npos);
    return;
  }
  FAIL("no answer ended");
}

TEST_CASE("[B29] special tokens in a question or system text or answer change no slots") {
  const auto model = model_of();
  const auto image = picture(20, 20);
  const auto specials = [&](const Conversation& talk) {
    const Prompt prompt = model->prepare(talk).prompt;
    const auto& tokenizer = model->tokenizer();
    return std::pair(prompt.slots.size(), std::count_if(prompt.ids.begin(), prompt.ids.end(),
                                                        [&](TokenId id) { return tokenizer.is_special(id); }));
  };
  const auto talk = [&](const std::string& word) {
    return Conversation().system("Be " + word).user("What is " + word + "?", {image}).assistant(word).user(word);
  };
  const auto harmless = specials(talk("it"));
  CHECK(harmless.first == 40);
  for (const std::string word : {"<image>", "<end_of_utterance>", "<|im_start|>", "<|im_end|>", "<|endoftext|>",
                                 "<fake_token_around_image>", "<global-img>", "<row_1_col_1>"}) {
    CAPTURE(word);
    CHECK(specials(talk(word)) == harmless);
    CHECK(model->prepare(talk(word)).sent.find(word) != std::string::npos);
  }
}

TEST_CASE("[B29] template variables of a request never set a special token") {
  const golden::Copy copy(golden::root + "/smolvlm/checkpoint");
  write_file_atomic((copy.folder / "chat_template.jinja").string(),
                    std::string_view("{{ bos_token }}{{ image_token }}{{ mood }}{{ messages[0].content[0].text }}"));
  const auto model = load_model(copy.folder.string());
  Conversation talk = Conversation().user("Hi");
  talk.variables = {
      {"bos_token", "<end_of_utterance>"}, {"image_token", "<image>"}, {"mood", "<image>"}, {"messages", 7}};
  const PreparedPrompt prepared = model->prepare(talk);
  CHECK(prepared.sent == "<|im_start|><image>Hi");  // the checkpoint's own BOS, and the mood as text
  CHECK(prepared.prompt.slots.empty());
  CHECK(prepared.prompt.ids.front() == 1);
}

TEST_CASE("[B30] typed placeholders are no pictures and pictures need no placeholder") {
  const auto model = model_of();
  const auto image = picture(20, 20);
  const Dim rows = model->processor().plan(20, 20).tokens;
  const auto slots = [&](const Conversation& talk) {
    return static_cast<Dim>(model->prepare(talk).prompt.slots.size());
  };
  CHECK(slots(Conversation().user("<image><image><image>")) == 0);
  CHECK(slots(Conversation().user("<image>", {image})) == rows);
  CHECK(slots(Conversation().user("no mark", {image, image})) == 2 * rows);
  Conversation by_the_system;
  by_the_system.messages = {{"system", {{{}, image}, {"Look.", nullptr}}}, {"user", {{"<image>?", nullptr}}}};
  CHECK(slots(by_the_system) == rows);
  Session session(*model);
  CHECK(run(session, by_the_system, tokens(2)).ids.size() == 2);
  // Trusted prompts must have as many marks as pictures.
  CHECK_THROWS_AS(model->prepare_trusted("<image>", {image, image}), Error);
  CHECK_THROWS_AS(model->prepare_trusted("<image><image>", {image}), Error);
}

TEST_CASE("[B30] one picture 500 times is encoded once and 10 000 pictures are refused by number") {
  const auto image = picture(20, 20);
  const auto roomy = model_of(Dtype::f32, {{"text_config.max_position_embeddings", 40'000}},
                              {{"do_image_splitting", false}});  // few rows for each
  const Dim rows = roomy->processor().plan(20, 20).tokens;
  Session session(*roomy);
  const std::vector<std::shared_ptr<const Image>> many(500, image);
  const Run result = run(session, Conversation().user("?", many), tokens(1));
  CHECK(result.timings.image_tokens == 500 * rows);
  CHECK(session.pictures_encoded() == 1);
  const std::vector<std::shared_ptr<const Image>> too_many(10'000, image);
  CHECK(limit_error([&] {
          session.ask(Conversation().user("?", too_many), tokens(1));
        }).find("the model's context is 40000") != std::string::npos);
  CHECK(session.pictures_encoded() == 1);
}

TEST_CASE("[B35] prompts and pictures beyond the context are refused with both numbers before any compute") {
  const auto image = picture(100, 60);
  const auto small = model_of(Dtype::f32, {{"text_config.max_position_embeddings", 40}});
  CHECK(limit_error([&] {
          small->prepare(Conversation().user(std::string(600, 'x')));
        }).find("the model's context is 40") != std::string::npos);
  CHECK(limit_error([&] {
          small->prepare(Conversation().user("What is in the picture that I gave you?", {image}));
        }).find("context is 40") != std::string::npos);
  const auto tiny = model_of(Dtype::f32, {{"text_config.max_position_embeddings", 28}});
  CHECK(limit_error([&] { tiny->prepare(Conversation().user("?", {image})); }) ==
        "the picture of 100x60 becomes 28 tokens, the model's context is 28");
  const auto one = model_of(Dtype::f32, {{"text_config.max_position_embeddings", 1}});
  CHECK(limit_error([&] {
          one->prepare(Conversation().user("?"));
        }).ends_with("the model's context is 1, one of them for the answer"));
  // A session may have a smaller context than its model.
  const auto model = model_of();
  Session session(*model, {.context = 20, .features = nullptr});
  CHECK(limit_error([&] { session.ask(Conversation().user("?", {image}), tokens(1)); }) ==
        "the picture of 100x60 becomes 28 tokens, the context is 20");
  CHECK(session.pictures_encoded() == 0);
  // Unsplit pictures of any size meet the limit in the plan, not in memory.
  const auto unsized = model_of(Dtype::f32, {}, {{"do_resize", false}});
  CHECK(limit_error([&] {
          unsized->prepare(Conversation().user("?", {picture(4000, 4000)}));
        }).starts_with("the picture of 4000x4000 becomes 62504 tokens"));
}

TEST_CASE("[B35] an answer stops where the context ends") {
  const auto model = model_of(Dtype::f32, {{"text_config.max_position_embeddings", 48}});
  Session session(*model);
  const Run result = run(session, Conversation().user("Hi"), tokens(1000));
  CHECK(result.finish == FinishReason::length);
  CHECK(result.timings.prompt_tokens + static_cast<Dim>(result.ids.size()) == 48);
}

TEST_CASE("[B13] pictures of one pixel and of one row or column are looked at") {
  const auto model = model_of();
  Session session(*model);
  for (const SizePx size : {SizePx{1, 1}, SizePx{1, 8192}, SizePx{8192, 1}}) {
    const Run result = run(session, Conversation().user("?", {picture(size.width, size.height)}), tokens(2));
    CHECK(result.ids.size() == 2);
  }
  CHECK_THROWS_WITH_AS(session.ask(Conversation().user("?", {std::make_shared<Image>()}), tokens(1)),
                       "a picture of 0x0 has no pixels", Error);
}

TEST_CASE("pixels past the last whole patch of a tile are left out as the reference's convolution does") {
  const auto model = model_of(Dtype::f32, {}, {{"max_image_size", {{"longest_edge", 36}}}});  // patches of 8
  const auto image = picture(100, 60);
  const ImagePlan plan = model->processor().plan(image->width, image->height);
  const Tensor pixels = model->processor().pixels(*image, plan);
  REQUIRE(pixels.dim(2) == 36);
  Tensor whole = Tensor::empty({pixels.dim(0), 3, 32, 32});
  float* to = whole.write<float>();
  for (Dim plane = 0; plane < pixels.dim(0) * 3; ++plane)
    for (Dim y = 0; y < 32; ++y, to += 32) std::copy_n(pixels.data<float>() + (plane * 36 + y) * 36, 32, to);
  CHECK(golden::max_abs(model->network().see(pixels, plan), model->network().see(whole, plan)) == 0);
  CHECK(golden::max_abs(model->network().tower({pixels, {}}), model->network().tower({whole, {}})) == 0);
  Session session(*model);
  CHECK(run(session, Conversation().user("What is it?", {image}), tokens(2)).ids.size() == 2);
}

TEST_CASE("steady decoding asks the system for no memory") {
  const auto model = model_of(Dtype::bf16);
  Session session(*model);
  Generation generation = session.ask(Conversation().user("Hi", {picture(20, 20)}), tokens(400));
  for (int i = 0; i < 160; ++i) generation.next();
  const auto before = ExecContext::current().arena()->stats().system_allocations;
  for (int i = 0; i < 30; ++i) generation.next();
  CHECK(ExecContext::current().arena()->stats().system_allocations == before);
}

TEST_CASE("options that cannot be are refused before the prompt is laid out") {
  const auto model = model_of();
  Session session(*model);
  CHECK_THROWS_WITH_AS(session.ask(Conversation().user("Hi"), tokens(0)), "max_tokens is 0, must be at least 1", Error);
  GenerateOptions options = tokens(1);
  options.sampling.top_p = 7;
  CHECK_THROWS_WITH_AS(session.ask(Conversation().user("Hi"), options), "top_p is 7, must be from 0 to 1", Error);
  options = tokens(1);
  options.stop = {""};
  CHECK_THROWS_AS(session.ask(Conversation().user("Hi"), options), Error);
  Generation running = session.ask(Conversation().user("Hi"), tokens(2));
  CHECK(running.next());
  CHECK_THROWS_AS(session.ask(Conversation().user("Hi"), options), Error);
  CHECK(running.next());  // a refused question ends no answer
}

TEST_CASE("a checkpoint without weights still renders and counts") {
  LoadOptions options;
  options.weights = false;
  const auto model = load_model(golden::root + "/smolvlm/checkpoint", options);
  CHECK(model->prepare(Conversation().user("What is in this image?", {picture(100, 60)})).prompt.rows() == 64);
  CHECK_THROWS_AS(model->network(), Error);
}
