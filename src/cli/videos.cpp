#include "cli/videos.h"

#include <algorithm>
#include <cmath>
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
  const auto seconds = video.seconds();
  const double start = options.start.value_or(0), end = options.end.value_or(video.duration());
  const auto first = std::ranges::lower_bound(seconds, start) - seconds.begin();
  const auto last = std::ranges::upper_bound(seconds, end) - seconds.begin();
  if (first >= last)
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: has no frame from {} to {} s: it lasts {:.2f} s", video.name(), start, end, video.duration()),
        video.name());
  VideoShape shape{last - first, video.fps(), static_cast<double>(last - first) / video.fps()};
  PlannedClip planned{std::make_shared<Clip>(), {}};
  with_frame(video.name(), [&] {
    FrameWish wish;
    if (options.frames) wish.frames = *options.frames;
    wish.fps = options.fps;
    const FrameChoice choice = model.processor().choose_frames(shape, wish);
    FrameTimes times{{}, choice.sampled_fps, shape.duration};
    for (const Dim index : choice.indices) {
      planned.indices.push_back(first + index);
      times.seconds.push_back(seconds[static_cast<std::size_t>(first + index)]);
    }
    planned.clip->plan = model.processor().plan_video(video.width(), video.height(), times);
  });
  planned.clip->name = video.name();
  planned.clip->change = change_of(options);
  return planned;
}

std::shared_ptr<const Clip> load_clip(const std::string& path, const Options& options, const Model& model,
                                      Guards& guards, std::vector<Safety>& verdicts) {
  VideoFile video(path);
  const PlannedClip planned = plan_clip(video, model, options);
  Clip& clip = *planned.clip;
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
  Dim moved = 0;
  for (std::size_t i = 0; i < planned.indices.size(); ++i) {
    ExecContext::current().checkpoint();
    const Dim index = planned.indices[i];
    if (!prepared.contains(index)) (void)decoded(index);
    VideoFile::Frame& frame = prepared.at(index);
    if (frame.index != index) {
      ++moved;
      clip.plan.seconds[i] = frame.seconds;
    }
    const bool again = i + 1 < planned.indices.size() && planned.indices[i + 1] == index;
    clip.frames.push_back(again ? frame.image : std::move(frame.image));
  }
  if (moved > 0 || video.broken() > 0)
    log::warn("{}: {} frames are broken; {} of the {} sampled stand for ones that could not be decoded", path,
              video.broken(), moved, clip.frames.size());
  log::info("{}: {} of {} frames, {:.2f} s, {} {}x{}", path, clip.frames.size(), video.frames(), video.duration(),
            video.codec(), video.width(), video.height());
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
