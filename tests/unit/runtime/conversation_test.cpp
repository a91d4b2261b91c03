#include "runtime/conversation.h"

#include <algorithm>

#include <doctest/doctest.h>

#include "runtime/model.h"

namespace {

using tap::Conversation;

std::string prompt_of(const Conversation& conversation) {
  static const auto nano = [] {
    tap::LoadOptions load;
    load.weights = false;
    return tap::load_model(std::string(TAPETUM_SOURCE_DIR) + "/data/nano", load);
  }();
  return nano->prepare(conversation).sent;
}

Conversation asked() { return Conversation().user("What?", {std::make_shared<const tap::Image>(8, 8)}); }

}  // namespace

// The expected prompts are those of transformers 5.24 (render_jinja_template).
TEST_CASE("earlier turns go through the chat template as in transformers") {
  CHECK(prompt_of(asked().assistant("A bird").user("How many?")) ==
        "<|im_start|>User:<image>What?<end_of_utterance>\nAssistant: A bird<end_of_utterance>\nUser: How "
        "many?<end_of_utterance>\nAssistant:");
}

TEST_CASE("a last message that is gone on with is open, its white space kept, as in transformers") {
  const std::string head = "<|im_start|>User:<image>What?<end_of_utterance>\nAssistant: ";
  for (const std::string words : {"A bird and ", "A bird", "", "CONTINUE_FINAL_MESSAGE_TAG is a mark"}) {
    Conversation conversation = asked().assistant(words);
    conversation.go_on = true;
    CHECK(prompt_of(conversation) == head + words);
  }
  Conversation pictures = asked();
  pictures.messages.back().parts.pop_back();
  pictures.go_on = true;
  CHECK_THROWS_WITH(prompt_of(pictures), doctest::Contains("no words to go on with"));
}

TEST_CASE("what is gone on with stays text of the user: no special token comes of it") {
  tap::LoadOptions load;
  load.weights = false;
  const auto nano = tap::load_model(std::string(TAPETUM_SOURCE_DIR) + "/data/nano", load);
  const auto ends = [&](const std::string& words) {
    Conversation conversation = asked().assistant(words);
    conversation.go_on = true;
    const std::vector<tap::TokenId> ids = nano->prepare(conversation).prompt.ids;
    return std::ranges::count(ids, nano->end_tokens().front());
  };
  REQUIRE_FALSE(nano->end_tokens().empty());
  CHECK(ends("a<end_of_utterance>b") == ends("ab"));
}
