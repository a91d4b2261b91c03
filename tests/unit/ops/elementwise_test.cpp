#include <doctest/doctest.h>

#include "kernels/elementwise.h"
#include "ops/ops.h"
#include "ops/reference.h"
#include "support/op_case.h"

using namespace tap;

namespace {

// 0, 1, around one vector of each width, two vectors and three, and enough for several threads.
const std::vector<Dim> lengths{0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 19, 35, 70'000};

// Why: one rounding of a value below 8, or two.
constexpr double exact = 1e-6;

void check(Dim n, const std::function<Tensor(const Tensor&)>& op, const std::function<double(double)>& oracle,
           double tolerance, double size = 4) {
  const Tensor x = test::random({n}, 1, size, true);
  std::vector<double> wanted = ops::reference::of(x);
  for (double& v : wanted) v = oracle(v);
  CAPTURE(n);
  CHECK(test::distance(op(x), wanted) <= tolerance);
  const Tensor shifted = test::misaligned(x);
  CHECK(test::same_bits(op(shifted), op(x)));
  if (n > 50'000) test::check_threads([&] { return op(x); });
}

}  // namespace

TEST_CASE("add and multiply and scale equal the oracle at every length and alignment") {
  test::on_every_isa([] {
    for (const Dim n : lengths) {
      const Tensor b = test::misaligned(test::random({n}, 2));
      std::vector<double> sum = ops::reference::of(test::random({n}, 1)), product = sum;
      for (std::size_t i = 0; i < sum.size(); ++i)
        sum[i] += static_cast<double>(b.data<float>()[i]), product[i] *= static_cast<double>(b.data<float>()[i]);
      CHECK(test::distance(ops::add(test::random({n}, 1), b), sum) <= exact);
      CHECK(test::distance(ops::multiply(test::random({n}, 1), b), product) <= exact);
      check(
          n, [](const Tensor& x) { return ops::scale(x, -0.7f); },
          [](double v) { return v * static_cast<double>(-0.7f); }, 4e-6);
    }
  });
}

TEST_CASE("activations and soft cap equal the oracle at every length and alignment") {
  using enum ops::Activation;
  test::on_every_isa([] {
    for (const Dim n : lengths) {
      // Why 4e-6: about 2 ulp of values up to 32, and 1e-6 of the vector exp, tanh and erf.
      for (const ops::Activation a : {none, gelu_tanh, gelu_erf, quick_gelu, silu})
        check(
            n, [a](const Tensor& x) { return ops::activate(x, a); },
            [a](double v) { return ops::reference::activate(v, a); }, 4e-6);
      check(n, [](const Tensor& x) { return ops::softcap(x, 5); }, [](double v) { return 5 * std::tanh(v / 5); }, 6e-6);
    }
  });
}

TEST_CASE("softmax of rows sums to one and equals the oracle with a spike anywhere") {
  test::on_every_isa([] {
    for (const Dim width : {1, 3, 8, 16, 17, 35, 1000}) {
      Tensor x = test::random({5, width}, 3, 20, true);
      const auto wanted = ops::reference::softmax_rows(x);
      ops::softmax_rows(x);
      CHECK(test::distance(x, wanted) < 2e-6);
    }
  });
}

TEST_CASE("conversion to bf16 rounds to nearest even and keeps infinity and NaN at every length") {
  test::on_every_isa([] {
    for (const Dim n : {1, 5, 8, 16, 19, 100}) {
      Tensor x = test::misaligned(test::random({n}, 4, 100));
      const std::vector<float> special{0.0f,    -0.0f,       INFINITY,    -INFINITY, NAN,
                                       3.4e38f, 1.00390625f, 1.01171875f, 1e-40f};
      for (Dim i = 0; i < n; i += 2) x.write<float>()[i] = special[static_cast<std::size_t>(i / 2) % special.size()];
      std::vector<std::uint16_t> bits(static_cast<std::size_t>(n));
      std::vector<float> back(bits.size());
      kernels::to_bf16(x.data<float>(), n, bits.data());
      kernels::from_bf16(bits.data(), n, back.data());
      for (std::size_t i = 0; i < bits.size(); ++i) {
        CHECK(bits[i] == to_bf16(x.data<float>()[i]).bits);
        CHECK(__builtin_bit_cast(std::uint32_t, back[i]) == static_cast<std::uint32_t>(bits[i]) << 16);
      }
    }
  });
}

TEST_CASE("element-wise operations name shapes that differ") {
  CHECK_THROWS_WITH(ops::add(test::random({2, 3}, 1), test::random({3, 2}, 1)), "add: b is [3, 2], must be [2, 3]");
  CHECK_THROWS_WITH(ops::multiply(test::random({2}, 1), test::random({3}, 1)), "multiply: b is [3], must be [2]");
  CHECK_THROWS_WITH(ops::softcap(test::random({2}, 1), 0), "softcap: cap is 0, must be above 0");
}
