#include "base/dynamic_library.h"

#include <cmath>

#include <doctest/doctest.h>

using namespace tap;

TEST_CASE("a library is opened by name and its functions run") {
  const auto library = DynamicLibrary::open("libm.so.6", "mathematics", "libc6").value();
  CHECK(library.symbol<double(double)>("cbrt")(27.0) == doctest::Approx(3.0));
  CHECK_THROWS_WITH_AS(library.symbol<void()>("no_such_name"), "libm.so.6 has no no_such_name: too old", Error);
}

TEST_CASE("a library that is not there is named with its package") {
  const auto library = DynamicLibrary::open("libnothere.so.9", "seeing in the dark", "libnothere9");
  REQUIRE(!library);
  CHECK(library.error().message() == "seeing in the dark needs libnothere.so.9: install libnothere9");
  CHECK(library.error().code() == ErrorCode::unsupported);
}
