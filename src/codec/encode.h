// Pictures to bytes.
#pragma once

#include <cstddef>
#include <vector>

#include "codec/image.h"

namespace tap {

// 8-bit RGB PNG. Throws Error(bad_input) for a picture without pixels.
std::vector<std::byte> encode_png(const Image& image);

}  // namespace tap
