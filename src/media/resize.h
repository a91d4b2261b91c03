// Resizing. 8-bit pictures come out byte for byte as Pillow's Image.resize makes them, which every processor of the hub
// is built on.
#pragma once

#include <span>
#include <vector>

#include "codec/image.h"

namespace tap {

enum class Filter {
  nearest = 0,
  lanczos = 1,
  bilinear = 2,
  bicubic = 3,
  box = 4,
  hamming = 5
};  // Pillow's codes: `resample`

// The filter of a `resample` number in preprocessor_config.json. Throws Error(unsupported) naming the number.
Filter filter_of_code(Dim code);

// Antialiased, two passes in Pillow 13's order, rounded to bytes in between. Throws Error(usage) for sizes below 1 and
// Error(limit) when the picture or the one between the passes would exceed 400 million pixels.
Image resize(const Image& image, Dim width, Dim height, Filter filter);

// As torchvision resizes 8-bit tensors with antialias, which is what the reference does to frames of videos (torch,
// aten/src/ATen/native/cpu/UpSampleKernelAVXAntialias.h): the horizontal pass first, weights of 16 bits. Not for
// nearest. Errors as resize.
Image resize_tensor(const Image& image, Dim width, Dim height, Filter filter);

// One float plane [height, width], as Pillow resizes pictures of mode "F".
std::vector<float> resize_plane(std::span<const float> plane, Dim width, Dim height, Dim new_width, Dim new_height,
                                Filter filter);

enum class GridFilter { bilinear, bicubic };

// Float planes [channels, height, width] as torch's interpolate(align_corners=False) without antialias: half-pixel
// centres, border clamped, cubic a = -0.75.
std::vector<float> resize_grid(std::span<const float> planes, Dim channels, Dim height, Dim width, Dim new_height,
                               Dim new_width, GridFilter filter);

}  // namespace tap
