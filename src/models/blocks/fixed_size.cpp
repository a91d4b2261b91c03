#include "models/blocks/fixed_size.h"

#include <algorithm>

#include "media/tile.h"

namespace tap {

PixelScaling pixel_scaling_of(const ConfigReader& in, const PerChannel& mean, const PerChannel& deviation) {
  PixelScaling scaling;
  const bool rescale = in.flag_or("do_rescale", true), normalize = in.flag_or("do_normalize", true);
  in.number_or("rescale_factor", 0);  // checked; read again as the double it is
  scaling.rescale_factor = rescale && in.has("rescale_factor") ? in.json().at("rescale_factor").get<double>()
                           : rescale                           ? 1.0 / 255
                                                               : 1.0;
  const auto means = in.numbers_or("image_mean", {mean.begin(), mean.end()}),
             deviations = in.numbers_or("image_std", {deviation.begin(), deviation.end()});
  if (means.size() != 3) in.refuse("image_mean", "must have 3 numbers");
  if (deviations.size() != 3 || *std::min_element(deviations.begin(), deviations.end()) <= 0)
    in.refuse("image_std", "must have 3 numbers above 0");
  for (std::size_t c = 0; c < 3 && normalize; ++c) scaling.mean[c] = means[c], scaling.std[c] = deviations[c];
  return scaling;
}

Filter resample_of(const ConfigReader& in, Filter fallback) {
  const Dim code = in.non_negative_or("resample", static_cast<Dim>(fallback));
  if (code > 5) in.refuse("resample", "must be one of Pillow's filters 0 to 5");
  return filter_of_code(code);
}

FixedSize::FixedSize(const ConfigReader& in, Dim edge_px, Filter fallback)
    : size{edge_px, edge_px}, filter(resample_of(in, fallback)), scaling(pixel_scaling_of(in)) {
  if (in.has("size")) {
    const ConfigReader wanted = in.child("size");
    for (const char* key : {"height", "width"})
      if (wanted.positive_or(key, edge_px) != edge_px)
        wanted.refuse(key, fmt::format("the tower takes pictures of {} pixels along an edge", edge_px));
  }
  if (!in.flag_or("do_resize", true)) in.refuse("do_resize", "pictures must be brought to the tower's size");
}

ImagePlan FixedSize::plan(Dim width, Dim height) const {
  ImagePlan plan;
  plan.source = {width, height};
  plan.source.require_pixels();
  plan.tile = size;
  if (plan.source != size) plan.resizes.push_back(size);
  return plan;
}

Image FixedSize::prepare(const Image& image, const ImagePlan& plan) const {
  plan.require_source(image);
  const auto fitted = [&](const Image& part) {
    return part.width == size.width && part.height == size.height ? part
                                                                  : resize(part, size.width, size.height, filter);
  };
  Image all = fitted(image);
  for (const RectPx& at : plan.crops) {
    const Image part = fitted(crop(image, at.x, at.y, at.width, at.height));
    all.pixels.insert(all.pixels.end(), part.pixels.begin(), part.pixels.end());
    all.height += part.height;
  }
  return all;
}

Tensor FixedSize::tiles(const Image& prepared, const ImagePlan& plan, Dim begin, Dim end) const {
  plan.require_tiles(begin, end);
  if (prepared.width != size.width || prepared.height != plan.tiles() * size.height)
    fail(ErrorCode::bad_input, "a prepared picture of {}x{}, its plan has {} tiles of {}x{}", prepared.width,
         prepared.height, plan.tiles(), size.width, size.height);
  Tensor out = Tensor::empty({end - begin, 3, size.height, size.width});
  float* to = out.write<float>();
  for (Dim tile = begin; tile < end; ++tile, to += 3 * size.height * size.width) {
    if (plan.tiles() == 1)
      to_planar(prepared, scaling, to);
    else
      to_planar(crop(prepared, 0, tile * size.height, size.width, size.height), scaling, to);
  }
  return out;
}

std::string FixedSize::settings() const {
  return fmt::format("{}x{} filter={} factor={} mean={},{},{} std={},{},{}", size.width, size.height,
                     static_cast<int>(filter), scaling.rescale_factor, scaling.mean[0], scaling.mean[1],
                     scaling.mean[2], scaling.std[0], scaling.std[1], scaling.std[2]);
}

}  // namespace tap
