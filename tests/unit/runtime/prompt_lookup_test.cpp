#include "runtime/prompt_lookup.h"

#include <doctest/doctest.h>

using namespace tap;

namespace {

using Ids = std::vector<TokenId>;

LookupText::Draft draft_of(const Ids& prompt, const Ids& answer, Dim most = longest_draft,
                           std::vector<Dim> slots = {}) {
  Prompt text;
  text.ids = prompt;
  text.slots = std::move(slots);
  LookupText lookup(text);
  for (const TokenId id : answer) lookup.push(id);
  return lookup.draft(most);
}

}  // namespace

TEST_CASE("a draft is what followed the longest match, of equal ones the latest") {
  CHECK(draft_of({1, 2, 3, 4, 5}, {9, 2, 3}, 2).ids == Ids{4, 5});
  CHECK(draft_of({1, 2, 3, 4, 8, 2, 3, 5, 8}, {2, 3}, 1).ids == Ids{5});
  const auto longer = draft_of({1, 2, 3, 4, 8, 2, 3, 5, 8}, {1, 2, 3}, 1);
  CHECK(longer.ids == Ids{4});
  CHECK(longer.match == 3);
  CHECK(draft_of({1, 2, 3, 4, 5, 6, 7}, {1, 2, 3, 4, 5, 6}).match == longest_match);
}

TEST_CASE("fewer tokens than the shortest match draft nothing") {
  CHECK(draft_of({}, {}).ids.empty());
  CHECK(draft_of({1}, {}).ids.empty());
  CHECK(draft_of({1, 2, 3}, {2}).ids.empty());
  CHECK(draft_of({1, 2, 3}, {4, 2}).ids.empty());
  CHECK(draft_of({1, 2, 3, 1, 2}, {}, 0).ids.empty());
}

TEST_CASE("a period goes on through its own draft") {
  CHECK(draft_of({7, 7, 7}, {}).ids == Ids(7, 7));
  CHECK(draft_of({1, 2, 3, 1, 2}, {}).ids == Ids{3, 1, 2, 3, 1, 2, 3});
}

TEST_CASE("rows of a picture match nothing and are never drafted") {
  CHECK(draft_of({5, 5, 5, 1, 5}, {5}, 7, {0, 1, 2}).ids.empty());
  CHECK(draft_of({1, 2, 3, 9, 9}, {1, 2}, 7, {3, 4}).ids == Ids{3});
  CHECK(draft_of({1, 2, 9, 9}, {1, 2}, 7, {2, 3}).ids.empty());
}

TEST_CASE("drafts are checked while that gives more tokens a second, and left aside while not") {
  LookupPace cheap, dear;
  CHECK(cheap.choose(3, 7) == 0);  // nothing is measured
  for (int i = 0; i < 40; ++i) {
    for (LookupPace* pace : {&cheap, &dear})
      pace->took(1, 10), pace->agreed(3, true), pace->agreed(4, true), pace->agreed(5, true);
    cheap.took(8, 12);
    dear.took(8, 100);
  }
  CHECK(cheap.choose(3, 7) == 7);
  CHECK(cheap.choose(3, 4) == 3);
  CHECK(cheap.choose(3, 0) == 0);
  CHECK(dear.choose(3, 7) == 0);
  for (int i = 0; i < 40; ++i)
    for (Dim match = shortest_match; match <= longest_match; ++match) cheap.agreed(match, false);
  CHECK(cheap.choose(3, 7) == 0);
}

TEST_CASE("what was too dear is tried again, ever more seldom") {
  LookupPace pace;
  for (int i = 0; i < 40; ++i) {
    pace.took(1, 10);
    pace.took(8, 100);
    for (Dim match = shortest_match; match <= longest_match; ++match) pace.agreed(match, true);
  }
  std::vector<int> tries;
  for (int i = 0; i < 2000; ++i)
    if (pace.choose(3, 7) > 0) tries.push_back(i);
  REQUIRE(tries.size() >= 4);
  CHECK(tries.size() <= 10);
  CHECK(tries[3] - tries[2] > tries[1] - tries[0]);
  for (int i = 0; i < 60; ++i) pace.took(8, 11);
  CHECK(pace.choose(3, 7) == 7);
}
