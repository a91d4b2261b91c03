// Loops over contiguous f32 values; y may be one of the inputs.
#pragma once

#include <cstdint>

#include "base/dim.h"

namespace tap::kernels {

void add(const float* a, const float* b, Dim n, float* y);
void multiply(const float* a, const float* b, Dim n, float* y);
void scale(const float* x, float factor, Dim n, float* y);
void multiply_add(const float* x, float factor, Dim n, float* y);  // y += factor * x
float dot(const float* a, const float* b, Dim n);
void softcap(const float* x, float cap, Dim n, float* y);          // cap * tanh(x / cap)
void softcap_grad(const float* x, const float* dy, float cap, Dim n, float* dx);

// bf16 bits, rounded to nearest even; NaN stays NaN.
void to_bf16(const float* x, Dim n, std::uint16_t* y);
void from_bf16(const std::uint16_t* x, Dim n, float* y);

}  // namespace tap::kernels
