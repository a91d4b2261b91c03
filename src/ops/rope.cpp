// Rotary position embedding: tables by scheme, one kernel.
#include <cmath>

#include "autograd/tape.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernels/rope.h"
#include "ops/ops.h"

namespace tap::ops {

namespace {

// A rotary pair: the axis whose position turns it, and how far one position does.
struct Pair {
  std::size_t axis;
  float frequency;
};

// transformers' modeling_rope_utils (_compute_default_rope_parameters): every step rounds to f32, so that angles at
// large positions have the reference's error, not their own.
float frequency_of(Dim i, Dim head_dim, float theta) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
  return 1.0f / static_cast<float>(std::pow(static_cast<double>(theta), static_cast<double>(exponent)));
}

void require(std::string_view op, const std::vector<std::vector<std::int32_t>>& positions, Dim head_dim) {
  if (head_dim < 2 || head_dim % 2) fail(ErrorCode::bad_input, "{}: head_dim is {}, must be even", op, head_dim);
  if (positions.empty()) fail(ErrorCode::bad_input, "{}: no axis of positions", op);
  for (const auto& axis : positions)
    if (axis.size() != positions[0].size())
      fail(ErrorCode::bad_input, "{}: axes of {} and {} positions", op, positions[0].size(), axis.size());
}

RopeTable table_of(const std::vector<std::vector<std::int32_t>>& positions, const std::vector<Pair>& pairs) {
  const Dim half = static_cast<Dim>(pairs.size()), count = static_cast<Dim>(positions[0].size());
  RopeTable table{Tensor::empty({count, half}), Tensor::empty({count, half})};
  float *cos = table.cos.write<float>(), *sin = table.sin.write<float>();
  parallel_rows(count, std::max<Dim>(1, 4096 / half), [&](Rows r) {
    for (Dim t = r.begin; t < r.end; ++t)
      for (Dim i = 0; i < half; ++i) {
        const Pair& pair = pairs[static_cast<std::size_t>(i)];
        const float angle = static_cast<float>(positions[pair.axis][static_cast<std::size_t>(t)]) * pair.frequency;
        cos[t * half + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
        sin[t * half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
      }
  });
  return table;
}

}  // namespace

RopeTable rope_table(const std::vector<std::vector<std::int32_t>>& positions, Dim head_dim, float theta,
                     float linear_factor) {
  require("rope_table", positions, head_dim);
  if (!(linear_factor > 0))
    fail(ErrorCode::bad_input, "rope_table: linear_factor is {}, must be above 0", linear_factor);
  std::vector<Pair> pairs;
  for (Dim i = 0; i < head_dim / 2; ++i) pairs.push_back({0, frequency_of(i, head_dim, theta) / linear_factor});
  return table_of(positions, pairs);
}

RopeTable rope_table_sections(const std::vector<std::vector<std::int32_t>>& positions, Dim head_dim, float theta,
                              std::span<const Dim> sections) {
  require("rope_table_sections", positions, head_dim);
  if (sections.size() > positions.size())
    fail(ErrorCode::bad_input, "rope_table_sections: {} sections for {} axes of positions", sections.size(),
         positions.size());
  std::vector<Pair> pairs;
  for (std::size_t axis = 0; axis < sections.size(); ++axis)
    for (Dim i = 0; i < sections[axis]; ++i)
      pairs.push_back({axis, frequency_of(static_cast<Dim>(pairs.size()), head_dim, theta)});
  if (static_cast<Dim>(pairs.size()) != head_dim / 2)
    fail(ErrorCode::bad_input, "rope_table_sections: the sections have {} pairs, head_dim {} has {}", pairs.size(),
         head_dim, head_dim / 2);
  return table_of(positions, pairs);
}

RopeTable rope_table_axes(const std::vector<std::vector<std::int32_t>>& positions, Dim head_dim, float theta) {
  require("rope_table_axes", positions, head_dim);
  const Dim axes = static_cast<Dim>(positions.size());
  if (head_dim % (2 * axes) != 0)
    fail(ErrorCode::bad_input, "rope_table_axes: head_dim {} cannot be shared by {} axes", head_dim, axes);
  std::vector<Pair> pairs;
  for (std::size_t axis = 0; axis < positions.size(); ++axis)
    for (Dim i = 0; i < head_dim / 2 / axes; ++i) pairs.push_back({axis, frequency_of(i, head_dim / axes, theta)});
  return table_of(positions, pairs);
}

namespace {

Tensor turn(const Tensor& x, const RopeTable& table, bool pairs, float direction) {
  Tensor y = Tensor::empty(x.shape());
  const Dim heads = x.dim(1), head_dim = x.dim(2), row = heads * head_dim, half = head_dim / 2;
  const float *in = x.data<float>(), *cos = table.cos.data<float>(), *sin = table.sin.data<float>();
  float* out = y.write<float>();
  parallel_rows(x.dim(0), std::max<Dim>(1, 8192 / std::max<Dim>(1, row)), [&](Rows r) {
    kernels::rope(in + r.begin * row, cos + r.begin * half, sin + r.begin * half, r.size(), heads, head_dim, pairs,
                  direction, out + r.begin * row);
  });
  return y;
}

}  // namespace

Tensor rope(const Tensor& x, const RopeTable& table, RopeLayout layout) {
  const Profile::Scope profile([] { return "rope"; });
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
