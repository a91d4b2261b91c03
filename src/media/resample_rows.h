// The inner loop of resizing, for any instruction set. Inside media only.
#pragma once

#include <cstdint>
#include <vector>

#include "base/dim.h"

namespace tap::media {

// Which inputs make each output along one axis, in 22-bit fixed point (Pillow, Resample.c: PRECISION_BITS = 32 - 8 -
// 2).
struct FixedTaps {
  Dim most = 0;                     // taps per output, the space between two outputs' weights
  std::vector<std::int32_t> first;  // of the inputs
  std::vector<std::int32_t> count;
  std::vector<std::int32_t> weight;  // [outputs, most]
  Dim outputs() const { return static_cast<Dim>(first.size()); }
};

inline constexpr int weight_bits = 22;

// out row i = sum over its taps of weight * in row, for i in [begin, end); a row has `lanes` bytes. `in` and `out` are
// the rows of input 0 and output `begin`. 32-bit integer sums: the same bytes on every instruction set.
void weigh_rows(const FixedTaps& taps, Dim begin, Dim end, const std::uint8_t* in, std::uint8_t* out, Dim lanes);

}  // namespace tap::media
