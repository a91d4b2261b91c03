#include "kernels/elementwise.h"

#include <cmath>

namespace tap::kernels {

void add(const float* a, const float* b, Dim n, float* y) {
  for (Dim i = 0; i < n; ++i) y[i] = a[i] + b[i];
}
void multiply(const float* a, const float* b, Dim n, float* y) {
  for (Dim i = 0; i < n; ++i) y[i] = a[i] * b[i];
}
void scale(const float* x, float factor, Dim n, float* y) {
  for (Dim i = 0; i < n; ++i) y[i] = x[i] * factor;
}
void multiply_add(const float* x, float factor, Dim n, float* y) {
  for (Dim i = 0; i < n; ++i) y[i] += x[i] * factor;
}
void softcap(const float* x, float cap, Dim n, float* y) {
  for (Dim i = 0; i < n; ++i) y[i] = cap * std::tanh(x[i] / cap);
}
void softcap_grad(const float* x, const float* dy, float cap, Dim n, float* dx) {
  for (Dim i = 0; i < n; ++i) {
    const float t = std::tanh(x[i] / cap);
    dx[i] = dy[i] * (1 - t * t);
  }
}

void to_bf16(const float* x, Dim n, std::uint16_t* y) {
  for (Dim i = 0; i < n; ++i) {
    const auto u = __builtin_bit_cast(std::uint32_t, x[i]);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    y[i] = static_cast<std::uint16_t>(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
}
void from_bf16(const std::uint16_t* x, Dim n, float* y) {
  for (Dim i = 0; i < n; ++i) y[i] = __builtin_bit_cast(float, static_cast<std::uint32_t>(x[i]) << 16);
}

}  // namespace tap::kernels
