#include "ops/linear.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include <doctest/doctest.h>

#include "autograd/tape.h"
#include "base/rng.h"
#include "kernels/isa.h"
#include "ops/mlp.h"
#include "ops/reference_linear.h"

using namespace tap;
using ops::Activation;

namespace {

Tensor random_tensor(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed);
  Tensor t = Tensor::empty(shape);
  for (Dim i = 0; i < t.elements(); ++i) t.write<float>()[i] = static_cast<float>(2 * rng.uniform() - 1);
  return t;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  double worst = 0;
  for (Dim i = 0; i < a.elements(); ++i)
    worst = std::max(worst, std::fabs(static_cast<double>(a.data<float>()[i] - b.data<float>()[i])));
  return worst;
}

// Checks the gradients of sum(f() * seed) by central differences; f reads the leaves.
void check_gradients(
    std::vector<Tensor*> leaves, const std::function<Tensor()>& f, double tolerance,
    const std::function<void()>& changed = [] {}) {
  std::vector<Tensor> gradients;
  Tensor seed;
  {
    Tape tape;
    for (Tensor* leaf : leaves) Tape::watch(*leaf);
    const Tensor y = f();
    seed = random_tensor(y.shape(), 99);
    tape.backward(y, seed);
    for (Tensor* leaf : leaves) gradients.push_back(tape.grad(*leaf).clone());
  }
  const auto value = [&] {
    const Tensor y = f();
    double sum = 0;
    for (Dim i = 0; i < y.elements(); ++i)
      sum += static_cast<double>(y.data<float>()[i]) * static_cast<double>(seed.data<float>()[i]);
    return sum;
  };
  for (std::size_t l = 0; l < leaves.size(); ++l) {
    float* values = leaves[l]->write<float>();
    for (Dim i = 0; i < leaves[l]->elements(); i += 1 + leaves[l]->elements() / 40) {
      const float kept = values[i], step = 1e-2f;
      values[i] = kept + step;
      changed();
      const double up = value();
      values[i] = kept - step;
      changed();
      const double down = value();
      values[i] = kept;
      changed();
      CAPTURE(l);
      CAPTURE(i);
      REQUIRE(static_cast<double>(gradients[l].data<float>()[i]) ==
              doctest::Approx((up - down) / static_cast<double>(2 * step)).epsilon(tolerance).scale(1.0));
    }
  }
}

constexpr WeightType frozen_types[] = {WeightType::f32, WeightType::bf16, WeightType::q8, WeightType::q4};

}  // namespace

TEST_CASE("linear agrees with the reference of unpacked weights") {
  for (const Isa isa : usable_isas()) {
    const IsaScope scope(isa);
    for (const WeightType type : frozen_types)
      for (const Dim rows : {1, 7, 40}) {
        const Tensor x = random_tensor({rows, 100}, 1), bias = random_tensor({70}, 3),
                     rest = random_tensor({rows, 70}, 4), factor = random_tensor({rows, 70}, 5);
        const PackedMatrix w = PackedMatrix::pack(random_tensor({70, 100}, 2), type);
        const ops::Epilogue epilogue{
            .bias = bias, .activation = Activation::gelu_erf, .multiply = factor, .residual = rest};
        // the activations' rounding: none, 2^-9, 1/254 of the largest; 100 terms of size one
        const double limit = type == WeightType::f32 ? 1e-5 : type == WeightType::bf16 ? 0.03 : 0.06;
        REQUIRE(largest_difference(ops::linear(x, w, epilogue), ops::reference_linear(x, w, epilogue)) < limit);
      }
  }
}

TEST_CASE("several weights at once equal one after the other") {
  for (const WeightType type : frozen_types)
    for (const Dim rows : {1, 3, 20}) {
      const Tensor x = random_tensor({rows, 100}, 1), bias = random_tensor({70}, 3);
      const PackedMatrix q = PackedMatrix::pack(random_tensor({200, 100}, 2), type);
      const PackedMatrix k = PackedMatrix::pack(random_tensor({70, 100}, 4), type);
      const PackedMatrix* const weights[] = {&q, &k, &k};
      const Tensor biases[] = {{}, bias, {}};
      const auto y = ops::linear_each(x, weights, biases);
      REQUIRE(y.size() == 3);
      CHECK(largest_difference(y[0], ops::linear(x, q)) == 0.0);
      CHECK(largest_difference(y[1], ops::linear(x, k, {.bias = bias})) == 0.0);
      CHECK(largest_difference(y[2], ops::linear(x, k)) == 0.0);
    }
}

TEST_CASE("linear keeps leading axes and takes no rows at all") {
  const PackedMatrix w = PackedMatrix::pack(random_tensor({70, 33}, 2), WeightType::bf16);
  CHECK(ops::linear(random_tensor({2, 3, 33}, 1), w).shape() == Shape{2, 3, 70});
  CHECK(ops::linear(Tensor::empty({0, 33}), w).shape() == Shape{0, 70});
}

TEST_CASE("linear names the argument whose shape is wrong") {
  const PackedMatrix w = PackedMatrix::pack(random_tensor({70, 33}, 2), WeightType::f32);
  const Tensor x = random_tensor({2, 33}, 1);
  CHECK_THROWS_WITH_AS(ops::linear(random_tensor({2, 32}, 1), w),
                       "linear: x is [2, 32], its rows must be [33] to match a weight of 70 x 33", Error);
  CHECK_THROWS_WITH_AS(ops::linear(x, w, {.bias = random_tensor({69}, 1)}), "linear: bias is [69], must be [70]",
                       Error);
  CHECK_THROWS_WITH_AS(ops::linear(x, w, {.residual = random_tensor({3, 70}, 1)}),
                       "linear: residual is [3, 70], must be [2, 70]", Error);
}

TEST_CASE("gradients of a frozen weight reach x bias factor and residual") {
  // in f32: the other types round x, so that their differences are steps; the next case compares those
  Tensor x = random_tensor({5, 40}, 1), bias = random_tensor({70}, 3), factor = random_tensor({5, 70}, 4),
         rest = random_tensor({5, 70}, 5);
  const PackedMatrix w = PackedMatrix::pack(random_tensor({70, 40}, 2), WeightType::f32);
  for (const Activation activation : {Activation::none, Activation::silu})
    check_gradients(
        {&x, &bias, &factor, &rest},
        [&] {
          return ops::linear(x, w, {.bias = bias, .activation = activation, .multiply = factor, .residual = rest});
        },
        1e-2);
}

TEST_CASE("the gradient of a quantized weight is that of its unpacked numbers") {
  for (const WeightType type : frozen_types) {
    const PackedMatrix w = PackedMatrix::pack(random_tensor({1500, 40}, 2), type),
                       exact = PackedMatrix::pack(w.unpack(), WeightType::f32);
    const Tensor seed = random_tensor({6, 1500}, 9);
    const auto gradient = [&](const PackedMatrix& weight) {
      Tensor x = random_tensor({6, 40}, 1);
      Tape tape;
      Tape::watch(x);
      tape.backward(ops::linear(x, weight), seed);
      return tape.grad(x).clone();
    };
    CHECK(largest_difference(gradient(w), gradient(exact)) < 1e-4);
  }
}

TEST_CASE("gradients of a dense weight reach the master") {
  Tensor x = random_tensor({9, 40}, 1), bias = random_tensor({70}, 3);
  ops::DenseWeight w(random_tensor({70, 40}, 2), DType::f32);
  check_gradients(
      {&x, &w.master(), &bias},
      [&] { return ops::linear(x, w.packed(), {.bias = bias, .activation = Activation::gelu_tanh}); }, 1e-2,
      [&] { w.refresh(); });
}

TEST_CASE("a dense weight in bf16 gives gradients near those in f32") {
  const Tensor weight = random_tensor({70, 40}, 2);
  const auto gradients = [&](DType products) {
    ops::DenseWeight w(weight, products);
    Tensor x = random_tensor({9, 40}, 1);
    Tape tape;
    Tape::watch(x);
    Tape::watch(w.master());
    tape.backward(ops::linear(x, w.packed()), random_tensor({9, 70}, 9));
    return std::pair{tape.grad(x).clone(), tape.grad(w.master()).clone()};
  };
  const auto exact = gradients(DType::f32), near = gradients(DType::bf16);
  CHECK(largest_difference(exact.first, near.first) < 0.05);
  CHECK(largest_difference(exact.second, near.second) < 1e-5);  // dW is always multiplied in f32
}

TEST_CASE("the panelled feed-forward parts equal their composed operations") {
  const Tensor x = random_tensor({300, 48}, 1), rest = random_tensor({300, 48}, 5);
  for (const WeightType type : frozen_types) {
    const PackedMatrix gate = PackedMatrix::pack(random_tensor({130, 48}, 2), type),
                       up = PackedMatrix::pack(random_tensor({130, 48}, 3), type),
                       down = PackedMatrix::pack(random_tensor({48, 130}, 4), type);
    const Tensor h = ops::linear(x, gate, {.activation = Activation::silu, .multiply = ops::linear(x, up)});
    CHECK(largest_difference(ops::gated_mlp(x, gate, up, down, Activation::silu, rest),
                             ops::linear(h, down, {.residual = rest})) == 0.0);
    const Tensor bias = random_tensor({130}, 6), bias_2 = random_tensor({48}, 7);
    const Tensor wide = ops::linear(x, up, {.bias = bias, .activation = Activation::gelu_tanh});
    CHECK(largest_difference(ops::mlp(x, up, down, Activation::gelu_tanh, rest, {.up = bias, .down = bias_2}),
                             ops::linear(wide, down, {.bias = bias_2, .residual = rest})) == 0.0);
  }
}

TEST_CASE("the feed-forward parts name the bias or residual whose shape is wrong") {
  const Tensor x = random_tensor({2, 48}, 1), bias = random_tensor({129}, 2);
  const PackedMatrix up = PackedMatrix::pack(random_tensor({130, 48}, 3), WeightType::bf16),
                     down = PackedMatrix::pack(random_tensor({48, 130}, 4), WeightType::bf16);
  CHECK_THROWS_WITH_AS(ops::mlp(x, up, down, Activation::silu, {}, {.up = bias}),
                       "mlp: up bias is [129], must be [130]", Error);
  CHECK_THROWS_WITH_AS(ops::gated_mlp(x, up, up, down, Activation::silu, {}, {.down = bias}),
                       "mlp: down bias is [129], must be [48]", Error);
  CHECK_THROWS_WITH_AS(ops::mlp(x, up, down, Activation::silu, bias), "mlp: residual is [129], must be [2, 48]", Error);
}

TEST_CASE("the feed-forward parts record gradients under a tape") {
  Tensor x = random_tensor({4, 20}, 1), rest = random_tensor({4, 20}, 5);
  const PackedMatrix gate = PackedMatrix::pack(random_tensor({30, 20}, 2), WeightType::f32),
                     up = PackedMatrix::pack(random_tensor({30, 20}, 3), WeightType::f32),
                     down = PackedMatrix::pack(random_tensor({20, 30}, 4), WeightType::f32);
  check_gradients(
      {&x, &rest}, [&] { return ops::gated_mlp(x, gate, up, down, Activation::silu, rest); }, 2e-2);
  check_gradients(
      {&x, &rest}, [&] { return ops::mlp(x, up, down, Activation::gelu_erf, rest); }, 2e-2);
}

TEST_CASE("a wide intermediate is never stored whole") {
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  const Dim rows = 2048, width = 64, inner = 4096;
  const PackedMatrix fc1 = PackedMatrix::pack(random_tensor({inner, width}, 2), WeightType::bf16),
                     fc2 = PackedMatrix::pack(random_tensor({width, inner}, 3), WeightType::bf16);
  const Tensor x = random_tensor({rows, width}, 1);
  const auto before = context.arena()->stats().peak_bytes;
  ops::mlp(x, fc1, fc2, Activation::gelu_tanh);
  CHECK(context.arena()->stats().peak_bytes - before < static_cast<std::size_t>(rows * inner * 4) / 2);
}
