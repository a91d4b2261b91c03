// Pictures to feature rows through the cache: equal pictures are encoded once.
#pragma once

#include <memory>

#include "runtime/feature_cache.h"
#include "runtime/model.h"
#include "runtime/timings.h"

namespace tap {

constexpr Dim encode_pixel_elements = Dim{1} << 20;  // of tiles in memory as floats at a time, at least one tile

class PictureEncoder {
 public:
  // `features`: shared between encoders; null = its own.
  PictureEncoder(const Model& model, std::shared_ptr<FeatureCache> features);

  PictureKey key_of(const Image& image) const;
  // [plan.tokens, d]: kept, or computed a few tiles at a time. The stages are added to `timings`, when given.
  Tensor rows(const PictureKey& key, const Image& image, const ImagePlan& plan, Timings* timings = nullptr);

  Dim encoded() const { return encoded_; }  // pictures that were not in the cache
  const std::shared_ptr<FeatureCache>& features() const { return features_; }

 private:
  const Model* model_;
  std::shared_ptr<FeatureCache> features_;
  Dim encoded_ = 0;
};

}  // namespace tap
