// What an image processor's file says of pixels, and the processors that bring every picture to one size whatever its
// shape. Parity: HF SiglipImageProcessorPil, Gemma3ImageProcessorPil.
#pragma once

#include <array>
#include <string>

#include "media/pixels.h"
#include "media/resize.h"
#include "models/family.h"

namespace tap {

// rescale_factor, image_mean and image_std, unless do_rescale or do_normalize say otherwise. `mean` and `deviation`
// stand where the file has none.
using PerChannel = std::array<float, 3>;
PixelScaling pixel_scaling_of(const ConfigReader& in, const PerChannel& mean = {0.5f, 0.5f, 0.5f},
                              const PerChannel& deviation = {0.5f, 0.5f, 0.5f});
// `resample`, one of Pillow's codes.
Filter resample_of(const ConfigReader& in, Filter fallback);

struct FixedSize {
  SizePx size;
  Filter filter;
  PixelScaling scaling;

  // `edge_px`: the edge of the pictures that the tower takes, which `size` must be.
  FixedSize(const ConfigReader& in, Dim edge_px, Filter fallback);
  // One tile: the whole picture. Throws Error(bad_input) for a picture without pixels.
  ImagePlan plan(Dim width, Dim height) const;
  // The picture, then its plan's crops below it, each brought to the size.
  Image prepare(const Image& image, const ImagePlan& plan) const;
  // Tiles [begin, end) of what `prepare` gave: [end - begin, 3, height, width].
  Tensor tiles(const Image& prepared, const ImagePlan& plan, Dim begin, Dim end) const;
  std::string settings() const;  // for cache keys
};

}  // namespace tap
