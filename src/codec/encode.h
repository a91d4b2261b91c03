// Pictures to bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "codec/image.h"

namespace tap {

// 8-bit RGB PNG. Throws Error(bad_input) for a picture without pixels.
std::vector<std::byte> encode_png(const Image& image);
// Grey PNG of 8 or 16 bits: [height, width] values. Throws Error(bad_input) unless they are as many.
std::vector<std::byte> encode_grey_png(std::span<const std::uint8_t> values, Dim width, Dim height);
std::vector<std::byte> encode_grey_png(std::span<const std::uint16_t> values, Dim width, Dim height);

}  // namespace tap
