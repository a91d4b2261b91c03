// Drafts looked up in the prompt and the answer: whatever is drafted, every answer is the one that single tokens give,
// to the bit.
#include "runtime/prompt_lookup.h"

#include <cstring>
#include <functional>

#include <doctest/doctest.h>

#include "codec/decode.h"
#include "golden.h"
#include "runtime/batch_generator.h"

using namespace tap;
using golden::picture;
using golden::tokens;

namespace {

struct Run {
  std::vector<TokenId> ids;
  std::vector<float> logprobs;
  std::vector<std::string> texts;  // of each event, and the rest
  std::vector<Tensor> logits;
  std::string stopped_by;
  FinishReason finish;
  Timings timings;
  Dim cached_rows;
  // Of the tokens after the first.
  Dim forwards() const { return timings.decode.tokens - timings.accepted_tokens; }
};

GenerateOptions with(GenerateOptions options, Lookup lookup) {
  options.lookup = lookup;
  return options;
}

// At most `steps` calls of next().
Run run(Session& session, const PreparedPrompt& prepared, const GenerateOptions& options, int steps = 1 << 20) {
  Generation generation = session.ask(prepared, options);
  Run run;
  for (int i = 0; i < steps; ++i) {
    const auto event = generation.next();
    if (!event) break;
    run.texts.push_back(event->text);
    run.logits.push_back(generation.last_logits());
  }
  run.texts.push_back(generation.rest());
  run.ids = generation.output();
  run.logprobs = generation.loop().logprobs();
  run.stopped_by = generation.stop_string();
  run.finish = generation.finish_reason();
  run.timings = generation.timings();
  run.cached_rows = session.cached_rows();
  return run;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

void check_same(const Run& plain, const Run& drafted) {
  CHECK(drafted.ids == plain.ids);
  CHECK(drafted.texts == plain.texts);
  CHECK(same_bits(drafted.logprobs, plain.logprobs));
  CHECK(drafted.stopped_by == plain.stopped_by);
  CHECK(drafted.finish == plain.finish);
  CHECK(drafted.cached_rows == plain.cached_rows);
  CHECK(drafted.timings.cached_tokens == plain.timings.cached_tokens);
  CHECK(drafted.timings.output_tokens == plain.timings.output_tokens);
  CHECK(drafted.timings.decode.tokens == plain.timings.decode.tokens);
  std::size_t equal = 0;
  for (std::size_t i = 0; i < std::min(plain.logits.size(), drafted.logits.size()); ++i)
    equal += same_bits(plain.logits[i].values<float>(), drafted.logits[i].values<float>());
  CHECK(equal == plain.logits.size());
}

// Runs both ways in sessions of their own; gives the drafted one.
Run compare(const Model& model, const PreparedPrompt& prepared, const GenerateOptions& options) {
  Session plain(model), drafted(model);
  const Run wanted = run(plain, prepared, with(options, Lookup::off));
  CHECK(wanted.timings.drafted_tokens == 0);
  Run got = run(drafted, prepared, with(options, Lookup::always));
  check_same(wanted, got);
  return got;
}

std::unique_ptr<Model> golden_model(std::string_view family, Dtype dtype = Dtype::f32, const Json& change = {}) {
  LoadOptions options;
  options.dtype = dtype;
  options.config_change = change;
  return load_model(fmt::format("{}/{}/checkpoint", golden::root, family), options);
}

// Answers that repeat themselves, whatever the weights are.
GenerateOptions repeating(const Model& model, Dim count, std::string_view pattern = "(one two, three; ){1,60}") {
  GenerateOptions options = tokens(count);
  options.constraint = std::make_shared<const Constraint>(Grammar::from_regex(std::string(pattern)).value(),
                                                          model.tokenizer(), model.end_tokens());
  return options;
}

PreparedPrompt plain_prompt(const Model& model) { return model.prepare_trusted("Say it again and again", {}); }

}  // namespace

TEST_CASE("drafts change no bit of any family's answers, greedy or sampled") {
  Dim drafted = 0, accepted = 0;
  int pictures = 0;
  for (const golden::Folder& folder : golden::folders())
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::q8, Dtype::q4}) {
      CAPTURE(folder.name);
      CAPTURE(name(dtype));
      const auto model = golden::load(folder, dtype);
      std::vector<PreparedPrompt> prompts{model->prepare_trusted("a b c d e f a b c d e g a b c", {})};
      for (const golden::Case& one : folder.cases)
        if (one.has("image0") && one.has("greedy_tokens") && !one.entry.contains("options") && prompts.size() == 1) {
          prompts.push_back(model->prepare_trusted(one.entry["prompt"].get<std::string>(), one.images()));
          ++pictures;
        }
      for (const PreparedPrompt& prepared : prompts) {
        GenerateOptions options = tokens(48);
        const auto count = [&](const Run& run) {
          drafted += run.timings.drafted_tokens;
          accepted += run.timings.accepted_tokens;
        };
        count(compare(*model, prepared, options));
        options.sampling.temperature = 0.7f;
        options.sampling.top_k = 4;
        options.sampling.seed = 11;
        count(compare(*model, prepared, options));
        options.sampling.repetition_penalty = 1.05f;
        options.sampling.frequency_penalty = 0.2f;
        count(compare(*model, prepared, options));
      }
      const Run run = compare(*model, prompts.back(), repeating(*model, 60));
      CHECK(run.timings.accepted_tokens > 5);
    }
  CHECK(pictures >= 12);
  CHECK(accepted > 100);
  CHECK(drafted > accepted + 100);  // wrong ones too
}

TEST_CASE("a text that repeats itself takes fewer forwards than tokens") {
  const auto model = golden_model("smolvlm", Dtype::bf16);
  Session session(*model);
  const Run always = run(session, plain_prompt(*model), with(repeating(*model, 120), Lookup::always));
  CHECK(always.forwards() * 3 < static_cast<Dim>(always.ids.size()));
  CHECK(always.timings.accepted_tokens <= always.timings.drafted_tokens);
}

TEST_CASE("drafting as it pays gives the same answer") {
  const auto model = golden_model("smolvlm", Dtype::bf16);
  for (const bool repeats : {true, false}) {
    const GenerateOptions options = repeats ? repeating(*model, 150) : tokens(150);
    Session plain(*model), drafted(*model);
    const Run wanted = run(plain, plain_prompt(*model), with(options, Lookup::off));
    check_same(wanted, run(drafted, plain_prompt(*model), options));
  }
}

TEST_CASE("any number of tokens may end an answer within a draft, and so may the context") {
  const auto model = golden_model("smolvlm");
  for (Dim count = 1; count <= 40; ++count) {
    CAPTURE(count);
    const Run got = compare(*model, plain_prompt(*model), repeating(*model, count));
    CHECK(got.ids.size() == static_cast<std::size_t>(count));
    CHECK(got.finish == FinishReason::length);
  }
  for (const Dim context : {30, 35, 41, 48}) {
    const auto small = golden_model("smolvlm", Dtype::f32, {{"text_config.max_position_embeddings", context}});
    const Run got = compare(*small, plain_prompt(*small), repeating(*small, 1000));
    CHECK(got.timings.prompt_tokens + static_cast<Dim>(got.ids.size()) == context);
  }
}

TEST_CASE("a stop string or the end of a grammar within a draft ends the answer there") {
  const auto model = golden_model("smolvlm");
  const Run whole = compare(*model, plain_prompt(*model), repeating(*model, 400, "(one two, three; ){12}"));
  CHECK(whole.finish == FinishReason::stop);
  CHECK(whole.timings.accepted_tokens > 20);
  std::string text;
  for (const std::string& piece : whole.texts) text += piece;
  for (const std::string& stop : {std::string("three; one two, three; one two, t"), text.substr(0, 60),
                                  text.substr(0, 77), text.substr(0, 100), std::string("; ")}) {
    CAPTURE(stop);
    GenerateOptions options = repeating(*model, 400);
    options.stop = {stop};
    const Run got = compare(*model, plain_prompt(*model), options);
    CHECK(got.finish == FinishReason::stop);
    CHECK(got.stopped_by == stop);
  }
}

TEST_CASE("an answer given before is drafted with its end token") {
  const auto model = load_model(TAPETUM_SOURCE_DIR "/data/nano", {});
  const auto image = std::make_shared<const Image>(load_image(TAPETUM_SOURCE_DIR "/data/samples/roof.png").value());
  Conversation talk = Conversation().user("Describe the picture.", {image});
  GenerateOptions options;
  options.max_tokens = 80;
  Session session(*model);
  const std::string said = answer(session, talk, options).text;
  talk.assistant(said).user("Describe the picture.");
  const Run got = compare(*model, model->prepare(talk), options);
  CHECK(got.finish == FinishReason::stop);
  CHECK(got.ids.size() > 4);
  CHECK(got.timings.accepted_tokens > 0);
}

TEST_CASE("the turn after a drafted answer, whole or left, finds the same rows and gives the same bits") {
  for (const std::string_view family : {"smolvlm", "gemma3", "qwen2_5_vl"})
    for (const int steps : {1, 3, 9, 14, 20, 27, 1000}) {
      CAPTURE(family);
      CAPTURE(steps);
      const auto model = golden_model(family, Dtype::bf16);
      const GenerateOptions options = repeating(*model, 40);
      const auto image = picture(40, 30);
      Conversation talk = Conversation().user("Look.", {image});
      Session plain(*model), drafted(*model);
      const Run wanted = run(plain, model->prepare(talk), with(options, Lookup::off), steps);
      check_same(wanted, run(drafted, model->prepare(talk), with(options, Lookup::always), steps));
      std::string text;
      for (const std::string& piece : wanted.texts) text += piece;
      talk.assistant(text).user("And now?");
      const Run next = run(plain, model->prepare(talk), with(options, Lookup::off));
      check_same(next, run(drafted, model->prepare(talk), with(options, Lookup::always)));
      CHECK(next.timings.cached_tokens > 0);
    }
}

TEST_CASE("windows that move on under drafts show every row the same keys") {
  const auto model = golden_model("gemma3", Dtype::f32);  // windows of 12 rows
  std::string story;
  for (int i = 0; i < 400; ++i) story += fmt::format("line {} ", i % 97);
  const Run got = compare(*model, model->prepare_trusted(story, {}), repeating(*model, 700));
  CHECK(got.timings.prompt_tokens > 1000);
  CHECK(got.timings.accepted_tokens > 300);
}

TEST_CASE("an answer cancelled within a draft is that far the same and leaves the session usable") {
  const auto model = golden_model("smolvlm");
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  const GenerateOptions options = repeating(*model, 60);
  Session reference(*model);
  const Run wanted = run(reference, plain_prompt(*model), with(options, Lookup::off));
  const Run once_more = run(reference, plain_prompt(*model), with(options, Lookup::off));  // its prompt is cached
  for (int checkpoints = 5; checkpoints < 100; checkpoints += 7) {
    CAPTURE(checkpoints);
    Session session(*model);
    Generation generation = session.ask(plain_prompt(*model), with(options, Lookup::always));
    int left = checkpoints;
    context.set_hook([&] {
      if (left-- == 0) context.cancel();
    });
    bool cancelled = false;
    try {
      while (generation.next()) {
      }
    } catch (const Error& error) {
      cancelled = error.code() == ErrorCode::cancelled;
    }
    context.set_hook({});
    context.clear_cancel();
    CHECK(cancelled);
    CHECK(generation.finish_reason() == FinishReason::cancelled);
    const auto& output = generation.output();
    CHECK(std::equal(output.begin(), output.end(), wanted.ids.begin()));
    check_same(once_more, run(session, plain_prompt(*model), with(options, Lookup::always)));
  }
}

TEST_CASE("a batch drafts for an answer that is alone, also when another one comes in between") {
  const auto model = golden_model("smolvlm", Dtype::q8);  // equal to the bit in any batch
  const GenerateOptions options = with(repeating(*model, 60), Lookup::always);
  Session session(*model);
  const Run wanted = run(session, plain_prompt(*model), with(options, Lookup::off));
  for (const std::size_t second : {1000, 1, 5, 13, 14, 15, 16, 17}) {
    CAPTURE(second);
    BatchOptions three;
    three.sequences = 3;
    BatchGenerator batch(*model, three);
    batch.add(plain_prompt(*model), options);
    std::array<std::vector<TokenId>, 2> ids;
    std::vector<BatchGenerator::Finished> finished;
    while (!batch.idle()) {
      if (ids[0].size() == second && ids[1].empty() && batch.has_room()) batch.add(plain_prompt(*model), options);
      const BatchGenerator::Step step = batch.step();
      for (const auto& event : step.events) ids.at(event.id).push_back(event.token.id);
      for (const auto& one : step.finished) finished.push_back(one);
    }
    CHECK(ids[0] == wanted.ids);
    if (second < 1000) CHECK(ids[1] == wanted.ids);
    Dim accepted = 0;
    for (const auto& one : finished) {
      accepted += one.answer.timings.accepted_tokens;
      CHECK(!one.error);
      CHECK(one.answer.tokens == wanted.ids);
      CHECK(same_bits(one.answer.logprobs, wanted.logprobs));
      CHECK(one.answer.timings.decode.tokens == wanted.timings.decode.tokens);
    }
    if (second > 10) CHECK(accepted > 0);
  }
}
