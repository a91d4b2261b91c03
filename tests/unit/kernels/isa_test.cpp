#include "kernels/isa.h"

#include <doctest/doctest.h>

#include "base/error.h"

using namespace tap;

TEST_CASE("an unknown or absent instruction set is wrong use and names those present") {
  for (const char* wanted : {"avx3", "AVX2", "amx "}) {
    try {
      choose_isa(wanted);
      FAIL("accepted " << wanted);
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::usage);
      for (const Isa isa : present_isas()) CHECK(error.message().find(name(isa)) != std::string::npos);
    }
  }
  if (present_isas().back() < Isa::amx) CHECK_THROWS_AS(choose_isa("amx"), Error);
  CHECK(choose_isa("scalar") == Isa::scalar);
  CHECK(choose_isa(nullptr) == present_isas().back());
}

TEST_CASE("every present instruction set is taken by its name and levels include those before") {
  const auto present = present_isas();
  REQUIRE(!present.empty());
  for (std::size_t i = 0; i < present.size(); ++i) {
    CHECK(static_cast<std::size_t>(present[i]) == i);
    CHECK(isa_named(name(present[i])) == present[i]);
  }
  std::string list;
  for (const Isa isa : usable_isas()) list += std::string(name(isa)) + " ";
  MESSAGE("instruction sets tested here: " << list);
}

TEST_CASE("a scope lowers the level and gives it back") {
  const Isa before = active_isa();
  {
    const IsaScope outer(usable_isas().back());
    const IsaScope inner(Isa::scalar);
    CHECK(active_isa() == Isa::scalar);
  }
  CHECK(active_isa() == before);
}
