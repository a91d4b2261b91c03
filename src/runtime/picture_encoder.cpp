#include "runtime/picture_encoder.h"

#include <algorithm>

#include "base/clock.h"

namespace tap {

PictureEncoder::PictureEncoder(const Model& model, std::shared_ptr<FeatureCache> features)
    : model_(&model), features_(features ? std::move(features) : std::make_shared<FeatureCache>()) {}

PictureKey PictureEncoder::key_of(const Image& image) const {
  return picture_key(model_->fingerprint(), model_->processor().settings(), image);
}

Tensor PictureEncoder::rows(const PictureKey& key, const Image& image, const ImagePlan& plan, Timings* timings) {
  if (const Tensor* rows = features_->find(key)) return *rows;
  Stopwatch watch;
  const Processor& processor = model_->processor();
  const Image prepared = processor.prepare(image, plan);
  const Dim at_once = std::max<Dim>(1, encode_pixel_elements / (3 * plan.tile.width * plan.tile.height));
  double preprocess_ms = watch.lap_ms(), encode_ms = 0;
  std::vector<Tensor> parts;
  Dim count = 0;
  for (Dim tile = 0; tile < plan.tiles(); tile += at_once) {
    const Tensor pixels = processor.tiles(prepared, plan, tile, std::min(tile + at_once, plan.tiles()));
    preprocess_ms += watch.lap_ms();
    parts.push_back(model_->network().see(pixels, plan));
    count += parts.back().dim(0);
    encode_ms += watch.lap_ms();
  }
  if (count != plan.tokens) fail(ErrorCode::internal, "a picture gave {} rows for {} slots", count, plan.tokens);
  Tensor rows = parts.size() == 1 ? parts.front() : ops::concat_rows(parts);
  ++encoded_;
  if (timings) {
    timings->preprocess.ms += preprocess_ms;
    timings->preprocess.tokens += plan.tokens;
    timings->encode.ms += encode_ms;
    timings->encode.tokens += plan.tokens;
  }
  features_->put(key, rows);
  return rows;
}

}  // namespace tap
