// The plain composition that ops::linear is tested against: unpacked weights, sums in double.
#pragma once

#include "ops/linear.h"

namespace tap::ops {

Tensor reference_linear(const Tensor& x, const PackedMatrix& w, const Epilogue& epilogue = {});

}  // namespace tap::ops
