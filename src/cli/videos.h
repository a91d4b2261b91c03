// Videos as the command line names them, to what a model is asked about.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/guarding.h"
#include "cli/options.h"
#include "cli/pictures.h"
#include "media/video_file.h"
#include "runtime/clip.h"
#include "runtime/model.h"

namespace tap::cli {

// Which frames the model's own sampling takes, as --frames, --fps, --start and --end say otherwise, and what they come
// to: a clip without pixels. Throws Error naming the file: a model without videos, a span without frames.
PlannedClip plan_clip(const VideoFile& video, const Model& model, const Options& options);

// With the pixels of its frames, each prepared as it comes. Broken frames are skipped, and said. Throws Error naming
// the file, and what guards refuse: they judge the sampled frames and one each second.
std::shared_ptr<const Clip> load_clip(const std::string& path, const Options& options, const Model& model,
                                      Guards& guards, std::vector<Safety>& verdicts);

// What the source is, a picture or a video. Throws as load_picture and load_clip, and naming the file what the model's
// processor refuses.
Medium load_medium(const PictureSource& source, const Options& options, const Model& model, Guards& guards,
                   std::vector<Safety>& verdicts);

// --change: exact is -1, or a mean difference from 0 to 255. Throws Error(usage).
double change_of(const Options& options);

std::string clock_text(double seconds);  // "1:02:03" or "02:03"

}  // namespace tap::cli
