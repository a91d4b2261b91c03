// The processor of SmolVLM and Idefics3: two resizes, tiles, and the text that stands for a picture.
// Parity: HF Idefics3ImageProcessorPil, SmolVLMImageProcessorPil, Idefics3Processor, SmolVLMProcessor.
#include "models/smolvlm_processor.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "media/pixels.h"
#include "media/resize.h"
#include "media/tile.h"
#include "models/blocks/fixed_size.h"
#include "models/blocks/marks.h"
#include "text/cardinal.h"

namespace tap::smolvlm {

namespace {

constexpr Dim max_edge_px = 4096;  // HF: MAX_IMAGE_SIZE, "4k resolution as absolute maximum"

Dim scaled(Dim edge, double factor) {
  return static_cast<Dim>(static_cast<double>(edge) * factor);
}  // Python's int(edge * aspect)
Dim divided(Dim edge, double aspect) { return static_cast<Dim>(static_cast<double>(edge) / aspect); }

// HF: _resize_output_size_rescale_to_max_len, then _resize_output_size_scale_below_upper_bound. Enlarges small
// pictures.
SizePx fit_longest(SizePx size, Dim longest) {
  const double aspect = static_cast<double>(size.width) / static_cast<double>(size.height);
  if (size.width >= size.height) {
    size = {longest, divided(longest, aspect)};
    size.height += size.height % 2;
  } else {
    size = {scaled(longest, aspect), longest};
    size.width += size.width % 2;
  }
  size = {std::max<Dim>(1, size.width), std::max<Dim>(1, size.height)};
  const double fitted = static_cast<double>(size.width) / static_cast<double>(size.height);
  if (size.width >= size.height && size.width > max_edge_px)
    size = {max_edge_px, divided(max_edge_px, fitted)};
  else if (size.height > size.width && size.height > max_edge_px)
    size = {scaled(max_edge_px, fitted), max_edge_px};
  return {std::max<Dim>(1, size.width), std::max<Dim>(1, size.height)};
}

// HF: resize_for_vision_encoder. The longer edge is rounded up first, the other follows the aspect and is rounded up.
SizePx fit_tiles(SizePx size, Dim tile) {
  const double aspect = static_cast<double>(size.width) / static_cast<double>(size.height);
  if (size.width >= size.height) {
    size.width = round_up(size.width, tile);
    size.height = round_up(divided(size.width, aspect), tile);
  } else {
    size.height = round_up(size.height, tile);
    size.width = round_up(scaled(size.height, aspect), tile);
  }
  return {std::max(tile, size.width), std::max(tile, size.height)};
}

// Python's str(timedelta) has "1 day, " before the hours.
std::string days(Dim count) { return count == 0 ? "" : fmt::format("{} day{}, ", count, count == 1 ? "" : "s"); }

struct Settings {
  bool do_resize, do_split;
  Dim longest = 0;  // 0: `fixed` instead
  SizePx fixed;
  Dim tile, seq_len;  // pixels of a tile's edge; rows it becomes
  Filter filter;
  PixelScaling scaling;
  Dim video_longest = 0, video_frames = 64;  // 0: a model of pictures
  double video_fps = 1;

  Settings(const ConfigReader& in, const ConfigReader& processor, Dim patch, Dim factor)
      : do_resize(in.flag_or("do_resize", true)), do_split(in.flag_or("do_image_splitting", true)) {
    const ConfigReader size = in.child_or_empty("size");
    if (size.has("height") && size.has("width"))
      fixed = {size.positive("width"), size.positive("height")};
    else
      longest = size.positive_or("longest_edge", 4 * 364);
    tile = in.child_or_empty("max_image_size").positive_or("longest_edge", 364);
    if (longest > (1 << 16) || fixed.width > (1 << 16) || fixed.height > (1 << 16))
      in.refuse("size", "an edge may have at most 65536 pixels");
    if (tile > max_edge_px)
      in.refuse("max_image_size", fmt::format("a tile may have at most {} pixels along an edge", max_edge_px));
    if (in.has("video_sampling")) {
      const ConfigReader video = in.child("video_sampling");
      video_longest = video.child_or_empty("video_size").positive_or("longest_edge", tile);
      video_frames = video.positive_or("max_frames", 64);
      video_fps = double{video.number_or("fps", 1)};
      if (video_longest > max_edge_px) in.refuse("video_sampling", "video_size is over 4096 pixels");
      if (!(video_fps > 0 && video_fps <= 1000)) in.refuse("video_sampling", "fps must be above 0, at most 1000");
      if (video_frames > 999) in.refuse("video_sampling", "max_frames is over 999");
    }
    filter = resample_of(in, Filter::lanczos);
    scaling = pixel_scaling_of(in);
    const Dim side = tile / patch;
    if (side < 1 || side % factor != 0)
      in.refuse(
          "max_image_size",
          fmt::format("{} pixels are {} patches along an edge, which scale_factor {} must divide", tile, side, factor));
    const Dim rows = (side / factor) * (side / factor);
    seq_len = processor.positive_or("image_seq_len", rows);
    if (seq_len != rows) processor.refuse("image_seq_len", fmt::format("a tile becomes {} rows", rows));
  }
};

class SmolProcessor final : public Processor {
 public:
  SmolProcessor(const ModelFiles& files, Dim patch, Dim factor, TokenId image_token)
      : settings_(files.preprocessor, files.processor, patch, factor),
        tokenizer_(files.tokenizer),
        image_token_(image_token),
        mark_(added_token(files, "image_token_id", image_token)) {}

  ImagePlan plan(Dim width, Dim height) const override {
    ImagePlan plan;
    plan.source = {width, height};
    plan.source.require_pixels();
    plan.tile = {settings_.tile, settings_.tile};
    SizePx size = plan.source;
    const auto resize_to = [&](SizePx wanted) {
      if (wanted != size) plan.resizes.push_back(size = wanted);
    };
    if (settings_.do_resize) resize_to(settings_.longest ? fit_longest(size, settings_.longest) : settings_.fixed);
    if (settings_.do_split) {
      resize_to(fit_tiles(size, settings_.tile));
      if (size.width > settings_.tile || size.height > settings_.tile) {
        plan.rows = size.height / settings_.tile;
        plan.columns = size.width / settings_.tile;
        plan.overview = true;
      }
    } else {
      resize_to(plan.tile);
    }
    plan.tokens = plan.tiles() * settings_.seq_len;
    return plan;
  }

  // HF: SmolVLMVideoProcessor.sample_frames; np.linspace with whole numbers takes the floor.
  FrameChoice choose_frames(const VideoShape& video, const FrameWish& wish) const override {
    require_videos();
    const double fps = wish.fps.value_or(settings_.video_fps);
    const Dim most = wish.frames.value_or(settings_.video_frames), skipped_s = 1;
    const Dim by_rate = static_cast<Dim>(std::nearbyint(fps * video.duration));
    const Dim wanted = std::max<Dim>(1, wish.frames ? std::min(most, video.frames) : std::min(by_rate, most));
    Dim begin = 0, end = video.frames - 1;
    if (video.duration - 2.0 * skipped_s > static_cast<double>(most) * fps) {
      begin = static_cast<Dim>(skipped_s * video.fps);
      end = std::min(static_cast<Dim>(static_cast<double>(video.frames) - skipped_s * video.fps), end);
    }
    if (begin >= end) begin = 0, end = video.frames - 1;
    FrameChoice choice;
    const double step = wanted > 1 ? static_cast<double>(end - begin) / static_cast<double>(wanted - 1) : 0;
    for (Dim i = 0; i < wanted; ++i) {
      const Dim at = i > 0 && i == wanted - 1
                         ? end
                         : static_cast<Dim>(std::floor(static_cast<double>(i) * step + static_cast<double>(begin)));
      if (choice.indices.empty() || choice.indices.back() != at) choice.indices.push_back(at);
    }
    choice.sampled_fps = static_cast<double>(choice.indices.size()) / static_cast<double>(video.frames) * video.fps;
    return choice;
  }

  // Frames are squashed to one tile, on the way over the longest edge that videos have, and never split.
  ImagePlan plan_video(Dim width, Dim height, const FrameTimes& times) const override {
    require_videos();
    if (times.seconds.empty()) fail(ErrorCode::bad_input, "a video without frames");
    ImagePlan plan;
    plan.source = {width, height};
    plan.source.require_pixels();
    plan.tile = {settings_.tile, settings_.tile};
    SizePx size = plan.source;
    if (settings_.do_resize)
      if (const SizePx fitted = fit_longest(size, settings_.video_longest); fitted != size)
        plan.resizes.push_back(size = fitted);
    if (size != plan.tile) plan.resizes.push_back(plan.tile);
    plan.seconds = times.seconds;
    plan.video_seconds = times.duration;
    plan.tokens = plan.tiles() * settings_.seq_len;
    return plan;
  }

  Tensor video_tiles(std::span<const Image> frames, const ImagePlan& plan, Dim begin, Dim end) const override {
    plan.require_tiles(begin, end);
    const Dim values = 3 * plan.tile.width * plan.tile.height;
    Tensor out = Tensor::empty({end - begin, 3, plan.tile.height, plan.tile.width});
    for (Dim i = 0; i < end - begin; ++i) {
      const Image& frame = frames[static_cast<std::size_t>(i)];
      if (frame.width != plan.tile.width || frame.height != plan.tile.height)
        fail(ErrorCode::bad_input, "a frame of {}x{} where {}x{} is planned", frame.width, frame.height,
             plan.tile.width, plan.tile.height);
      to_planar(frame, settings_.scaling, out.write<float>() + i * values);
    }
    return out;
  }

  Image prepare(const Image& image, const ImagePlan& plan) const override {
    plan.require_source(image);
    if (plan.resizes.empty()) return image;
    if (plan.is_video()) {
      Image frame = image;
      for (const SizePx& size : plan.resizes) frame = resize_tensor(frame, size.width, size.height, settings_.filter);
      return frame;
    }
    Image resized = resize(image, plan.resizes.front().width, plan.resizes.front().height, settings_.filter);
    for (std::size_t i = 1; i < plan.resizes.size(); ++i)
      resized = resize(resized, plan.resizes[i].width, plan.resizes[i].height, settings_.filter);
    return resized;
  }

  Tensor tiles(const Image& prepared, const ImagePlan& plan, Dim begin, Dim end) const override {
    plan.require_tiles(begin, end);
    const Dim width = plan.tile.width, height = plan.tile.height, grid = plan.rows * plan.columns;
    Tensor out = Tensor::empty({end - begin, 3, height, width});
    float* to = out.write<float>();
    for (Dim tile = begin; tile < end; ++tile, to += 3 * width * height) {
      if (grid == 0)
        to_planar(prepared, settings_.scaling, to);
      else if (tile < grid)
        to_planar(crop(prepared, tile % plan.columns * width, tile / plan.columns * height, width, height),
                  settings_.scaling, to);
      else
        to_planar(resize(prepared, width, height, settings_.filter), settings_.scaling, to);  // the overview
    }
    return out;
  }

  Prompt place(std::span<const TextSpan> spans, std::span<const ImagePlan> plans,
               bool add_special_tokens) const override {
    const std::array marks{Mark{mark_}, Mark{"<video>", true}};
    const auto text_of = [&](const ImagePlan& plan) { return plan.is_video() ? video_text(plan) : picture_text(plan); };
    return prompt_of(*this, tokenizer_,
                     expand_marks(spans, std::span(marks).first(settings_.video_longest > 0 ? 2 : 1), plans, text_of),
                     plans, add_special_tokens);
  }

  Prompt from_ids(std::span<const TokenId> ids, std::span<const ImagePlan> plans, Dim) const override {
    Prompt prompt = causal_prompt(ids);
    fill_slots(prompt, std::span(&image_token_, 1), plans);
    return prompt;
  }

  std::string settings() const override {
    const Settings& s = settings_;
    return fmt::format(
        "smolvlm resize={} split={} longest={} fixed={}x{} tile={} filter={} factor={} mean={},{},{} std={},{},{}",
        s.do_resize, s.do_split, s.longest, s.fixed.width, s.fixed.height, s.tile, static_cast<int>(s.filter),
        s.scaling.rescale_factor, s.scaling.mean[0], s.scaling.mean[1], s.scaling.mean[2], s.scaling.std[0],
        s.scaling.std[1], s.scaling.std[2]);
  }

 private:
  // The row's newline and the one before the overview are adjacent: byte-level BPE may merge them, so they stay plain
  // text.
  std::string picture_text(const ImagePlan& plan) const {
    const std::string tile = repeated(mark_, settings_.seq_len);
    std::string text;
    for (Dim row = 1; row <= plan.rows; ++row) {
      for (Dim column = 1; column <= plan.columns; ++column)
        text += fmt::format("<fake_token_around_image><row_{}_col_{}>{}", row, column, tile);
      text += "\n";
    }
    if (plan.overview) text += "\n";
    return text + "<fake_token_around_image><global-img>" + tile + "<fake_token_around_image>";
  }
  // HF: SmolVLMProcessor.replace_video_token.
  std::string video_text(const ImagePlan& plan) const {
    const auto whole = static_cast<Dim>(plan.video_seconds);
    std::string text =
        fmt::format("You are provided the following series of {} frames from a {}{}:{:02}:{:02} [H:MM:SS] video.\n",
                    cardinal(static_cast<Dim>(plan.seconds.size())), days(whole / 86400), whole / 3600 % 24,
                    whole / 60 % 60, whole % 60);
    for (const double at : plan.seconds) {
      const auto second = static_cast<Dim>(at);
      text += fmt::format("\nFrame from {:02}:{:02}:<fake_token_around_image><global-img>{}<fake_token_around_image>",
                          second / 60, second % 60, repeated(mark_, settings_.seq_len));
    }
    return text + "\n\n";
  }
  void require_videos() const {
    if (settings_.video_longest == 0)
      fail(ErrorCode::unsupported, "this model takes pictures, not videos (its settings have no video_sampling)");
  }

  Settings settings_;
  Tokenizer tokenizer_;
  TokenId image_token_;
  std::string mark_;
};

}  // namespace

std::vector<Dim> position_buckets(Dim count, Dim valid, Dim side) {
  const double step = 1.0 / static_cast<double>(side);
  const auto edges = std::max<Dim>(0, static_cast<Dim>(std::ceil((1.0 - step) / step)));
  std::vector<float> boundaries;
  const Dim vectored = edges / 16 * 16;
  for (Dim i = 0; i < edges; ++i) {
    const double start = step + step * static_cast<double>(i < vectored ? i / 8 * 8 : i);
    boundaries.push_back(i < vectored ? static_cast<float>(static_cast<double>(static_cast<float>(start)) +
                                                           static_cast<double>(i % 8) * step)
                                      : static_cast<float>(start));
  }
  std::vector<Dim> ids;
  const float unit = 1.0f / static_cast<float>(valid);
  for (Dim i = 0; i < count; ++i) {
    const float at = std::min(static_cast<float>(i) * unit, static_cast<float>(1.0 - 1e-6));
    const Dim id = std::upper_bound(boundaries.begin(), boundaries.end(), at) - boundaries.begin();
    ids.push_back(std::min(id, side - 1));
  }
  return ids;
}

std::unique_ptr<Processor> make_processor(const ModelFiles& files, Dim patch, Dim factor, TokenId image_token) {
  return std::make_unique<SmolProcessor>(files, patch, factor, image_token);
}

}  // namespace tap::smolvlm
