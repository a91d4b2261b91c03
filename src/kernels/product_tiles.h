// Highway's side of products: portable tiles for CPUs without the instructions of dot_avx512.h, and finishing
// sums into results. Layouts: kernels/pack.h. One row's results do not depend on the rows beside it.
#pragma once

#include <cstdint>

#include "base/dim.h"
#include "kernels/activation_kind.h"

namespace tap::kernels {

// c[rows, 64] as in dot_avx512.h: the integer sums are the same numbers, f32 and bf16 differ by rounding.
void tile_f32_portable(const float* a, Dim lda, Dim rows, const float* panel, Dim k, float* c);
void tile_bf16_portable(const std::uint16_t* a, Dim lda, Dim rows, const std::uint16_t* panel, Dim k, float* c);
void tile_q8_portable(const std::uint8_t* a, Dim lda, Dim rows, const std::int8_t* panel, Dim k, std::int32_t* c);
void tile_q4_portable(const std::int8_t* a, Dim lda, const float* scale, const float* sum, Dim rows,
                      const std::uint8_t* panel, Dim groups, float* c);

// What becomes of a sum: out = act(sum + bias) (* multiply) (+ residual).
struct Finish {
  const float* bias = nullptr;
  Activation activation = Activation::none;
  const float* multiply = nullptr;
  Dim multiply_stride = 0;
  const float* residual = nullptr;
  Dim residual_stride = 0;
  float* out = nullptr;
  Dim out_stride = 0;
  Finish from(Dim row, Dim column) const {  // of the part of the result that starts there
    Finish part = *this;
    if (bias) part.bias += column;
    if (multiply) part.multiply += row * multiply_stride + column;
    if (residual) part.residual += row * residual_stride + column;
    part.out += row * out_stride + column;
    return part;
  }
};

// sums: [rows, columns] at `stride` a row.
void finish_f32(const float* sums, Dim stride, Dim rows, Dim columns, const Finish& finish);
// q8: (sum - 128 * column_sum) * (row_scale * column_scale) goes the same way. column_* are padded to whole panels
// of 64.
void finish_q8(const std::int32_t* sums, Dim stride, Dim rows, Dim columns, const float* row_scale,
               const float* column_scale, const std::int32_t* column_sum, const Finish& finish);

}  // namespace tap::kernels
