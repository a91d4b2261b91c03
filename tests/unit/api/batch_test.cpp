// Conversations given whole, one and many, through the public interface.
#include <tapetum/tapetum.h>

#include <atomic>
#include <stdexcept>

#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

namespace {

const std::string source = TAPETUM_SOURCE_DIR;

const tap::Model& nano() {
  static const tap::Model model = tap::Model::load(source + "/data/nano", {.dtype = tap::Dtype::q8});
  return model;
}

tap::Image sample(const std::string& name) { return tap::Image::load(source + "/data/samples/" + name + ".png"); }

tap::Message user(const std::string& words) { return {tap::Role::user, {{words}}}; }
tap::Message user(const tap::Image& image, const std::string& words) {
  return {tap::Role::user, {{{}, image}, {words}}};
}
tap::Message assistant(const std::string& words) { return {tap::Role::assistant, {{words}}}; }

}  // namespace

TEST_CASE("many conversations are answered as each alone, in their order") {
  const std::vector<std::string> pictures{"roof", "yard", "shapes", "winter", "roof"};
  const std::vector<std::string> questions{"What is on the roof?", "Describe the image.", "How many objects are there?",
                                           "Describe the image.", "Describe the image."};
  std::vector<std::vector<tap::Message>> all;
  for (std::size_t i = 0; i < pictures.size(); ++i) all.push_back({user(sample(pictures[i]), questions[i])});
  for (const std::int64_t at_once : {1, 3, 8}) {
    const std::vector<tap::Outcome> outcomes = nano().answer_all(all, {}, at_once);
    REQUIRE(outcomes.size() == all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      REQUIRE(outcomes[i].answer);
      CHECK_FALSE(outcomes[i].error);
      const tap::Answer alone = nano().ask(sample(pictures[i]), questions[i]);
      CHECK(outcomes[i].answer->text == alone.text);
      CHECK(outcomes[i].answer->prompt_tokens == alone.prompt_tokens);
      CHECK(outcomes[i].answer->output_tokens == alone.output_tokens);
      CHECK(outcomes[i].answer->finish == alone.finish);
    }
  }
}

TEST_CASE("one of many that fails ends alone") {
  const std::vector<std::vector<tap::Message>> all{
      {}, {user(sample("roof"), "What is on the roof?")}, {user(std::string(20000, 'a'))}};
  const std::vector<tap::Outcome> outcomes = nano().answer_all(all);
  REQUIRE(outcomes.size() == 3);
  REQUIRE(outcomes[0].error);
  CHECK(outcomes[0].error->code() == tap::ErrorCode::usage);
  REQUIRE(outcomes[1].answer);
  CHECK(outcomes[1].answer->text == "A white bird");
  REQUIRE(outcomes[2].error);
  CHECK(outcomes[2].error->code() == tap::ErrorCode::limit);
  CHECK_FALSE(outcomes[2].answer);
  CHECK(nano().answer_all({}).empty());
  CHECK_THROWS_WITH_AS(nano().answer_all(all, {}, 0), doctest::Contains("at_once is 0"), tap::Error);
  CHECK_THROWS_AS(nano().answer_all(all, {.max_tokens = 0}), tap::Error);
}

TEST_CASE("many that are cancelled, or whose caller throws, leave the model as it was") {
  const std::vector<std::vector<tap::Message>> all(4, {user(sample("yard"), "Describe the image.")});
  int left = 20;
  CHECK_THROWS_WITH_AS(nano().answer_all(all, {.keep_on = [&] { return --left > 0; }}), doctest::Contains("cancelled"),
                       tap::Error);
  left = 20;
  CHECK_THROWS_AS(
      nano().answer_all(all, {.keep_on = [&] { return --left > 0 ? true : throw std::out_of_range("mine"); }}),
      std::out_of_range);
  CHECK(nano().ask(sample("roof"), "What is on the roof?").text == "A white bird");
}

TEST_CASE("earlier turns given as messages are those of a chat") {
  const tap::Image roof = sample("roof");
  tap::Chat chat = nano().chat();
  const tap::Answer first = chat.ask("What is on the roof?", {roof}), second = chat.ask("How many objects are there?");
  const std::vector<tap::Message> earlier{user(roof, "What is on the roof?"), assistant(first.text)};
  std::vector<tap::Message> messages = earlier;
  messages.push_back(user("How many objects are there?"));
  const tap::Answer given = nano().answer(messages);
  CHECK(given.text == second.text);
  CHECK(given.prompt_tokens == second.prompt_tokens);
  tap::Chat resumed = nano().chat({.earlier = earlier});
  const tap::Answer asked = resumed.ask("How many objects are there?");
  CHECK(asked.text == second.text);
  CHECK(asked.prompt_tokens == second.prompt_tokens);
  resumed.clear();
  CHECK(resumed.ask("How many objects are there?").prompt_tokens == second.prompt_tokens);
}

TEST_CASE("an assistant's last message is gone on with") {
  const tap::Image yard = sample("yard");
  const tap::Answer whole = nano().ask(yard, "Describe the image.");
  const std::size_t half = whole.text.find(' ', whole.text.size() / 2);
  const std::vector<tap::Message> begun{user(yard, "Describe the image."), assistant(whole.text.substr(0, half))};
  const tap::Answer rest = nano().answer(begun);
  CHECK(whole.text.substr(0, half) + rest.text == whole.text);
  CHECK(rest.output_tokens < whole.output_tokens);
  const std::vector<tap::Message> nothing{user(yard, "Describe the image."), {tap::Role::assistant, {}}};
  CHECK_THROWS_WITH_AS((void)nano().answer(nothing), doctest::Contains("no words to go on with"), tap::Error);
}

TEST_CASE("after a fork the child is told to load the model itself, instead of waiting for threads it lacks") {
  CHECK(nano().ask(sample("roof"), "What is on the roof?").text == "A white bird");
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int status = 1;
    try {
      (void)nano().ask(sample("roof"), "What is on the roof?");
    } catch (const tap::Error& error) {
      status = error.code() == tap::ErrorCode::unsupported ? 0 : 2;
    }
    ::_exit(status);
  }
  int status = -1;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
