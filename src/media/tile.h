// Cutting pictures.
#pragma once

#include <vector>

#include "codec/image.h"

namespace tap {

// The width x height pixels from (x, y). Throws Error(usage) when they are not all inside the picture.
Image crop(const Image& image, Dim x, Dim y, Dim width, Dim height);

// rows * columns tiles of equal size in row-major order. Throws Error(usage) unless the edges divide.
std::vector<Image> split_grid(const Image& image, Dim rows, Dim columns);

}  // namespace tap
