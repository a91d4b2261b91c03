#include "runtime/clip.h"

#include <algorithm>
#include <utility>

#include "base/exec_context.h"
#include "base/log.h"

namespace tap {

PlannedClip plan_clip(const VideoFile& video, const Processor& processor, const ClipWish& wish) {
  const auto seconds = video.seconds();
  const double end = wish.end.value_or(video.duration());
  const auto first = std::ranges::lower_bound(seconds, wish.start) - seconds.begin();
  const auto last = std::ranges::upper_bound(seconds, end) - seconds.begin();
  if (first >= last)
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: has no frame from {} to {} s: it lasts {:.2f} s", video.name(), wish.start, end,
                            video.duration()),
                video.name());
  const VideoShape shape{last - first, video.fps(), static_cast<double>(last - first) / video.fps()};
  PlannedClip planned{std::make_shared<Clip>(), {}};
  with_frame(video.name(), [&] {
    FrameChoice choice = processor.choose_frames(shape, wish.frames);
    if (wish.most_frames && static_cast<Dim>(choice.indices.size()) > *wish.most_frames) {
      FrameWish fewer = wish.frames;
      fewer.frames = *wish.most_frames;
      choice = processor.choose_frames(shape, fewer);
    }
    FrameTimes times{{}, choice.sampled_fps, shape.duration};
    for (const Dim index : choice.indices) {
      planned.indices.push_back(first + index);
      times.seconds.push_back(seconds[static_cast<std::size_t>(first + index)]);
    }
    planned.clip->plan = processor.plan_video(video.width(), video.height(), times);
  });
  planned.clip->name = video.name();
  planned.clip->change = wish.change;
  return planned;
}

void add_frames(const PlannedClip& planned, VideoFile& video, const Processor& processor,
                std::map<Dim, VideoFile::Frame> prepared, const std::function<void(std::size_t)>& each) {
  Clip& clip = *planned.clip;
  Dim moved = 0;
  for (std::size_t i = 0; i < planned.indices.size(); ++i) {
    ExecContext::current().checkpoint();
    const Dim index = planned.indices[i];
    if (!prepared.contains(index)) {
      VideoFile::Frame frame = video.frame(index);
      prepared[index] = {processor.prepare(frame.image, clip.plan), frame.index, frame.seconds};
    }
    VideoFile::Frame& frame = prepared.at(index);
    if (frame.index != index) {
      ++moved;
      clip.plan.seconds[i] = frame.seconds;
    }
    const bool again = i + 1 < planned.indices.size() && planned.indices[i + 1] == index;
    clip.frames.push_back(again ? frame.image : std::move(frame.image));
    if (each) each(clip.frames.back().pixels.size());
  }
  if (moved > 0 || video.broken() > 0)
    log::warn("{}: {} frames are broken; {} of the {} sampled stand for ones that could not be decoded", video.name(),
              video.broken(), moved, clip.frames.size());
  log::info("{}: {} of {} frames, {:.2f} s, {} {}x{}", video.name(), clip.frames.size(), video.frames(),
            video.duration(), video.codec(), video.width(), video.height());
}

}  // namespace tap
