#include "tasks/detect.h"

#include <doctest/doctest.h>

using namespace tap;

namespace {
const Grounding grounding;
std::vector<Detection> parse(std::string_view text) { return parse_detections(grounding, text, 2048, 512, "thing"); }
}  // namespace

TEST_CASE("a box is scaled to the width and the height of the picture apart") {
  const auto found = parse("<loc0256><loc0128><loc0512><loc1023> red bird");
  REQUIRE(found.size() == 1);
  CHECK(found[0].label == "red bird");
  CHECK(found[0].box == BoxPx{256, 128, 2046, 256});
  CHECK_FALSE(found[0].score.has_value());
}

TEST_CASE("several boxes come in order and none is an empty list") {
  const auto found = parse("<loc0000><loc0000><loc0100><loc0100> a ; <loc0200><loc0200><loc0300><loc0300> b");
  REQUIRE(found.size() == 2);
  CHECK(found[0].label == "a");
  CHECK(found[1].label == "b");
  CHECK(parse("none").empty());
  CHECK(parse("").empty());
}

TEST_CASE("a box without a label takes the phrase asked for") {
  const auto found = parse("<loc0000><loc0000><loc0100><loc0100>");
  REQUIRE(found.size() == 1);
  CHECK(found[0].label == "thing");
}

TEST_CASE("[B36] forged boxes are left out and the good one beside them stays") {
  CHECK(parse("<loc9999><loc0000><loc0100><loc0100> x").empty());
  CHECK(parse("<loc0500><loc0000><loc0100><loc0100> y2 below y1").empty());
  CHECK(parse("<loc0000><loc0500><loc0100><loc0100> x2 below x1").empty());
  CHECK(parse("<loc0000><loc0000><loc0100> three").empty());
  CHECK(parse("<loc0000><loc0000><loc0100><loc0100><loc0100> five").empty());
  CHECK(parse("<loc-001><loc0000><loc0100><loc0100> sign").empty());
  CHECK(parse("<loc1024><loc0000><loc1024><loc0100> x ; <loc0000><loc0000><loc0100><loc0100> good").size() == 1);
  std::string many;
  for (int i = 0; i < 10'000; ++i) many += "<loc0000><loc0000><loc0100><loc0100> a ; ";
  CHECK(parse(many).size() == 1000);
}

TEST_CASE("a phrase becomes the prompt of the family however it is worded") {
  CHECK(detect_prompt(grounding, "bird on the roof") == "detect bird on the roof");
  CHECK(detect_prompt(grounding, "Detect the bird on the roof.") == "detect bird on the roof");
  CHECK(detect_prompt(grounding, "  the bird ") == "detect bird");
}
