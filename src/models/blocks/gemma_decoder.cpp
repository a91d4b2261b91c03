#include "models/blocks/gemma_decoder.h"

#include <algorithm>
#include <cmath>

#include "models/blocks/layers.h"

namespace tap::gemma {

namespace {

using nn::Linear;
using Gain = nn::RmsNorm::Gain;

struct Defaults {
  Dim width, depth, heads, kv_heads, mlp_width, vocab, context;
  float rope_theta;
  Dim window, pattern;  // every pattern-th layer is full
  float attention_cap, logit_cap;
};

Defaults defaults_of(Generation generation) {
  switch (generation) {
    case Generation::one: return {3072, 28, 16, 16, 24576, 256000, 8192, 1e4f, 0, 1, 0, 0};
    case Generation::two: return {2304, 26, 8, 4, 9216, 256000, 8192, 1e4f, 4096, 2, 50, 30};
    case Generation::three: return {2304, 26, 8, 4, 9216, 262208, 131072, 1e6f, 4096, 6, 0, 0};
  }
  return {};
}

bool is_null(const ConfigReader& in, const char* key) {
  const auto at = in.json().find(key);
  return at != in.json().end() && at->is_null();
}

// A cap or a window may be switched off by null, which is not the same as leaving the key out.
float cap_of(const ConfigReader& in, const char* key, float fallback) {
  const float cap = in.number_or(key, is_null(in, key) ? 0 : fallback);
  if (in.has(key) && !(cap > 0)) in.refuse(key, "must be above 0, or null for none");
  return cap;
}

void read_rope(const ConfigReader& rope, float& theta, float& factor) {
  const std::string kind = rope.one_of(rope.has("type") ? "type" : "rope_type", {"default", "linear"}, "default");
  factor = kind == "linear" ? rope.number("factor") : 1;
  theta = rope.number_or("rope_theta", theta);
  if (!(factor > 0)) rope.refuse("factor", "must be above 0");
  if (!(theta > 0)) rope.refuse("rope_theta", "must be above 0");
}

std::vector<bool> windowed_layers(const ConfigReader& in, Dim depth, Dim pattern) {
  std::vector<bool> windowed;
  const auto kinds = in.texts_or("layer_types", {});  // since transformers 4.53
  pattern =
      in.positive_or(in.has("_sliding_window_pattern") ? "_sliding_window_pattern" : "sliding_window_pattern", pattern);
  if (kinds.empty()) {
    for (Dim i = 0; i < std::min<Dim>(depth, 1 << 16); ++i) windowed.push_back((i + 1) % pattern != 0);
    return windowed;
  }
  if (static_cast<Dim>(kinds.size()) != depth)
    in.refuse("layer_types", fmt::format("has {} entries, num_hidden_layers is {}", kinds.size(), depth));
  for (const std::string& kind : kinds) {
    if (kind != "sliding_attention" && kind != "full_attention")
      in.refuse("layer_types", "an entry must be \"sliding_attention\" or \"full_attention\"");
    windowed.push_back(kind == "sliding_attention");
  }
  return windowed;
}

}  // namespace

Config::Config(Generation generation, const ConfigReader& in) {
  const Defaults d = defaults_of(generation);
  width = in.positive_or("hidden_size", d.width);
  depth = in.positive_or("num_hidden_layers", d.depth);
  heads = in.positive_or("num_attention_heads", d.heads);
  kv_heads = in.positive_or("num_key_value_heads", d.kv_heads);
  head_dim = in.positive_or("head_dim", 256);
  mlp_width = in.positive_or("intermediate_size", d.mlp_width);
  vocab = in.positive_or("vocab_size", d.vocab);
  context = in.positive_or("max_position_embeddings", d.context);
  norm_eps = in.number_or("rms_norm_eps", 1e-6f);
  attention_bias = Linear::Bias{in.flag_or("attention_bias", false)};
  qk_norms = generation == Generation::three;
  post_norms = generation != Generation::one;
  if (heads % kv_heads != 0)
    in.refuse("num_key_value_heads", fmt::format("does not divide num_attention_heads {}", heads));
  if (head_dim % 2 != 0) in.refuse("head_dim", "must be even for rotary positions");
  if (head_dim > 1024) in.refuse("head_dim", "at most 1024 is supported");
  if (!(norm_eps > 0)) in.refuse("rms_norm_eps", "must be above 0");
  // Files of the first generation say "gelu" in hidden_act and mean the tanh form.
  in.one_of("hidden_act", {"gelu_pytorch_tanh", "gelu"}, "gelu_pytorch_tanh");
  in.one_of("hidden_activation", {"gelu_pytorch_tanh"}, "gelu_pytorch_tanh");
  if (!in.flag_or("tie_word_embeddings", true))
    in.refuse("tie_word_embeddings", "only tied heads are supported, as all published Gemma models have");

  float scalar = static_cast<float>(head_dim);
  if (generation != Generation::one) {
    scalar = in.number_or("query_pre_attn_scalar", 256);
    if (!(scalar > 0)) in.refuse("query_pre_attn_scalar", "must be above 0");
    attention_cap = cap_of(in, "attn_logit_softcapping", d.attention_cap);
    logit_cap = cap_of(in, "final_logit_softcapping", d.logit_cap);
    window = is_null(in, "sliding_window") ? 0 : in.positive_or("sliding_window", d.window);
    windowed = windowed_layers(in, depth, d.pattern);
  }
  attention_scale = 1 / std::sqrt(scalar);
  if (window == 0 || std::ranges::find(windowed, true) == windowed.end()) {
    window = 0;
    windowed.clear();
  }

  rope_theta = in.number_or("rope_theta", d.rope_theta);
  if (generation == Generation::three) local_rope_theta = in.number_or("rope_local_base_freq", 1e4f);
  if (!(rope_theta > 0)) in.refuse("rope_theta", "must be above 0");
  if (generation == Generation::three && !(local_rope_theta > 0)) in.refuse("rope_local_base_freq", "must be above 0");
  for (const char* key : {"rope_scaling", "rope_parameters"}) {  // the second since transformers 5
    if (!in.has(key)) continue;
    const ConfigReader rope = in.child(key);
    if (rope.has("full_attention")) {
      float unscaled = 1;
      read_rope(rope.child("full_attention"), rope_theta, rope_factor);
      const ConfigReader local = rope.child_or_empty("sliding_attention");
      read_rope(local, generation == Generation::three ? local_rope_theta : rope_theta, unscaled);
      if (unscaled != 1) local.refuse("factor", "windowed layers are never scaled");
    } else {
      read_rope(rope, rope_theta, rope_factor);
    }
  }
}

StackShape Config::shape() const {
  return {depth, width, heads, kv_heads, head_dim, mlp_width, true, std::ranges::count(windowed, true), window};
}

KvShape Config::kv_shape() const {
  KvShape shape{depth, kv_heads, head_dim};
  for (const bool is_windowed : windowed) shape.windows.push_back(is_windowed ? window : 0);
  return shape;
}

Attention::Attention(const Config& c, const Weights& w)
    : query(w / "q_proj", c.width, c.heads * c.head_dim, c.attention_bias),
      key(w / "k_proj", c.width, c.kv_heads * c.head_dim, c.attention_bias),
      value(w / "v_proj", c.width, c.kv_heads * c.head_dim, c.attention_bias),
      out(w / "o_proj", c.heads * c.head_dim, c.width, c.attention_bias),
      heads(c.heads),
      kv_heads(c.kv_heads),
      qk_norms(c.qk_norms) {
  if (!qk_norms) return;
  query_norm = {w / "q_norm", c.head_dim, c.norm_eps, Gain::one_plus};
  key_norm = {w / "k_norm", c.head_dim, c.norm_eps, Gain::one_plus};
}

Tensor Attention::mix(const Tensor& x, const Pass& pass, const LayerOf& cache) const {
  const auto [qs, ks, vs] = nn::each(x, query, key, value);
  Tensor q = ops::split_heads(qs, heads);           // [t, heads, head_dim]
  Tensor k = ops::split_heads(ks, kv_heads);        // [t, kv_heads, head_dim]
  const Tensor v = ops::split_heads(vs, kv_heads);  // [t, kv_heads, head_dim]
  if (qk_norms) q = query_norm(q), k = key_norm(k);
  q = ops::rope(q, pass.angles);
  k = ops::rope(k, pass.angles);
  const KvView seen = cache(k, v, pass.batch);  // training: these tokens only
  return ops::merge_heads(ops::attention(q, seen, pass.batch, pass.options));
}

Layer::Layer(const Config& c, const Weights& w)
    : attn_norm(w / "input_layernorm", c.width, c.norm_eps, Gain::one_plus),
      mlp_norm(w / (c.post_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm"), c.width, c.norm_eps,
               Gain::one_plus),
      attn(c, w / "self_attn"),
      mlp(w / "mlp", c.width, c.mlp_width, Linear::Bias::no, ops::Activation::gelu_tanh),
      post_norms(c.post_norms) {
  if (!post_norms) return;
  after_attn = {w / "post_attention_layernorm", c.width, c.norm_eps, Gain::one_plus};
  after_mlp = {w / "post_feedforward_layernorm", c.width, c.norm_eps, Gain::one_plus};
}

Tensor Layer::operator()(const Tensor& x, const Attention::Pass& pass, const LayerOf& cache) const {
  const Tensor mixed = attn.mix(attn_norm(x), pass, cache);
  if (!post_norms) {
    const Tensor h = attn.out.plus(mixed, x);
    return mlp.plus(mlp_norm(h), h);
  }
  const Tensor h = x + after_attn(attn.out(mixed));
  return h + after_mlp(mlp(mlp_norm(h)));
}

Decoder::Decoder(const Config& c, const ConfigReader& in, const Weights& w, WindowCut of)
    : config(c),
      tokens(w / "embed_tokens", c.vocab, c.width, nn::Embedding::Head::tied),
      norm(w / "norm", c.width, c.norm_eps, Gain::one_plus),
      head(tokens.as_linear()),
      embed_scale(std::sqrt(static_cast<float>(c.width))),
      cut(of) {
  require_layers(in, w / "layers", c.depth, "input_layernorm.weight");
  for (Dim i = 0; i < c.depth; ++i) {
    layers.emplace_back(c, w / "layers" / i);
    ExecContext::current().checkpoint();
  }
  // The reference rounds the factor to the weights' type.
  if (w.type() != WeightType::f32) embed_scale = to_f32(to_bf16(embed_scale));
  attention = {.scale = c.attention_scale, .softcap = c.attention_cap, .arithmetic = activation_type(w.type())};
}

Tensor Decoder::embed(std::span<const TokenId> ids) const { return ops::scale(tokens(ids), embed_scale); }

Tensor Decoder::logits(const Tensor& rows) const {
  const Tensor scores = head(rows);
  return config.logit_cap > 0 ? ops::softcap(scores, config.logit_cap) : scores;
}

Tensor Decoder::forward(Tensor x, const Batch& batch, KvCache* cache) const {
  const ops::RopeTable angles =
      ops::rope_table(batch.positions, config.head_dim, config.rope_theta, config.rope_factor);
  ops::RopeTable local_angles;
  if (config.window > 0 && config.local_rope_theta > 0)
    local_angles = ops::rope_table(batch.positions, config.head_dim, config.local_rope_theta);
  Batch local;
  if (config.window > 0) {
    local = batch;
    local.intervals = windowed_intervals(batch, config.window, cut);
  }
  const Attention::Pass full{batch, angles, attention};
  const Attention::Pass windowed{local, local_angles.cos.defined() ? local_angles : angles, attention};
  for (Dim i = 0; const Layer& layer : layers) {
    const bool is_windowed = config.window > 0 && config.windowed[static_cast<std::size_t>(i)];
    x = layer(x, is_windowed ? windowed : full, LayerOf(cache, i++));
    ExecContext::current().checkpoint();
  }
  return norm(x);
}

std::vector<Interval> windowed_intervals(const Batch& batch, Dim window, WindowCut cut) {
  std::vector<Interval> intervals = batch.intervals;
  std::vector<bool> whole(cut == WindowCut::suffix_only ? intervals.size() : 0);
  if (cut == WindowCut::suffix_only)
    for (const Span& span : batch.atomic) std::fill(whole.begin() + span.begin, whole.begin() + span.end, true);
  for (const Span& sequence : batch.sequences)
    for (Dim row = sequence.begin; row < sequence.end; ++row) {
      const auto i = static_cast<std::size_t>(row);
      if (!whole.empty() && whole[i]) continue;
      const Dim first = sequence.past + (row - sequence.begin) - window + 1;
      intervals[i].begin = std::max(intervals[i].begin, static_cast<std::int32_t>(std::max<Dim>(0, first)));
    }
  return intervals;
}

std::vector<std::pair<std::string, std::string>> picture_weight_names() {
  return {{"language_model.model.", "model.language_model."},
          {"vision_tower.vision_model.", "model.vision_tower.vision_model."},
          {"vision_tower.vision_model.", "model.vision_tower."},
          {"multi_modal_projector.", "model.multi_modal_projector."}};
}

}  // namespace tap::gemma
