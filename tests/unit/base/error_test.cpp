#include "base/error.h"

#include <doctest/doctest.h>

using namespace tap;

TEST_CASE("an error carries every frame it left and keeps its code") {
  try {
    with_frame("load nano",
               [] { with_frame("config.json", [] { fail(ErrorCode::bad_file, "hidden_size: got {}", 0); }); });
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.message() == "load nano: config.json: hidden_size: got 0");
    CHECK(error.code() == ErrorCode::bad_file);
  }
}

TEST_CASE("a result gives its value or throws its error") {
  const Result<int> good = 3;
  CHECK(*good == 3);
  const Result<int> bad = Error(ErrorCode::limit, "too big");
  CHECK_FALSE(bad.ok());
  CHECK_THROWS_AS(bad.value(), Error);
}
