// Single operations against the reference implementation's own answers (tests/data/primitives), inputs chosen to show
// epsilons.
#include <doctest/doctest.h>

#include "io/safetensors.h"
#include "ops/ops.h"
#include "support/op_case.h"

using namespace tap;

namespace {

struct Primitives {
  Safetensors file = Safetensors::open(TAPETUM_SOURCE_DIR "/tests/data/primitives/primitives.safetensors").value();
  Tensor operator()(const char* name) const { return file.read(name); }
};

double off(const Tensor& got, const Tensor& wanted) {
  REQUIRE(got.elements() == wanted.elements());
  double most = 0;
  for (Dim i = 0; i < got.elements(); ++i)
    most = std::max(most,
                    std::abs(static_cast<double>(got.data<float>()[i]) - static_cast<double>(wanted.data<float>()[i])) /
                        std::max(1.0, std::abs(static_cast<double>(wanted.data<float>()[i]))));
  return most;
}

constexpr double tolerance = 2e-6;  // relative above 1: both sides round to f32

// [b, heads, t, d] of the file to [t, heads, d] for one sequence of the batch.
Tensor sequence(const Tensor& x, Dim b) {
  const Dim heads = x.dim(1), t = x.dim(2), d = x.dim(3);
  Tensor y = Tensor::empty({t, heads, d});
  for (Dim h = 0; h < heads; ++h)
    for (Dim i = 0; i < t; ++i)
      std::copy_n(x.data<float>() + ((b * heads + h) * t + i) * d, d, y.write<float>() + (i * heads + h) * d);
  return y;
}

}  // namespace

TEST_CASE("norms equal the reference and tell the epsilons apart") {
  test::on_every_isa([] {
    const Primitives p;
    const Tensor x = p("small");  // its mean square is about an epsilon
    CHECK(off(ops::rms_norm(x, p("w"), 1e-6f), p("rms_1e-06")) < tolerance);
    CHECK(off(ops::rms_norm(x, p("w"), 1e-5f), p("rms_1e-05")) < tolerance);
    CHECK(off(ops::rms_norm(x, p("w"), 1e-5f), p("rms_1e-06")) > 0.1);
    CHECK(off(ops::rms_norm(x, p("w"), 1e-6f, true), p("rms_1pw_1e-06")) < tolerance);
    CHECK(off(ops::rms_norm(x, p("w"), 1e-5f, true), p("rms_1pw_1e-05")) < tolerance);
    CHECK(off(ops::layer_norm(x, p("w"), p("b"), 1e-6f), p("layer_norm_1e-06")) < tolerance);
    CHECK(off(ops::layer_norm(x, p("w"), p("b"), 1e-5f), p("layer_norm_1e-05")) < tolerance);
  });
}

TEST_CASE("activations equal the reference") {
  using enum ops::Activation;
  test::on_every_isa([] {
    const Primitives p;
    const Tensor x = p("x");
    CHECK(off(ops::activate(x, gelu_erf), p("gelu_erf")) < tolerance);
    CHECK(off(ops::activate(x, gelu_tanh), p("gelu_tanh")) < tolerance);
    CHECK(off(ops::activate(x, quick_gelu), p("quick_gelu")) < tolerance);
    CHECK(off(ops::activate(x, silu), p("silu")) < tolerance);
    CHECK(off(ops::softcap(p("softcap_input"), 50), p("softcap_50")) < tolerance);
  });
}

TEST_CASE("rope equals the reference in both layouts and with linear scaling") {
  test::on_every_isa([] {
    const Primitives p;
    const Tensor q = p("q"), positions = p("positions");
    for (Dim b = 0; b < 2; ++b) {
      std::vector<std::int32_t> at;
      for (Dim i = 0; i < 7; ++i) at.push_back(static_cast<std::int32_t>(positions.data<std::int64_t>()[b * 7 + i]));
      const Tensor x = sequence(q, b);
      const auto plain = ops::rope_table({at}, 16, 10000.0f), slow = ops::rope_table({at}, 16, 10000.0f, 8.0f);
      // The file's frequencies were rounded once, from double; ours as transformers rounds them, three being one unit
      // apart. At the last position, 30000, that is 2e-4 of an angle; up to 1000 it is 4e-6.
      const auto same = [&](const Tensor& got, const char* wanted) {
        const Tensor all = sequence(p(wanted), b);
        CHECK(off(got.rows(0, 6), all.rows(0, 6)) < 8e-6);
        CHECK(off(got.rows(6, 7), all.rows(6, 7)) < 4e-4);
      };
      same(ops::rope(x, plain), "rope_half");
      same(ops::rope(x, plain, ops::RopeLayout::pairs), "rope_pairs");
      same(ops::rope(x, slow), "rope_half_linear_8");
    }
  });
}
