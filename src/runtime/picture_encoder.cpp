#include "runtime/picture_encoder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <string>

#include "base/clock.h"
#include "media/pixels.h"

namespace tap {

PictureEncoder::PictureEncoder(const Model& model, std::shared_ptr<FeatureCache> features)
    : model_(&model), features_(features ? std::move(features) : std::make_shared<FeatureCache>()) {}

namespace {

PictureKey frames_key(std::span<const Image> frames, std::string text = {}) {
  for (const Image& frame : frames) {
    const PictureKey key = picture_key({}, {}, frame);
    text.append(reinterpret_cast<const char*>(key.data()), key.size());
  }
  return bytes_key(text);
}

}  // namespace

PictureKey media_key(const Model& model, const Medium& medium) {
  const std::string settings = model.processor().settings();
  if (medium.image) return picture_key(model.fingerprint(), settings, *medium.image);
  const Clip& clip = *medium.clip;
  return frames_key(clip.frames,
                    fmt::format("{} {} video {}x{} {} {} ", model.fingerprint(), settings, clip.plan.source.width,
                                clip.plan.source.height, clip.change, clip.plan.step_seconds));
}

std::vector<PictureKey> media_keys(const Model& model, const PreparedPrompt& prepared) {
  std::vector<PictureKey> keys;
  for (const Medium& medium : prepared.media) keys.push_back(media_key(model, medium));
  return keys;
}

Tensor PictureEncoder::picture(const Image& image, const ImagePlan& plan, double& preprocess_ms, double& encode_ms) {
  Stopwatch watch;
  const Processor& processor = model_->processor();
  const Image prepared = processor.prepare(image, plan);
  const Dim at_once = std::max<Dim>(1, encode_pixel_elements / (3 * plan.tile.width * plan.tile.height));
  preprocess_ms += watch.lap_ms();
  std::vector<Tensor> parts;
  for (Dim tile = 0; tile < plan.tiles(); tile += at_once) {
    const Tensor pixels = processor.tiles(prepared, plan, tile, std::min(tile + at_once, plan.tiles()));
    preprocess_ms += watch.lap_ms();
    parts.push_back(model_->network().see(pixels, plan));
    encode_ms += watch.lap_ms();
  }
  return parts.size() == 1 ? parts.front() : ops::concat_rows(parts);
}

namespace {

// Of two steps of a video: the mean over their frames, which are of one size; 256 where they are not as many.
double difference(std::span<const Image> a, std::span<const Image> b) {
  if (a.size() != b.size()) return 256;
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += mean_difference(a[i], b[i]);
  return a.empty() ? 0 : sum / static_cast<double>(a.size());
}

}  // namespace

Tensor PictureEncoder::video(const Clip& clip, const ImagePlan& plan, double& preprocess_ms, double& encode_ms) {
  struct Step {
    std::span<const Image> frames;
    Tensor rows;
  };
  const Processor& processor = model_->processor();
  const Dim steps = plan.tiles(), count = static_cast<Dim>(clip.frames.size());
  const Dim each = (count + steps - 1) / steps;  // frames of a step
  ImagePlan one = plan;                          // of a step alone, as the network sees it
  if (one.grid.steps > 0) one.grid.steps = 1;
  std::map<PictureKey, Tensor> known;
  Step before;
  std::vector<Tensor> parts;
  Stopwatch watch;
  for (Dim step = 0; step < steps; ++step) {
    ExecContext::current().checkpoint();
    const auto first = static_cast<std::size_t>(step * each),
               last = static_cast<std::size_t>(std::min(count, (step + 1) * each));
    const std::span frames = std::span(clip.frames).subspan(first, last - first);
    ++steps_;
    const PictureKey key = frames_key(frames);
    const auto at = known.find(key);
    const double changed = clip.change >= 0 && before.rows.defined() ? difference(before.frames, frames) : 256;
    if (at != known.end() || changed <= clip.change) {
      ++reused_;
      if (at == known.end()) error_ = std::max(error_, changed);
      parts.push_back(at != known.end() ? at->second : before.rows);
      preprocess_ms += watch.lap_ms();
      continue;
    }
    const Tensor pixels = processor.video_tiles(frames, plan, step, step + 1);
    preprocess_ms += watch.lap_ms();
    const Tensor rows = model_->network().see(pixels, one);
    encode_ms += watch.lap_ms();
    known[key] = rows;
    before = {frames, rows};
    parts.push_back(rows);
  }
  return parts.size() == 1 ? parts.front() : ops::concat_rows(parts);
}

Tensor PictureEncoder::rows(const PictureKey& key, const Medium& medium, const ImagePlan& plan, Timings* timings) {
  if (const Tensor* rows = features_->find(key)) return *rows;
  double preprocess_ms = 0, encode_ms = 0;
  Tensor rows = medium.clip ? video(*medium.clip, plan, preprocess_ms, encode_ms)
                            : picture(*medium.image, plan, preprocess_ms, encode_ms);
  if (rows.dim(0) != plan.tokens)
    fail(ErrorCode::internal, "a picture gave {} rows for {} slots", rows.dim(0), plan.tokens);
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
