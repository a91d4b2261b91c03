#include "cli/videos.h"

#include <algorithm>
#include <map>

#include "base/log.h"

namespace tap::cli {

double change_of(const Options& options) {
  if (options.change == "exact") return -1;
  std::size_t used = 0;
  double value = -1;
  try {
    value = std::stod(options.change, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != options.change.size() || !(value >= 0 && value <= 255))
    throw Error(ErrorCode::usage,
                fmt::format("--change is \"{}\": must be exact, or a mean difference from 0 to 255", options.change),
                "change");
  return value;
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<Dim>(std::max(0.0, seconds));
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{:02}:{:02}", whole / 60, whole % 60);
}

PlannedClip plan_clip(const VideoFile& video, const Model& model, const Options& options) {
  ClipWish wish;
  if (options.frames) wish.frames.frames = *options.frames;
  wish.frames.fps = options.fps;
  wish.start = options.start.value_or(0);
  wish.end = options.end;
  wish.change = change_of(options);
  return tap::plan_clip(video, model.processor(), wish);
}

std::shared_ptr<const Clip> load_clip(const std::string& path, const Options& options, const Model& model,
                                      Guards& guards, std::vector<Safety>& verdicts) {
  VideoFile video(path);
  const PlannedClip planned = plan_clip(video, model, options);
  const Clip& clip = *planned.clip;
  std::map<Dim, VideoFile::Frame> prepared;  // of the sampled indices
  const auto decoded = [&](Dim index) {
    VideoFile::Frame frame = video.frame(index);
    if (std::ranges::binary_search(planned.indices, index) && !prepared.contains(index))
      prepared[index] = {model.processor().prepare(frame.image, clip.plan), frame.index, frame.seconds};
    return std::make_shared<const Image>(std::move(frame.image));
  };
  if (guards.judges_pictures()) {
    std::vector<Dim> judged = planned.indices;
    for (double at = 0; at < video.duration(); at += 1)
      judged.push_back(
          std::min<Dim>(std::ranges::lower_bound(video.seconds(), at) - video.seconds().begin(), video.frames() - 1));
    std::ranges::sort(judged);
    judged.erase(std::unique(judged.begin(), judged.end()), judged.end());
    const std::vector<Safety> said = guards.judge_frames(
        static_cast<Dim>(judged.size()), [&](Dim i) { return decoded(judged[static_cast<std::size_t>(i)]); }, path);
    verdicts.insert(verdicts.end(), said.begin(), said.end());
  }
  add_frames(planned, video, model.processor(), std::move(prepared));
  return planned.clip;
}

Medium load_medium(const PictureSource& source, const Options& options, const Model& model, Guards& guards,
                   std::vector<Safety>& verdicts) {
  if (!source.clipboard && is_video_file(source.name))
    return {nullptr, load_clip(source.name, options, model, guards, verdicts)};
  auto image = load_picture(source, options, guards, verdicts);
  with_frame(shown_name(source), [&] { (void)model.processor().plan(image->width, image->height); });
  return {std::move(image), nullptr};
}

}  // namespace tap::cli
