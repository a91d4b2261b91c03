#include "media/tile.h"

#include <algorithm>

#include "base/error.h"

namespace tap {

Image crop(const Image& image, Dim x, Dim y, Dim width, Dim height) {
  if (x < 0 || y < 0 || width < 1 || height < 1 || x > image.width - width || y > image.height - height)
    fail(ErrorCode::usage, "crop: {}x{} at ({}, {}) is not inside a picture of {}x{}", width, height, x, y, image.width,
         image.height);
  Image out(width, height);
  for (Dim row = 0; row < height; ++row) std::copy_n(image.row(y + row) + x * 3, width * 3, out.row(row));
  return out;
}

std::vector<Image> split_grid(const Image& image, Dim rows, Dim columns) {
  if (rows < 1 || columns < 1 || image.height % rows != 0 || image.width % columns != 0)
    fail(ErrorCode::usage, "split_grid: {}x{} pixels do not divide into {} rows and {} columns", image.width,
         image.height, rows, columns);
  const Dim width = image.width / columns, height = image.height / rows;
  std::vector<Image> tiles;
  tiles.reserve(static_cast<std::size_t>(rows * columns));
  for (Dim r = 0; r < rows; ++r)
    for (Dim c = 0; c < columns; ++c) tiles.push_back(crop(image, c * width, r * height, width, height));
  return tiles;
}

}  // namespace tap
