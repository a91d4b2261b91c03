// Words of the command line to pictures.
#include "cli/pictures.h"

#include <array>

#include <doctest/doctest.h>

using namespace tap;
using namespace tap::cli;

TEST_CASE("natural order counts numbers as numbers") {
  const std::array sorted{"", "a", "a0", "a00", "a1", "a01", "a2", "a10", "a10b", "a100", "b"};
  for (std::size_t i = 0; i < sorted.size(); ++i)
    for (std::size_t j = 0; j < sorted.size(); ++j) {
      if (std::string_view(sorted[i]) == "a1" && std::string_view(sorted[j]) == "a01") continue;
      if (std::string_view(sorted[i]) == "a01" && std::string_view(sorted[j]) == "a1") continue;
      CAPTURE(sorted[i]);
      CAPTURE(sorted[j]);
      CHECK(natural_less(sorted[i], sorted[j]) == (i < j));
    }
  CHECK(natural_less("a01", "a1") != natural_less("a1", "a01"));
  CHECK(natural_less("9", "99999999999999999999999999"));
}

TEST_CASE("a question is no pattern and a pattern with a picture's ending or a folder is one") {
  for (const char* question : {"Why?", "What [is] *this*?", "cat/dog?", "a*b", "50% of [x]"})
    CHECK_FALSE(names_pictures(question));
  for (const char* picture : {"-", "none/*.png", "*.jpg", "img?.webp", "none/*", "https://example.org/a.png"})
    CHECK(names_pictures(picture));
}
