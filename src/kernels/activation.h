// Activation functions over contiguous f32 values; y may be x.
#pragma once

#include "base/dim.h"
#include "kernels/activation_kind.h"

namespace tap::kernels {

// gelu_erf: x/2 (1 + erf(x / √2)); gelu_tanh: its tanh form (Hendrycks & Gimpel 2016); quick_gelu: x sigmoid(1.702 x);
// silu: x sigmoid(x).
void activate(const float* x, Activation activation, Dim n, float* y);
void activate_grad(const float* x, const float* dy, Activation activation, Dim n, float* dx);

}  // namespace tap::kernels
