// The decoder of Llama and Qwen2: RMS norm, rotate-half rope, grouped-query attention, gated MLP. Parity: HF
// LlamaModel, Qwen2Model, Qwen2_5_VLTextModel. Shapes: t = rows of all sequences, packed without padding; d = width.
#pragma once

#include <span>
#include <vector>

#include "models/family.h"
#include "nn/nn.h"

namespace tap {

struct LlamaConfig {
  Dim width = 0, depth = 0, heads = 0, kv_heads = 0, head_dim = 0, mlp_width = 0, vocab = 0, context = 0;
  float norm_eps = 0, rope_theta = 0, rope_factor = 1;
  std::vector<Dim> rope_sections = {};  // rotary pairs of each axis of positions; empty: one axis
  nn::Linear::Bias qkv_bias = nn::Linear::Bias::no, out_bias = nn::Linear::Bias::no, mlp_bias = nn::Linear::Bias::no;

  // The keys that all of them have, with `defaults` for those left out; kv_heads 0: as many as heads.
  static LlamaConfig read(const ConfigReader& in, const LlamaConfig& defaults);
  // What holds for all of them: contradictions are refused by key.
  void check(const ConfigReader& in) const;
};

struct LlamaPass {  // what every layer of one forward shares
  const Batch& batch;
  const ops::RopeTable& angles;
  ops::AttentionOptions attention;
};

struct LlamaAttention {
  nn::Linear query, key, value, out;
  Dim heads, kv_heads;
  LlamaAttention(const LlamaConfig& c, const Weights& w);
  Tensor plus(const Tensor& x, const Tensor& residual, const LlamaPass& pass,
              const LayerOf& cache) const;  // [t, d] to [t, d]
};

struct LlamaLayer {
  nn::RmsNorm attn_norm, mlp_norm;
  LlamaAttention attn;
  nn::SwiGlu mlp;
  LlamaLayer(const LlamaConfig& c, const Weights& w);
  Tensor operator()(const Tensor& x, const LlamaPass& pass, const LayerOf& cache) const;
};

struct LlamaDecoder {
  LlamaConfig config;
  nn::Embedding tokens;
  std::vector<LlamaLayer> layers;
  nn::RmsNorm norm;
  nn::Linear head;
  ops::AttentionOptions attention;

  // `in`: the text part of the config, for errors. `w`: where embed_tokens, layers and norm are; `head_weights`: where
  // lm_head is, when it is not tied.
  LlamaDecoder(const LlamaConfig& c, const ConfigReader& in, const Weights& w, const Weights& head_weights, bool tied);
  Tensor embed(std::span<const TokenId> ids) const { return tokens(ids); }  // [t, d]
  Tensor forward(Tensor x, const Batch& batch, KvCache* cache) const;       // [t, d] to [t, d]
  Tensor logits(const Tensor& rows) const { return head(rows); }            // [r, d] to [r, vocab]
  StackShape shape() const;
  KvShape kv_shape() const { return {config.depth, config.kv_heads, config.head_dim}; }
};

}  // namespace tap
