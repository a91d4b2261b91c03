// A decoded picture: the value that leaves `codec`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/dim.h"
#include "base/memory.h"

namespace tap {

// 8-bit RGB, row-major, interleaved: pixels[(y * width + x) * 3 + channel]. EXIF orientation is already applied.
struct Image {
  Dim width = 0, height = 0;
  std::vector<std::uint8_t> pixels;

  Image() = default;
  Image(Dim w, Dim h) : width(w), height(h) {
    require_room(static_cast<std::uint64_t>(w * h * 3));
    pixels.resize(static_cast<std::size_t>(w * h * 3));
  }
  const std::uint8_t* row(Dim y) const { return pixels.data() + y * width * 3; }
  std::uint8_t* row(Dim y) { return pixels.data() + y * width * 3; }
  bool operator==(const Image&) const = default;
};

}  // namespace tap
