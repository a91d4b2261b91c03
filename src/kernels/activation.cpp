#include "kernels/activation.h"

#include <cmath>

#include "kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/lanes-inl.h"
#include "kernels/vec_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {

void activate_rows(const float* x, Activation activation, Dim n, float* y) {
  const F32 d;
  switch (activation) {
    case Activation::none: return map(x, n, y, [](Vf v) HWY_ATTR { return v; });
    case Activation::gelu_tanh: return map(x, n, y, [d](Vf v) HWY_ATTR { return vec::gelu_tanh(d, v); });
    case Activation::gelu_erf: return map(x, n, y, [d](Vf v) HWY_ATTR { return vec::gelu_erf(d, v); });
    case Activation::quick_gelu: return map(x, n, y, [d](Vf v) HWY_ATTR { return vec::quick_gelu(d, v); });
    case Activation::silu: return map(x, n, y, [d](Vf v) HWY_ATTR { return vec::silu(d, v); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tap::kernels {

HWY_EXPORT(activate_rows);

void activate(const float* x, Activation activation, Dim n, float* y) {
  HWY_DYNAMIC_DISPATCH(activate_rows)(x, activation, n, y);
}

namespace {

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

float slope(float x, Activation activation) {
  constexpr float sqrt_2_over_pi = 0.79788456080286535588f, cubic = 0.044715f;
  switch (activation) {
    case Activation::none: return 1;
    case Activation::gelu_tanh: {
      const float t = std::tanh(sqrt_2_over_pi * (x + cubic * x * x * x));
      return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * sqrt_2_over_pi * (1 + 3 * cubic * x * x);
    }
    case Activation::gelu_erf:
      return 0.5f * (1 + std::erf(x * 0.70710678118654752440f)) + x * 0.39894228040143267794f * std::exp(-0.5f * x * x);
    case Activation::quick_gelu: {
      const float s = sigmoid(1.702f * x);
      return s + 1.702f * x * s * (1 - s);
    }
    case Activation::silu: {
      const float s = sigmoid(x);
      return s + x * s * (1 - s);
    }
  }
  return 1;
}

}  // namespace

void activate_grad(const float* x, const float* dy, Activation activation, Dim n, float* dx) {
  for (Dim i = 0; i < n; ++i) dx[i] = dy[i] * slope(x[i], activation);
}

}  // namespace tap::kernels
#endif
