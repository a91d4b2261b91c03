#include "runtime/stop_matcher.h"

#include <doctest/doctest.h>

#include "base/error.h"

using namespace tap;

TEST_CASE("a stop string split over any tokens never leaks") {
  const std::string text = "the answer is four. END and more", stop = ". END";
  for (std::size_t step = 1; step <= text.size(); ++step) {
    StopMatcher matcher({stop});
    std::string shown;
    for (std::size_t at = 0; at < text.size(); at += step) {
      shown += matcher.push(std::string_view(text).substr(at, step));
      CHECK(std::string("the answer is four").starts_with(shown));
    }
    CHECK(matcher.stopped());
    CHECK(matcher.matched() == stop);
    CHECK(shown + matcher.finish() == "the answer is four");
  }
}

TEST_CASE("text that only looked like a stop string comes out in the end") {
  StopMatcher matcher({"aab"});
  CHECK(matcher.push("xaa") == "x");
  CHECK(matcher.push("a") == "a");  // "aaa": the last two may still begin it
  CHECK(matcher.push("c") == "aac");
  CHECK(matcher.push("a") == "");
  CHECK(matcher.finish() == "a");
  CHECK(!matcher.stopped());
}

TEST_CASE("of several stop strings the one that begins first counts") {
  StopMatcher matcher({"world", "lo w"});
  CHECK(matcher.push("hello world") == "hel");
  CHECK(matcher.matched() == "lo w");
  CHECK(matcher.push("more").empty());
}

TEST_CASE("no stop strings hold nothing back") {
  StopMatcher matcher({});
  CHECK(matcher.push("abc") == "abc");
}

TEST_CASE("empty and oversized stop strings are refused") {
  CHECK_THROWS_AS(StopMatcher({""}), Error);
  CHECK_THROWS_AS(StopMatcher({std::string(5000, 'a')}), Error);
  CHECK_THROWS_AS(StopMatcher(std::vector<std::string>(65, "a")), Error);
}

TEST_CASE("[B34] stop strings of half a character are refused and whole ones are never cut") {
  CHECK_THROWS_AS(StopMatcher({"\xc3"}), Error);
  CHECK_THROWS_AS(StopMatcher({"\xa9"}), Error);
  StopMatcher matcher({"é"});
  CHECK(matcher.push("a\xc3") == "a");  // bytes may come singly
  CHECK(matcher.push("\xa8") == "\xc3\xa8");
  CHECK(matcher.push("b\xc3") == "b");
  CHECK(matcher
            .push("\xa9"
                  "c")
            .empty());
  CHECK(matcher.stopped());
}

TEST_CASE("[B34] ten thousand stop strings are refused by their number") {
  CHECK_THROWS_WITH_AS(StopMatcher(std::vector<std::string>(10'000, "a")), "stop: 10000 strings, at most 64", Error);
}
