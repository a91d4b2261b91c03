// Layers: weights with the operation that uses them. They know no model's name.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "io/weights.h"
#include "ops/linear.h"
#include "ops/ops.h"

namespace tap::nn {

// Root mean square error of a q8 pack relative to its weights, from the scales of sampled rows: cheap enough for every
// load. A row with outliers has a coarse scale; even weights come to about 1 %.
double q8_error(const PackedMatrix& w);
inline constexpr double q8_error_limit = 0.02;

// y = x Wᵀ (+ bias). Names: weight, bias. Asked for q8, a matrix whose q8_error is over the limit stays in bf16.
class Linear {
 public:
  enum class Bias : bool { no, yes };
  Linear() = default;
  Linear(const Weights& w, Dim in, Dim out, Bias bias = Bias::no);
  // Never quantized: bf16 where the other matrices are q8 or q4 (a patch embedding: few rows, all later layers hang on
  // it).
  static Linear exact(const Weights& w, Dim in, Dim out, Bias bias = Bias::no);
  // Rows `range` of a tensor that holds several layers (a fused query, key and value).
  static Linear part(const Weights& w, Dim in, const Weights::RowRange& range, Bias bias = Bias::no);
  // Of a matrix stored as [in, out], whose name is `name` itself (Gemma 3's projector).
  static Linear transposed(const Weights& w, std::string_view name, Dim in, Dim out);
  Linear(PackedMatrix weight, Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}

  Tensor operator()(const Tensor& x,
                    ops::Activation activation = ops::Activation::none) const;  // [..., in] to [..., out]
  Tensor plus(const Tensor& x, const Tensor& residual) const;                   // residual + (*this)(x), fused

  const PackedMatrix& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }

 private:
  PackedMatrix weight_;
  Tensor bias_;  // [out] or undefined
};

// The same rows through three layers at once, as an attention's query, key and value: less overhead for few rows.
std::array<Tensor, 3> each(const Tensor& x, const Linear& a, const Linear& b, const Linear& c);

// A table of rows by id. Name: weight. A table that is also the output head is packed once and read row by row.
class Embedding {
 public:
  enum class Head : bool { separate, tied };
  Embedding() = default;
  Embedding(const Weights& w, Dim count, Dim width, Head head = Head::separate);
  Tensor operator()(std::span<const TokenId> ids) const;  // [t] to [t, width]; an id outside the table throws
  Linear as_linear() const { return {packed_, {}}; }      // of a tied table

 private:
  Tensor table_;         // [count, width] f32: of f32 models
  StoredRows stored_;    // of all others: rows are read from the file
  PackedMatrix packed_;  // of a tied table; serves look-ups too where it holds the table's own numbers
};

struct RmsNorm {
  enum class Gain : bool { plain, one_plus };  // one_plus: rows are multiplied by 1 + gain (Gemma)
  Tensor gain;
  float eps = 0;
  Gain kind = Gain::plain;
  RmsNorm() = default;
  RmsNorm(const Weights& w, Dim width, float epsilon, Gain of = Gain::plain)
      : gain(w.tensor("weight", {width})), eps(epsilon), kind(of) {}
  Tensor operator()(const Tensor& x) const { return ops::rms_norm(x, gain, eps, kind == Gain::one_plus); }
};

struct LayerNorm {
  Tensor gain, bias;
  float eps = 0;
  LayerNorm() = default;
  LayerNorm(const Weights& w, Dim width, float epsilon)
      : gain(w.tensor("weight", {width})), bias(w.tensor("bias", {width})), eps(epsilon) {}
  Tensor operator()(const Tensor& x) const { return ops::layer_norm(x, gain, bias, eps); }
};

// down(act(gate(x)) * up(x)), act being silu unless said. Names: gate_proj, up_proj, down_proj.
class SwiGlu {
 public:
  SwiGlu() = default;
  SwiGlu(const Weights& w, Dim width, Dim inner, Linear::Bias bias = Linear::Bias::no,
         ops::Activation activation = ops::Activation::silu);
  Tensor operator()(const Tensor& x) const { return plus(x, {}); }
  Tensor plus(const Tensor& x, const Tensor& residual) const;  // residual + (*this)(x)

 private:
  Linear gate_, up_, down_;
  ops::Activation activation_ = ops::Activation::silu;
};

// fc2(act(fc1(x))). Names: fc1, fc2.
class Mlp {
 public:
  Mlp() = default;
  Mlp(const Weights& w, Dim width, Dim inner, ops::Activation activation);
  Tensor plus(const Tensor& x, const Tensor& residual) const;  // residual + (*this)(x)

 private:
  Linear fc1_, fc2_;
  ops::Activation activation_ = ops::Activation::none;
};

}  // namespace tap::nn
