#include <doctest/doctest.h>

#include "ops/ops.h"
#include "ops/reference.h"
#include "support/op_case.h"

using namespace tap;

TEST_CASE("norms equal the oracle at every width and alignment with spikes") {
  test::on_every_isa([] {
    for (const Dim width : {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 35, 576, 2049}) {
      const Dim rows = width > 500 ? 70 : 3;
      const Tensor x = test::misaligned(test::random({rows, width}, 1, 1, true)),
                   gain = test::misaligned(test::random({width}, 2)), bias = test::misaligned(test::random({width}, 3));
      CAPTURE(width);
      // Why: f32 sums of up to 2049 squares, then a value up to 10.
      for (const bool one_plus : {false, true})
        CHECK(test::distance(ops::rms_norm(x, gain, 1e-5f, one_plus),
                             ops::reference::rms_norm(x, gain, static_cast<double>(1e-5f), one_plus)) < 1e-5);
      // A width of 1 has no spread: only epsilon stands below the root, and the rounding of the mean is blown up.
      if (width > 1)
        CHECK(test::distance(ops::layer_norm(x, gain, bias, 1e-5f),
                             ops::reference::layer_norm(x, gain, bias, static_cast<double>(1e-5f))) < 1e-5);
      if (rows > 50) test::check_threads([&] { return ops::layer_norm(x, gain, bias, 1e-5f); });
      if (rows > 50) test::check_threads([&] { return ops::rms_norm(x, gain, 1e-5f); });
    }
  });
}

TEST_CASE("a norm of no rows is empty and a gain of another width is named") {
  CHECK(ops::rms_norm(Tensor::empty({0, 8}), Tensor::full({8}, 1), 1e-5f).shape() == Shape{0, 8});
  CHECK_THROWS_WITH(ops::rms_norm(test::random({2, 3}, 1), test::random({4}, 1), 1e-5f),
                    "rms_norm: gain is [4], must be [3]");
  CHECK_THROWS_WITH(ops::layer_norm(test::random({2, 3}, 1), test::random({3}, 1), test::random({1}, 1), 1e-5f),
                    "layer_norm: bias is [1], must be [3]");
}
