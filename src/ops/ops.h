// The other operations of transformer models. All take and give f32 unless said otherwise; all record gradients where
// noted.
#pragma once

#include <span>
#include <vector>

#include "ops/batch.h"
#include "ops/linear.h"
#include "tensor/tensor.h"

namespace tap {

using TokenId = std::int32_t;

namespace ops {

// RMS norm over the last axis: x / sqrt(mean(x²) + eps) * gain; with `one_plus` the factor is (1 + gain) (Gemma).
// Gradient: yes.
Tensor rms_norm(const Tensor& x, const Tensor& gain, float eps, bool one_plus = false);
// Layer norm over the last axis with gain and bias [d].
Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, float eps);

Tensor add(const Tensor& a, const Tensor& b);       // same shape
Tensor multiply(const Tensor& a, const Tensor& b);  // same shape
Tensor scale(const Tensor& x, float factor);
Tensor activate(const Tensor& x, Activation activation);
Tensor softcap(const Tensor& x, float cap);  // cap * tanh(x / cap)
void softmax_rows(Tensor& x);                // in place, last axis; not under a tape

// Views. Tensor::reshape passes gradients by itself (the node is shared); Tensor::rows does not: use ops::rows under a
// tape.
Tensor split_heads(const Tensor& x, Dim heads);    // [t, heads * d] to [t, heads, d]
Tensor merge_heads(const Tensor& x);               // [t, heads, d] to [t, heads * d]
Tensor rows(const Tensor& x, Dim begin, Dim end);  // [begin, end) along the first axis

// Cos and sin per token and rotary pair. Schemes differ (1-D, scaled, sections), the kernel does not.
struct RopeTable {
  Tensor cos, sin;  // [t, head_dim / 2]
};
// angle(t, i) = position_t * theta^(-2i / head_dim) / linear_factor, in f32 as the reference does (positions of axis
// 0).
RopeTable rope_table(const std::vector<std::vector<std::int32_t>>& positions, Dim head_dim, float theta,
                     float linear_factor = 1.0f);
// The same with sections[a] rotary pairs in turn taking their position from axis a (M-RoPE, Qwen2-VL,
// arXiv:2409.12191). The sections add up to head_dim / 2.
RopeTable rope_table_sections(const std::vector<std::vector<std::int32_t>>& positions, Dim head_dim, float theta,
                              std::span<const Dim> sections);
// Each axis has head_dim / 2 / axes pairs with frequencies of its own, from the first axis on: theta^(-2i * axes /
// head_dim) (vision towers of Qwen).
RopeTable rope_table_axes(const std::vector<std::vector<std::int32_t>>& positions, Dim head_dim, float theta);
enum class RopeLayout : std::uint8_t { halves, pairs };  // rotate-half (most), neighbouring pairs
// x: [t, heads, head_dim]. Gradient: yes.
Tensor rope(const Tensor& x, const RopeTable& table, RopeLayout layout = RopeLayout::halves);

struct AttentionOptions {
  float scale = 0;    // 0 = 1 / sqrt(head_dim)
  float softcap = 0;  // 0 = none; scores become cap * tanh(score / cap) before the softmax
  // Arithmetic of the products: f32 (exact) or bf16 dot products where the CPU has them. Automatic: bf16 when the keys
  // are bf16.
  DType arithmetic = DType::f32;
};
// Interval attention: blocked and streaming, grouped-query. q: [t, heads, head_dim] to [t, heads, head_dim]. Row i of a
// sequence sees the keys in batch.intervals[i] of that sequence's part of `kv`. Gradient: yes for the plain form
// KvView{k, v}. head_dim need not be a multiple of 16 (SO400M has 72). Throws when an interval reaches outside the
// keys.
Tensor attention(const Tensor& q, const KvView& kv, const Batch& batch, const AttentionOptions& options = {});

// Rows of an embedding table (f32 or bf16) for each id: [vocab, d] to [t, d] f32. An id outside the table throws.
// Gradient: yes.
Tensor embedding(const Tensor& table, std::span<const TokenId> ids);

// Writes row i of `rows` over row slots[i] of `x` ([t, d]); fails unless as many rows as slots. Gradient: yes.
Tensor put_rows(const Tensor& x, std::span<const Dim> slots, const Tensor& rows);
Tensor take_rows(const Tensor& x, std::span<const Dim> slots);  // [t, d] to [n, d]
Tensor concat_rows(std::span<const Tensor> parts);              // along the first axis

// Space-to-depth: [n, h * w, d] raster to [n, (h / f) * (w / f), f * f * d], channel order (row, column, channel).
Tensor space_to_depth(const Tensor& x, Dim height, Dim width, Dim factor);
// The mean of each block of factor x factor: [n, h * w, d] raster to [n, (h / f) * (w / f), d]. Gradient: yes.
Tensor average_pool(const Tensor& x, Dim height, Dim width, Dim factor);
// Non-overlapping patches: [n, c, h, w] to [n, (h / p) * (w / p), c * p * p]: with a conv weight reshaped to [out, c *
// p * p], a product.
Tensor patchify(const Tensor& pixels, Dim patch);

}  // namespace ops

inline Tensor operator+(const Tensor& a, const Tensor& b) { return ops::add(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return ops::multiply(a, b); }

}  // namespace tap
