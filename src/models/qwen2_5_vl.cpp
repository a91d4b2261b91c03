// models/qwen2_5_vl.cpp: Qwen2.5-VL and UI-TARS-1.5: windowed vision transformer, patch merger, Qwen2 decoder with
// three-axis rope. Parity: HF Qwen2_5_VLForConditionalGeneration. Shapes: t = rows of all sequences, packed without
// padding; d = text width, v = vision width; p = patches of all pictures, in blocks of merge x merge.
#include <algorithm>
#include <array>
#include <numeric>

#include "models/blocks/layers.h"
#include "models/blocks/llama_decoder.h"
#include "models/family.h"
#include "models/qwen2_5_vl_processor.h"
#include "nn/nn.h"

namespace tap::qwen2_5_vl {

namespace {

using nn::Linear;

// ---- Config: the only lines that know the keys of config.json. Published files are flat; files saved anew nest the
// text part. Defaults are those of the HF config classes.

LlamaConfig text_config(const ConfigReader& in) {
  LlamaConfig c = LlamaConfig::read(in, {.width = 8192,
                                         .depth = 80,
                                         .heads = 64,
                                         .kv_heads = 8,
                                         .mlp_width = 29568,
                                         .vocab = 152064,
                                         .context = 32768,
                                         .norm_eps = 1e-5f,
                                         .rope_theta = 1e6f});
  c.qkv_bias = Linear::Bias::yes;
  if (in.flag_or("use_sliding_window", false)) in.refuse("use_sliding_window", "only false is supported");
  for (const char* key : {"rope_scaling", "rope_parameters"}) {  // the second since transformers 5
    if (!in.has(key)) continue;
    const ConfigReader rope = in.child(key);
    rope.one_of(rope.has("type") ? "type" : "rope_type", {"mrope", "default"}, "default");
    c.rope_theta = rope.number_or("rope_theta", c.rope_theta);
    const auto sections = rope.integers_or("mrope_section", {});
    if (sections.size() != 3) rope.refuse("mrope_section", "must have 3 numbers");
    for (const std::int64_t pairs : sections) {
      if (pairs < 0) rope.refuse("mrope_section", "must not be negative");
      c.rope_sections.push_back(pairs);
    }
    if (std::accumulate(c.rope_sections.begin(), c.rope_sections.end(), Dim{0}) != c.head_dim / 2)
      rope.refuse("mrope_section", fmt::format("must add up to half of the head's width {}", c.head_dim));
    break;
  }
  if (c.rope_sections.empty()) in.refuse("rope_scaling", "must give mrope_section");
  c.check(in);
  return c;
}

struct VisionConfig {
  Dim width, depth, heads, mlp_width, out, patch, merge, temporal_patch, window;  // window: pixels of an edge
  std::vector<Dim> full_layers;
  double tokens_per_second;

  explicit VisionConfig(const ConfigReader& in)
      : width(in.positive_or("hidden_size", 3584)),
        depth(in.positive_or("depth", 32)),
        heads(in.positive_or("num_heads", 16)),
        mlp_width(in.positive_or("intermediate_size", 3420)),
        out(in.positive_or("out_hidden_size", 3584)),
        patch(in.positive_or("patch_size", 14)),
        merge(in.positive_or("spatial_merge_size", 2)),
        temporal_patch(in.positive_or("temporal_patch_size", 2)),
        window(in.positive_or("window_size", 112)),
        tokens_per_second(in.number_or("tokens_per_second", 4)) {
    in.one_of("hidden_act", {"silu"}, "silu");
    for (const char* key : {"in_channels", "in_chans"})
      if (in.positive_or(key, 3) != 3) in.refuse(key, "only 3 is supported");
    if (width % heads != 0) in.refuse("num_heads", fmt::format("does not divide hidden_size {}", width));
    if (width / heads % 4 != 0)
      in.refuse("num_heads", fmt::format("gives heads of {}, which two rotary axes must divide by 4", width / heads));
    if (merge > 16) in.refuse("spatial_merge_size", "at most 16 is supported");
    if (temporal_patch > 16) in.refuse("temporal_patch_size", "at most 16 is supported");
    if (patch > 256) in.refuse("patch_size", "at most 256 is supported");
    if (window < patch * merge)
      in.refuse("patch_size", fmt::format("merged by {} is larger than window_size {}", merge, window));
    if (!(tokens_per_second >= 0)) in.refuse("tokens_per_second", "must not be negative");
    for (const std::int64_t layer : in.integers_or("fullatt_block_indexes", {7, 15, 23, 31})) {
      if (layer < 0 || layer >= depth) in.refuse("fullatt_block_indexes", fmt::format("{} is no layer", layer));
      full_layers.push_back(layer);
    }
  }
  Dim merged_width() const { return width * merge * merge; }
  Dim window_cells() const { return window / merge / patch; }  // merged patches along a window's edge
};

struct Config {
  LlamaConfig text;
  VisionConfig vision;
  TokenId image_token, video_token;
  bool tied_head;

  explicit Config(const ConfigReader& in)
      : text(text_config(in.has("text_config") ? in.child("text_config") : in)),
        vision(in.child_or_empty("vision_config")),
        image_token(token_id(in, "image_token_id", 151655, text.vocab, "vocab_size")),
        video_token(token_id(in, "video_token_id", 151656, text.vocab, "vocab_size")),
        tied_head(in.flag_or("tie_word_embeddings", false)) {
    if (vision.out != text.width)
      in.child_or_empty("vision_config").refuse("out_hidden_size", fmt::format("hidden_size is {}", text.width));
    if (image_token == video_token) in.refuse("video_token_id", "is the same as image_token_id");
  }
};

// ---- Vision tower

struct VisionPass {
  const Batch& batch;
  const ops::RopeTable& angles;
  ops::AttentionOptions attention;
};

struct VisionLayer {
  nn::RmsNorm norm1, norm2;
  Linear query, key, value, out;
  nn::SwiGlu mlp;
  Dim heads;

  VisionLayer(const VisionConfig& c, const Weights& w)
      : norm1(w / "norm1", c.width, 1e-6f),
        norm2(w / "norm2", c.width, 1e-6f),
        query(Linear::part(w / "attn" / "qkv", c.width, {0, c.width, 3 * c.width}, Linear::Bias::yes)),
        key(Linear::part(w / "attn" / "qkv", c.width, {c.width, 2 * c.width, 3 * c.width}, Linear::Bias::yes)),
        value(Linear::part(w / "attn" / "qkv", c.width, {2 * c.width, 3 * c.width, 3 * c.width}, Linear::Bias::yes)),
        out(w / "attn" / "proj", c.width, c.width, Linear::Bias::yes),
        mlp(w / "mlp", c.width, c.mlp_width, Linear::Bias::yes),
        heads(c.heads) {}

  Tensor operator()(const Tensor& x, const VisionPass& pass) const {  // [p, v] to [p, v]
    const auto [qs, ks, vs] = nn::each(norm1(x), query, key, value);
    const Tensor q = ops::rope(ops::split_heads(qs, heads), pass.angles);  // [p, heads, head_dim]
    const Tensor k = ops::rope(ops::split_heads(ks, heads), pass.angles);
    const Tensor v = ops::split_heads(vs, heads);
    const Tensor h = out.plus(ops::merge_heads(ops::attention(q, KvView{k, v}, pass.batch, pass.attention)), x);
    return mlp.plus(norm2(h), h);
  }
};

// How the patches of some pictures are ordered and who sees whom.
struct VisionLayout {
  std::vector<Dim> order;                            // row i of the tower is patch order[i]
  std::vector<std::vector<std::int32_t>> positions;  // row and column of each patch, in the tower's order
  Batch windows, frames;                             // segments of windowed and of full layers
};

struct Tower {
  VisionConfig config;
  Linear patch;
  std::vector<VisionLayer> layers;
  std::vector<bool> full;  // by layer
  ops::AttentionOptions attention;

  Tower(const VisionConfig& c, const ConfigReader& in, const Weights& w)
      : config(c),
        patch(Linear::exact(w / "patch_embed" / "proj", 3 * c.temporal_patch * c.patch * c.patch, c.width)),
        full(static_cast<std::size_t>(c.depth), false) {
    require_layers(in, w / "blocks", c.depth, "norm1.weight", "depth");
    for (Dim i = 0; i < c.depth; ++i) {
      layers.emplace_back(c, w / "blocks" / i);
      ExecContext::current().checkpoint();
    }
    for (const Dim layer : c.full_layers) full[static_cast<std::size_t>(layer)] = true;
    attention.arithmetic = activation_type(w.type());
  }

  // [p, 3 * frames * patch * patch] to [p, v], in the order of the pixels.
  Tensor operator()(const Tensor& pixels, std::span<const PatchGrid> grids) const {
    Dim patches = 0;
    for (const PatchGrid& grid : grids) patches += checked(grid);
    require_shape("tower", "pixels", pixels, {patches, 3 * config.temporal_patch * config.patch * config.patch});
    const VisionLayout layout = lay_out(grids, patches);
    const auto angles = ops::rope_table_axes(layout.positions, config.width / config.heads, 10000);
    Tensor x = ops::take_rows(patch(pixels), layout.order);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      x = layers[i](x, {full[i] ? layout.frames : layout.windows, angles, attention});
      ExecContext::current().checkpoint();
    }
    std::vector<Dim> back(layout.order.size());
    for (std::size_t i = 0; i < layout.order.size(); ++i)
      back[static_cast<std::size_t>(layout.order[i])] = static_cast<Dim>(i);
    return ops::take_rows(x, back);
  }

 private:
  Dim checked(const PatchGrid& grid) const {
    if (grid.steps < 1 || grid.rows < 1 || grid.columns < 1 || grid.rows % config.merge || grid.columns % config.merge)
      fail(ErrorCode::bad_input, "tower: a grid of {} x {} x {} patches: edges must be multiples of {}", grid.steps,
           grid.rows, grid.columns, config.merge);
    return grid.patches();
  }

  // Windows of the merged grid, row by row; those at its end may be smaller.
  VisionLayout lay_out(std::span<const PatchGrid> grids, Dim patches) const {
    const Dim merge = config.merge, cell = merge * merge, edge = config.window_cells();
    VisionLayout layout;
    layout.order.reserve(static_cast<std::size_t>(patches));
    layout.positions.resize(2);
    std::vector<Dim> windows, frames;
    Dim first = 0;  // patch of the frame
    for (const PatchGrid& grid : grids)
      for (Dim step = 0; step < grid.steps; ++step, first += grid.rows * grid.columns) {
        const Dim rows = grid.rows / merge, columns = grid.columns / merge;
        frames.push_back(grid.rows * grid.columns);
        for (Dim top = 0; top < rows; top += edge)
          for (Dim left = 0; left < columns; left += edge) {
            const Dim bottom = std::min(rows, top + edge), right = std::min(columns, left + edge);
            windows.push_back((bottom - top) * (right - left) * cell);
            for (Dim row = top; row < bottom; ++row)
              for (Dim column = left; column < right; ++column)
                for (Dim i = 0; i < cell; ++i) {
                  layout.order.push_back(first + (row * columns + column) * cell + i);
                  layout.positions[0].push_back(static_cast<std::int32_t>(row * merge + i / merge));
                  layout.positions[1].push_back(static_cast<std::int32_t>(column * merge + i % merge));
                }
          }
      }
    layout.windows = Batch::segments(windows);
    layout.frames = Batch::segments(frames);
    return layout;
  }
};

// Each cell of merge x merge patches becomes one row of the text.
struct Merger {
  nn::RmsNorm norm;
  Linear inner, outer;
  Dim width;

  Merger(const VisionConfig& c, const Weights& w)
      : norm(w / "ln_q", c.width, 1e-6f),
        inner(w / "mlp" / 0, c.merged_width(), c.merged_width(), Linear::Bias::yes),
        outer(w / "mlp" / 2, c.merged_width(), c.out, Linear::Bias::yes),
        width(c.merged_width()) {}

  Tensor operator()(const Tensor& hidden) const {  // [p, v] to [p / merge², d]
    return outer(inner(norm(hidden).reshape({-1, width}), ops::Activation::gelu_erf));
  }
};

struct Qwen final : Network {
  Config config;
  LlamaDecoder text;
  Tower vision;
  Merger merger;

  Qwen(const Config& c, const ConfigReader& in, const Weights& w, bool tied)
      : config(c),
        text(c.text, in.has("text_config") ? in.child("text_config") : in, w / "model", w, tied),
        vision(c.vision, in.child_or_empty("vision_config"), w.seeing() / "visual"),
        merger(c.vision, w.seeing() / "visual" / "merger") {}

  NetworkShape shape() const override {
    const VisionConfig& v = config.vision;
    const Dim cells = v.window_cells() * v.merge;
    return {.text = text.shape(),
            .vision = {.layers = v.depth,
                       .width = v.width,
                       .heads = v.heads,
                       .kv_heads = v.heads,
                       .head_dim = v.width / v.heads,
                       .mlp_width = v.mlp_width,
                       .gated_mlp = true,
                       .windowed_layers = v.depth - static_cast<Dim>(v.full_layers.size()),
                       .window = cells * cells},
            .patch_px = v.patch,
            .patch_values = 3 * v.temporal_patch * v.patch * v.patch,
            .tile_rows = 0,
            .connector_weights = v.merged_width() * (v.merged_width() + v.out)};
  }
  KvShape kv_shape() const override { return text.kv_shape(); }
  Dim context() const override { return config.text.context; }
  Dim vocab() const override { return config.text.vocab; }
  Tensor embed(std::span<const TokenId> ids) const override { return text.embed(ids); }  // [t, d]
  Tensor logits(const Tensor& rows) const override { return text.logits(rows); }         // [r, d] to [r, vocab]
  Tensor forward(Tensor x, const Batch& batch, KvCache* cache) const override {          // [t, d] to [t, d]
    return text.forward(std::move(x), batch, cache);
  }
  Tensor tower(const TowerInput& input) const override { return vision(input.pixels, input.grids); }
  Tensor project(const Tensor& hidden) const override { return merger(hidden); }
  // Some steps of one picture or clip: no step sees another.
  Tensor see(const Tensor& pixels, const ImagePlan& plan) const override {
    PatchGrid grid = plan.grid;
    grid.steps = pixels.dim(0) / std::max<Dim>(1, grid.rows * grid.columns);
    return merger(vision(pixels, std::span(&grid, 1)));
  }
};

std::unique_ptr<Processor> processor(const ModelFiles& files) {
  const Config config(files.config);
  const VisionConfig& v = config.vision;
  return make_processor(
      files, {v.patch, v.merge, v.temporal_patch, v.tokens_per_second, config.image_token, config.video_token});
}

std::unique_ptr<Network> network(const ModelFiles& files, const Weights& weights) {
  const Config config(files.config);
  return std::make_unique<Qwen>(config, files.config, weights, config.tied_head || !weights.has("lm_head.weight"));
}

// Prompts as in Qwen's cookbook on spatial understanding. Coordinates are pixels of the resized picture, x first.
std::optional<Grounding> grounding(const ModelFiles&) {
  Grounding g{.form = Grounding::Form::json};
  g.detect = "Locate every {} in the image, output the bbox coordinates in JSON format.";
  g.point = "Locate every {} in the image with points, report the point coordinates in JSON format.";
  g.count = "How many {} are there in the image? Answer with a number.";
  g.separator = ", ";
  g.acting = Grounding::Acting::ui_tars;  // which is this family, trained further
  return g;
}

}  // namespace

// Registered by one line in families.inc: TAP_FAMILY(qwen2_5_vl)
Family family() {
  return {.name = "qwen2_5_vl",
          .architectures = {"Qwen2_5_VLForConditionalGeneration"},
          .processor = processor,
          .network = network,
          .context = [](const ConfigReader& config) { return Config(config).text.context; },
          .weight_names = {{"visual.", "model.visual."}, {"model.", "model.language_model."}},
          .grounding = grounding};
}

}  // namespace tap::qwen2_5_vl
