// The decoder of Gemma 1, 2 and 3 (arXiv:2403.08295, 2408.00118, 2503.19786) with what each generation adds as options
// of its config. Parity: HF GemmaModel, Gemma2Model, Gemma3TextModel with their tied heads.
// Shapes: t = rows of all sequences, packed without padding; d = width.
#pragma once

#include <vector>

#include "models/family.h"
#include "nn/nn.h"

namespace tap::gemma {

// one: norms by 1 + w, scaled embeddings, GELU(tanh) gates. two: norms after each part too, soft caps, every second
// layer windowed. three: norms of q and k instead of caps, five windowed layers to a full one, two rope bases.
enum class Generation { one, two, three };

struct Config {
  Dim width, depth, heads, kv_heads, head_dim, mlp_width, vocab, context;
  float norm_eps, rope_theta, rope_factor = 1;
  float local_rope_theta = 0;  // of windowed layers, never scaled; 0: as the full ones
  float attention_scale;
  float attention_cap = 0, logit_cap = 0;  // 0: none
  bool qk_norms, post_norms;
  nn::Linear::Bias attention_bias;
  Dim window = 0;              // rows that a windowed layer's row sees, itself included; 0: no layer is windowed
  std::vector<bool> windowed;  // per layer

  // `in`: the reader of the text config. Keys that published files leave out have the defaults of GemmaConfig,
  // Gemma2Config and Gemma3TextConfig.
  Config(Generation generation, const ConfigReader& in);
  StackShape shape() const;
  KvShape kv_shape() const;
};

struct Attention {
  nn::Linear query, key, value, out;
  nn::RmsNorm query_norm, key_norm;  // where config.qk_norms
  Dim heads, kv_heads;
  bool qk_norms;

  struct Pass {  // what every layer of a kind shares
    const Batch& batch;
    const ops::RopeTable& angles;
    const ops::AttentionOptions& options;
  };

  Attention(const Config& c, const Weights& w);
  Tensor mix(const Tensor& x, const Pass& pass, const LayerOf& cache) const;  // [t, d] to [t, heads * head_dim]
};

struct Layer {
  nn::RmsNorm attn_norm, mlp_norm;
  nn::RmsNorm after_attn, after_mlp;  // where config.post_norms
  Attention attn;
  nn::SwiGlu mlp;
  bool post_norms;

  Layer(const Config& c, const Weights& w);
  Tensor operator()(const Tensor& x, const Attention::Pass& pass, const LayerOf& cache) const;
};

// Which rows a window cuts. suffix_only: rows of an atomic span see all of it whatever the window (PaliGemma 2's
// prefix); a picture that sees itself in Gemma 3 is cut as other rows are.
enum class WindowCut : bool { all, suffix_only };

struct Decoder {
  Config config;
  nn::Embedding tokens;  // the head too
  std::vector<Layer> layers;
  nn::RmsNorm norm;
  nn::Linear head;
  float embed_scale;
  ops::AttentionOptions attention;
  WindowCut cut;

  // `w`: where embed_tokens, layers and norm lie; `in`: the reader of the text config, for errors.
  Decoder(const Config& c, const ConfigReader& in, const Weights& w, WindowCut cut = WindowCut::all);
  Tensor embed(std::span<const TokenId> ids) const;                    // [t, d], scaled
  Tensor forward(Tensor x, const Batch& batch, KvCache* cache) const;  // [t, d] to [t, d]
  Tensor logits(const Tensor& rows) const;                             // [r, d] to [r, vocab]
};

// The batch's intervals as a layer sees them that looks back over `window` rows.
std::vector<Interval> windowed_intervals(const Batch& batch, Dim window, WindowCut cut);

// Family::weight_names of Gemma behind a SigLIP tower: as published, then as newer libraries name the parts inside.
std::vector<std::pair<std::string, std::string>> picture_weight_names();

}  // namespace tap::gemma
