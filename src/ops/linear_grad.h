// The gradients of y = x · Wᵀ + bias.
#pragma once

#include "tensor/packed_matrix.h"
#include "tensor/tensor.h"

namespace tap::ops {

// dy · W, [..., out] to `x_shape`: through the packed transpose of a dense weight, by unpacking panels of a frozen one.
Tensor linear_grad_input(const Tensor& dy, const PackedMatrix& w, const Shape& x_shape);
Tensor linear_grad_weight(const Tensor& dy, const Tensor& x);  // dyᵀ · x: [out, in] f32
Tensor linear_grad_bias(const Tensor& dy);                     // column sums: [out]

}  // namespace tap::ops
