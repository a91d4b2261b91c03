#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/attention_lanes.h"
#include "kernels/elementwise.h"
#include "kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/lanes-inl.h"
#include "kernels/vec_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {

// As many vectors of queries x keys as the registers hold sums for.
#if HWY_TARGET == HWY_AVX3
constexpr int most_vectors = 4;
#else
constexpr int most_vectors = 2;
#endif
constexpr int tile = 4;  // keys of a score tile, elements of a mix tile

HWY_INLINE Vf capped(Vf x, float cap) {
  const F32 d;
  return hn::Mul(hn::Set(d, cap), vec::tanh(d, hn::Div(x, hn::Set(d, cap))));
}

// scores[k][lane] for KT keys from `at` on and V vectors of lanes from `lane` on.
template <int V, int KT>
HWY_INLINE void score_tile(const LaneBlock& block, const KeyStep& step, RowsF32 keys, Dim at, Dim lane) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const Dim width = block.width, head_dim = block.layout->head_dim;
  const float* key = keys.data + at * keys.row;
  Vf acc[KT][V];
#pragma GCC unroll 4
  for (int k = 0; k < KT; ++k)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[k][v] = hn::Zero(d);
  const float* queries = block.queries + lane;
  for (Dim c = 0; c < head_dim; ++c, queries += width) {
    Vf q[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) q[v] = hn::Load(d, queries + v * lanes());
#pragma GCC unroll 4
    for (int k = 0; k < KT; ++k) {
      const Vf x = hn::Set(d, key[k * keys.row + c]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[k][v] = hn::MulAdd(q[v], x, acc[k][v]);
    }
  }
  const Vf scale = hn::Set(d, block.layout->scale);
#pragma GCC unroll 4
  for (int k = 0; k < KT; ++k)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      Vf s = hn::Mul(acc[k][v], scale);
      if (step.masked) {
        const auto j = hn::Set(di, static_cast<std::int32_t>(step.first + at + k));
        const auto before = hn::Lt(j, hn::Load(di, block.begin + lane + v * lanes()));
        const auto inside = hn::Gt(hn::Load(di, block.end + lane + v * lanes()), j);
        s = hn::IfThenElse(hn::RebindMask(d, hn::AndNot(before, inside)), s, hn::Set(d, attention_masked));
      }
      hn::Store(s, d, block.scores + (at + k) * width + lane + v * lanes());
    }
}

template <int V>
HWY_INLINE void score_lanes(const LaneBlock& block, const KeyStep& step, RowsF32 keys, Dim lane) {
  Dim k = 0;
  for (; k + tile <= step.count; k += tile) score_tile<V, tile>(block, step, keys, k, lane);
  for (; k < step.count; ++k) score_tile<V, 1>(block, step, keys, k, lane);
}

HWY_INLINE void soften(LaneBlock& block, Dim count, Dim lane) {
  const F32 d;
  const Dim width = block.width;
  const Vf masked = hn::Set(d, attention_masked / 2);
  float* scores = block.scores + lane;
  const Vf old = hn::Load(d, block.top + lane);
  Vf now = old;
  if (const float cap = block.layout->softcap; cap > 0)
    for (Dim k = 0; k < count; ++k) {
      const Vf s = hn::Load(d, scores + k * width);
      hn::Store(hn::IfThenElse(hn::Gt(s, masked), capped(s, cap), s), d, scores + k * width);
    }
  for (Dim k = 0; k < count; ++k) now = hn::Max(now, hn::Load(d, scores + k * width));
  // A lane that has seen nothing keeps probability 0: e^masked is 0, its maximum counts as 0.
  const Vf down = hn::IfThenElseZero(hn::Gt(now, masked), now);
  const Vf keep = hn::IfThenElseZero(hn::Gt(old, masked), vec::exp(d, hn::Sub(old, now)));
  Vf sum = hn::Mul(hn::Load(d, block.sum + lane), keep);
  for (Dim k = 0; k < count; ++k) {
    const Vf p = vec::exp(d, hn::Sub(hn::Load(d, scores + k * width), down));
    sum = hn::Add(sum, p);
    hn::Store(p, d, scores + k * width);
  }
  hn::Store(now, d, block.top + lane);
  hn::Store(sum, d, block.sum + lane);
  hn::Store(keep, d, block.keep + lane);
}

template <int V, int DT>
HWY_INLINE void mix_tile(LaneBlock& block, RowsF32 values, Dim count, Dim at, Dim lane) {
  const F32 d;
  const Dim width = block.width;
  Vf acc[DT][V];
  float* mixed = block.mixed + at * width + lane;
#pragma GCC unroll 4
  for (int i = 0; i < DT; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      acc[i][v] = hn::Mul(hn::Load(d, mixed + i * width + v * lanes()), hn::Load(d, block.keep + lane + v * lanes()));
  const float *probability = block.scores + lane, *value = values.data + at;
  for (Dim k = 0; k < count; ++k, probability += width, value += values.row) {
    Vf p[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) p[v] = hn::Load(d, probability + v * lanes());
#pragma GCC unroll 4
    for (int i = 0; i < DT; ++i) {
      const Vf x = hn::Set(d, value[i]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[i][v] = hn::MulAdd(p[v], x, acc[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < DT; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) hn::Store(acc[i][v], d, mixed + i * width + v * lanes());
}

template <int V>
HWY_INLINE void mix_lanes(LaneBlock& block, RowsF32 values, Dim count, Dim lane) {
  Dim c = 0;
  for (; c + tile <= block.layout->head_dim; c += tile) mix_tile<V, tile>(block, values, count, c, lane);
  for (; c < block.layout->head_dim; ++c) mix_tile<V, 1>(block, values, count, c, lane);
}

template <int V>
HWY_INLINE Dim step_lanes(LaneBlock& block, const KeyStep& step, RowsF32 keys, RowsF32 values, Dim lane) {
  for (; lane + V * lanes() <= block.width; lane += V * lanes()) {
    score_lanes<V>(block, step, keys, lane);
    for (int v = 0; v < V; ++v) soften(block, step.count, lane + v * lanes());
    mix_lanes<V>(block, values, step.count, lane);
  }
  return lane;
}

void lane_keys(LaneBlock& block, const KeyStep& step, RowsF32 keys, RowsF32 values) {
  Dim lane = step_lanes<most_vectors>(block, step, keys, values, 0);
  if constexpr (most_vectors > 2) lane = step_lanes<2>(block, step, keys, values, lane);
  step_lanes<1>(block, step, keys, values, lane);
}

// One head of one query row against a step's keys; part is {maximum, sum, mix…}. `ask`: for the rows behind.
void row_keys(const AttentionLayout& layout, const float* q, RowsF32 keys, RowsF32 values, Dim count, float* part,
              float* scores, bool ask) {
  const F32 d;
  float top = part[0];
  for (Dim k = 0; k < count; ++k) {
    if (ask) {
      ask_ahead(keys.data + k * keys.row, layout.head_dim * 4, keys.row * 4);
      ask_ahead(values.data + k * values.row, layout.head_dim * 4, values.row * 4);
    }
    scores[k] = dot_lanes(q, keys.data + k * keys.row, layout.head_dim);
  }
  const Vf scale = hn::Set(d, layout.scale);
  map(scores, count, scores, [&](Vf s) HWY_ATTR {
    s = hn::Mul(s, scale);
    return layout.softcap > 0 ? capped(s, layout.softcap) : s;
  });
  for (Dim k = 0; k < count; ++k) top = std::max(top, scores[k]);
  const Vf down = hn::Set(d, top);
  map(scores, count, scores, [&](Vf s) HWY_ATTR { return vec::exp(d, hn::Sub(s, down)); });
  const float keep = hn::GetLane(vec::exp(d, hn::Sub(hn::Set(d, part[0]), down)));
  part[0] = top;
  part[1] = part[1] * keep + sum_of(scores, count, [](Vf v) HWY_ATTR { return v; });
  const Vf factor = hn::Set(d, keep);
  const auto mix = [&](Dim c, Dim n) HWY_ATTR {
    const bool whole = n >= lanes();
    Vf acc = hn::Mul(whole ? hn::LoadU(d, part + 2 + c) : load_first(part + 2 + c, n), factor);
    for (Dim k = 0; k < count; ++k) {
      const float* value = values.data + k * values.row + c;
      acc = hn::MulAdd(hn::Set(d, scores[k]), whole ? hn::LoadU(d, value) : load_first(value, n), acc);
    }
    if (whole)
      hn::StoreU(acc, d, part + 2 + c);
    else
      store_first(acc, part + 2 + c, n);
  };
  for (Dim c = 0; c < layout.head_dim; c += lanes()) mix(c, layout.head_dim - c);
}

}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tap::kernels {

HWY_EXPORT(lane_keys);
HWY_EXPORT(row_keys);

namespace {

// Hands the floats of a scratch block out, each piece on its own cache lines.
class Carver {
 public:
  explicit Carver(std::byte* at) : at_(reinterpret_cast<float*>(at)) {}
  float* take(Dim floats) {
    float* piece = at_;
    at_ += round_up(floats, 16);
    return piece;
  }

 private:
  float* at_;
};

// A step's rows as f32: where they are, or converted into scratch.
RowsF32 rows_f32(const AttentionLayout& layout, const void* rows, Dim stride, Dim count, float* scratch) {
  if (!layout.bf16_rows) return {static_cast<const float*>(rows), stride};
  for (Dim k = 0; k < count; ++k) {
    const std::uint16_t* row = static_cast<const std::uint16_t*>(rows) + k * stride;
    ask_ahead(row, layout.head_dim * 2, stride * 2);
    from_bf16(row, layout.head_dim, scratch + k * layout.head_dim);
  }
  return {scratch, layout.head_dim};
}

void begin_f32(LaneBlock& block) {
  const Dim d = block.layout->head_dim, width = block.width;
  for (Dim lane = 0; lane < width; ++lane) {
    const float* q = block.q[lane];
    if (block.layout->bf16_rows) {  // as the bf16 products round them
      auto* rounded = reinterpret_cast<std::uint16_t*>(block.keys_f32);
      to_bf16(q, d, rounded);
      from_bf16(rounded, d, block.values_f32);
      q = block.values_f32;
    }
    for (Dim c = 0; c < d; ++c) block.queries[c * width + lane] = q[c];
    block.top[lane] = attention_masked;
    block.sum[lane] = 0;
  }
  std::fill_n(block.mixed, d * width, 0.0f);
}

void keys_f32(LaneBlock& block, const KeyStep& step) {
  const AttentionLayout& layout = *block.layout;
  const RowsF32 keys = rows_f32(layout, step.keys, layout.key_row, step.count, block.keys_f32);
  const RowsF32 values = rows_f32(layout, step.values, layout.value_row, step.count, block.values_f32);
  HWY_DYNAMIC_DISPATCH(lane_keys)(block, step, keys, values);
}

void end_f32(LaneBlock& block, float* const* out, Dim lanes) {
  for (Dim lane = 0; lane < lanes; ++lane) {
    const float inverse = block.sum[lane] > 0 ? 1.0f / block.sum[lane] : 0.0f;
    for (Dim c = 0; c < block.layout->head_dim; ++c) out[lane][c] = block.mixed[c * block.width + lane] * inverse;
  }
}

// Calls fn(step) for the keys of [begin, end) in steps that stay inside one run, counting from the run's own start when
// values lie in pairs. `masked` is left to the caller.
template <class Fn>
void for_each_step(const AttentionLayout& layout, const AttentionSequence& sequence, Dim kv_head, Dim begin, Dim end,
                   Fn&& fn) {
  const Dim bytes = layout.bf16_rows ? 2 : 4;
  Dim first = sequence.base;
  for (Dim r = 0; r < sequence.run_count && first < end; ++r) {
    const KvRun& run = sequence.runs[r];
    Dim at = std::max(begin, first);
    if (layout.paired_values) at -= (at - first) % 2;
    for (const Dim stop = std::min(end, first + run.rows); at < stop; at += attention_block_keys) {
      const Dim row = at - first;
      const auto* keys =
          static_cast<const std::byte*>(run.keys) + (kv_head * run.key_head + row * layout.key_row) * bytes;
      const Dim value_row = layout.paired_values ? row / 2 : row;
      const auto* values =
          static_cast<const std::byte*>(run.values) + (kv_head * run.value_head + value_row * layout.value_row) * bytes;
      fn(KeyStep{keys, values, at, std::min(attention_block_keys, stop - at), false});
    }
    first += run.rows;
  }
}

}  // namespace

std::size_t attention_scratch_bytes(const AttentionLayout& layout) {
  const Dim d = round_up(layout.head_dim, 32), lanes = attention_lanes, keys = attention_block_keys;
  const Dim block = 2 * d * lanes + keys * lanes + 2 * keys * d;  // queries, mixed, scores, keys and values
  const Dim queries = attention_rows_at_once * (layout.heads / layout.kv_heads) * d;
  const Dim row = queries + keys + 2 * keys * d;  // queries, scores, keys and values
  return static_cast<std::size_t>(std::max(block, row) + 8 * 16) * sizeof(float);
}

void attention_block(const AttentionLayout& layout, const AttentionSequence& sequence, Dim kv_head, Dim lane, Dim count,
                     std::byte* scratch) {
  const LaneKernel kernel = layout.bf16_products ? lane_kernel_bf16() : LaneKernel{begin_f32, keys_f32, end_f32};
  const Dim d = layout.head_dim, group = layout.heads / layout.kv_heads;
  LaneBlock block;
  block.layout = &layout;
  block.width = round_up(count, 16);
  float* out[attention_lanes];
  Dim lowest = 0, highest = 0, last_begin = 0, first_end = 0;
  for (Dim i = 0; i < block.width; ++i) {
    const Dim at = lane + std::min(i, count - 1), row = at / group;  // lanes past the end repeat the last one
    const Dim offset = (row * layout.heads + kv_head * group + at % group) * d;
    const Interval seen = sequence.intervals[row];
    block.q[i] = sequence.q + offset;
    out[i] = sequence.out + offset;
    block.begin[i] = seen.begin;
    block.end[i] = seen.end;
    lowest = i ? std::min<Dim>(lowest, seen.begin) : seen.begin;
    last_begin = i ? std::max<Dim>(last_begin, seen.begin) : seen.begin;
    highest = i ? std::max<Dim>(highest, seen.end) : seen.end;
    first_end = i ? std::min<Dim>(first_end, seen.end) : seen.end;
  }
  Carver carve(scratch);
  const Dim padded = round_up(d, 32);
  block.queries = carve.take(padded * attention_lanes);
  block.mixed = carve.take(padded * attention_lanes);
  block.scores = carve.take(attention_block_keys * attention_lanes);
  block.keys_f32 = carve.take(attention_block_keys * padded);
  block.values_f32 = carve.take(attention_block_keys * padded);
  kernel.begin(block);
  for_each_step(layout, sequence, kv_head, lowest, highest, [&](KeyStep step) {
    step.masked = last_begin > step.first || first_end < step.first + step.count;
    kernel.keys(block, step);
  });
  kernel.end(block, out, count);
}

void attention_rows(const AttentionLayout& layout, const AttentionSequence& keys, std::span<const AttentionRow> rows,
                    Dim kv_head, Dim begin, Dim end, std::byte* scratch) {
  const Dim d = layout.head_dim, padded = round_up(d, 32), group = layout.heads / layout.kv_heads;
  Carver carve(scratch);
  float* queries = carve.take(attention_rows_at_once * group * padded);  // of each row, as the products take them
  float* scores = carve.take(attention_block_keys);
  float *step_keys = carve.take(attention_block_keys * padded),
        *step_values = carve.take(attention_block_keys * padded);
  const auto query = [&](std::size_t row) { return queries + static_cast<Dim>(row) * group * padded; };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const float* q = rows[i].q + kv_head * group * d;
    auto* rounded = reinterpret_cast<std::uint16_t*>(query(i));
    for (Dim g = 0; g < group; ++g) {
      float* part = rows[i].part + g * (2 + d);
      part[0] = attention_masked;
      std::fill_n(part + 1, 1 + d, 0.0f);
      if (layout.bf16_products) {
        to_bf16(q + g * d, d, rounded + g * padded);
        std::fill(rounded + g * padded + d, rounded + (g + 1) * padded, std::uint16_t{0});
      } else if (layout.bf16_rows) {
        auto* row = reinterpret_cast<std::uint16_t*>(step_keys);
        to_bf16(q + g * d, d, row);
        from_bf16(row, d, query(i) + g * d);
      } else {
        std::copy_n(q + g * d, d, query(i) + g * d);
      }
    }
  }
  for_each_step(layout, keys, kv_head, begin, end, [&](const KeyStep& step) {
    if (layout.bf16_products) {
      for (std::size_t i = 0; i < rows.size(); ++i)
        attention_row_step_bf16(layout, reinterpret_cast<const std::uint16_t*>(query(i)), step, rows[i].part, scores,
                                i == 0);
      return;
    }
    const RowsF32 k = rows_f32(layout, step.keys, layout.key_row, step.count, step_keys);
    const RowsF32 v = rows_f32(layout, step.values, layout.value_row, step.count, step_values);
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (Dim g = 0; g < group; ++g) HWY_DYNAMIC_DISPATCH(row_keys)
    (layout, query(i) + g * d, k, v, step.count, rows[i].part + g * (2 + d), scores,
     i == 0 && g == 0 && !layout.bf16_rows);
  });
}

void attention_combine(const AttentionLayout& layout, const float* parts, Dim part_count, float* out) {
  const Dim d = layout.head_dim, stride = layout.heads * (2 + d);
  for (Dim h = 0; h < layout.heads; ++h, parts += 2 + d, out += d) {
    float top = attention_masked, sum = 0;
    for (Dim p = 0; p < part_count; ++p) top = std::max(top, parts[p * stride]);
    std::fill_n(out, d, 0.0f);
    for (Dim p = 0; p < part_count; ++p) {
      const float* part = parts + p * stride;
      const float factor = part_count > 1 ? std::exp(part[0] - top) : 1.0f;
      sum += part[1] * factor;
      multiply_add(part + 2, factor, d, out);
    }
    scale(out, sum > 0 ? 1.0f / sum : 0.0f, d, out);
  }
}

}  // namespace tap::kernels
#endif
