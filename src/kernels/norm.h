// Norms over rows of `width` f32 values, and the softmax of a row. y may be x. Sums are taken in f32 lanes.
#pragma once

#include "base/dim.h"

namespace tap::kernels {

void rms_norm(const float* x, const float* gain, Dim rows, Dim width, float eps, bool one_plus, float* y);
void layer_norm(const float* x, const float* gain, const float* bias, Dim rows, Dim width, float eps, float* y);

// dx for each row; dgain (and dbias) [width] are added to in row order.
void rms_norm_grad(const float* x, const float* gain, const float* dy, Dim rows, Dim width, float eps, bool one_plus,
                   float* dx, float* dgain);
void layer_norm_grad(const float* x, const float* gain, const float* dy, Dim rows, Dim width, float eps, float* dx,
                     float* dgain, float* dbias);

void softmax_rows(const float* x, Dim rows, Dim width, float* y);

}  // namespace tap::kernels
