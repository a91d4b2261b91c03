// The gradient of plain attention: dq, dk, dv, in f32.
#pragma once

#include <span>
#include <vector>

#include "ops/batch.h"
#include "tensor/tensor.h"

namespace tap::ops {

// Shapes as in ops::attention; the probabilities of a row are computed again, one row at a time.
std::vector<Tensor> attention_grad(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const Span> spans,
                                   std::span<const Interval> intervals, float scale, float softcap, const Tensor& dy);

}  // namespace tap::ops
