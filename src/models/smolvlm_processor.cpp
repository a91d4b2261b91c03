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

struct Settings {
  bool do_resize, do_split;
  Dim longest = 0;  // 0: `fixed` instead
  SizePx fixed;
  Dim tile, seq_len;  // pixels of a tile's edge; rows it becomes
  Filter filter;
  PixelScaling scaling;

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

  Image prepare(const Image& image, const ImagePlan& plan) const override {
    plan.require_source(image);
    if (plan.resizes.empty()) return image;
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
    const Mark mark{mark_};
    const auto text_of = [&](const ImagePlan& plan) { return picture_text(plan); };
    return prompt_of(*this, tokenizer_, expand_marks(spans, std::span(&mark, 1), plans, text_of), plans,
                     add_special_tokens);
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
