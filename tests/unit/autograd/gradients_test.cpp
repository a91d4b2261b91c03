// Every recorded operation against finite differences.
#include <doctest/doctest.h>

#include "autograd/finite_difference.h"
#include "autograd/tape.h"
#include "ops/ops.h"
#include "support/op_case.h"

using namespace tap;
using Inputs = std::span<const Tensor>;

namespace {

constexpr double tolerance = 1e-3;  // f32 noise of a difference with h = 0.01 is about 1e-4

void check(const std::function<Tensor(Inputs)>& fn, std::vector<Tensor> inputs, double limit = tolerance) {
  const GradientCheck result = check_gradients(fn, std::move(inputs));
  INFO(result.where);
  CHECK(result.worst < limit);
}

Tensor spiked(const Shape& shape, std::uint64_t seed) { return test::random(shape, seed, 1, true); }

}  // namespace

TEST_CASE("the checker notices a wrong gradient") {
  const auto wrong = [](Inputs in) {
    Tensor y = ops::scale(tape::detach(in[0]), 2);
    if (tape::wants({&in[0]}))
      tape::record(y, {&in[0]}, [](const Tensor& dy) { return std::vector<Tensor>{ops::scale(dy, 2.1f)}; });
    return y;
  };
  CHECK(check_gradients(wrong, {test::random({5}, 1)}).worst > 0.01);
}

TEST_CASE("gradients of the norms equal finite differences") {
  check([](Inputs in) { return ops::rms_norm(in[0], in[1], 1e-5f); }, {spiked({5, 19}, 1), spiked({19}, 2)});
  check([](Inputs in) { return ops::rms_norm(in[0], in[1], 1e-6f, true); }, {spiked({2, 3, 8}, 1), spiked({8}, 2)});
  check([](Inputs in) { return ops::layer_norm(in[0], in[1], in[2], 1e-5f); },
        {spiked({5, 19}, 1), spiked({19}, 2), spiked({19}, 3)});
}

TEST_CASE("gradients of norms over many rows are the same bits for any number of threads") {
  Tensor x = test::random({700, 64}, 1), gain = test::random({64}, 2), bias = test::random({64}, 3);
  test::check_threads([&] {
    Tape tape;
    Tape::watch(gain);
    tape.backward(ops::layer_norm(x, gain, bias, 1e-5f));
    return tape.grad(gain);
  });
}

TEST_CASE("gradients of element-wise operations equal finite differences") {
  check([](Inputs in) { return ops::add(in[0], in[1]); }, {spiked({3, 7}, 1), spiked({3, 7}, 2)});
  check([](Inputs in) { return ops::multiply(in[0], in[1]); }, {spiked({3, 7}, 1), spiked({3, 7}, 2)});
  check([](Inputs in) { return ops::multiply(in[0], in[0]); }, {test::random({3, 7}, 1)});
  check([](Inputs in) { return ops::scale(in[0], -1.5f); }, {spiked({3, 7}, 1)});
  check([](Inputs in) { return ops::softcap(in[0], 3); }, {spiked({40}, 1)});
  using enum ops::Activation;
  for (const ops::Activation a : {none, gelu_tanh, gelu_erf, quick_gelu, silu})
    check([a](Inputs in) { return ops::activate(in[0], a); }, {test::random({60}, 1, 4)});
}

TEST_CASE("gradients of rope and of moved rows equal finite differences") {
  const auto table = ops::rope_table({{0, 3, 9}}, 6, 100.0f);
  for (const ops::RopeLayout layout : {ops::RopeLayout::halves, ops::RopeLayout::pairs})
    check([&](Inputs in) { return ops::rope(in[0], table, layout); }, {spiked({3, 2, 6}, 1)});
  const std::vector<TokenId> ids{2, 0, 2};
  check([&](Inputs in) { return ops::embedding(in[0], ids); }, {spiked({4, 5}, 1)});
  const std::vector<Dim> slots{3, 1}, twice{1, 1, 0};
  check([&](Inputs in) { return ops::put_rows(in[0], slots, in[1]); }, {spiked({4, 5}, 1), spiked({2, 5}, 2)});
  check([&](Inputs in) { return ops::put_rows(in[0], twice, in[1]); }, {spiked({4, 5}, 1), spiked({3, 5}, 2)});
  check([&](Inputs in) { return ops::take_rows(in[0], twice); }, {spiked({4, 5}, 1)});
  check([&](Inputs in) { return ops::rows(in[0], 1, 3); }, {spiked({4, 5}, 1)});
  check([&](Inputs in) { return ops::concat_rows(in); }, {spiked({4, 5}, 1), spiked({1, 5}, 2)});
  check([&](Inputs in) { return ops::space_to_depth(in[0], 4, 2, 2); }, {spiked({2, 8, 3}, 1)});
  check([&](Inputs in) { return ops::average_pool(in[0], 4, 2, 2); }, {spiked({2, 8, 3}, 1)});
  check([&](Inputs in) { return ops::patchify(in[0], 2); }, {spiked({1, 3, 4, 2}, 1)});
}

TEST_CASE("gradients of attention equal finite differences for ragged batches and windows and soft caps") {
  const auto attend = [](const Batch& batch, const ops::AttentionOptions& options) {
    return [=](Inputs in) { return ops::attention(in[0], KvView{in[1], in[2]}, batch, options); };
  };
  const auto qkv = [](Dim t, Dim heads, Dim kv_heads, Dim d) {
    return std::vector<Tensor>{test::random({t, heads, d}, 1, 1.5), test::random({t, kv_heads, d}, 2, 1.5),
                               spiked({t, kv_heads, d}, 3)};
  };
  check(attend(Batch::causal(6), {}), qkv(6, 4, 2, 5));
  const std::vector<Dim> lengths{1, 4, 2};
  check(attend(Batch::segments(lengths), {0.7f, 0}), qkv(7, 2, 2, 4));
  check(attend(Batch::causal(5), {0, 1.5f}), qkv(5, 3, 1, 4));
  Batch window = Batch::causal(6);
  for (std::size_t i = 0; i < 6; ++i) window.intervals[i].begin = static_cast<std::int32_t>(i > 2 ? i - 2 : 0);
  window.intervals[4] = {2, 2};
  check(attend(window, {}), qkv(6, 2, 1, 3));
}
