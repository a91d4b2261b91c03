// The processor of Qwen2.5-VL. Parity: HF Qwen2VLImageProcessorPil, Qwen2_5_VLProcessor, get_rope_index; qwen-vl-utils
// for the sizes of a video's frames. A row of pixels is one patch: channel, frame, row, column; patches stand in blocks
// of merge x merge, so that the merger reads its four in a row.
#include "models/qwen2_5_vl_processor.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/parallel.h"
#include "models/blocks/fixed_size.h"
#include "models/blocks/marks.h"

namespace tap::qwen2_5_vl {

namespace {

constexpr double most_aspect = 200;  // HF: smart_resize
// qwen-vl-utils: VIDEO_MIN_PIXELS, VIDEO_MAX_PIXELS, VIDEO_TOTAL_PIXELS, FRAME_FACTOR in vision_process.py.
constexpr Dim video_min_pixels = 128 * 28 * 28, video_max_pixels = 768 * 28 * 28;
constexpr Dim video_least_frames = 4, video_most_frames = 768;
constexpr double video_total_pixels = 128000.0 * 28 * 28 * 0.9, frame_factor = 2;

// OpenAI's CLIP, which HF calls OPENAI_CLIP_MEAN and OPENAI_CLIP_STD.
constexpr PerChannel clip_mean{0.48145466f, 0.4578275f, 0.40821073f}, clip_std{0.26862954f, 0.26130258f, 0.27577711f};

Dim multiple(double edge, Dim factor) {  // std::nearbyint rounds halves to even in the default mode, as Python does
  return static_cast<Dim>(std::nearbyint(edge / static_cast<double>(factor))) * factor;
}

struct Settings {
  bool do_resize;
  Dim min_pixels, max_pixels;
  Filter filter;
  PixelScaling scaling;

  explicit Settings(const ConfigReader& in)
      : do_resize(in.flag_or("do_resize", true)),
        filter(resample_of(in, Filter::bicubic)),
        scaling(pixel_scaling_of(in, clip_mean, clip_std)) {
    const ConfigReader size = in.child_or_empty("size");
    min_pixels = in.positive_or("min_pixels", size.positive_or("shortest_edge", 56 * 56));
    max_pixels = in.positive_or("max_pixels", size.positive_or("longest_edge", 28 * 28 * 1280));
    if (max_pixels < min_pixels) in.refuse("max_pixels", fmt::format("is below min_pixels {}", min_pixels));
    if (max_pixels > (Dim{1} << 28)) in.refuse("max_pixels", "a picture may have at most 268435456 pixels");
  }
};

class QwenProcessor final : public Processor {
 public:
  QwenProcessor(const ModelFiles& files, const Layout& layout)
      : settings_(files.preprocessor), layout_(layout), tokenizer_(files.tokenizer) {
    const ConfigReader& in = files.preprocessor;
    agree(in, "patch_size", layout.patch);
    agree(in, "merge_size", layout.merge);
    agree(in, "temporal_patch_size", layout.temporal_patch);
    marks_ = {{added_token(files, "image_token_id", layout.image_token), false},
              {added_token(files, "video_token_id", layout.video_token), true}};
  }

  ImagePlan plan(Dim width, Dim height) const override {
    return plan_of({width, height}, 1, settings_.min_pixels, settings_.max_pixels);
  }

  // qwen-vl-utils: smart_nframes and torch.linspace in f32, rounded half to even.
  FrameChoice choose_frames(const VideoShape& video, const FrameWish& wish) const override {
    const Dim pair = layout_.temporal_patch;
    const auto down = [&](double n) { return static_cast<Dim>(std::floor(n / static_cast<double>(pair))) * pair; };
    Dim count = 0;
    if (wish.frames) {
      count = static_cast<Dim>(std::nearbyint(static_cast<double>(*wish.frames) / static_cast<double>(pair))) * pair;
    } else {
      const double wanted = static_cast<double>(video.frames) / video.fps * wish.fps.value_or(2);
      const auto most = static_cast<double>(down(static_cast<double>(std::min(video_most_frames, video.frames))));
      count = down(std::min(
          {std::max(wanted, static_cast<double>(video_least_frames)), most, static_cast<double>(video.frames)}));
    }
    count = std::clamp<Dim>(count, 1, video.frames);
    FrameChoice choice{{}, static_cast<double>(count) / static_cast<double>(video.frames) * video.fps};
    const auto last = static_cast<float>(video.frames - 1);
    const float step = count > 1 ? last / static_cast<float>(count - 1) : 0;
    for (Dim i = 0; i < count; ++i)  // as torch: from whichever end is nearer, rounded once
      choice.indices.push_back(static_cast<Dim>(
          std::nearbyintf(count == 1 || i < count / 2 ? step * static_cast<float>(i)
                                                      : std::fma(-step, static_cast<float>(count - 1 - i), last))));
    return choice;
  }

  ImagePlan plan_video(Dim width, Dim height, const FrameTimes& times) const override {
    const auto frames = static_cast<Dim>(times.seconds.size());
    if (frames < 1) fail(ErrorCode::bad_input, "a video without frames");
    if (!(times.sampled_fps > 0)) fail(ErrorCode::bad_input, "a video of {} frames a second", times.sampled_fps);
    const Dim least = video_min_pixels <= settings_.max_pixels ? std::max(settings_.min_pixels, video_min_pixels)
                                                               : settings_.min_pixels;
    const double share = std::min(static_cast<double>(video_max_pixels),
                                  video_total_pixels / static_cast<double>(frames) * frame_factor);
    const Dim most =
        std::clamp<Dim>(static_cast<Dim>(share), static_cast<Dim>(static_cast<double>(least) * 1.05),
                        std::max(settings_.max_pixels, static_cast<Dim>(static_cast<double>(least) * 1.05)));
    ImagePlan plan = plan_of({width, height}, ceil_div(frames, layout_.temporal_patch), least, most);
    plan.seconds = times.seconds;
    plan.step_seconds = static_cast<double>(layout_.temporal_patch) / times.sampled_fps;
    return plan;
  }

  ImagePlan plan_of_grid(const PatchGrid& grid, double step_seconds) const override {
    ImagePlan plan;
    plan.source = plan.tile = {grid.columns * layout_.patch, grid.rows * layout_.patch};
    plan.grid = grid;
    plan.step_seconds = step_seconds;
    if (step_seconds > 0) plan.seconds.assign(static_cast<std::size_t>(grid.steps * layout_.temporal_patch), 0);
    plan.tokens = grid.patches() / (layout_.merge * layout_.merge);
    return plan;
  }

  Image prepare(const Image& image, const ImagePlan& plan) const override {
    plan.require_source(image);
    if (plan.resizes.empty()) return image;
    return plan.is_video() ? resize_tensor(image, plan.tile.width, plan.tile.height, settings_.filter)
                           : resize(image, plan.tile.width, plan.tile.height, settings_.filter);
  }

  Tensor tiles(const Image& prepared, const ImagePlan& plan, Dim begin, Dim end) const override {
    return video_tiles(std::span(&prepared, 1), plan, begin, end);
  }

  // A picture, like the last frame of an odd number, stands in every place of its step.
  Tensor video_tiles(std::span<const Image> frames, const ImagePlan& plan, Dim begin, Dim end) const override {
    plan.require_tiles(begin, end);
    const Dim patches = plan.grid.rows * plan.grid.columns, edge = layout_.patch;
    const Dim values = 3 * layout_.temporal_patch * edge * edge, count = static_cast<Dim>(frames.size());
    Tensor out = Tensor::empty({(end - begin) * patches, values});
    if (begin == end) return out;
    if (frames.empty()) fail(ErrorCode::bad_input, "no frame for steps {} to {}", begin, end);
    const Dim plane = 3 * plan.tile.height * plan.tile.width;
    Tensor planes = Tensor::empty({std::min(layout_.temporal_patch, count), plane});
    std::vector<const float*> places(static_cast<std::size_t>(layout_.temporal_patch));
    for (Dim step = begin; step < end; ++step) {
      const Dim first = (step - begin) * layout_.temporal_patch;
      for (Dim i = 0; i < layout_.temporal_patch; ++i) {
        const auto at = static_cast<std::size_t>(i);
        if (i > 0 && first + i >= count) {
          places[at] = places[at - 1];
          continue;
        }
        const Image& frame = frames[static_cast<std::size_t>(std::min(first + i, count - 1))];
        if (frame.width != plan.tile.width || frame.height != plan.tile.height)
          fail(ErrorCode::bad_input, "a frame of {}x{} where {}x{} is planned", frame.width, frame.height,
               plan.tile.width, plan.tile.height);
        to_planar(frame, settings_.scaling, planes.row_write(i));
        places[at] = planes.row(i);
      }
      cut(places, plan.grid, out.write<float>() + (step - begin) * patches * values);
    }
    return out;
  }

  Prompt place(std::span<const TextSpan> spans, std::span<const ImagePlan> plans,
               bool add_special_tokens) const override {
    const auto text_of = [&](const ImagePlan& plan) { return repeated(marks_[plan.is_video()].text, plan.tokens); };
    return prompt_of(*this, tokenizer_, expand_marks(spans, marks_, plans, text_of), plans, add_special_tokens);
  }

  Prompt from_ids(std::span<const TokenId> ids, std::span<const ImagePlan> plans, Dim) const override {
    Prompt prompt = causal_prompt(ids);
    const std::array marks{layout_.image_token, layout_.video_token};
    fill_slots(prompt, marks, plans);
    if (plans.empty() && !prompt.slots.empty())
      fail(ErrorCode::bad_input, "a prompt with picture tokens needs the grids of its pictures for its positions");
    prompt.positions.assign(3, {});
    // The published rule: a segment starts one past the largest position so far of any axis.
    std::int32_t next = 0;
    std::size_t picture = 0;
    for (Dim row = 0; row < prompt.rows();) {
      if (std::ranges::find(marks, prompt.ids[static_cast<std::size_t>(row)]) == marks.end()) {
        for (auto& axis : prompt.positions) axis.push_back(next);
        ++next, ++row;
        continue;
      }
      const ImagePlan& plan = plans[picture++];
      row += plan.tokens;
      next = place_grid(plan, next, prompt.positions);
    }
    return prompt;
  }

  std::string settings() const override {
    const Settings& s = settings_;
    return fmt::format("qwen2.5-vl resize={} pixels={}..{} filter={} factor={} mean={},{},{} std={},{},{}", s.do_resize,
                       s.min_pixels, s.max_pixels, static_cast<int>(s.filter), s.scaling.rescale_factor,
                       s.scaling.mean[0], s.scaling.mean[1], s.scaling.mean[2], s.scaling.std[0], s.scaling.std[1],
                       s.scaling.std[2]);
  }

 private:
  static void agree(const ConfigReader& in, const char* key, Dim wanted) {
    if (in.positive_or(key, wanted) != wanted)
      in.refuse(key, fmt::format("config.json: vision_config says {}", wanted));
  }

  ImagePlan plan_of(SizePx size, Dim steps, Dim min_pixels, Dim max_pixels) const {
    size.require_pixels();
    const Dim factor = layout_.patch * layout_.merge;
    ImagePlan plan;
    plan.source = size;
    plan.tile = settings_.do_resize ? smart_resize(size, factor, min_pixels, max_pixels) : size;
    if (plan.tile.width % factor != 0 || plan.tile.height % factor != 0)
      fail(ErrorCode::bad_input, "a picture of {}x{} without resizing: edges must be multiples of {}", size.width,
           size.height, factor);
    if (plan.tile != size) plan.resizes.push_back(plan.tile);
    plan.grid = {steps, plan.tile.height / layout_.patch, plan.tile.width / layout_.patch};
    plan.tokens = plan.grid.patches() / (layout_.merge * layout_.merge);
    return plan;
  }

  // planes: [3, height, width] of each of a step's, to [rows * columns, 3 * frames * patch * patch].
  void cut(std::span<const float* const> planes, const PatchGrid& grid, float* out) const {
    const Dim edge = layout_.patch, merge = layout_.merge, frames = static_cast<Dim>(planes.size());
    const Dim width = grid.columns * edge, height = grid.rows * edge, values = 3 * frames * edge * edge;
    parallel_rows(grid.rows / merge, 1, [&](Rows blocks) {
      float* to = out + blocks.begin * merge * grid.columns * values;
      for (Dim block = blocks.begin; block < blocks.end; ++block)
        for (Dim column = 0; column < grid.columns; column += merge)
          for (Dim y = block * merge; y < (block + 1) * merge; ++y)
            for (Dim x = column; x < column + merge; ++x)
              for (Dim channel = 0; channel < 3; ++channel)
                for (Dim frame = 0; frame < frames; ++frame)
                  for (Dim line = 0; line < edge; ++line, to += edge)
                    std::copy_n(planes[static_cast<std::size_t>(frame)] + (channel * height + y * edge + line) * width +
                                    x * edge,
                                edge, to);
    });
  }

  // Positions of one picture from `start` on; returns the next free one.
  std::int32_t place_grid(const ImagePlan& plan, std::int32_t start,
                          std::vector<std::vector<std::int32_t>>& positions) const {
    const Dim rows = plan.grid.rows / layout_.merge, columns = plan.grid.columns / layout_.merge;
    // As torch: the product of step and float32 interval, cut to whole numbers.
    const auto interval = static_cast<float>(layout_.tokens_per_second * plan.step_seconds);
    std::int32_t last = start;
    for (Dim step = 0; step < plan.grid.steps; ++step) {
      const auto time = start + static_cast<std::int32_t>(static_cast<float>(step) * interval);
      for (Dim row = 0; row < rows; ++row)
        for (Dim column = 0; column < columns; ++column) {
          positions[0].push_back(time);
          positions[1].push_back(start + static_cast<std::int32_t>(row));
          positions[2].push_back(start + static_cast<std::int32_t>(column));
        }
      last = std::max(last, time);
    }
    return std::max(last, start + static_cast<std::int32_t>(std::max(rows, columns) - 1)) + 1;
  }

  Settings settings_;
  Layout layout_;
  Tokenizer tokenizer_;
  std::vector<Mark> marks_;  // of a picture, of a video
};

}  // namespace

SizePx smart_resize(SizePx size, Dim factor, Dim min_pixels, Dim max_pixels) {
  const auto width = static_cast<double>(size.width), height = static_cast<double>(size.height);
  if (std::max(width, height) / std::min(width, height) > most_aspect)
    fail(ErrorCode::bad_input, "a picture of {}x{}: this model takes sides of up to {} to 1", size.width, size.height,
         most_aspect);
  SizePx fitted{multiple(width, factor), multiple(height, factor)};
  const auto step = static_cast<double>(factor);
  if (fitted.width * fitted.height > max_pixels) {
    const double beta = std::sqrt(height * width / static_cast<double>(max_pixels));
    const auto shrunk = [&](double edge) {
      return std::max(factor, static_cast<Dim>(std::floor(edge / beta / step)) * factor);
    };
    fitted = {shrunk(width), shrunk(height)};
  } else if (fitted.width * fitted.height < min_pixels) {
    const double beta = std::sqrt(static_cast<double>(min_pixels) / (height * width));
    const auto grown = [&](double edge) { return static_cast<Dim>(std::ceil(edge * beta / step)) * factor; };
    fitted = {grown(width), grown(height)};
  }
  return fitted;
}

std::unique_ptr<Processor> make_processor(const ModelFiles& files, const Layout& layout) {
  return std::make_unique<QwenProcessor>(files, layout);
}

}  // namespace tap::qwen2_5_vl
