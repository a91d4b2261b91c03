// Numbers rounded to what products multiply: activations row by row when a product starts, weights once when they are
// packed. The same on every instruction set.
#pragma once

#include <cstdint>

#include "base/dim.h"

namespace tap::kernels {

// x: [rows, in] at `stride` floats a row.
// To bf16, nearest even; [rows, padded], the padding zero.
void rows_to_bf16(const float* x, Dim stride, Dim rows, Dim in, std::uint16_t* out, Dim padded);
// To u8 with zero point 128, one scale a row: x = scale * (q - 128). The largest magnitude is 127 steps, unless so few
// values (at most `most_outliers`) stand out that without them steps are four times finer or more: then those are
// 127 steps and `beyond` more, which add_outliers multiplies. Padding is 128. A row that holds NaN or infinity gets a
// NaN scale. outliers: [rows, most_outliers(in)], counts: [rows].
struct Outlier {
  std::int32_t input, beyond;
};
inline Dim most_outliers(Dim in) { return in / 128; }  // a row's cost at most a sixth of its products
void rows_to_u8(const float* x, Dim stride, Dim rows, Dim in, std::uint8_t* out, Dim padded, float* scale,
                Outlier* outliers, std::int32_t* counts);
// sums[columns] += beyond * weight for a row's outliers; panel: q8's layout of kernels/pack.h. Sums stay within 32
// bits.
void add_outliers(const Outlier* outliers, Dim count, const std::int8_t* panel, Dim columns, std::int32_t* sums);
// To int8 in groups of 32, for q4: scale and scale * (sum of q) per (row, group), [rows, padded / 32] each. Padding is
// 0.
void rows_to_s8_groups(const float* x, Dim stride, Dim rows, Dim in, std::int8_t* out, Dim padded, float* scale,
                       float* sum);

// One row of weights to int8: w = scale * q, the largest magnitude is 127 steps; sum of q. Not finite: a NaN scale.
void quantize_q8_row(const float* row, Dim in, std::int8_t* out, float& scale, std::int32_t& sum);
// One row of weights to 4 bits in groups of 32: q[in up to 32] in 0..15, and for each group step (low half) and least
// (high half) in bf16 with w = least + step * q. The step is rounded up, so that 15 of them reach the largest weight.
void quantize_q4_row(const float* row, Dim in, std::uint8_t* q, std::uint32_t* pairs);

}  // namespace tap::kernels
