// The public interface, used as a program outside would: no header of src/ is included.
#include <tapetum/tapetum.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <thread>

#include <doctest/doctest.h>

namespace {

const std::string source = TAPETUM_SOURCE_DIR;

const tap::Model& nano() {
  static const tap::Model model = tap::Model::load(source + "/data/nano");
  return model;
}

tap::Image sample(const std::string& name) { return tap::Image::load(source + "/data/samples/" + name + ".png"); }

// The code of the Error that fn throws.
template <class Fn>
std::string code_of(Fn fn) {
  try {
    fn();
  } catch (const tap::Error& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return std::string(name(error.code()));
  }
  return "none";
}

double length(const std::vector<float>& v) { return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0)); }

}  // namespace

TEST_CASE("a model says what it is") {
  CHECK(nano().name() == "nano");
  CHECK(nano().can_detect());
  CHECK(nano().context() >= 1024);
  CHECK(tap::version() == std::to_string(TAPETUM_VERSION_MAJOR) + "." + std::to_string(TAPETUM_VERSION_MINOR) + "." +
                              std::to_string(TAPETUM_VERSION_PATCH));
}

TEST_CASE("a question about a picture is answered") {
  const tap::Answer answer = nano().ask(sample("roof"), "What is on the roof?");
  CHECK(answer.text == "A white bird");
  CHECK(answer.finish == tap::Finish::stop);
  CHECK(answer.image_tokens > 0);
  CHECK(answer.prompt_tokens > answer.image_tokens);
  CHECK(answer.output_tokens > 0);
  CHECK(answer.total_ms >= answer.first_token_ms);
}

TEST_CASE("a second turn remembers the picture and reuses what is known") {
  tap::Chat chat = nano().chat();
  CHECK(chat.ask("What is on the roof?", {sample("roof")}).text == "A white bird");
  const tap::Answer second = chat.ask("How many objects are there?");
  CHECK(second.cached_tokens > second.image_tokens);
  CHECK(second.image_tokens > 0);
  CHECK(chat.turns() == 2);
  chat.clear();
  CHECK(chat.turns() == 0);
  CHECK(chat.ask("What is on the roof?", {sample("roof")}).text == "A white bird");
}

TEST_CASE("the pieces of a stream are the answer") {
  const tap::Image yard = sample("yard");
  tap::Chat chat = nano().chat();
  tap::Stream stream = chat.stream("Describe the image.", {yard});
  CHECK(code_of([&] { (void)stream.answer(); }) == "usage");
  std::string text;
  int pieces = 0;
  for (const std::string& piece : stream) {
    CHECK_FALSE(piece.empty());
    text += piece;
    ++pieces;
  }
  CHECK(pieces > 5);
  CHECK(text == stream.answer().text);
  CHECK(text == nano().ask(yard, "Describe the image.").text);
  CHECK_FALSE(stream.next());
}

TEST_CASE("a stream that is left takes its question back, one that is overtaken says so") {
  tap::Chat chat = nano().chat();
  { (void)chat.stream("Describe the image.", {sample("yard")}).next(); }
  CHECK(chat.turns() == 0);
  tap::Stream first = chat.stream("Describe the image.", {sample("yard")});
  (void)first.next();
  const tap::Answer answer = chat.ask("What is on the roof?", {sample("roof")});
  CHECK(answer.text == "A white bird");
  CHECK(code_of([&] { (void)first.next(); }) == "usage");
  CHECK_FALSE(first.next());
  CHECK(chat.turns() == 1);
}

TEST_CASE("keep_on ends the work and the chat is as before") {
  tap::Chat chat = nano().chat();
  int calls = 0;
  tap::AskOptions options;
  options.keep_on = [&] { return ++calls < 4; };
  CHECK(code_of([&] { chat.ask("What is on the roof?", {sample("roof")}, options); }) == "cancelled");
  CHECK(calls == 4);
  CHECK(chat.turns() == 0);
  CHECK(chat.ask("What is on the roof?", {sample("roof")}).text == "A white bird");
  CHECK(code_of([&] { tap::Model::load(source + "/data/nano", {.keep_on = [] { return false; }}); }) == "cancelled");
  CHECK(code_of([&] { nano().embed("words", [] { return false; }); }) == "cancelled");
}

TEST_CASE("what keep_on throws reaches the caller as it is") {
  tap::AskOptions options;
  options.keep_on = []() -> bool { throw std::out_of_range("mine"); };
  CHECK_THROWS_AS(nano().ask(sample("roof"), "What is on the roof?", options), std::out_of_range);
  CHECK(nano().ask(sample("roof"), "What is on the roof?").text == "A white bird");
}

TEST_CASE("keep_on that uses its own model is told so instead of waiting for itself") {
  tap::AskOptions options;
  options.keep_on = [] { return nano().embed("words").empty(); };
  CHECK_THROWS_WITH_AS(nano().ask(sample("roof"), "What is on the roof?", options),
                       "keep_on may not use the model that called it", tap::Error);
}

TEST_CASE("threads share one model") {
  const tap::Image roof = sample("roof"), winter = sample("winter");
  std::vector<std::string> answers(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < answers.size(); ++i)
    threads.emplace_back([&, i] {
      tap::Chat chat = nano().chat();
      answers[i] = i % 2 ? chat.ask("How many objects are there?", {winter}).text
                         : chat.ask("What is on the roof?", {roof}).text;
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(answers == std::vector<std::string>{"A white bird", "5", "A white bird", "5"});
}

TEST_CASE("a call that waits for another one can be cancelled") {
  std::atomic<bool> inside = false, over = false;
  std::thread busy([&] {
    tap::AskOptions options;
    options.keep_on = [&] {
      inside = true;
      while (!over) std::this_thread::yield();
      return true;
    };
    (void)nano().ask(sample("roof"), "What is on the roof?", options);
  });
  while (!inside) std::this_thread::yield();
  CHECK(code_of([] { nano().embed("words", [] { return false; }); }) == "cancelled");
  CHECK(code_of([] { nano().embed("words", [] { return nano().embed("more").empty(); }); }) == "usage");
  over = true;
  busy.join();
}

TEST_CASE("a long answer lets a short one through") {
  std::atomic<bool> inside = false, waiting = false, long_over = false;
  std::thread busy([&] {
    tap::AskOptions options;
    options.keep_on = [&] {
      inside = true;
      while (!waiting) std::this_thread::yield();
      return true;
    };
    const tap::Answer answer = nano().ask(sample("yard"), "Describe the image.", options);
    CHECK(answer.output_tokens > 20);
    long_over = true;
  });
  while (!inside) std::this_thread::yield();
  const auto vector = nano().embed("words", [&] { return waiting = true; });
  CHECK_FALSE(long_over);  // one turn, the next one
  CHECK_FALSE(vector.empty());
  busy.join();
}

TEST_CASE("options reach the answer") {
  const tap::Image yard = sample("yard");
  const tap::Answer cut = nano().ask(yard, "Describe the image.", {.max_tokens = 3});
  CHECK(cut.finish == tap::Finish::length);
  CHECK(cut.output_tokens == 3);
  CHECK(nano().ask(yard, "Describe the image.", {.stop = {" house"}}).text == "A brown");
  tap::AskOptions warm{.max_tokens = 20, .temperature = 2.0f, .top_p = 0.95f, .seed = 7};
  const std::string once = nano().ask(yard, "Describe the image.", warm).text;
  CHECK(nano().ask(yard, "Describe the image.", warm).text == once);
  CHECK(code_of([&] { nano().ask(yard, "Describe the image.", {.max_tokens = 0}); }) == "usage");
  CHECK(code_of([&] { nano().ask(yard, "Describe the image.", {.top_p = 1.5f}); }) == "usage");
  CHECK(code_of([&] { nano().ask(yard, " \n"); }) == "usage");
  CHECK(code_of([&] { nano().chat({.context = -1}); }) == "usage");
  CHECK(code_of([&] { nano().chat({.context = 20}).ask("What is on the roof?", {yard}); }) == "limit");
  CHECK(code_of([&] { tap::Model::load("nano", {.threads = -1}); }) == "usage");
}

TEST_CASE("an answer has the form asked for") {
  const tap::Image roof = sample("roof");
  CHECK(nano().ask(roof, "What is on the roof?", {.choices = {"a cat", "a dog", " a fish "}}).text.find("a ") <= 1);
  const std::string digits = nano().ask(roof, "What is on the roof?", {.regex = "[0-9]{2}"}).text;
  CHECK(digits.size() == 2);
  CHECK(std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; }));
  CHECK(nano().ask(roof, "Is there a bird?", {.json_schema = R"({"const": {"seen": true}})"}).text.front() == '{');
  CHECK(code_of([&] { nano().ask(roof, "What?", {.choices = {"a"}, .regex = "b"}); }) == "usage");
  CHECK(code_of([&] { nano().ask(roof, "What?", {.regex = "("}); }) == "usage");
  CHECK(nano().ask(roof, "What is on the roof?").text == "A white bird");
}

TEST_CASE("boxes are in the picture's own pixels and can be drawn") {
  const tap::Image roof = sample("roof");
  const auto found = nano().detect(roof, "bird on the roof");
  REQUIRE(found.size() == 1);
  CHECK(found[0].label == "bird");
  CHECK(std::abs(found[0].box.x1 - 90) <= 2);
  CHECK(std::abs(found[0].box.y2 - 306) <= 2);
  const tap::Image drawn = tap::draw(roof, found);
  CHECK(drawn.width() == roof.width());
  CHECK_FALSE(std::ranges::equal(drawn.rgb(), roof.rgb()));
  CHECK(std::ranges::equal(sample("roof").rgb(), roof.rgb()));
  CHECK(found[0].score.value_or(-1) > 0.1);
  CHECK_FALSE(found[0].mask.has_value());
  CHECK(code_of([&] { nano().detect(roof, " "); }) == "usage");
  CHECK(code_of([&] { nano().detect(roof, "point to the bird"); }) == "unsupported");
  CHECK(code_of([&] { nano().segment(roof, "bird"); }) == "unsupported");
  CHECK(nano().detect(roof, "bird ; sun").size() == 3);
  const auto counts = nano().count(sample("yard"), "trees");
  REQUIRE(counts.size() == 1);
  CHECK(counts[0].label == "tree");
  CHECK(counts[0].boxes == 1);
  CHECK(counts[0].answered == 1);
}

TEST_CASE("masks and points are drawn, and a mask of another size is wrong use") {
  const tap::Image roof = sample("roof");
  tap::Detection thing{.label = "thing", .box = {100, 100, 300, 300}};
  thing.mask = tap::Mask{768, 768, std::vector<std::uint8_t>(768 * 768)};
  for (std::size_t i = 200 * 768 + 200; i < 200 * 768 + 220; ++i) thing.mask->pixels[i] = 1;
  const tap::Detection point{.label = "point", .box = {600, 600, 600, 600}, .score = {}, .point = tap::Point{600, 600}};
  const std::vector<tap::Detection> both{thing, point};
  const tap::Image drawn = tap::draw(roof, both);
  const auto differs = [&](std::size_t x, std::size_t y) {
    return !std::equal(drawn.rgb().begin() + static_cast<std::ptrdiff_t>(3 * (y * 768 + x)),
                       drawn.rgb().begin() + static_cast<std::ptrdiff_t>(3 * (y * 768 + x) + 3),
                       roof.rgb().begin() + static_cast<std::ptrdiff_t>(3 * (y * 768 + x)));
  };
  CHECK(differs(210, 200));
  CHECK_FALSE(differs(210, 230));
  CHECK(differs(600, 600));
  thing.mask->pixels.pop_back();
  CHECK(code_of([&] { (void)tap::draw(roof, std::span(&thing, 1)); }) == "bad_input");
}

TEST_CASE("embeddings have the model's width and tell pictures and texts apart") {
  const auto roof = nano().embed(sample("roof")), yard = nano().embed(sample("yard")), text = nano().embed("a bird");
  for (const auto* one : {&roof, &yard, &text}) {
    CHECK(static_cast<std::int64_t>(one->size()) == nano().width());
    CHECK(length(*one) > 0);
    CHECK(std::all_of(one->begin(), one->end(), [](float v) { return std::isfinite(v); }));
  }
  CHECK(nano().embed(sample("roof")) == roof);
  CHECK(tap::cosine(roof, roof) == doctest::Approx(1));
  CHECK(tap::cosine(roof, yard) < 0.9999);
  CHECK(tap::cosine(text, nano().embed("a bird")) == doctest::Approx(1));
  CHECK(tap::cosine(text, nano().embed("two birds")) < 0.9999);
  const auto asked = nano().embed(sample("roof"), "What is on the roof?");
  CHECK(tap::cosine(asked, nano().embed(sample("roof"), "How many objects are there?")) < 0.9999);
  CHECK(code_of([] { nano().embed(""); }) == "bad_input");
  CHECK(code_of([] { nano().embed(std::string(100000, 'x')); }) == "limit");
  CHECK(code_of([&] { tap::cosine(roof, std::vector<float>(3)); }) == "usage");
  CHECK(tap::cosine(std::vector<float>(3), std::vector<float>(3)) == 0);
}

TEST_CASE("the state of a question is the one that its answer's first token comes from") {
  // The same picture and question twice, once asked between: the state does not depend on what was asked before.
  const tap::Image roof = sample("roof");
  const auto before = nano().embed(roof, "What is on the roof?");
  (void)nano().ask(roof, "What is on the roof?");
  CHECK(nano().embed(roof, "What is on the roof?") == before);
}

TEST_CASE("a model that is not there or damaged is an error with its kind") {
  CHECK(code_of([] { tap::Model::load("/nowhere/at/all"); }) == "not_found");
  CHECK(code_of([] { tap::Model::load(source + "/docs"); }) == "not_found");
  try {
    tap::Model::load("/nowhere/at/all");
  } catch (const tap::Error& error) {
    CHECK(std::string(error.what()).find("/nowhere/at/all") != std::string::npos);
    const tap::Error copy = error;
    CHECK(std::string(copy.what()) == error.what());
    CHECK(copy.item() == error.item());
  }
}

TEST_CASE("warnings go where the program wants them") {
  std::string heard;
  tap::on_warning([&](std::string_view line) { heard += line; });
  (void)nano().detect(sample("roof"), "bird on the roof", {.max_tokens = 2});
  tap::on_warning({});
  CHECK(heard.find("cut after 2 tokens") != std::string::npos);
  heard.clear();
  (void)nano().detect(sample("roof"), "bird on the roof", {.max_tokens = 2});
  CHECK(heard.empty());
}

TEST_CASE("a guard judges pictures, and says what it cannot judge") {
  tap::Guard guard = tap::Guard::load(source + "/data/nano");
  CHECK(guard.judges_pictures());
  CHECK_FALSE(guard.judges_texts());
  const tap::Image danger = tap::Image::load(source + "/tests/data/guard/dangerous.png");
  const tap::Safety safety = guard.judge(danger);
  CHECK(safety.flagged);
  CHECK(safety.checked == "image");
  REQUIRE(safety.scores.size() == 1);
  CHECK(safety.scores[0].policy == "dangerous");
  CHECK(safety.scores[0].violates);
  CHECK_THROWS_WITH_AS(guard.judge("how do I build a bomb"), doctest::Contains("google/shieldgemma-2b"), tap::Error);
  CHECK_THROWS_AS(tap::Guard::load(source + "/data/nano", {.threshold = 2}), tap::Error);
}

TEST_CASE("a chat between guards takes a refused turn back") {
  const tap::Model& model = nano();
  const tap::Image roof = tap::Image::load(source + "/data/samples/roof.png");
  const tap::Image danger = tap::Image::load(source + "/tests/data/guard/dangerous.png");
  const std::string judge = source + "/tests/families/shieldgemma1/checkpoint";
  const tap::Guard all_pass = tap::Guard::load(judge, {.threshold = 1}),
                   none = tap::Guard::load(judge, {.threshold = 0});
  tap::Chat chat = model.chat({.before = {tap::Guard::load(source + "/data/nano")}, .behind = {all_pass}});
  CHECK(chat.ask("What is on the roof?", {roof}).text == model.ask(roof, "What is on the roof?").text);
  try {
    chat.ask("And here?", {danger});
    FAIL("nothing thrown");
  } catch (const tap::Error& error) {
    CHECK(error.code() == tap::ErrorCode::refused);
  }
  CHECK(chat.turns() == 1);

  tap::Chat silent = model.chat({.behind = {none}});
  std::string out;
  CHECK_THROWS_AS(
      [&] {
        for (const std::string& piece : silent.stream("Describe the image.", {roof})) out += piece;
      }(),
      tap::Error);
  CHECK(out.empty());
  CHECK(silent.turns() == 0);
  CHECK_THROWS_WITH_AS(model.chat({.behind = {tap::Guard::load(source + "/data/nano")}}),
                       doctest::Contains("judges pictures only"), tap::Error);
  CHECK_THROWS_WITH_AS(model.chat({.before = {tap::Guard::load(source + "/data/nano")}}).ask("Hello"),
                       doctest::Contains("text alone"), tap::Error);
}
