// 8-bit pictures to the float planes that towers take.
#pragma once

#include <array>
#include <cstdint>

#include "codec/image.h"

namespace tap {

// (value * rescale_factor, in double, rounded to float; then - mean and / std in float), the order and rounding of the
// numpy image processors of transformers. do_rescale false: factor 1; do_normalize false: mean 0, std 1 (both exact).
struct PixelScaling {
  double rescale_factor = 1.0 / 255;
  std::array<double, 3> mean{0, 0, 0}, std{1, 1, 1};
};

// Writes [3, height, width] of the picture's size to out.
void to_planar(const Image& image, const PixelScaling& scaling, float* out);

// The same into the top left of zeros [3, padded_height, padded_width].
void to_planar_padded(const Image& image, const PixelScaling& scaling, Dim padded_width, Dim padded_height, float* out);

// [padded_height, padded_width]: 1 in the top left width x height, 0 elsewhere.
void fill_pixel_mask(Dim width, Dim height, Dim padded_width, Dim padded_height, std::int64_t* out);

// Mean difference of all values, of 255; 256 for pictures of two sizes.
double mean_difference(const Image& a, const Image& b);

}  // namespace tap
