#include "ops/attention_probe.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tap::ops {

namespace {

thread_local const AttentionProbe* active = nullptr;

float value_at(const void* rows, DType dtype, Dim at) {
  if (dtype == DType::f32) return static_cast<const float*>(rows)[at];
  return std::bit_cast<float>(std::uint32_t{static_cast<const std::uint16_t*>(rows)[at]} << 16);
}

}  // namespace

std::vector<float> attention_weights(const Tensor& q, const KvView& kv, const Batch& batch,
                                     const AttentionOptions& options, Dim row) {
  const bool plain = kv.keys.defined();
  const Dim heads = q.dim(1), d = q.dim(2), kv_heads = plain ? kv.keys.dim(1) : kv.kv_heads;
  const Dim row_stride = plain ? kv_heads * d : d;
  const auto s =
      static_cast<std::size_t>(std::ranges::find_if(batch.sequences, [&](const Span& span) { return row < span.end; }) -
                               batch.sequences.begin());
  const Interval seen = batch.intervals[static_cast<std::size_t>(row)];
  const float scale = options.scale > 0 ? options.scale : 1 / std::sqrt(static_cast<float>(d));
  std::vector<float> mean(static_cast<std::size_t>(seen.end - seen.begin));
  std::vector<double> scores(mean.size());
  // One run for the plain form; the cache's own otherwise.
  std::vector<KvRun> runs;
  Dim base = 0;
  if (plain) {
    const Span& span = batch.sequences[s];
    runs.push_back({kv.keys.data<float>() + span.begin * kv_heads * d, nullptr, span.rows(), d, d});
  } else {
    runs = kv.sequences[s].runs;
    base = kv.sequences[s].base;
  }
  for (Dim head = 0; head < heads; ++head) {
    const float* query = q.data<float>() + (row * heads + head) * d;
    const Dim kv_head = head / (heads / kv_heads);
    Dim at = base;
    double most = -INFINITY;
    for (const KvRun& run : runs)
      for (Dim i = 0; i < run.rows; ++i, ++at) {
        if (at < seen.begin || at >= seen.end) continue;
        double dot = 0;
        for (Dim c = 0; c < d; ++c)
          dot += double{query[c]} *
                 double{value_at(run.keys, plain ? DType::f32 : kv.dtype, kv_head * run.key_head + i * row_stride + c)};
        dot *= double{scale};
        if (options.softcap > 0) dot = double{options.softcap} * std::tanh(dot / double{options.softcap});
        scores[static_cast<std::size_t>(at - seen.begin)] = dot;
        most = std::max(most, dot);
      }
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - most);
    for (std::size_t i = 0; i < mean.size(); ++i)
      mean[i] += static_cast<float>(scores[i] / sum / static_cast<double>(heads));
  }
  return mean;
}

AttentionProbe::AttentionProbe(See see) : see_(std::move(see)), previous_(std::exchange(active, this)) {}
AttentionProbe::~AttentionProbe() { active = previous_; }
const AttentionProbe* AttentionProbe::current() { return active; }

void AttentionProbe::look(const Tensor& q, const KvView& kv, const Batch& batch,
                          const AttentionOptions& options) const {
  if (q.dim(0) != 1) return;
  const Interval seen = batch.intervals.front();
  if (seen.end > seen.begin) see_(seen, attention_weights(q, kv, batch, options, 0));
}

}  // namespace tap::ops
