// models/smolvlm.cpp: SmolVLM, SmolVLM2 and Idefics3: SigLIP tower, space-to-depth connector, Llama decoder. Parity: HF
// Idefics3ForConditionalGeneration, SmolVLMForConditionalGeneration and their PIL image processors. Shapes: t = rows of
// all sequences, packed without padding; d = text width, v = vision width; n = tiles, p = patches of a tile.
#include <algorithm>
#include <cmath>

#include "models/blocks/layers.h"
#include "models/blocks/llama_decoder.h"
#include "models/blocks/siglip.h"
#include "models/family.h"
#include "models/smolvlm_processor.h"
#include "nn/nn.h"

namespace tap::smolvlm {

namespace {

using nn::Linear;

// ---- Config: the only lines that know the keys of config.json. Defaults are those of the HF config classes; published
// files leave out keys that equal them.

LlamaConfig text_config(const ConfigReader& in) {
  LlamaConfig c = LlamaConfig::read(in, {.width = 4096,
                                         .depth = 32,
                                         .heads = 32,
                                         .mlp_width = 11008,
                                         .vocab = 32000,
                                         .context = 2048,
                                         .norm_eps = 1e-6f,
                                         .rope_theta = 1e4f});
  c.qkv_bias = c.out_bias = Linear::Bias{in.flag_or("attention_bias", false)};
  c.mlp_bias = Linear::Bias{in.flag_or("mlp_bias", false)};
  in.one_of("model_type", {"llama"}, "llama");
  for (const char* key : {"rope_scaling", "rope_parameters"}) {  // the second since transformers 5
    if (!in.has(key)) continue;
    const ConfigReader rope = in.child(key);
    const std::string kind = rope.one_of(rope.has("type") ? "type" : "rope_type", {"default", "linear"}, "default");
    if (kind == "linear") c.rope_factor = rope.number("factor");
    c.rope_theta = rope.number_or("rope_theta", c.rope_theta);
    if (!(c.rope_factor > 0)) rope.refuse("factor", "must be above 0");
  }
  c.check(in);
  return c;
}

// Those of Idefics3VisionConfig.
constexpr siglip::Defaults vision_defaults{
    .width = 1152, .depth = 12, .heads = 16, .mlp_width = 3072, .image = 224, .patch = 32};

struct Config {
  LlamaConfig text;
  siglip::Config vision;
  Dim factor;  // of the connector's space-to-depth
  TokenId image_token;
  bool tied_head;

  explicit Config(const ConfigReader& in)
      : text(text_config(in.child_or_empty("text_config"))),
        vision(in.child_or_empty("vision_config"), vision_defaults),
        factor(in.positive_or("scale_factor", 2)),
        image_token(token_id(in, "image_token_id", 128257, text.vocab)),
        tied_head(in.flag_or("tie_word_embeddings", false)) {
    if (factor > vision.side)
      in.refuse("scale_factor", fmt::format("must be at most {}, the patches along an edge", vision.side));
  }
};

// ---- Vision tower: SigLIP, with positions by the fraction of the picture

// Which patches of each tile hold any valid pixel: [n * p], empty = all.
struct PatchMask {
  std::vector<std::uint8_t> valid;
  Dim rows, columns;  // patches of a tile
};

struct Tower {
  siglip::Tower base;

  // [n, 3, h, w] to [n, p, v]
  Tensor operator()(const Tensor& pixels, const PatchMask& mask) const {
    const Dim tiles = pixels.dim(0), patches = mask.rows * mask.columns;
    const std::vector<Dim> lengths(static_cast<std::size_t>(tiles), patches);
    Batch batch = Batch::segments(lengths);
    std::vector<Dim> ids(static_cast<std::size_t>(tiles * patches), 0), order, back(ids.size());
    for (Dim tile = 0; tile < tiles; ++tile) place_tile(mask, tile, ids, order, batch);
    for (std::size_t i = 0; i < order.size(); ++i) back[static_cast<std::size_t>(order[i])] = static_cast<Dim>(i);
    Tensor x = base.embed(pixels, ids);
    if (!mask.valid.empty()) x = ops::take_rows(x, order);
    x = base.run(std::move(x), batch);
    if (!mask.valid.empty()) x = ops::take_rows(x, back);
    return x.reshape({tiles, patches, base.config.width});
  }

 private:
  // Position ids of one tile, and its patches ordered valid ones first, so that "keys that are not padding" is an
  // interval.
  void place_tile(const PatchMask& mask, Dim tile, std::vector<Dim>& ids, std::vector<Dim>& order, Batch& batch) const {
    const Dim patches = mask.rows * mask.columns, first = tile * patches;
    const auto valid = [&](Dim row, Dim column) {
      return mask.valid.empty() || mask.valid[static_cast<std::size_t>(first + row * mask.columns + column)] != 0;
    };
    Dim valid_rows = 0, valid_columns = 0;
    for (Dim row = 0; row < mask.rows; ++row) valid_rows += valid(row, 0);
    for (Dim column = 0; column < mask.columns; ++column) valid_columns += valid(0, column);
    if (valid_rows == 0 || valid_columns == 0)
      fail(ErrorCode::bad_input, "pixel mask: tile {} has pixels but all are masked", tile);
    const auto by_row = position_buckets(mask.rows, valid_rows, base.config.side),
               by_column = position_buckets(mask.columns, valid_columns, base.config.side);
    std::vector<Dim> padding;
    const auto seen_before = static_cast<Dim>(order.size());
    for (Dim row = 0; row < mask.rows; ++row)
      for (Dim column = 0; column < mask.columns; ++column) {
        const Dim at = first + row * mask.columns + column;
        if (!valid(row, column)) {
          padding.push_back(at);
          continue;
        }
        ids[static_cast<std::size_t>(at)] =
            by_row[static_cast<std::size_t>(row)] * base.config.side + by_column[static_cast<std::size_t>(column)];
        order.push_back(at);
      }
    const auto keys = static_cast<std::int32_t>(static_cast<Dim>(order.size()) - seen_before);
    order.insert(order.end(), padding.begin(), padding.end());
    for (Dim i = first; i < first + patches; ++i) batch.intervals[static_cast<std::size_t>(i)] = {0, keys};
  }
};

struct SmolVlm final : Network {
  Config config;
  LlamaDecoder text;
  Linear connector;
  Tower vision;

  SmolVlm(const Config& c, const ConfigReader& in, const Weights& w, bool tied)
      : config(c),
        text(c.text, in.child_or_empty("text_config"), w / "model.text_model", w, tied),
        connector(w.seeing() / "model.connector.modality_projection.proj", c.vision.width * c.factor * c.factor,
                  c.text.width),
        vision{siglip::Tower(c.vision, in.child_or_empty("vision_config"), w.seeing() / "model.vision_model")} {}

  NetworkShape shape() const override {
    const siglip::Config& v = config.vision;
    return {.text = text.shape(),
            .vision = v.shape(),
            .patch_px = v.patch,
            .patch_values = 0,
            .tile_rows = siglip::rows_at_once,
            .connector_weights = v.width * config.factor * config.factor * config.text.width};
  }
  KvShape kv_shape() const override { return text.kv_shape(); }
  Dim context() const override { return config.text.context; }
  Dim vocab() const override { return config.text.vocab; }
  Tensor embed(std::span<const TokenId> ids) const override { return text.embed(ids); }  // [t, d]
  Tensor logits(const Tensor& rows) const override { return text.logits(rows); }         // [r, d] to [r, vocab]
  Tensor forward(Tensor x, const Batch& batch, KvCache* cache) const override {          // [t, d] to [t, d]
    return text.forward(std::move(x), batch, cache);
  }

  Tensor tower(const TowerInput& input) const override {
    const Tensor &pixels = input.pixels, &pixel_mask = input.pixel_mask;
    require_shape("tower", "pixels", pixels, {-1, 3, -1, -1});
    const Dim tiles = pixels.dim(0), height = pixels.dim(2), width = pixels.dim(3);
    if (height < config.vision.patch || width < config.vision.patch)
      fail(ErrorCode::bad_input, "tower: tiles of {}x{}, a patch is {}", width, height, config.vision.patch);
    Tensor marks;
    if (pixel_mask.defined()) {
      require_shape("tower", "pixel_mask", pixel_mask, {tiles, height, width});
      marks = pixel_mask;
    }
    std::vector<Dim> real;
    for (Dim tile = 0; tile < tiles; ++tile) {
      const auto values = pixels.rows(tile, tile + 1).values<float>();
      if (std::any_of(values.begin(), values.end(), [](float v) { return v != 0; })) real.push_back(tile);
    }
    if (real.empty() && tiles > 0) real.push_back(0);  // as HF SmolVLM: one empty picture stays
    std::vector<Tensor> parts;
    for (const Dim tile : real) {  // one by one: a tile has enough rows to keep the products busy
      const PatchMask mask = patch_mask(marks.defined() ? marks.rows(tile, tile + 1) : Tensor(), height, width);
      parts.push_back(vision(pixels.rows(tile, tile + 1), mask));
    }
    return ops::concat_rows(parts);  // [m, p, v]
  }

  Tensor project(const Tensor& hidden) const override {
    const Dim patches = hidden.dim(1), side = static_cast<Dim>(std::sqrt(static_cast<double>(patches)));
    if (side * side != patches || side % config.factor != 0)
      fail(ErrorCode::bad_input, "project: {} patches of a tile, must be a square whose edge scale_factor {} divides",
           patches, config.factor);
    const Tensor packed = ops::space_to_depth(hidden, side, side, config.factor);  // [m, p / f², f² * v]
    return connector(packed).reshape({-1, config.text.width});
  }

  Tensor see(const Tensor& pixels, const ImagePlan&) const override {
    require_shape("see", "pixels", pixels, {-1, 3, -1, -1});
    std::vector<Tensor> parts;
    const Dim patches = (pixels.dim(2) / config.vision.patch) * (pixels.dim(3) / config.vision.patch);
    const Dim step =
        std::max<Dim>(1, siglip::rows_at_once / std::max<Dim>(1, patches));  // small together, large ones alone
    for (Dim tile = 0; tile < pixels.dim(0); tile += step) {
      const Tensor some = pixels.rows(tile, std::min(tile + step, pixels.dim(0)));
      parts.push_back(project(vision(some, patch_mask({}, pixels.dim(2), pixels.dim(3)))));
    }
    return parts.size() == 1 ? parts.front() : ops::concat_rows(parts);
  }

 private:
  // marks: [1, h, w] or undefined. A patch counts as valid when any of its pixels does.
  PatchMask patch_mask(const Tensor& marks, Dim height, Dim width) const {
    const Dim edge = config.vision.patch;
    PatchMask mask{{}, height / edge, width / edge};
    if (!marks.defined()) return mask;
    bool all = true;
    for (Dim row = 0; row < mask.rows; ++row)
      for (Dim column = 0; column < mask.columns; ++column) {
        bool any = false;
        for (Dim y = row * edge; y < (row + 1) * edge && !any; ++y)
          for (Dim x = column * edge; x < (column + 1) * edge && !any; ++x) any = is_marked(marks, y * width + x);
        mask.valid.push_back(any);
        all = all && any;
      }
    if (all) mask.valid.clear();
    return mask;
  }
  static bool is_marked(const Tensor& marks, Dim at) {
    switch (marks.dtype()) {
      case DType::i64: return marks.data<std::int64_t>()[at] != 0;
      case DType::i32: return marks.data<std::int32_t>()[at] != 0;
      case DType::u8: return marks.data<std::uint8_t>()[at] != 0;
      default: fail(ErrorCode::bad_input, "tower: a pixel mask of {}", name(marks.dtype()));
    }
  }
};

std::unique_ptr<Processor> processor(const ModelFiles& files) {
  const Config config(files.config);
  return make_processor(files, config.vision.patch, config.factor, config.image_token);
}

std::unique_ptr<Network> network(const ModelFiles& files, const Weights& weights) {
  const Config config(files.config);
  return std::make_unique<SmolVlm>(config, files.config, weights, config.tied_head || !weights.has("lm_head.weight"));
}

// A checkpoint that was trained to judge (nano) defines its policies as the questions it knows; the answer follows
// "Assistant:", so its words begin with a space.
std::optional<SafetyHead> safety(const ModelFiles& files) {
  auto policies = policies_of(files);
  if (policies.empty()) return std::nullopt;
  const std::vector<TokenId> yes = files.tokenizer.encode(" Yes"), no = files.tokenizer.encode(" No");
  if (yes.size() != 1 || no.size() != 1)
    files.processor.refuse("policy_definitions", "a tokenizer with the words Yes and No is needed");
  return SafetyHead{.yes = yes[0], .no = no[0], .policies = std::move(policies), .takes_others = false};
}

// Nano's: PaliGemma's tokens with 64 bins at odd multiples of 8 (data/nano/PROMPTS.md); trained on one thing a
// question.
std::optional<Grounding> grounding(const ModelFiles& files) {
  if (!has_location_tokens(files.tokenizer)) return std::nullopt;
  Grounding g{.form = Grounding::Form::location_tokens, .range = 1024, .y_first = true};
  g.detect = "detect {}";
  g.count = "How many {} are there?";
  g.acting = Grounding::Acting::click_tokens;
  return g;
}

}  // namespace

// Registered by one line in families.inc: TAP_FAMILY(smolvlm)
Family family() {
  return {.name = "smolvlm",
          .architectures = {"Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"},
          .processor = processor,
          .network = network,
          .context = [](const ConfigReader& config) { return Config(config).text.context; },
          .weight_names = {},
          .grounding = grounding,
          .safety = safety};
}

}  // namespace tap::smolvlm
