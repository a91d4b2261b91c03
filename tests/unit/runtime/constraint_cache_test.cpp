#include "runtime/constraint_cache.h"

#include <thread>

#include <doctest/doctest.h>

using namespace tap;

namespace {

std::unique_ptr<Model> nano() {
  LoadOptions options;
  options.weights = false;
  return load_model(TAPETUM_SOURCE_DIR "/data/nano", options);
}

Json regex(int count) { return {{"regex", fmt::format("[a-z]{{{}}}", count)}}; }

}  // namespace

TEST_CASE("a form is compiled once, and again only when it was dropped") {
  const auto model = nano();
  ConstraintCache cache({.forms = 3, .bytes = std::size_t{1} << 30});
  const auto first = cache(*model, regex(1));
  CHECK(cache(*model, regex(1)) == first);
  CHECK(cache.counts().compiled == 1);
  CHECK(cache.counts().reused == 1);
  const auto schema = cache(*model, {{"schema", {{"type", "object"}}}});
  CHECK(schema->trie() == first->trie());  // the vocabulary is read once
  for (int i = 2; i < 5; ++i) cache(*model, regex(i));
  CHECK(cache.counts().kept == 3);
  CHECK(cache(*model, regex(1)) != first);
  CHECK(cache.counts().compiled == 6);
  CHECK(cache(*model, regex(4)) == cache(*model, regex(4)));
  CHECK(cache.counts().compiled == 6);
}

TEST_CASE("what is kept is bounded by its bytes, the newest stays") {
  const auto model = nano();
  ConstraintCache cache({.forms = 100, .bytes = 1});
  for (int i = 1; i < 5; ++i) {
    const auto made = cache(*model, regex(i));
    CHECK(cache.counts().kept == 1);
    CHECK(cache(*model, regex(i)) == made);
  }
}

TEST_CASE("threads that ask for one form at once share its compilation") {
  const auto model = nano();
  ConstraintCache cache;
  std::vector<std::shared_ptr<const Constraint>> made(8);
  {
    std::vector<std::jthread> threads;
    for (auto& one : made) threads.emplace_back([&] { one = cache(*model, {{"regex", "([a-z]{1,60} ){1,60}"}}); });
  }
  for (const auto& one : made) CHECK(one == made[0]);
  CHECK(cache.counts().compiled == 1);
  CHECK(cache.counts().reused == 7);
}

TEST_CASE("a form that is wrong is refused each time and keeps no place") {
  const auto model = nano();
  ConstraintCache cache;
  for (const Json& form : {Json{{"regex", "(("}}, Json{{"grammar", "a"}}, Json{{"choices", Json::array()}},
                           Json{{"schema", {{"not", 1}}}}})
    for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(cache(*model, form), Error);
  CHECK(cache.counts().kept == 0);
}

TEST_CASE("added tokens are for texts that may call tools, and for no others") {
  const auto model = nano();
  ConstraintCache cache;
  const auto plain = cache(*model, {{"regex", ".*"}});
  const Json calls = {
      {"calls",
       {{"calls",
         Json::array(
             {{{"begins", Json::array({"<c>"})}, {"schema", {{"type", "object"}}}, {"what", "f"}, {"end", "</c>"}}})},
        {"section_begin", ""},
        {"between", ""},
        {"section_end", ""},
        {"mark", "<c>"},
        {"many", false},
        {"required", true},
        {"content", nullptr}}}};
  const auto tools = cache(*model, calls);
  CHECK(tools->trie() != plain->trie());
  CHECK(cache(*model, calls) == tools);
}
