// Videos to what a model is asked about: which frames its own sampling takes, and their pixels.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "media/video_file.h"
#include "runtime/conversation.h"

namespace tap {

// What a caller wants instead of the model's own sampling.
struct ClipWish {
  FrameWish frames = {};
  std::optional<Dim> most_frames = {};  // of what the sampling takes; fewer stand evenly
  double start = 0;                     // seconds
  std::optional<double> end = {};
  double change = -1;  // as Clip::change
};

// A clip without pixels.
struct PlannedClip {
  std::shared_ptr<Clip> clip;
  std::vector<Dim> indices;  // of clip->plan.seconds
};

// Throws Error naming the file: a model without videos, a span without frames.
PlannedClip plan_clip(const VideoFile& video, const Processor& processor, const ClipWish& wish);

// Decodes and prepares its frames, but those that `prepared` has. Broken ones are skipped, which is logged. `each` is
// called after every frame with the bytes of its prepared pixels. Throws what VideoFile::frame throws, and `each`.
void add_frames(const PlannedClip& planned, VideoFile& video, const Processor& processor,
                std::map<Dim, VideoFile::Frame> prepared = {}, const std::function<void(std::size_t)>& each = {});

}  // namespace tap
