#include "kernels/activation.h"

#include <cmath>

namespace tap::kernels {

namespace {

constexpr float sqrt_2_over_pi = 0.79788456080286535588f, gelu_cubic = 0.044715f;

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

float value(float x, ActivationKind kind) {
  switch (kind) {
    case ActivationKind::none: return x;
    case ActivationKind::gelu_tanh: return 0.5f * x * (1.0f + std::tanh(sqrt_2_over_pi * (x + gelu_cubic * x * x * x)));
    case ActivationKind::gelu_erf: return 0.5f * x * (1.0f + std::erf(x * 0.70710678118654752440f));
    case ActivationKind::quick_gelu: return x * sigmoid(1.702f * x);
    case ActivationKind::silu: return x * sigmoid(x);
  }
  return x;
}

float slope(float x, ActivationKind kind) {
  switch (kind) {
    case ActivationKind::none: return 1;
    case ActivationKind::gelu_tanh: {
      const float t = std::tanh(sqrt_2_over_pi * (x + gelu_cubic * x * x * x));
      return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * sqrt_2_over_pi * (1 + 3 * gelu_cubic * x * x);
    }
    case ActivationKind::gelu_erf:
      return 0.5f * (1 + std::erf(x * 0.70710678118654752440f)) + x * 0.39894228040143267794f * std::exp(-0.5f * x * x);
    case ActivationKind::quick_gelu: {
      const float s = sigmoid(1.702f * x);
      return s + 1.702f * x * s * (1 - s);
    }
    case ActivationKind::silu: {
      const float s = sigmoid(x);
      return s + x * s * (1 - s);
    }
  }
  return 1;
}

}  // namespace

void activate(const float* x, ActivationKind kind, Dim n, float* y) {
  for (Dim i = 0; i < n; ++i) y[i] = value(x[i], kind);
}

void activate_grad(const float* x, const float* dy, ActivationKind kind, Dim n, float* dx) {
  for (Dim i = 0; i < n; ++i) dx[i] = dy[i] * slope(x[i], kind);
}

}  // namespace tap::kernels
