#include <cmath>

#include "autograd/tape.h"
#include "base/parallel.h"
#include "ops/ops.h"

namespace tap::ops {

Tensor attention(const Tensor& q, const KvView& kv, const Batch& batch, const AttentionOptions& options) {
  const Dim heads = q.dim(1), d = q.dim(2);
  const bool plain = kv.keys.defined();
  const Dim kv_heads = plain ? kv.keys.dim(1) : kv.kv_heads, group = heads / kv_heads;
  const bool half = !plain && kv.dtype == DType::bf16;
  const float scale = options.scale != 0 ? options.scale : 1.0f / std::sqrt(static_cast<float>(d));
  Tensor y = Tensor::zeros(q.shape());
  const auto at = [half](const void* p, Dim i) {
    return half ? to_f32(static_cast<const bf16*>(p)[i]) : static_cast<const float*>(p)[i];
  };
  for (std::size_t s = 0; s < batch.sequences.size(); ++s) {
    const Span& span = batch.sequences[s];
    KvSequence whole;
    if (plain) whole.runs = {{kv.keys.rows(span.begin, span.end).raw(), kv.values.rows(span.begin, span.end).raw(), span.rows()}};
    const KvSequence& keys = plain ? whole : kv.sequences[s];
    parallel_rows(span.rows(), 1, [&](Rows r) {
      for (Dim i = span.begin + r.begin; i < span.begin + r.end; ++i) {
        const Interval seen = batch.intervals[static_cast<std::size_t>(i)];
        for (Dim h = 0; h < heads; ++h) {
          const float* query = q.data<float>() + (i * heads + h) * d;
          float* out = y.write<float>() + (i * heads + h) * d;
          float top = -1e30f, sum = 0;
          Dim first = keys.base;
          for (const KvRun& run : keys.runs) {
            for (Dim j = std::max<Dim>(first, seen.begin); j < std::min<Dim>(first + run.rows, seen.end); ++j) {
              const Dim row = ((j - first) * kv_heads + h / group) * d;
              float score = 0;
              for (Dim c = 0; c < d; ++c) score += (half ? to_f32(to_bf16(query[c])) : query[c]) * at(run.keys, row + c);
              score *= scale;
              if (options.softcap > 0) score = options.softcap * std::tanh(score / options.softcap);
              const float higher = std::max(top, score), keep = std::exp(top - higher), p = std::exp(score - higher);
              top = higher;
              sum = sum * keep + p;
              for (Dim c = 0; c < d; ++c) out[c] = out[c] * keep + p * at(run.values, row + c);
            }
            first += run.rows;
          }
          for (Dim c = 0; c < d && sum > 0; ++c) out[c] /= sum;
        }
      }
    });
  }
  return y;
}

}  // namespace tap::ops
