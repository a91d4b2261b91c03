// Every operation once more, scalar and in double: the oracle of the tests. Nothing here is fast, nothing in the
// product calls it.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/ops.h"

namespace tap::ops::reference {

using Values = std::vector<double>;

inline Values of(const Tensor& x) {
  const Tensor f = x.to(DType::f32);
  return Values(f.data<float>(), f.data<float>() + f.elements());
}

inline Values rms_norm(const Tensor& x, const Tensor& gain, double eps, bool one_plus = false) {
  Values y = of(x);
  const auto width = static_cast<std::size_t>(x.width());
  for (std::size_t at = 0; at < y.size(); at += width) {
    double square = 0;
    for (std::size_t i = 0; i < width; ++i) square += y[at + i] * y[at + i];
    const double inverse = 1 / std::sqrt(square / static_cast<double>(width) + eps);
    for (std::size_t i = 0; i < width; ++i)
      y[at + i] *= inverse * (static_cast<double>(gain.data<float>()[i]) + (one_plus ? 1 : 0));
  }
  return y;
}

inline Values layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps) {
  Values y = of(x);
  const auto width = static_cast<std::size_t>(x.width());
  for (std::size_t at = 0; at < y.size(); at += width) {
    double mean = 0, square = 0;
    for (std::size_t i = 0; i < width; ++i) mean += y[at + i] / static_cast<double>(width);
    for (std::size_t i = 0; i < width; ++i) square += (y[at + i] - mean) * (y[at + i] - mean);
    const double inverse = 1 / std::sqrt(square / static_cast<double>(width) + eps);
    for (std::size_t i = 0; i < width; ++i)
      y[at + i] = (y[at + i] - mean) * inverse * static_cast<double>(gain.data<float>()[i]) +
                  static_cast<double>(bias.data<float>()[i]);
  }
  return y;
}

inline double activate(double x, Activation activation) {
  switch (activation) {
    case Activation::none: return x;
    case Activation::gelu_tanh: return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::gelu_erf: return x / 2 * std::erfc(-x / std::sqrt(2.0));
    case Activation::quick_gelu: return x / (1 + std::exp(-1.702 * x));
    case Activation::silu: return x / (1 + std::exp(-x));
  }
  return x;
}

inline Values softmax_rows(const Tensor& x) {
  Values y = of(x);
  const auto width = static_cast<std::size_t>(x.width());
  for (std::size_t at = 0; at < y.size(); at += width) {
    const double top = *std::max_element(y.begin() + static_cast<Dim>(at), y.begin() + static_cast<Dim>(at + width));
    double sum = 0;
    for (std::size_t i = 0; i < width; ++i) sum += y[at + i] = std::exp(y[at + i] - top);
    for (std::size_t i = 0; i < width; ++i) y[at + i] /= sum;
  }
  return y;
}

// x: [t, heads, d]; cos and sin: [t, d / 2].
inline Values rope(const Tensor& x, const RopeTable& table, RopeLayout layout) {
  const Values in = of(x), cos = of(table.cos), sin = of(table.sin);
  Values y(in.size());
  const auto heads = static_cast<std::size_t>(x.dim(1)), d = static_cast<std::size_t>(x.dim(2)), half = d / 2;
  const std::size_t step = layout == RopeLayout::pairs ? 2 : 1, apart = layout == RopeLayout::pairs ? 1 : half;
  for (std::size_t at = 0; at < in.size(); at += d)
    for (std::size_t i = 0; i < half; ++i) {
      const std::size_t a = at + i * step, b = a + apart, angle = at / (heads * d) * half + i;
      y[a] = in[a] * cos[angle] - in[b] * sin[angle];
      y[b] = in[b] * cos[angle] + in[a] * sin[angle];
    }
  return y;
}

// q: [t, heads, d]; k, v: [all keys of all sequences, kv_heads, d], those of sequence s beginning at key_begin[s],
// logical row base[s].
inline Values attention(const Tensor& q, const Tensor& k, const Tensor& v, const Batch& batch,
                        const std::vector<Dim>& key_begin, const std::vector<Dim>& base, double scale, double softcap) {
  const Values in = of(q), keys = of(k), values = of(v);
  const Dim heads = q.dim(1), d = q.dim(2), kv_heads = k.dim(1), group = heads / kv_heads;
  Values y(in.size());
  for (std::size_t s = 0; s < batch.sequences.size(); ++s)
    for (Dim i = batch.sequences[s].begin; i < batch.sequences[s].end; ++i)
      for (Dim h = 0; h < heads; ++h) {
        const Interval seen = batch.intervals[static_cast<std::size_t>(i)];
        const auto key = [&](Dim j, Dim c) {
          return static_cast<std::size_t>(((key_begin[s] + j - base[s]) * kv_heads + h / group) * d + c);
        };
        const auto query = [&](Dim c) { return static_cast<std::size_t>((i * heads + h) * d + c); };
        Values p;
        for (Dim j = seen.begin; j < seen.end; ++j) {
          double score = 0;
          for (Dim c = 0; c < d; ++c) score += in[query(c)] * keys[key(j, c)];
          score *= scale;
          p.push_back(softcap > 0 ? softcap * std::tanh(score / softcap) : score);
        }
        if (p.empty()) continue;
        const double top = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& x : p) sum += x = std::exp(x - top);
        for (Dim j = seen.begin; j < seen.end; ++j)
          for (Dim c = 0; c < d; ++c)
            y[query(c)] += p[static_cast<std::size_t>(j - seen.begin)] / sum * values[key(j, c)];
      }
  return y;
}

}  // namespace tap::ops::reference
