// A batch gives each request what a session of its own gives it, whatever else runs beside it.
#include "runtime/batch_generator.h"

#include <cstring>
#include <deque>
#include <map>

#include <doctest/doctest.h>

#include "base/rng.h"
#include "codec/decode.h"
#include "golden.h"

using namespace tap;
using golden::picture;
using golden::tokens;

namespace {

struct Request {
  Conversation talk;
  GenerateOptions how;
};

struct Run {
  std::vector<TokenId> ids;
  std::vector<Tensor> logits;  // that each token was chosen from
  std::string text;
  FinishReason finish = FinishReason::none;
  std::optional<Error> error;
};

int below(Rng& rng, int most) { return static_cast<int>(rng.uniform() * most); }

std::unique_ptr<Model> golden_model(Dtype dtype = Dtype::f32, const Json& change = {}) {
  LoadOptions options;
  options.dtype = dtype;
  options.config_change = change;
  return load_model(golden::root + "/smolvlm/checkpoint", options);
}

std::unique_ptr<Model> nano(Dtype dtype) {
  LoadOptions options;
  options.dtype = dtype;
  return load_model(TAPETUM_SOURCE_DIR "/data/nano", options);
}

Run alone(const Model& model, const Request& request) {
  Session session(model);
  Run run;
  Generation generation = session.ask(request.talk, request.how);
  while (const auto event = generation.next()) {
    run.text += event->text;
    run.logits.push_back(generation.last_logits());
  }
  run.text = answer_of(generation.loop(), run.text + generation.rest(), generation.timings(), {}).text;
  run.ids = generation.output();
  run.finish = generation.finish_reason();
  return run;
}

// `between` runs before each step.
std::vector<Run> together(BatchGenerator& batch, std::span<const Request> requests,
                          const std::function<void()>& between = {}) {
  std::vector<Run> runs(requests.size());
  std::map<BatchGenerator::Id, std::size_t> index;
  std::size_t next = 0;
  while (next < requests.size() || !batch.idle()) {
    while (next < requests.size() && batch.has_room()) {
      try {
        index[batch.add(requests[next].talk, requests[next].how)] = next;
      } catch (const Error& error) {
        runs[next].error = error;
      }
      ++next;
    }
    if (between) between();
    const BatchGenerator::Step step = batch.step();
    for (const auto& event : step.events) {
      Run& run = runs[index.at(event.id)];
      run.ids.push_back(event.token.id);
      run.logits.push_back(event.logits);
    }
    for (const auto& finished : step.finished) {
      Run& run = runs[index.at(finished.id)];
      run.error = finished.error;
      run.text = finished.answer.text;
      run.finish = finished.answer.finish_reason;
      if (!finished.error) CHECK(finished.answer.tokens == run.ids);
    }
  }
  return runs;
}

// `may_be_told`: the model has a place for system texts.
std::vector<Request> random_requests(Rng& rng, int count, std::span<const std::shared_ptr<const Image>> pictures,
                                     bool may_be_told) {
  const std::array<const char*, 6> questions{"What is it?",         "?",
                                             "Describe the image.", "How many red things are there, and where?",
                                             "Is there a bird?",    "What is left of the tree? Answer in one word."};
  std::vector<Request> requests;
  for (int i = 0; i < count; ++i) {
    Request request;
    std::vector<std::shared_ptr<const Image>> images;
    for (int n = below(rng, 4); n > 0; --n)
      images.push_back(pictures[static_cast<std::size_t>(below(rng, static_cast<int>(pictures.size())))]);
    if (below(rng, 3) == 0 && may_be_told) request.talk.system("Answer briefly.");
    request.talk.user(questions[static_cast<std::size_t>(below(rng, 6))], images);
    request.how.max_tokens = 1 + below(rng, 16);
    request.how.ignore_end = below(rng, 2) == 0;
    if (below(rng, 2) == 0) request.how.sampling.temperature = 0.3f + 0.4f * static_cast<float>(below(rng, 4));
    if (below(rng, 3) == 0) request.how.sampling.top_k = 1 + below(rng, 30);
    if (below(rng, 3) == 0) request.how.sampling.top_p = 0.9f;
    if (below(rng, 4) == 0) request.how.sampling.repetition_penalty = 1.1f;
    request.how.sampling.seed = static_cast<std::uint64_t>(below(rng, 1000));
    if (below(rng, 3) == 0) request.how.stop = {"e", "ee"};
    requests.push_back(std::move(request));
  }
  return requests;
}

// What an answer alone chose at `at`, and whether logits that differ by ten tolerances could have led elsewhere.
bool is_stable(const Run& run, const Request& request, std::size_t at, const Model& model, float tolerance) {
  Sampler sampler(request.how.sampling, model.prepare(request.talk).prompt.ids);
  Rng rng(request.how.sampling.seed);
  for (std::size_t i = 0; i < at; ++i) sampler(run.logits[i].values<float>(), rng);
  const auto logits = run.logits[at].values<float>();
  for (std::uint64_t trial = 0; trial < 16; ++trial) {
    Rng noise(trial);
    std::vector<float> moved(logits.begin(), logits.end());
    for (float& logit : moved) logit += noise.next_u32() % 2 ? 10 * tolerance : -10 * tolerance;
    Sampler sampler_here = sampler;
    Rng rng_here = rng;
    if (sampler_here(moved, rng_here).id != run.ids[at]) return false;
  }
  return true;
}

struct Compared {
  int tokens = 0, unstable = 0;
  double worst = 0;
};

void compare(const Run& one, const Run& other, const Request& request, const Model& model, float tolerance,
             Compared& sum) {
  REQUIRE(!other.error);
  for (std::size_t i = 0; i < one.ids.size(); ++i) {
    REQUIRE(i < other.ids.size());
    const double difference = golden::max_abs(one.logits[i], other.logits[i]);
    sum.worst = std::max(sum.worst, difference);
    REQUIRE(difference <= tolerance);
    if (tolerance > 0 && one.ids[i] != other.ids[i]) {
      CHECK_FALSE(is_stable(one, request, i, model, tolerance));
      ++sum.unstable;
      return;
    }
    REQUIRE(one.ids[i] == other.ids[i]);
    ++sum.tokens;
  }
  CHECK(one.ids == other.ids);
  CHECK(one.text == other.text);
  CHECK(one.finish == other.finish);
}

Compared compare_all(const Model& model, std::span<const std::shared_ptr<const Image>> pictures, float tolerance,
                     std::uint64_t seed, int count) {
  Rng rng(seed);
  const std::vector<Request> requests = random_requests(rng, count, pictures, model.has_chat_template());
  std::vector<Run> single;
  for (const Request& request : requests) single.push_back(alone(model, request));
  Compared sum;
  for (const Dim sequences : {1, 2, 3, 5, 8}) {
    CAPTURE(sequences);
    BatchOptions options;
    options.sequences = sequences;
    options.rows_per_step = 1 + below(rng, 600);
    BatchGenerator batch(model, options);
    const std::vector<Run> runs = together(batch, requests);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      CAPTURE(i);
      compare(single[i], runs[i], requests[i], model, tolerance, sum);
    }
    CHECK(batch.pictures_encoded() <= static_cast<Dim>(pictures.size()));
  }
  MESSAGE(sum.tokens, " tokens, ", sum.unstable, " unstable, worst logit ", sum.worst);
  return sum;
}

const std::vector<std::shared_ptr<const Image>>& samples() {
  static const auto all = [] {
    std::vector<std::shared_ptr<const Image>> pictures;
    for (const char* name : {"roof", "yard"})
      pictures.push_back(std::make_shared<const Image>(
          load_image(fmt::format(TAPETUM_SOURCE_DIR "/data/samples/{}.png", name)).value()));
    pictures.push_back(picture(40, 70, 3));
    return pictures;
  }();
  return all;
}

const std::vector<std::shared_ptr<const Image>>& noise() {
  static const std::vector<std::shared_ptr<const Image>> all{picture(20, 20), picture(100, 60, 2), picture(30, 80, 3),
                                                             picture(64, 64, 4)};
  return all;
}

}  // namespace

TEST_CASE("random mixes of requests in f32 answer as each alone within tolerance") {
  const auto model = golden_model();
  CHECK(compare_all(*model, noise(), 1e-4f, 11, 24).tokens > 500);
}

TEST_CASE("random mixes of requests with q8 weights answer as each alone to the bit") {
  const auto model = golden_model(Dtype::q8);
  CHECK(compare_all(*model, noise(), 0, 12, 24).tokens > 500);
}

TEST_CASE("random mixes of requests in bf16 answer as each alone within tolerance") {
  const auto model = golden_model(Dtype::bf16);
  CHECK(compare_all(*model, noise(), 0.05f, 13, 24).tokens > 500);
}

TEST_CASE("random mixes with windows and pictures that see themselves answer as each alone") {
  for (const char* name : {"gemma3", "paligemma2"})
    for (const auto& [dtype, tolerance] : {std::pair{Dtype::f32, 1e-4f}, std::pair{Dtype::q8, 0.0f}}) {
      CAPTURE(std::string(name));
      LoadOptions options;
      options.dtype = dtype;
      const auto model = load_model(golden::root + "/" + name + "/checkpoint", options);
      CHECK(compare_all(*model, noise(), tolerance, 16, 12).tokens > 200);
    }
}

TEST_CASE("nano answers mixes in f32 as each alone within tolerance") {
  const auto model = nano(Dtype::f32);
  CHECK(compare_all(*model, samples(), 1e-3f, 14, 12).tokens > 200);
}

TEST_CASE("nano answers mixes with q8 weights as each alone to the bit") {
  const auto model = nano(Dtype::q8);
  CHECK(compare_all(*model, samples(), 0, 15, 12).tokens > 200);
}

TEST_CASE("a long prompt is read in chunks beside answers that go on") {
  const auto model = golden_model(Dtype::q8, {{"text_config.max_position_embeddings", 4096}});
  std::vector<Request> requests;
  for (const int letters : {10, 3000, 40, 1500})
    requests.push_back({Conversation().user(std::string(static_cast<std::size_t>(letters), 'x')), tokens(12)});
  REQUIRE(model->prepare(requests[1].talk).prompt.rows() > 1100);
  BatchGenerator batch(*model, {.sequences = 3, .context = 0, .rows_per_step = 600, .features = nullptr});
  const std::vector<Run> runs = together(batch, requests);
  Compared sum;
  for (std::size_t i = 0; i < requests.size(); ++i)
    compare(alone(*model, requests[i]), runs[i], requests[i], *model, 0, sum);
  CHECK(sum.tokens == 48);
}

TEST_CASE("equal pictures of several requests are encoded once") {
  const auto model = golden_model();
  BatchGenerator batch(*model, {.sequences = 4, .context = 0, .rows_per_step = 2048, .features = nullptr});
  const std::vector<Request> requests(6, {Conversation().user("?", {picture(20, 20)}), tokens(3)});
  for (const Run& run : together(batch, requests)) CHECK(run.ids.size() == 3);
  CHECK(batch.pictures_encoded() == 1);
}

namespace {

// The batch's answer to one more request, while those that it has go on.
Answer answer_in(BatchGenerator& batch, const Model& model, const Request& request, const std::string& owner = {}) {
  const auto id = batch.add(BatchRequest{model.prepare(request.talk), request.how, owner});
  for (;;)
    for (auto& finished : batch.step().finished)
      if (finished.id == id) return std::move(finished.answer);
}

}  // namespace

TEST_CASE("what a prompt has in common with an earlier one is not computed again and its answer is the same") {
  const auto model = nano(Dtype::q8);
  const auto image = picture(100, 60);
  const auto ask = [&](const char* question, std::shared_ptr<const Image> about) {
    return Request{Conversation().user(question, {std::move(about)}), tokens(6)};
  };
  BatchGenerator batch(*model, {.sequences = 2, .context = 0, .rows_per_step = 2048, .share_prefixes = true, .features = nullptr});
  CHECK(answer_in(batch, *model, ask("What is this?", image)).timings.cached_tokens == 0);
  for (const char* question : {"What is this?", "How many birds are there?", "What is that?"}) {
    CAPTURE(question);
    const Request request = ask(question, image);
    const Answer got = answer_in(batch, *model, request);
    CHECK(got.timings.cached_tokens > got.timings.image_tokens);
    CHECK(got.timings.cached_tokens < got.timings.prompt_tokens);
    CHECK(got.tokens == alone(*model, request).ids);
  }
  // Another picture shares no row that stands behind it.
  const Request other = ask("What is this?", picture(60, 100));
  const Answer got = answer_in(batch, *model, other);
  CHECK(got.timings.cached_tokens < 16);
  CHECK(got.tokens == alone(*model, other).ids);
  CHECK(batch.pictures_encoded() == 2);
}

TEST_CASE("a conversation goes on in a batch where it stopped") {
  const auto model = nano(Dtype::q8);
  BatchGenerator batch(*model, {.sequences = 3, .context = 0, .rows_per_step = 2048, .share_prefixes = true, .features = nullptr});
  Conversation talk;
  talk.user("What is this?", {picture(100, 60)});
  Dim known = 0;
  for (const char* question : {"And what color is it?", "How many are there?", "Why?"}) {
    const Answer got = answer_in(batch, *model, {talk, tokens(6)});
    CHECK(got.timings.cached_tokens >= known);
    CHECK(got.tokens == alone(*model, {talk, tokens(6)}).ids);
    known = got.timings.prompt_tokens - 8;  // the template's last words may tokenize anew beside an answer
    talk.assistant(got.text).user(question);
  }
  CHECK(known > 60);
}

TEST_CASE("an answer that is being written lends its prompt to others") {
  const auto model = nano(Dtype::q8);
  BatchGenerator batch(*model, {.sequences = 3, .context = 0, .rows_per_step = 2048, .share_prefixes = true, .features = nullptr});
  const auto image = picture(100, 60);
  Request first{Conversation().user("What is this?", {image}), tokens(200)};
  first.how.ignore_end = true;
  const auto id = batch.add(first.talk, first.how);
  std::vector<TokenId> ids;
  while (ids.size() < 5)
    for (const auto& event : batch.step().events) ids.push_back(event.token.id);
  const Request second{Conversation().user("How many birds are there?", {image}), tokens(6)};
  const Answer got = answer_in(batch, *model, second);
  CHECK(got.timings.cached_tokens > got.timings.image_tokens);
  CHECK(got.tokens == alone(*model, second).ids);
  CHECK(batch.cancel(id));
}

TEST_CASE("nothing is shared between owners") {
  const auto model = nano(Dtype::q8);
  BatchGenerator batch(*model, {.sequences = 4, .context = 0, .rows_per_step = 2048, .share_prefixes = true, .features = nullptr});
  const Request request{Conversation().user("What is this?", {picture(100, 60)}), tokens(6)};
  const std::vector<TokenId> want = alone(*model, request).ids;
  Dim encoded = 0;
  for (const char* owner : {"ann", "bob", ""}) {
    const Answer first = answer_in(batch, *model, request, owner), again = answer_in(batch, *model, request, owner);
    CHECK(first.timings.cached_tokens == 0);
    CHECK(again.timings.cached_tokens > 0);
    CHECK(first.tokens == want);
    CHECK(again.tokens == want);
    CHECK(batch.pictures_encoded() == ++encoded);
  }
}

TEST_CASE("[B35] a request beyond the context fails alone and the others are answered") {
  const auto model = golden_model(Dtype::q8, {{"text_config.max_position_embeddings", 100}});
  const std::vector<Request> requests{
      {Conversation().user("Hi", {picture(20, 20)}), tokens(5)},
      {Conversation().user(std::string(600, 'x')), tokens(5)},
      {Conversation().user("?", {picture(20, 20), picture(100, 60), picture(30, 80)}), tokens(5)},
      {Conversation().user("Hi"), tokens(0)},
      {Conversation().user("Hi"), tokens(1000)}};
  BatchGenerator batch(*model, {.sequences = 2, .context = 0, .rows_per_step = 2048, .features = nullptr});
  const std::vector<Run> runs = together(batch, requests);
  Compared sum;
  compare(alone(*model, requests[0]), runs[0], requests[0], *model, 0, sum);
  for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) {
    REQUIRE(runs[i].error);
    CHECK(runs[i].error->code() == ErrorCode::limit);
    CHECK(runs[i].error->message().find("context is 100") != std::string::npos);
  }
  REQUIRE(runs[3].error);
  CHECK(runs[3].error->message() == "max_tokens is 0, must be at least 1");
  CHECK(runs[4].finish == FinishReason::length);  // where the context ends
  compare(alone(*model, requests[4]), runs[4], requests[4], *model, 0, sum);
}

TEST_CASE("[F05] memory that gives out in a shared forward ends no more requests than lack it") {
  const auto model = golden_model(Dtype::q8);
  const std::vector<Request> requests(3, {Conversation().user("Hi", {picture(20, 20)}), tokens(6)});
  const Run want = alone(*model, requests[0]);
  Arena& arena = *ExecContext::current().arena();
  for (const std::uint64_t nth : {1, 5, 17, 40}) {
    CAPTURE(nth);
    BatchGenerator batch(*model, {.sequences = 3, .context = 0, .rows_per_step = 2048, .features = nullptr});
    int steps = 0;
    const std::vector<Run> runs = together(batch, requests, [&] {
      if (steps++ == 2) arena.fail_after(nth);
    });
    arena.fail_after(0);
    for (const Run& run : runs) {  // one allocation failed: every sequence alone finds memory again
      REQUIRE(!run.error);
      CHECK(run.ids == want.ids);
    }
  }
}

TEST_CASE("a cancelled step loses nothing and a cancelled request leaves the others as they were") {
  const auto model = golden_model(Dtype::q8);
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  std::vector<Request> requests;
  for (const char* question : {"What?", "Where is it?", "How many?"})
    requests.push_back({Conversation().user(question, {picture(100, 60)}), tokens(8)});
  std::vector<Run> want;
  for (const Request& request : requests) want.push_back(alone(*model, request));
  for (const int layers : {0, 1, 2, 5}) {
    CAPTURE(layers);
    BatchGenerator batch(*model, {.sequences = 4, .context = 0, .rows_per_step = 2048, .features = nullptr});
    const auto extra = batch.add(requests[0].talk, requests[0].how);
    std::vector<std::vector<TokenId>> ids(requests.size() + 1);
    for (const Request& request : requests) batch.add(request.talk, request.how);
    for (int steps = 0; !batch.idle(); ++steps) {
      if (steps == 3) {
        CHECK(batch.cancel(extra));
        CHECK(!batch.cancel(extra));
      }
      int left = layers;
      if (steps % 2 == 0)
        context.set_hook([&] {
          if (left-- == 0) context.cancel();
        });
      bool cancelled = false;
      BatchGenerator::Step step;
      try {
        step = batch.step();
      } catch (const Error& error) {
        REQUIRE(error.code() == ErrorCode::cancelled);
        cancelled = true;
      }
      context.set_hook({});
      context.clear_cancel();
      if (cancelled) step = batch.step();
      for (const auto& event : step.events) ids[event.id].push_back(event.token.id);
    }
    for (std::size_t i = 0; i < requests.size(); ++i) CHECK(ids[i + 1] == want[i].ids);
    CHECK(ids[0].size() < 8);
  }
}

TEST_CASE("requests that begin alike hold their beginning once and answer as each alone") {
  const auto model = golden_model(Dtype::f32, {{"text_config.max_position_embeddings", 4096}});
  const std::string beginning(1500, 'x');
  std::vector<Request> requests;
  for (int i = 0; i < 9; ++i)
    requests.push_back({Conversation().user(beginning + std::string(static_cast<std::size_t>(i * i), 'y')), tokens(40)});
  requests.push_back({Conversation().user(std::string(700, 'x')), tokens(40)});
  BatchOptions options;
  options.sequences = 4;
  options.share_prefixes = true;
  BatchGenerator batch(*model, options);
  together(batch, std::span(requests).first(1));  // its rows are there for all others
  const std::vector<Run> runs = together(batch, requests);
  Compared sum;
  for (std::size_t i = 0; i < requests.size(); ++i)
    compare(alone(*model, requests[i]), runs[i], requests[i], *model, 1e-4f, sum);
  CHECK(sum.tokens > 300);
}
