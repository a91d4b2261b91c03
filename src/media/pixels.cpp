#include "media/pixels.h"

#include <cstdlib>

#include <algorithm>

#include "base/error.h"
#include "base/parallel.h"

namespace tap {

namespace {

using Table = std::array<float, 256>;  // a byte has only 256 answers

std::array<Table, 3> tables_of(const PixelScaling& scaling) {
  std::array<Table, 3> tables;
  for (std::size_t c = 0; c < 3; ++c) {
    const float mean = static_cast<float>(scaling.mean[c]), deviation = static_cast<float>(scaling.std[c]);
    if (!(deviation > 0))
      fail(ErrorCode::bad_input, "image_std: {} for channel {}, must be above 0", scaling.std[c], c);
    for (std::size_t v = 0; v < 256; ++v)
      tables[c][v] = (static_cast<float>(static_cast<double>(v) * scaling.rescale_factor) - mean) / deviation;
  }
  return tables;
}

void check_padding(Dim width, Dim height, Dim padded_width, Dim padded_height) {
  if (width > padded_width || height > padded_height)
    fail(ErrorCode::usage, "pad: the picture is {}x{}, larger than the wanted {}x{}", width, height, padded_width,
         padded_height);
}

}  // namespace

void to_planar(const Image& image, const PixelScaling& scaling, float* out) {
  to_planar_padded(image, scaling, image.width, image.height, out);
}

void to_planar_padded(const Image& image, const PixelScaling& scaling, Dim padded_width, Dim padded_height,
                      float* out) {
  check_padding(image.width, image.height, padded_width, padded_height);
  const std::array<Table, 3> tables = tables_of(scaling);
  parallel_rows(padded_height, 64, [&](Rows rows) {
    for (Dim y = rows.begin; y < rows.end; ++y)
      for (std::size_t c = 0; c < 3; ++c) {
        const Table& table = tables[c];
        float* to = out + (static_cast<Dim>(c) * padded_height + y) * padded_width;
        const Dim filled = y < image.height ? image.width : 0;
        const std::uint8_t* from = filled ? image.row(y) + c : nullptr;
        for (Dim x = 0; x < filled; ++x) to[x] = table[from[x * 3]];
        std::fill(to + filled, to + padded_width, 0.0f);
      }
  });
}

void fill_pixel_mask(Dim width, Dim height, Dim padded_width, Dim padded_height, std::int64_t* out) {
  check_padding(width, height, padded_width, padded_height);
  for (Dim y = 0; y < padded_height; ++y, out += padded_width) {
    const Dim filled = y < height ? width : 0;
    std::fill(out, out + filled, 1);
    std::fill(out + filled, out + padded_width, 0);
  }
}

double mean_difference(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height) return 256;
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) sum += std::abs(int{a.pixels[i]} - int{b.pixels[i]});
  return a.pixels.empty() ? 0 : static_cast<double>(sum) / static_cast<double>(a.pixels.size());
}

}  // namespace tap
