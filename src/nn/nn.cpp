#include "nn/nn.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/log.h"
#include "ops/mlp.h"

namespace tap::nn {

double q8_error(const PackedMatrix& w) {
  constexpr Dim sampled_rows = 64;
  std::vector<float> row(static_cast<std::size_t>(w.in()));
  double noise = 0, signal = 0;
  for (Dim i = 0; i < std::min(sampled_rows, w.out()); ++i) {
    w.unpack_row(i * w.out() / std::min(sampled_rows, w.out()), row.data());
    double largest = 0, squares = 0;
    for (const float v : row) {
      largest = std::max(largest, std::abs(static_cast<double>(v)));
      squares += static_cast<double>(v) * v;
    }
    noise += largest * largest / (127.0 * 127.0 * 12.0);  // a rounding step's variance is step² / 12
    signal += squares / static_cast<double>(w.in());
  }
  return signal > 0 ? std::sqrt(noise / signal) : 0;
}

namespace {

// `read` gives the matrix in a type; one that q8 would harm is read again in bf16.
template <class Read>
PackedMatrix matrix_of(const Weights& w, std::string_view name, const Read& read) {
  PackedMatrix matrix = read(w.type());
  if (w.plan_only()) w.mark_measured();  // a plan has no numbers to measure
  if (matrix.type() != WeightType::q8 || w.plan_only() || w.from_cache()) return matrix;
  const double error = q8_error(matrix);
  if (error <= q8_error_limit) return matrix;
  log::info("{} stays in bf16: q8 would be off by {:.1f} %, the limit is {:.1f} %", w.full_name(name), error * 100,
            q8_error_limit * 100);
  return read(WeightType::bf16);
}

}  // namespace

Linear::Linear(const Weights& w, Dim in, Dim out, Bias bias)
    : weight_(matrix_of(w, "weight", [&](WeightType type) { return w.matrix("weight", in, out, type); })),
      bias_(bias == Bias::yes ? w.tensor("bias", {out}) : Tensor()) {}

Linear Linear::part(const Weights& w, Dim in, const Weights::RowRange& range, Bias bias) {
  return {matrix_of(w, "weight", [&](WeightType type) { return w.matrix("weight", in, range, type); }),
          bias == Bias::yes ? w.tensor("bias", {range.rows}).rows(range.begin, range.end) : Tensor()};
}

Linear Linear::transposed(const Weights& w, std::string_view name, Dim in, Dim out) {
  return {matrix_of(w, name, [&](WeightType type) { return w.matrix_transposed(name, in, out, type); }), {}};
}

Linear Linear::exact(const Weights& w, Dim in, Dim out, Bias bias) {
  const bool quantized = w.type() == WeightType::q8 || w.type() == WeightType::q4;
  return {w.matrix("weight", in, out, quantized ? WeightType::bf16 : w.type()),
          bias == Bias::yes ? w.tensor("bias", {out}) : Tensor()};
}

Tensor Linear::operator()(const Tensor& x, ops::Activation activation) const {
  return ops::linear(x, weight_, {.bias = bias_, .activation = activation, .multiply = {}, .residual = {}});
}

Tensor Linear::plus(const Tensor& x, const Tensor& residual) const {
  return ops::linear(x, weight_,
                     {.bias = bias_, .activation = ops::Activation::none, .multiply = {}, .residual = residual});
}

std::array<Tensor, 3> each(const Tensor& x, const Linear& a, const Linear& b, const Linear& c) {
  const std::array weights{&a.weight(), &b.weight(), &c.weight()};
  const std::array biases{a.bias(), b.bias(), c.bias()};
  auto y = ops::linear_each(x, weights, biases);
  return {std::move(y[0]), std::move(y[1]), std::move(y[2])};
}

Embedding::Embedding(const Weights& w, Dim count, Dim width, Head head) {
  const bool exact =
      w.type() == WeightType::f32 || w.type() == WeightType::bf16;  // a packed row gives the table's own numbers
  if (head == Head::tied) packed_ = w.matrix("weight", width, count);
  if (head == Head::tied && exact) return;
  if (w.type() == WeightType::f32) table_ = w.tensor("weight", {count, width});
  else stored_ = w.stored_rows("weight", count, width);
}

Tensor Embedding::operator()(std::span<const TokenId> ids) const {
  if (table_.defined()) return ops::embedding(table_, ids);
  const Dim count = stored_.defined() ? stored_.rows() : packed_.out();
  Tensor rows = Tensor::empty({static_cast<Dim>(ids.size()), stored_.defined() ? stored_.width() : packed_.in()});
  for (Dim i = 0; const TokenId id : ids) {
    if (id < 0 || id >= count) fail(ErrorCode::bad_input, "embedding: id {} is not in [0, {})", id, count);
    if (stored_.defined()) stored_.read(id, rows.row_write(i++));
    else packed_.unpack_row(id, rows.row_write(i++));
  }
  return rows;
}

SwiGlu::SwiGlu(const Weights& w, Dim width, Dim inner, Linear::Bias bias, ops::Activation activation)
    : gate_(w / "gate_proj", width, inner, bias),
      up_(w / "up_proj", width, inner, bias),
      down_(w / "down_proj", inner, width, bias),
      activation_(activation) {}

Tensor SwiGlu::plus(const Tensor& x, const Tensor& residual) const {
  return ops::gated_mlp(x, gate_.weight(), up_.weight(), down_.weight(), activation_, residual,
                        {gate_.bias(), up_.bias(), down_.bias()});
}

Mlp::Mlp(const Weights& w, Dim width, Dim inner, ops::Activation activation)
    : fc1_(w / "fc1", width, inner, Linear::Bias::yes),
      fc2_(w / "fc2", inner, width, Linear::Bias::yes),
      activation_(activation) {}

Tensor Mlp::plus(const Tensor& x, const Tensor& residual) const {
  return ops::mlp(x, fc1_.weight(), fc2_.weight(), activation_, residual, {{}, fc1_.bias(), fc2_.bias()});
}

}  // namespace tap::nn
