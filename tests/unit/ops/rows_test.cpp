#include <doctest/doctest.h>

#include "ops/ops.h"
#include "support/op_case.h"

using namespace tap;

namespace {

Tensor counting(const Shape& shape) {
  Tensor t = Tensor::empty(shape);
  for (Dim i = 0; i < t.elements(); ++i) t.write<float>()[i] = static_cast<float>(i);
  return t;
}

std::vector<float> list(const Tensor& x) { return {x.data<float>(), x.data<float>() + x.elements()}; }

}  // namespace

TEST_CASE("embedding picks rows of an f32 and of a bf16 table and names an id outside it") {
  const Tensor table = counting({4, 3});
  const std::vector<TokenId> ids{3, 0, 3}, low{-1}, high{4};
  const std::vector<float> wanted{9, 10, 11, 0, 1, 2, 9, 10, 11};
  CHECK(list(ops::embedding(table, ids)) == wanted);
  CHECK(list(ops::embedding(table.to(DType::bf16), ids)) == wanted);
  CHECK(ops::embedding(table, {}).shape() == Shape{0, 3});
  CHECK_THROWS_WITH(ops::embedding(table, low), "embedding: id -1 is not in [0, 4)");
  CHECK_THROWS_WITH(ops::embedding(table, high), "embedding: id 4 is not in [0, 4)");
}

TEST_CASE("rows are put and taken by slot and the input stays as it was") {
  const Tensor x = counting({3, 2}), rows = Tensor::full({2, 2}, 50);
  const std::vector<Dim> slots{2, 0}, outside{0, 3}, one{1};
  CHECK(list(ops::put_rows(x, slots, rows)) == std::vector<float>{50, 50, 2, 3, 50, 50});
  CHECK(list(x) == std::vector<float>{0, 1, 2, 3, 4, 5});
  CHECK(list(ops::take_rows(x, slots)) == std::vector<float>{4, 5, 0, 1});
  CHECK_THROWS_WITH(ops::put_rows(x, one, rows), "put_rows: rows is [2, 2], must be [1, 2]");
  CHECK_THROWS_WITH(ops::put_rows(x, outside, rows), "put_rows: slot 3 is not in [0, 3)");
  CHECK_THROWS_WITH(ops::take_rows(x, outside), "take_rows: slot 3 is not in [0, 3)");
}

TEST_CASE("parts are joined along the first axis and others refused") {
  const std::vector<Tensor> parts{counting({1, 2}), Tensor::empty({0, 2}), counting({2, 2})},
      odd{counting({1, 2}), counting({1, 3})};
  CHECK(list(ops::concat_rows(parts)) == std::vector<float>{0, 1, 0, 1, 2, 3});
  CHECK_THROWS_WITH(ops::concat_rows(odd), "concat_rows: [1, 3] f32 does not go below [1, 2] f32");
}

TEST_CASE("space to depth gathers a block's pixels row by row") {
  // A raster of 2 x 4 pixels of one channel: blocks of 2 x 2.
  CHECK(list(ops::space_to_depth(counting({1, 8, 1}), 2, 4, 2)) == std::vector<float>{0, 1, 4, 5, 2, 3, 6, 7});
  // Two channels stay together.
  CHECK(list(ops::space_to_depth(counting({1, 4, 2}), 2, 2, 2)) == std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK_THROWS_WITH(ops::space_to_depth(counting({1, 8, 1}), 2, 4, 3),
                    "space_to_depth: [1, 8, 1] is no raster of 2 x 4 in blocks of 3");
}

TEST_CASE("average pooling gives the mean of each block") {
  // A raster of 2 x 4 pixels: blocks of 2 x 2 with 0 1 4 5 and 2 3 6 7.
  CHECK(list(ops::average_pool(counting({1, 8, 1}), 2, 4, 2)) == std::vector<float>{2.5, 4.5});
  CHECK(list(ops::average_pool(counting({2, 4, 2}), 2, 2, 2)) == std::vector<float>{3, 4, 11, 12});
  CHECK(list(ops::average_pool(counting({1, 4, 1}), 2, 2, 1)) == std::vector<float>{0, 1, 2, 3});
  CHECK_THROWS_WITH(ops::average_pool(counting({1, 8, 1}), 2, 4, 3),
                    "average_pool: [1, 8, 1] is no raster of 2 x 4 in blocks of 3");
}

TEST_CASE("patches go channel by channel and row by row") {
  // One picture, two channels, 2 x 4 pixels: two patches.
  CHECK(list(ops::patchify(counting({1, 2, 2, 4}), 2)) ==
        std::vector<float>{0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15});
  CHECK(ops::patchify(counting({2, 3, 4, 6}), 2).shape() == Shape{2, 6, 12});
  CHECK_THROWS_WITH(ops::patchify(counting({1, 1, 3, 4}), 2),
                    "patchify: [1, 1, 3, 4] does not divide into patches of 2");
}

TEST_CASE("heads split and merge as views") {
  const Tensor x = counting({2, 6});
  CHECK(ops::split_heads(x, 3).raw() == x.raw());
  CHECK(ops::merge_heads(ops::split_heads(x, 3)).shape() == x.shape());
  CHECK_THROWS_WITH(ops::split_heads(x, 4), "split_heads: [2, 6] does not split into 4 heads");
}
