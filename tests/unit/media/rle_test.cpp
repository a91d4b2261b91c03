#include "media/rle.h"

#include <doctest/doctest.h>

#include "base/rng.h"

using namespace tap;

TEST_CASE("runs go down columns and begin with the zeros") {
  const std::vector<std::uint8_t> mask{0, 1,  //
                                       1, 1,  //
                                       0, 0};
  const MaskRuns runs = runs_of(mask, 3, 2);
  CHECK(runs.counts == std::vector<std::uint32_t>{1, 1, 1, 2, 1});
  CHECK(runs.area() == 3);
  CHECK(pixels_of(runs) == mask);
  CHECK(bounds_of(runs) == PixelBox{0, 0, 2, 2});
  CHECK(runs_of(std::vector<std::uint8_t>{1, 1}, 1, 2).counts == std::vector<std::uint32_t>{0, 2});
  CHECK(bounds_of(runs_of(std::vector<std::uint8_t>(6), 3, 2)) == PixelBox{});
  CHECK_THROWS_AS(runs_of(mask, 2, 2), Error);
}

TEST_CASE("masks, runs and strings are one thing in three forms") {
  Rng rng(2);
  for (int round = 0; round < 300; ++round) {
    const Dim height = 1 + rng.next_u32() % 40, width = 1 + rng.next_u32() % 40;
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(height * width));
    const std::uint32_t run = 1 + rng.next_u32() % 60;
    std::uint8_t value = 0;
    for (auto& pixel : mask) pixel = value = rng.next_u32() % run == 0 ? 1 - value : value;
    const MaskRuns runs = runs_of(mask, height, width);
    CHECK(pixels_of(runs) == mask);
    const auto back = decompressed(compressed(runs), height, width);
    REQUIRE(back);
    CHECK(*back == runs);
  }
}

TEST_CASE("strings that are no runs of the picture are refused") {
  const std::string good = compressed(runs_of(std::vector<std::uint8_t>(100, 1), 10, 10));
  CHECK(decompressed(good, 10, 10));
  CHECK_FALSE(decompressed(good, 10, 11));
  CHECK_FALSE(decompressed(good, 9, 10));
  CHECK_FALSE(decompressed("", 10, 10));
  CHECK_FALSE(decompressed("\x7f", 10, 10));
  CHECK_FALSE(decompressed("o", 10, 10));
  CHECK_FALSE(decompressed(std::string(40, 'o'), 10, 10));
  CHECK_FALSE(decompressed(good, -1, 10));
  CHECK_FALSE(decompressed(good, 1'000'000, 1'000'000));
}
