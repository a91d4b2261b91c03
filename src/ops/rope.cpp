// Rotary position embedding: tables by scheme, one kernel.
#include <cmath>

#include "autograd/tape.h"
#include "base/parallel.h"
#include "kernels/rope.h"
#include "ops/ops.h"

namespace tap::ops {

// transformers' modeling_rope_utils (_compute_default_rope_parameters, _compute_linear_scaling_rope_parameters) and the
// rotary embedding of its Llama: every step rounds to f32, so that angles at large positions have the reference's
// error, not their own.
RopeTable rope_table(const std::vector<std::vector<std::int32_t>>& positions, Dim head_dim, float theta,
                     float linear_factor) {
  if (head_dim < 2 || head_dim % 2) fail(ErrorCode::bad_input, "rope_table: head_dim is {}, must be even", head_dim);
  if (positions.empty()) fail(ErrorCode::bad_input, "rope_table: no axis of positions");
  if (!(linear_factor > 0))
    fail(ErrorCode::bad_input, "rope_table: linear_factor is {}, must be above 0", linear_factor);
  const Dim half = head_dim / 2, count = static_cast<Dim>(positions[0].size());
  RopeTable table{Tensor::empty({count, half}), Tensor::empty({count, half})};
  Tensor frequencies = Tensor::empty({half});
  float* frequency = frequencies.write<float>();
  for (Dim i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    frequency[i] =
        1.0f / static_cast<float>(std::pow(static_cast<double>(theta), static_cast<double>(exponent))) / linear_factor;
  }
  float *cos = table.cos.write<float>(), *sin = table.sin.write<float>();
  parallel_rows(count, std::max<Dim>(1, 4096 / half), [&](Rows r) {
    for (Dim t = r.begin; t < r.end; ++t)
      for (Dim i = 0; i < half; ++i) {
        const float angle = static_cast<float>(positions[0][static_cast<std::size_t>(t)]) * frequency[i];
        cos[t * half + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
        sin[t * half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
      }
  });
  return table;
}

namespace {

Tensor turn(const Tensor& x, const RopeTable& table, bool pairs, float direction) {
  Tensor y = Tensor::empty(x.shape());
  const Dim heads = x.dim(1), head_dim = x.dim(2), row = heads * head_dim, half = head_dim / 2;
  const float *in = x.data<float>(), *cos = table.cos.data<float>(), *sin = table.sin.data<float>();
  float* out = y.write<float>();
  parallel_rows(x.dim(0), std::max<Dim>(1, 16384 / std::max<Dim>(1, row)), [&](Rows r) {
    kernels::rope(in + r.begin * row, cos + r.begin * half, sin + r.begin * half, r.size(), heads, head_dim, pairs,
                  direction, out + r.begin * row);
  });
  return y;
}

}  // namespace

Tensor rope(const Tensor& x, const RopeTable& table, RopeLayout layout) {
  if (x.rank() != 3 || x.dim(2) % 2)
    fail(ErrorCode::bad_input, "rope: x is {}, must be [t, heads, even]", x.shape().to_string());
  require_shape("rope", "cos", table.cos, {x.dim(0), x.dim(2) / 2});
  require_shape("rope", "sin", table.sin, {x.dim(0), x.dim(2) / 2});
  const bool pairs = layout == RopeLayout::pairs;
  Tensor y = turn(x, table, pairs, 1);
  if (tape::wants({&x}))
    tape::record(y, {&x}, [table, pairs](const Tensor& dy) { return std::vector<Tensor>{turn(dy, table, pairs, -1)}; });
  return y;
}

}  // namespace tap::ops
