#include "tasks/guard.h"

#include <doctest/doctest.h>

using namespace tap;

TEST_CASE("a part to judge ends with a sentence") {
  CHECK(judged_part("One two. Three", 200) == 9);
  CHECK(judged_part("One two! Three", 200) == 9);
  CHECK(judged_part("1.5 apples", 200) == 0);  // not behind the point of a number
  CHECK(judged_part("a line\nmore", 200) == 7);
  CHECK(judged_part("中文。more", 200) == 9);
  CHECK(judged_part("", 200) == 0);
  CHECK(judged_part("no end yet.", 200) == 0);
}

TEST_CASE("a part without an end is cut between words, or where it must be, never inside a character") {
  CHECK(judged_part("aaa bbb ccc", 9) == 8);
  CHECK(judged_part("aaabbbcccddd", 9) == 9);
  CHECK(judged_part("ééééé", 3) == 6);
  CHECK(judged_part("ééé", 3) == 0);
}

TEST_CASE("what is no number does not pass a threshold") {
  CHECK(PolicyScore{"p", std::nan(""), 0.5}.violates());
  CHECK(PolicyScore{"p", 0.5, 0.5}.violates());
  CHECK_FALSE(PolicyScore{"p", 0.49, 0.5}.violates());
}

TEST_CASE("the worst policy is the furthest above its own threshold") {
  const Safety safety{"judge", "image", {{"a", 0.6, 0.9}, {"b", 0.5, 0.1}, {"c", 0.2, 0.5}}, 1};
  CHECK(safety.flagged());
  CHECK(safety.worst().policy == "b");
  try {
    require_safe(safety, "roof.png");
    FAIL("nothing thrown");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::refused);
    CHECK(error.message() == "roof.png: refused by judge: b with p 0.500, threshold 0.100");
    CHECK(error.item() == "roof.png");
  }
}
