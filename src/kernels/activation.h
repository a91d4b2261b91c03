// Activation functions over contiguous f32 values; y may be x.
#pragma once

#include "base/dim.h"

namespace tap::kernels {

enum class ActivationKind { none, gelu_tanh, gelu_erf, quick_gelu, silu };

// gelu_erf: x/2 (1 + erf(x / √2)); gelu_tanh: its tanh form (Hendrycks & Gimpel 2016); quick_gelu: x sigmoid(1.702 x); silu: x sigmoid(x).
void activate(const float* x, ActivationKind kind, Dim n, float* y);
void activate_grad(const float* x, const float* dy, ActivationKind kind, Dim n, float* dx);

}  // namespace tap::kernels
