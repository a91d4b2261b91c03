#include "tensor/tensor.h"

#include <cmath>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

using namespace tap;

TEST_CASE("every f16 number comes back from f32 and what lies between rounds to nearest even") {
  Tensor halves = Tensor::empty({65536}, DType::f16);
  auto* bits = reinterpret_cast<std::uint16_t*>(halves.raw_write());
  for (std::size_t i = 0; i < 65536; ++i) bits[i] = static_cast<std::uint16_t>(i);
  const Tensor wide = halves.to(DType::f32), back = wide.to(DType::f16);
  const auto* again = reinterpret_cast<const std::uint16_t*>(back.raw());
  for (std::size_t i = 0; i < 65536; ++i) {
    if ((i & 0x7fff) > 0x7c00) CHECK((again[i] & 0x7fff) > 0x7c00);  // some NaN
    else REQUIRE(again[i] == i);
  }
  const auto half_of = [](float value) {
    const Tensor one = Tensor::full({1}, value).to(DType::f16);
    return *reinterpret_cast<const std::uint16_t*>(one.raw());
  };
  const float* values = wide.data<float>();
  for (std::uint16_t i = 0; i < 0x7bff; i = static_cast<std::uint16_t>(i + 7)) {
    const float middle = values[i] / 2 + values[i + 1] / 2;
    REQUIRE(half_of(middle) == i + (i & 1));
    REQUIRE(half_of(std::nextafter(middle, 0.0f)) == i);
    REQUIRE(half_of(std::nextafter(middle, INFINITY)) == i + 1);
  }
  CHECK(half_of(65519.99f) == 0x7bff);
  CHECK(half_of(65520.0f) == 0x7c00);
  CHECK(half_of(-1e30f) == 0xfc00);
}

TEST_CASE("reshape fills one open axis and also that of a tensor without elements") {
  const Tensor t = Tensor::zeros({4, 6});
  CHECK(t.reshape({2, -1}).shape() == Shape{2, 12});
  CHECK(t.reshape({3, 8}).raw() == t.raw());
  CHECK(Tensor::empty({0, 6}).reshape({0, -1}).shape() == Shape{0, 0});
  CHECK(Tensor::empty({0, 6}).reshape({-1, 3}).shape() == Shape{0, 3});
  CHECK_THROWS_WITH_AS(t.reshape({5, -1}), "reshape: [4, 6] cannot become [5, -1]", Error);
  CHECK_THROWS_WITH_AS(t.reshape({-1, -1}), "reshape to [-1, -1]: two open axes", Error);
}

TEST_CASE("rows are a view and outside rows are named") {
  Tensor t = Tensor::zeros({4, 2});
  t.row_write(2)[1] = 7;
  CHECK(t.rows(2, 4).data<float>()[1] == 7.0f);
  CHECK(t.rows(4, 4).elements() == 0);
  CHECK_THROWS_WITH_AS(t.rows(3, 5), "rows 3 to 5 of a tensor [4, 2]", Error);
}

TEST_CASE("a shape whose product overflows is refused") {
  CHECK_THROWS_AS(Shape({Dim{1} << 40, Dim{1} << 40}), Error);
  CHECK_THROWS_AS(Tensor::empty({Dim{1} << 62}), Error);
  CHECK_THROWS_AS(Shape({-2}), Error);
}
