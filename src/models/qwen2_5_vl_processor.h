// The weightless half of the Qwen2.5-VL family: sizes, patches, prompt layout and positions.
#pragma once

#include <memory>

#include "models/family.h"

namespace tap::qwen2_5_vl {

// What the processor needs of config.json.
struct Layout {
  Dim patch = 14, merge = 2, temporal_patch = 2;  // pixels of a patch's edge, patches of a row's edge, frames of a step
  double tokens_per_second = 4;                   // positions of a second of video
  TokenId image_token = 0, video_token = 0;
};

// Qwen2-VL's smart_resize: edges rounded to multiples of `factor` (halves to even, as Python's round), the area held
// between the limits. Throws Error(bad_input) for an aspect ratio above 200.
SizePx smart_resize(SizePx size, Dim factor, Dim min_pixels, Dim max_pixels);

std::unique_ptr<Processor> make_processor(const ModelFiles& files, const Layout& layout);

}  // namespace tap::qwen2_5_vl
