#include "base/rng.h"

#include <array>
#include <cstdlib>

#include <doctest/doctest.h>

using namespace tap;

// Known answers of philox4x32-10 from kat_vectors of Random123 (Salmon et al. 2011): counter, key, result.
TEST_CASE("philox gives the published answers") {
  const auto four = [](Rng rng) { return std::array{rng.next_u32(), rng.next_u32(), rng.next_u32(), rng.next_u32()}; };
  CHECK(four(Rng(0)) == std::array{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  CHECK(four(Rng(~std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0})) ==
        std::array{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  CHECK(four(Rng(0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u)) ==
        std::array{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}

TEST_CASE("a draw depends on seed and stream and place alone") {
  Rng whole(42);
  for (int i = 0; i < 8; ++i) whole.next_u32();
  CHECK(whole.next_u32() == Rng(42, 0, 2).next_u32());
  CHECK(Rng(42, 1).next_u32() != Rng(42, 0).next_u32());
  CHECK(Rng(43).next_u32() != Rng(42).next_u32());
}

TEST_CASE("uniform draws lie in 0 to 1 and fill it evenly") {
  Rng rng(5);
  std::array<int, 10> tenths{};
  for (int i = 0; i < 100'000; ++i) {
    const double u = rng.uniform();
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    ++tenths[static_cast<std::size_t>(u * 10)];
  }
  for (const int count : tenths) CHECK(std::abs(count - 10'000) < 500);  // over five standard deviations
}
