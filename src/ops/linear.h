// Matrix product with a packed weight: y = x · Wᵀ, with a fused epilogue. Picks the kernel by the weight's type, the
// number of rows and the CPU; model code never knows which.
#pragma once

#include <span>
#include <vector>

#include "kernels/activation_kind.h"
#include "tensor/packed_matrix.h"
#include "tensor/tensor.h"

namespace tap::ops {

using Activation = kernels::Activation;  // none, gelu_tanh, gelu_erf, quick_gelu, silu

// What happens to a product while it is still in cache: y = act(x Wᵀ + bias) (* multiply) (+ residual), in this order.
struct Epilogue {
  Tensor bias = {};  // [out] f32, or undefined
  Activation activation = Activation::none;
  Tensor multiply = {};  // [t, out]: the other half of a gated MLP, or undefined
  Tensor residual = {};  // [t, out], or undefined
};

// x: [..., in] f32 to [..., out] f32. Records gradients under a tape: dense weights get one, frozen packs pass it to x
// (and to bias, multiply, residual). Rows of q8 give the same bits in any batch; f32 and bf16 agree within tolerance.
Tensor linear(const Tensor& x, const PackedMatrix& w, const Epilogue& epilogue = {});

// The same rows through several weights, as an attention's query, key and value: y_i = x · W_iᵀ + bias_i. `biases` is
// empty or has one entry a weight, each may be undefined. Equal to as many calls of linear, with less overhead for few
// rows.
std::vector<Tensor> linear_each(const Tensor& x, std::span<const PackedMatrix* const> weights,
                                std::span<const Tensor> biases = {});

// A trainable weight: a row-major f32 master [out, in] that a tape watches and an optimizer updates, and packs of it
// (and of its transpose, for the gradient of x) that products read. Products in bf16; f32 where exact gradients are
// wanted.
class DenseWeight {
 public:
  explicit DenseWeight(const Tensor& weight, DType products = DType::bf16);  // [out, in] f32 or bf16, copied
  Tensor& master();                                       // Tape::watch(w.master()) asks for its gradient
  void refresh();                                         // packs the master anew: after each change of it
  const PackedMatrix& packed() const { return packed_; }  // for linear

 private:
  PackedMatrix packed_;
};

}  // namespace tap::ops
