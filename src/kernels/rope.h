// Rotary position embedding (Su et al. 2021, arXiv:2104.09864).
#pragma once

#include "base/dim.h"

namespace tap::kernels {

// x, y: [rows, heads, head_dim]; cos, sin: [rows, head_dim / 2]. `pairs`: neighbouring elements turn together,
// otherwise i and i + head_dim / 2. `direction` -1 turns back (the gradient). y may be x.
void rope(const float* x, const float* cos, const float* sin, Dim rows, Dim heads, Dim head_dim, bool pairs,
          float direction, float* y);

}  // namespace tap::kernels
