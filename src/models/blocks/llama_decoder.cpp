#include "models/blocks/llama_decoder.h"

#include <algorithm>

#include "models/blocks/layers.h"

namespace tap {

using nn::Linear;

LlamaConfig LlamaConfig::read(const ConfigReader& in, const LlamaConfig& defaults) {
  LlamaConfig c = defaults;
  c.width = in.positive_or("hidden_size", c.width);
  c.depth = in.positive_or("num_hidden_layers", c.depth);
  c.heads = in.positive_or("num_attention_heads", c.heads);
  c.kv_heads = in.positive_or("num_key_value_heads", c.kv_heads > 0 ? c.kv_heads : c.heads);
  c.head_dim = in.positive_or("head_dim", std::max<Dim>(1, c.width / c.heads));
  c.mlp_width = in.positive_or("intermediate_size", c.mlp_width);
  c.vocab = in.positive_or("vocab_size", c.vocab);
  c.context = in.positive_or("max_position_embeddings", c.context);
  c.norm_eps = in.number_or("rms_norm_eps", c.norm_eps);
  c.rope_theta = in.number_or("rope_theta", c.rope_theta);
  in.one_of("hidden_act", {"silu"}, "silu");
  return c;
}

void LlamaConfig::check(const ConfigReader& in) const {
  if (!in.has("head_dim") && width % heads != 0)
    in.refuse("num_attention_heads", fmt::format("does not divide hidden_size {}", width));
  if (heads % kv_heads != 0)
    in.refuse("num_key_value_heads", fmt::format("does not divide num_attention_heads {}", heads));
  if (head_dim % 2 != 0) in.refuse("head_dim", "must be even for rotary positions");
  if (head_dim > 1024) in.refuse("head_dim", "at most 1024 is supported");
  if (!(norm_eps > 0)) in.refuse("rms_norm_eps", "must be above 0");
  if (!(rope_theta > 0)) in.refuse("rope_theta", "must be above 0");
}

LlamaAttention::LlamaAttention(const LlamaConfig& c, const Weights& w)
    : query(w / "q_proj", c.width, c.heads * c.head_dim, c.qkv_bias),
      key(w / "k_proj", c.width, c.kv_heads * c.head_dim, c.qkv_bias),
      value(w / "v_proj", c.width, c.kv_heads * c.head_dim, c.qkv_bias),
      out(w / "o_proj", c.heads * c.head_dim, c.width, c.out_bias),
      heads(c.heads),
      kv_heads(c.kv_heads) {}

Tensor LlamaAttention::plus(const Tensor& x, const Tensor& residual, const LlamaPass& pass,
                            const LayerOf& cache) const {
  const auto [qs, ks, vs] = nn::each(x, query, key, value);
  const Tensor q = ops::rope(ops::split_heads(qs, heads), pass.angles);     // [t, heads, head_dim]
  const Tensor k = ops::rope(ops::split_heads(ks, kv_heads), pass.angles);  // [t, kv_heads, head_dim]
  const Tensor v = ops::split_heads(vs, kv_heads);                          // [t, kv_heads, head_dim]
  const KvView seen = cache(k, v, pass.batch);                              // training: these tokens only
  return out.plus(ops::merge_heads(ops::attention(q, seen, pass.batch, pass.attention)), residual);
}

LlamaLayer::LlamaLayer(const LlamaConfig& c, const Weights& w)
    : attn_norm(w / "input_layernorm", c.width, c.norm_eps),
      mlp_norm(w / "post_attention_layernorm", c.width, c.norm_eps),
      attn(c, w / "self_attn"),
      mlp(w / "mlp", c.width, c.mlp_width, c.mlp_bias) {}

Tensor LlamaLayer::operator()(const Tensor& x, const LlamaPass& pass, const LayerOf& cache) const {
  const Tensor h = attn.plus(attn_norm(x), x, pass, cache);
  return mlp.plus(mlp_norm(h), h);
}

LlamaDecoder::LlamaDecoder(const LlamaConfig& c, const ConfigReader& in, const Weights& w, const Weights& head_weights,
                           bool tied)
    : config(c),
      tokens(w / "embed_tokens", c.vocab, c.width, tied ? nn::Embedding::Head::tied : nn::Embedding::Head::separate),
      norm(w / "norm", c.width, c.norm_eps),
      head(tied ? tokens.as_linear() : Linear(head_weights / "lm_head", c.width, c.vocab)) {
  require_layers(in, w / "layers", c.depth, "input_layernorm.weight");
  for (Dim i = 0; i < c.depth; ++i) {
    layers.emplace_back(c, w / "layers" / i);
    ExecContext::current().checkpoint();  // loading can be interrupted too
  }
  attention.arithmetic = activation_type(w.type());
}

Tensor LlamaDecoder::forward(Tensor x, const Batch& batch, KvCache* cache) const {
  const auto angles =
      config.rope_sections.empty() || batch.positions.size() == 1  // text alone: all axes are equal
          ? ops::rope_table(batch.positions, config.head_dim, config.rope_theta, config.rope_factor)
          : ops::rope_table_sections(batch.positions, config.head_dim, config.rope_theta, config.rope_sections);
  for (Dim i = 0; const LlamaLayer& layer : layers) {
    x = layer(x, {batch, angles, attention}, LayerOf(cache, i++));
    ExecContext::current().checkpoint();
  }
  return norm(x);
}

StackShape LlamaDecoder::shape() const {
  return {config.depth, config.width, config.heads, config.kv_heads, config.head_dim, config.mlp_width, true};
}

}  // namespace tap
