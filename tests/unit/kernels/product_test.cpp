#include "kernels/product.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include "base/rng.h"
#include "kernels/isa.h"
#include "kernels/product_onednn.h"

using namespace tap;
using kernels::Activation;
using kernels::Pack;
using kernels::ProductPath;

namespace {

constexpr Pack all_types[] = {Pack::f32, Pack::bf16, Pack::q8, Pack::q4};
constexpr const char* type_names[] = {"f32", "bf16", "q8", "q4"};

std::vector<float> random_values(Dim n, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& v : values) v = static_cast<float>(2 * rng.uniform() - 1);
  return values;
}

struct Weight {
  std::vector<std::byte> panels;
  std::vector<float> scale;
  std::vector<std::int32_t> sums;
  std::vector<float> unpacked;  // [out, in]
  kernels::PackView view;
  Weight(Pack type, Dim in, Dim out, std::uint64_t seed = 1) {
    const std::vector<float> source = random_values(in * out, seed);
    const Dim count = ceil_div(out, 64), bytes = kernels::panel_bytes(type, in);
    panels.resize(static_cast<std::size_t>(count * bytes));
    scale.resize(static_cast<std::size_t>(count * 64));
    sums.resize(scale.size());
    for (Dim p = 0; p < count; ++p)
      kernels::pack_panel(type, {reinterpret_cast<const std::byte*>(source.data() + p * 64 * in), in * 4},
                          std::min<Dim>(64, out - p * 64), in, panels.data() + p * bytes, scale.data() + p * 64,
                          sums.data() + p * 64);
    view = {type, in, out, panels.data(), scale.data(), sums.data()};
    unpacked.resize(source.size());
    for (Dim r = 0; r < out; ++r) kernels::unpack_row(view, r, unpacked.data() + r * in);
  }
};

// What the type computes with: activations rounded as the type rounds them.
std::vector<float> rounded_row(Pack type, const float* x, Dim in) {
  std::vector<float> r(x, x + in);
  const auto quantize = [&](Dim begin, Dim end) {
    float largest = 0;
    for (Dim i = begin; i < end; ++i) largest = std::max(largest, std::fabs(x[i]));
    for (Dim i = begin; i < end; ++i)
      r[static_cast<std::size_t>(i)] =
          largest > 0 ? std::nearbyintf(x[i] * (127.0f / largest)) * (largest / 127.0f) : 0.0f;
  };
  if (type == Pack::bf16)
    for (float& v : r) {
      auto u = __builtin_bit_cast(std::uint32_t, v);
      u = (u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000u;
      v = __builtin_bit_cast(float, u);
    }
  if (type == Pack::q8) quantize(0, in);
  if (type == Pack::q4)
    for (Dim g = 0; g < in; g += 32) quantize(g, std::min(in, g + 32));
  return r;
}

double activated(Activation activation, double v) {
  switch (activation) {
    case Activation::none: return v;
    case Activation::gelu_tanh: return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    case Activation::gelu_erf: return 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
    case Activation::quick_gelu: return v / (1 + std::exp(-1.702 * v));
    case Activation::silu: return v / (1 + std::exp(-v));
  }
  return 0;
}

std::vector<float> run(const Weight& w, const std::vector<float>& x, Dim rows, ProductPath path = ProductPath::tiles,
                       kernels::Finish finish = {}) {
  std::vector<float> y(static_cast<std::size_t>(rows * w.view.out), -777.0f);
  const kernels::Operand a = kernels::prepare(w.view.type, x.data(), w.view.in, rows, w.view.in);
  finish.out = y.data();
  finish.out_stride = w.view.out;
  kernels::product(a, w.view, finish, path);
  return y;
}

// Largest error against sums in double, relative to the sum of magnitudes.
double error_of(const Weight& w, const std::vector<float>& x, Dim rows, const std::vector<float>& y) {
  double worst = 0;
  const Dim in = w.view.in, out = w.view.out;
  for (Dim r = 0; r < rows; ++r) {
    const auto a = rounded_row(w.view.type, x.data() + r * in, in);
    for (Dim n = 0; n < out; ++n) {
      double sum = 0, size = 0;
      for (Dim i = 0; i < in; ++i) {
        const double p = static_cast<double>(a[static_cast<std::size_t>(i)]) *
                         static_cast<double>(w.unpacked[static_cast<std::size_t>(n * in + i)]);
        sum += p, size += std::fabs(p);
      }
      worst = std::max(worst,
                       std::fabs(static_cast<double>(y[static_cast<std::size_t>(r * out + n)]) - sum) / (size + 1e-9));
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("a few values that stand out do not spoil the rest of a q8 row") {
  const Dim in = 960, out = 100, rows = 20;
  const Weight w(Pack::q8, in, out);
  std::vector<float> x = random_values(rows * in, 3), rest = x;
  for (Dim r = 1; r < rows; ++r)  // row 0 stays plain
    for (const Dim at : {Dim{7}, Dim{500} + r, in - 1}) {
      x[static_cast<std::size_t>(r * in + at)] = (r % 2 ? 900.0f : -40.0f) * static_cast<float>(r);
      rest[static_cast<std::size_t>(r * in + at)] = 0;
    }
  std::vector<float> first;
  for (const Isa isa : usable_isas()) {
    const IsaScope scope(isa);
    CAPTURE(name(isa));
    for (const ProductPath path : {ProductPath::tiles, ProductPath::automatic}) {
      const std::vector<float> y = run(w, x, rows, path);
      if (first.empty()) first = y;
      CHECK(y == first);  // integers, whoever adds them
    }
    for (Dim r = 0; r < rows; ++r) {
      double error = 0, size = 0;
      for (Dim n = 0; n < out; ++n) {
        double whole = 0, others = 0;
        for (Dim i = 0; i < in; ++i) {
          const double weight = double{w.unpacked[static_cast<std::size_t>(n * in + i)]};
          whole += double{x[static_cast<std::size_t>(r * in + i)]} * weight;
          others += double{rest[static_cast<std::size_t>(r * in + i)]} * weight;
        }
        error += std::pow(double{first[static_cast<std::size_t>(r * out + n)]} - whole, 2);
        size += others * others;
      }
      CAPTURE(r);
      // Why: 127 steps up to the largest value rounded; up to 17000 stand out, and a 1024th of that is 17 where values
      // are 1.
      CHECK(std::sqrt(error / size) < (r < 2 || r % 2 == 0 ? 0.02 : 0.12));
    }
  }
}

TEST_CASE("a q8 row of the smallest numbers has no outliers that do not fit") {
  const Dim in = 960;
  const Weight w(Pack::q8, in, 64);
  std::vector<float> x(static_cast<std::size_t>(in), 1e-39f);
  for (const float largest : {1e-30f, 1e-35f, 1e-38f}) {
    x[3] = largest;
    CAPTURE(largest);
    const kernels::Operand a = kernels::prepare(Pack::q8, x.data(), in, 1, in);
    CHECK(a.outlier_counts[0] <= kernels::most_outliers(in));
    for (const float y : run(w, x, 1)) CHECK(std::fabs(y) < 1e-28f);
  }
}

TEST_CASE("every type multiplies right at every instruction set and odd sizes") {
  for (const Isa isa : usable_isas()) {
    const IsaScope scope(isa);
    for (const Pack type : all_types) {
      CAPTURE(name(isa));
      CAPTURE(type_names[static_cast<int>(type)]);
      for (const Dim in : {1, 2, 31, 33, 64, 100, 530, 1100})
        for (const Dim out : {1, 63, 64, 65, 130}) {
          const Weight w(type, in, out);
          for (const Dim rows : {1, 2, 5, 6, 7, 13}) {
            if (in > 200 && rows == 5) continue;
            const auto x = random_values(rows * in, 7);
            REQUIRE(error_of(w, x, rows, run(w, x, rows)) < 2e-6);  // f32 sums of up to 1100 terms
          }
        }
    }
  }
}

TEST_CASE("a row of q8 and q4 has the same bits in any batch") {
  for (const Isa isa : usable_isas()) {
    const IsaScope scope(isa);
    for (const Pack type : all_types) {
      const Weight w(type, 1000, 130);
      const auto x = random_values(250 * 1000, 3);
      const auto all = run(w, x, 250);
      for (const Dim rows : {1, 2, 3, 4, 6, 8, 17, 64}) {
        const std::vector<float> some(x.end() - rows * 1000, x.end());
        const auto y = run(w, some, rows);
        REQUIRE(std::memcmp(y.data(), all.data() + (250 - rows) * 130, y.size() * 4) == 0);
      }
    }
  }
}

TEST_CASE("q8 has the same bits at every instruction set and in oneDNN") {
  const Weight w(Pack::q8, 1037, 200);
  const auto x = random_values(77 * 1037, 5);
  const auto wanted = run(w, x, 77);
  for (const Isa isa : usable_isas()) {
    const IsaScope scope(isa);
    const auto y = run(w, x, 77);
    REQUIRE(std::memcmp(y.data(), wanted.data(), y.size() * 4) == 0);
  }
  const auto y = run(w, x, 77, ProductPath::onednn);
  CHECK(std::memcmp(y.data(), wanted.data(), y.size() * 4) == 0);
}

TEST_CASE("oneDNN agrees with the tiles for ragged rows and sizes") {
  for (const Pack type : {Pack::f32, Pack::bf16, Pack::q8}) {
    if (!kernels::onednn_can(type, active_isa())) continue;
    for (const Dim in : {100, 768})
      for (const Dim out : {65, 320}) {
        const Weight w(type, in, out);
        for (const Dim rows : {1, 17, 64, 600}) {
          const auto x = random_values(rows * in, 9);
          REQUIRE(error_of(w, x, std::min<Dim>(rows, 3), run(w, x, rows, ProductPath::onednn)) < 2e-6);
          const auto a = run(w, x, rows), b = run(w, x, rows, ProductPath::onednn);
          for (std::size_t i = 0; i < a.size(); ++i) REQUIRE(a[i] == doctest::Approx(b[i]).epsilon(1e-4).scale(1.0));
        }
      }
  }
}

TEST_CASE("oneDNN never falls to its reference kernel where the CPU has the instructions") {
  int asked = 0;
  for (const Pack type : {Pack::f32, Pack::bf16, Pack::q8}) {
    if (!kernels::onednn_can(type, active_isa())) continue;
    for (const Dim in : {768, 960, 3072, 100})
      for (const Dim rows : {16, 64, 512}) {
        const Weight w(type, in, 320);
        const std::string kernel = kernels::onednn_kernel_name(w.view, rows);
        CAPTURE(type_names[static_cast<int>(type)]);
        CAPTURE(in);
        CAPTURE(rows);
        CAPTURE(kernel);
        REQUIRE(!kernel.empty());
        REQUIRE(kernel.find("ref") == std::string::npos);
        ++asked;
      }
  }
  MESSAGE("oneDNN kernels asked: " << asked);
}

TEST_CASE("the epilogue adds bias then activates then multiplies then adds the residual") {
  const Dim rows = 9, in = 70, out = 77;
  const auto x = random_values(rows * in, 1), bias = random_values(out, 2), factor = random_values(rows * out, 3),
             rest = random_values(rows * out, 4);
  for (const Isa isa : usable_isas()) {
    const IsaScope scope(isa);
    for (const Pack type : all_types) {
      const Weight w(type, in, out);
      const auto plain = run(w, x, rows);
      for (const Activation activation :
           {Activation::none, Activation::gelu_tanh, Activation::gelu_erf, Activation::quick_gelu, Activation::silu}) {
        const auto y = run(w, x, rows, ProductPath::tiles,
                           {.bias = bias.data(),
                            .activation = activation,
                            .multiply = factor.data(),
                            .multiply_stride = out,
                            .residual = rest.data(),
                            .residual_stride = out});
        for (std::size_t i = 0; i < y.size(); ++i) {
          const double wanted =
              activated(activation,
                        static_cast<double>(plain[i]) + static_cast<double>(bias[i % static_cast<std::size_t>(out)])) *
                  static_cast<double>(factor[i]) +
              static_cast<double>(rest[i]);
          REQUIRE(std::fabs(static_cast<double>(y[i]) - wanted) < 3e-6);
        }
      }
    }
  }
}

TEST_CASE("activations are within a millionth over their whole range") {
  const Dim n = 4001;
  std::vector<float> x, y(n);
  for (Dim i = 0; i < n; ++i) x.push_back(static_cast<float>(i - 2000) * 0.01f);
  for (const Isa isa : usable_isas()) {
    const IsaScope scope(isa);
    for (const Activation activation :
         {Activation::gelu_tanh, Activation::gelu_erf, Activation::quick_gelu, Activation::silu}) {
      kernels::finish_f32(x.data(), n, 1, n, {.activation = activation, .out = y.data(), .out_stride = n});
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double wanted = activated(activation, static_cast<double>(x[i]));
        REQUIRE(std::fabs(static_cast<double>(y[i]) - wanted) < 1e-6 * std::max(1.0, std::fabs(wanted)));
      }
    }
  }
}

TEST_CASE("a gated product equals its parts to the bit") {
  const Dim rows = 40, in = 96, out = 200;
  const auto x = random_values(rows * in, 1), gate_bias = random_values(out, 2), up_bias = random_values(out, 3);
  for (const Pack type : all_types) {
    const Weight gate(type, in, out, 1), up(type, in, out, 2);
    const auto other = run(up, x, rows, ProductPath::tiles, {.bias = up_bias.data()});
    const auto wanted = run(
        gate, x, rows, ProductPath::tiles,
        {.bias = gate_bias.data(), .activation = Activation::silu, .multiply = other.data(), .multiply_stride = out});
    std::vector<float> y(wanted.size());
    const kernels::Operand a = kernels::prepare(type, x.data(), in, rows, in);
    kernels::product_gated(a, gate.view, gate_bias.data(), up.view, up_bias.data(),
                           {.activation = Activation::silu, .out = y.data(), .out_stride = out});
    CHECK(std::memcmp(y.data(), wanted.data(), y.size() * 4) == 0);
  }
}

TEST_CASE("one thread and two give the same bits") {
  for (const Pack type : all_types) {
    const Weight w(type, 300, 500);
    const auto x = random_values(50 * 300, 1);
    std::vector<float> results[2];
    for (int threads = 1; threads <= 2; ++threads) {
      ExecContext context(threads);
      const ExecContext::Scope scope(context);
      results[threads - 1] = run(w, x, 50);
    }
    CHECK(std::memcmp(results[0].data(), results[1].data(), results[0].size() * 4) == 0);
  }
}

TEST_CASE("a value that is not finite stays visible in every type") {
  for (const Isa isa : usable_isas()) {
    const IsaScope scope(isa);
    for (const Pack type : all_types)
      for (const float bad : {NAN, INFINITY}) {
        const Weight w(type, 64, 64);
        auto x = random_values(2 * 64, 1);
        x[5] = bad;
        const auto y = run(w, x, 2);
        REQUIRE(!std::isfinite(y[0]));
        REQUIRE(std::isfinite(y[64]));
      }
  }
}

TEST_CASE("steady state takes nothing from the system") {
  ExecContext context(1);
  const ExecContext::Scope scope(context);
  for (const ProductPath path : {ProductPath::tiles, ProductPath::onednn})
    for (const Pack type : all_types) {
      const Weight w(type, 256, 256);
      const auto x = random_values(100 * 256, 1);
      run(w, x, 100, path);
      const auto before = context.arena()->stats().system_allocations;
      for (int i = 0; i < 3; ++i) run(w, x, 100, path);
      CHECK(context.arena()->stats().system_allocations == before);
    }
}
