#include "tasks/wants.h"

#include <doctest/doctest.h>

#include "base/error.h"

using namespace tap;
using Kind = Want::Kind;

namespace {
std::vector<Want> detect(std::string_view words) { return wants_of(words, Kind::detect); }
}  // namespace

TEST_CASE("a phrase becomes the thing however it is worded") {
  const std::vector<Want> bird{{Kind::detect, "bird on the roof", true}};
  for (const char* words : {"the bird on the roof", "Detect the bird on the roof", "Detect the bird on the roof.",
                            "Please find the bird on the roof!", "could you please locate the bird on the roof?",
                            "Where is the bird on the roof?", "  draw a box around the bird on the roof  "})
    CHECK(detect(words) == bird);
  CHECK(detect("bird on the roof") == std::vector<Want>{{Kind::detect, "bird on the roof", false}});
  CHECK(detect("a bird") == std::vector<Want>{{Kind::detect, "bird", false}});
  CHECK(detect("the birds") == std::vector<Want>{{Kind::detect, "birds", false}});
  CHECK(detect("all the birds") == std::vector<Want>{{Kind::detect, "birds", false}});
}

TEST_CASE("verbs say the kind, words without one are of the usual kind") {
  CHECK(detect("segment the cat")[0].kind == Kind::segment);
  CHECK(detect("cut out the cat")[0].kind == Kind::segment);
  CHECK(detect("point to the cat")[0].kind == Kind::point);
  CHECK(detect("count cats")[0].kind == Kind::count);
  CHECK(wants_of("cat", Kind::segment)[0].kind == Kind::segment);
  CHECK(wants_of("find the cat", Kind::segment)[0].kind == Kind::detect);
  CHECK(detect("boxer dog") == std::vector<Want>{{Kind::detect, "boxer dog", false}});  // "box" only as a word
}

TEST_CASE("how many questions ask for the counted thing alone") {
  for (const char* words :
       {"how many trees", "How many trees are there?", "how many trees are there in the picture?", "count the trees"})
    CHECK(detect(words)[0].thing == "trees");
  CHECK(detect("how many birds are on the roof?")[0].thing == "birds on the roof");
  CHECK(detect("how many trees")[0].kind == Kind::count);
}

TEST_CASE("several things in one step") {
  CHECK(detect("bird ; window ; how many trees") == std::vector<Want>{{Kind::detect, "bird", false},
                                                                      {Kind::detect, "window", false},
                                                                      {Kind::count, "trees", false}});
  CHECK(detect("Detect the cat and the dog") ==
        std::vector<Want>{{Kind::detect, "cat", true}, {Kind::detect, "dog", true}});
  CHECK(detect("segment cat, dog, and bird").size() == 3);
  CHECK(detect("segment cat, dog, and bird")[2] == Want{Kind::segment, "bird", false});
  CHECK(detect("bird and how many trees")[1].kind == Kind::count);
  CHECK(detect("sand castle") == std::vector<Want>{{Kind::detect, "sand castle", false}});
  CHECK(detect("cat ; cat").size() == 1);
}

TEST_CASE("words that say nothing are wrong use") {
  for (const char* words : {"", "  ", "detect", "the", ";", "how many", "please"}) {
    CAPTURE(words);
    CHECK_THROWS_AS(detect(words), Error);
  }
}

TEST_CASE("one and many of a noun") {
  for (const auto& [one, many] : {std::pair("bird", "birds"),
                                  {"bird on the roof", "birds on the roof"},
                                  {"red box", "red boxes"},
                                  {"person", "people"},
                                  {"city", "cities"},
                                  {"toy", "toys"},
                                  {"house with a door", "houses with a door"},
                                  {"glass", "glasses"},
                                  {"fish", "fish"},
                                  {"knife", "knives"},
                                  {"object", "objects"},
                                  {"bus", "buses"},
                                  {"dish", "dishes"}}) {
    CHECK(singular(many) == one);
    CHECK(plural(one) == many);
    CHECK(singular(one) == one);
    CHECK(plural(many) == many);
  }
}
