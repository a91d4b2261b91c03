// Pictures to feature rows through the cache: equal pictures are encoded once.
#pragma once

#include <memory>
#include <vector>

#include "runtime/feature_cache.h"
#include "runtime/model.h"
#include "runtime/timings.h"

namespace tap {

constexpr Dim encode_pixel_elements = Dim{1} << 20;  // of tiles in memory as floats at a time, at least one tile

// What tells a picture or a video apart from all others that this model may see. Hashes every pixel.
PictureKey media_key(const Model& model, const Medium& medium);
std::vector<PictureKey> media_keys(const Model& model, const PreparedPrompt& prepared);

class PictureEncoder {
 public:
  // `features`: shared between encoders; null = its own.
  PictureEncoder(const Model& model, std::shared_ptr<FeatureCache> features);

  PictureKey key_of(const Medium& medium) const { return media_key(*model_, medium); }
  std::vector<PictureKey> keys_of(const PreparedPrompt& prepared) const { return media_keys(*model_, prepared); }
  // [plan.tokens, d]: kept, or computed a few tiles at a time. The stages are added to `timings`, when given.
  Tensor rows(const PictureKey& key, const Medium& medium, const ImagePlan& plan, Timings* timings = nullptr);

  Dim encoded() const { return encoded_; }  // pictures that were not in the cache
  Dim steps() const { return steps_; }      // of videos: all that were wanted, and those that took the rows of another
  Dim reused() const { return reused_; }
  double error() const {
    return error_;
  }  // largest mean difference, of 255, between a step and the one it took rows of
  const std::shared_ptr<FeatureCache>& features() const { return features_; }

 private:
  Tensor picture(const Image& image, const ImagePlan& plan, double& preprocess_ms, double& encode_ms);
  // Step by step, so that a step's rows do not depend on its neighbours: one of equal pixels has them already.
  Tensor video(const Clip& clip, const ImagePlan& plan, double& preprocess_ms, double& encode_ms);
  const Model* model_;
  std::shared_ptr<FeatureCache> features_;
  Dim encoded_ = 0, steps_ = 0, reused_ = 0;
  double error_ = 0;
};

}  // namespace tap
