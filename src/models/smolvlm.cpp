// models/smolvlm.cpp: SmolVLM, SmolVLM2 and Idefics3: SigLIP tower, space-to-depth connector, Llama decoder. Parity: HF
// Idefics3ForConditionalGeneration, SmolVLMForConditionalGeneration and their PIL image processors. Shapes: t = rows of
// all sequences, packed without padding; d = text width, v = vision width; n = tiles, p = patches of a tile.
#include <algorithm>
#include <cmath>

#include "models/blocks/layers.h"
#include "models/blocks/siglip.h"
#include "models/family.h"
#include "models/smolvlm_processor.h"
#include "nn/nn.h"

namespace tap::smolvlm {

namespace {

using nn::Linear;

// ---- Config: the only lines that know the keys of config.json. Defaults are those of the HF config classes; published
// files leave out keys that equal them.

struct TextConfig {
  Dim width, depth, heads, kv_heads, head_dim, mlp_width, vocab, context;
  float norm_eps, rope_theta, rope_factor = 1;
  Linear::Bias attention_bias, mlp_bias;

  explicit TextConfig(const ConfigReader& in)
      : width(in.positive_or("hidden_size", 4096)),
        depth(in.positive_or("num_hidden_layers", 32)),
        heads(in.positive_or("num_attention_heads", 32)),
        kv_heads(in.positive_or("num_key_value_heads", heads)),
        head_dim(in.positive_or("head_dim", std::max<Dim>(1, width / heads))),
        mlp_width(in.positive_or("intermediate_size", 11008)),
        vocab(in.positive_or("vocab_size", 32000)),
        context(in.positive_or("max_position_embeddings", 2048)),
        norm_eps(in.number_or("rms_norm_eps", 1e-6f)),
        rope_theta(in.number_or("rope_theta", 1e4f)),
        attention_bias(Linear::Bias{in.flag_or("attention_bias", false)}),
        mlp_bias(Linear::Bias{in.flag_or("mlp_bias", false)}) {
    if (!in.has("head_dim") && width % heads != 0)
      in.refuse("num_attention_heads", fmt::format("does not divide hidden_size {}", width));
    if (heads % kv_heads != 0)
      in.refuse("num_key_value_heads", fmt::format("does not divide num_attention_heads {}", heads));
    if (head_dim % 2 != 0) in.refuse("head_dim", "must be even for rotary positions");
    if (head_dim > 1024) in.refuse("head_dim", "at most 1024 is supported");
    if (!(norm_eps > 0)) in.refuse("rms_norm_eps", "must be above 0");
    in.one_of("hidden_act", {"silu"}, "silu");
    in.one_of("model_type", {"llama"}, "llama");
    for (const char* key : {"rope_scaling", "rope_parameters"}) {  // the second since transformers 5
      if (!in.has(key)) continue;
      const ConfigReader rope = in.child(key);
      const std::string kind = rope.one_of(rope.has("type") ? "type" : "rope_type", {"default", "linear"}, "default");
      if (kind == "linear") rope_factor = rope.number("factor");
      rope_theta = rope.number_or("rope_theta", rope_theta);
      if (!(rope_factor > 0)) rope.refuse("factor", "must be above 0");
    }
    if (!(rope_theta > 0)) in.refuse("rope_theta", "must be above 0");
  }
};

// Those of Idefics3VisionConfig.
constexpr siglip::Defaults vision_defaults{
    .width = 1152, .depth = 12, .heads = 16, .mlp_width = 3072, .image = 224, .patch = 32};

struct Config {
  TextConfig text;
  siglip::Config vision;
  Dim factor;  // of the connector's space-to-depth
  TokenId image_token;
  bool tied_head;

  explicit Config(const ConfigReader& in)
      : text(in.child_or_empty("text_config")),
        vision(in.child_or_empty("vision_config"), vision_defaults),
        factor(in.positive_or("scale_factor", 2)),
        image_token(static_cast<TokenId>(in.non_negative_or("image_token_id", 128257))),
        tied_head(in.flag_or("tie_word_embeddings", false)) {
    if (factor > vision.side)
      in.refuse("scale_factor", fmt::format("must be at most {}, the patches along an edge", vision.side));
    if (image_token >= text.vocab)
      in.refuse("image_token_id", fmt::format("is not below text_config.vocab_size {}", text.vocab));
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

// ---- Text decoder

struct Pass {  // what every layer of one forward shares
  const Batch& batch;
  const ops::RopeTable& angles;
  ops::AttentionOptions attention;
};

struct Attention {
  Linear query, key, value, out;
  Dim heads, kv_heads;
  Attention(const TextConfig& c, const Weights& w)
      : query(w / "q_proj", c.width, c.heads * c.head_dim, c.attention_bias),
        key(w / "k_proj", c.width, c.kv_heads * c.head_dim, c.attention_bias),
        value(w / "v_proj", c.width, c.kv_heads * c.head_dim, c.attention_bias),
        out(w / "o_proj", c.heads * c.head_dim, c.width, c.attention_bias),
        heads(c.heads),
        kv_heads(c.kv_heads) {}

  Tensor plus(const Tensor& x, const Tensor& residual, const Pass& pass,
              const LayerOf& cache) const {  // [t, d] to [t, d]
    const auto [qs, ks, vs] = nn::each(x, query, key, value);
    const Tensor q = ops::rope(ops::split_heads(qs, heads), pass.angles);     // [t, heads, head_dim]
    const Tensor k = ops::rope(ops::split_heads(ks, kv_heads), pass.angles);  // [t, kv_heads, head_dim]
    const Tensor v = ops::split_heads(vs, kv_heads);                          // [t, kv_heads, head_dim]
    const KvView seen = cache(k, v, pass.batch);                              // training: these tokens only
    return out.plus(ops::merge_heads(ops::attention(q, seen, pass.batch, pass.attention)), residual);
  }
};

struct Layer {
  nn::RmsNorm attn_norm, mlp_norm;
  Attention attn;
  nn::SwiGlu mlp;
  Layer(const TextConfig& c, const Weights& w)
      : attn_norm(w / "input_layernorm", c.width, c.norm_eps),
        mlp_norm(w / "post_attention_layernorm", c.width, c.norm_eps),
        attn(c, w / "self_attn"),
        mlp(w / "mlp", c.width, c.mlp_width, c.mlp_bias) {}
  Tensor operator()(const Tensor& x, const Pass& pass, const LayerOf& cache) const {
    const Tensor h = attn.plus(attn_norm(x), x, pass, cache);
    return mlp.plus(mlp_norm(h), h);
  }
};

struct SmolVlm final : Network {
  Config config;
  nn::Embedding tokens;
  std::vector<Layer> layers;
  nn::RmsNorm norm;
  Linear head, connector;
  Tower vision;
  ops::AttentionOptions attention;

  SmolVlm(const Config& c, const ConfigReader& in, const Weights& w, bool tied)
      : config(c),
        tokens(w / "model.text_model.embed_tokens", c.text.vocab, c.text.width,
               tied ? nn::Embedding::Head::tied : nn::Embedding::Head::separate),
        norm(w / "model.text_model.norm", c.text.width, c.text.norm_eps),
        head(tied ? tokens.as_linear() : Linear(w / "lm_head", c.text.width, c.text.vocab)),
        connector(w / "model.connector.modality_projection.proj", c.vision.width * c.factor * c.factor, c.text.width),
        vision{siglip::Tower(c.vision, in.child_or_empty("vision_config"), w / "model.vision_model")} {
    require_layers(in.child_or_empty("text_config"), w / "model.text_model.layers", c.text.depth,
                   "input_layernorm.weight");
    for (Dim i = 0; i < c.text.depth; ++i) {
      layers.emplace_back(c.text, w / "model.text_model.layers" / i);
      ExecContext::current().checkpoint();
    }
    attention = vision.base.attention;
  }

  NetworkShape shape() const override {
    const TextConfig& t = config.text;
    const siglip::Config& v = config.vision;
    return {.text = {t.depth, t.width, t.heads, t.kv_heads, t.head_dim, t.mlp_width, true},
            .vision = v.shape(),
            .patch_px = v.patch,
            .tile_rows = siglip::rows_at_once,
            .connector_weights = v.width * config.factor * config.factor * t.width};
  }
  KvShape kv_shape() const override { return {config.text.depth, config.text.kv_heads, config.text.head_dim}; }
  Dim context() const override { return config.text.context; }
  Dim vocab() const override { return config.text.vocab; }
  Tensor embed(std::span<const TokenId> ids) const override { return tokens(ids); }  // [t, d]
  Tensor logits(const Tensor& rows) const override { return head(rows); }            // [r, d] to [r, vocab]
  Tensor forward(Tensor x, const Batch& batch, KvCache* cache) const override {      // [t, d] to [t, d]
    const auto angles =
        ops::rope_table(batch.positions, config.text.head_dim, config.text.rope_theta, config.text.rope_factor);
    for (Dim i = 0; const Layer& layer : layers) {
      x = layer(x, {batch, angles, attention}, LayerOf(cache, i++));
      ExecContext::current().checkpoint();
    }
    return norm(x);
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

}  // namespace

// Registered by one line in families.inc: TAP_FAMILY(smolvlm)
Family family() {
  return {.name = "smolvlm",
          .architectures = {"Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"},
          .grounding = Grounding{},
          .processor = processor,
          .network = network,
          .context = [](const ConfigReader& config) { return Config(config).text.context; }};
}

}  // namespace tap::smolvlm
