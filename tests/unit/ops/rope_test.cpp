#include <doctest/doctest.h>

#include <cmath>

#include "ops/ops.h"
#include "ops/reference.h"
#include "support/op_case.h"

using namespace tap;

TEST_CASE("rope equals the oracle in both layouts at every head size") {
  test::on_every_isa([] {
    for (const Dim d : {2, 6, 8, 16, 30, 32, 34, 64, 72}) {
      const Dim t = d == 64 ? 300 : 3;
      std::vector<std::int32_t> positions;
      for (Dim i = 0; i < t; ++i) positions.push_back(static_cast<std::int32_t>(i * 7));
      const auto table = ops::rope_table({positions}, d, 10000.0f);
      const Tensor x = test::misaligned(test::random({t, 5, d}, 1, 1, true));
      for (const ops::RopeLayout layout : {ops::RopeLayout::halves, ops::RopeLayout::pairs}) {
        CHECK(test::distance(ops::rope(x, table, layout), ops::reference::rope(x, table, layout)) < 2e-6);
        if (t > 100) test::check_threads([&] { return ops::rope(x, table, layout); });
      }
    }
  });
}

TEST_CASE("angles are rounded step by step as transformers rounds them") {
  // 1.0 / 10000.0 ** (torch.arange(0, 16, 2).float() / 16), as torch 2 gives it; rounding once from double differs in
  // three of them.
  const std::vector<float> frequencies{0x1p+0f,        0x1.43d136p-2f, 0x1.99999ap-4f,  0x1.030dc6p-5f,
                                       0x1.47ae14p-7f, 0x1.9e7c70p-9f, 0x1.0624dep-10f, 0x1.4b96c0p-12f};
  const auto table = ops::rope_table({{30000}}, 16, 10000.0f);
  for (std::size_t i = 0; i < 8; ++i) {
    const auto angle = static_cast<double>(30000.0f * frequencies[i]);
    CHECK(table.cos.data<float>()[i] == static_cast<float>(std::cos(angle)));
    CHECK(table.sin.data<float>()[i] == static_cast<float>(std::sin(angle)));
  }
}

TEST_CASE("rope names what does not fit") {
  const auto table = ops::rope_table({{0, 1}}, 8, 10000.0f);
  CHECK_THROWS_WITH(ops::rope(test::random({3, 2, 8}, 1), table), "rope: cos is [2, 4], must be [3, 4]");
  CHECK_THROWS_WITH(ops::rope(test::random({2, 2, 7}, 1), table), "rope: x is [2, 2, 7], must be [t, heads, even]");
  CHECK_THROWS_WITH(ops::rope_table({{0}}, 7, 10000.0f), "rope_table: head_dim is 7, must be even");
  CHECK_THROWS_WITH(ops::rope_table({}, 8, 10000.0f), "rope_table: no axis of positions");
  CHECK_THROWS_WITH(ops::rope_table({{0}}, 8, 10000.0f, 0), "rope_table: linear_factor is 0, must be above 0");
}
