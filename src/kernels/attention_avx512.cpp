// Attention with AVX-512 BF16 dot products: vdpbf16ps adds the products of two bf16 pairs to an f32 lane.
#include "kernels/attention_lanes.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)

// gcc 12 calls the header's deliberately undefined vectors uninitialized when they are inlined.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#define TAP_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace tap::kernels {

namespace {

constexpr float log2_e = 1.44269504088896341f;

TAP_BF16 inline __m512bh as_bf16(__m512i v) { return __builtin_bit_cast(__m512bh, v); }
TAP_BF16 inline __m512i bits(__m512bh v) { return __builtin_bit_cast(__m512i, v); }
TAP_BF16 inline __mmask16 first16(Dim n) {
  return n >= 16 ? __mmask16{0xffff} : static_cast<__mmask16>((1u << n) - 1u);
}
TAP_BF16 inline __mmask32 first32(Dim n) { return n >= 32 ? ~__mmask32{0} : static_cast<__mmask32>((1u << n) - 1u); }

// A pair of neighbouring bf16 values in every lane.
TAP_BF16 inline __m512bh broadcast_pair(const std::uint16_t* p) {
  std::int32_t pair;
  std::memcpy(&pair, p, sizeof pair);
  return as_bf16(_mm512_set1_epi32(pair));
}

// 2^x for x <= 0: cubic through the Chebyshev nodes of [-0.5, 0.5], relative error 1e-4, a twentieth of bf16's.
TAP_BF16 inline __m512 exp2_rough(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.055838282946f), f, _mm512_set1_ps(0.242639478546f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693136733884f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.999924556951f));
  return _mm512_scalef_ps(p, n);
}

// Quartic, 3.5e-6: for factors that are applied again and again.
TAP_BF16 inline __m512 exp2_fine(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.009666368515f), f, _mm512_set1_ps(0.055921975842f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240223490380f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693121045203f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// cap * tanh(x / cap), with tanh(y) = 1 - 2 / (e^2y + 1).
TAP_BF16 inline __m512 capped(__m512 x, float cap) {
  const __m512 y = _mm512_min_ps(_mm512_mul_ps(x, _mm512_set1_ps(2 * log2_e / cap)), _mm512_set1_ps(60.0f));
  const __m512 e = exp2_fine(_mm512_max_ps(y, _mm512_set1_ps(-60.0f)));
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 t = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0f), _mm512_add_ps(e, one)));
  return _mm512_mul_ps(_mm512_set1_ps(cap), t);
}

TAP_BF16 inline void transpose16(__m512i* r) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i a = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88), b = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    const __m512i c = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88),
                  e = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    t[i] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
    t[i + 4] = _mm512_shuffle_i32x4(b, e, 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(b, e, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

// 32 f32 values, n of them valid, to bf16.
TAP_BF16 inline __m512i round32(const float* p, Dim n) {
  const __m512 low = _mm512_maskz_loadu_ps(first16(n), p);
  const __m512 high = n > 16 ? _mm512_maskz_loadu_ps(first16(n - 16), p + 16) : _mm512_setzero_ps();
  return bits(_mm512_cvtne2ps_pbh(high, low));
}

// Two rows of 32 bf16 values to two vectors of 16 pairs.
TAP_BF16 inline void pair_rows(__m512i a, __m512i b, __m512i& low, __m512i& high) {
  const __m512i x = _mm512_unpacklo_epi16(a, b), y = _mm512_unpackhi_epi16(a, b);
  low = _mm512_permutex2var_epi64(x, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), y);
  high = _mm512_permutex2var_epi64(x, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), y);
}

TAP_BF16 void begin_block(LaneBlock& block) {
  const Dim d = block.layout->head_dim, width = block.width;
  for (Dim lane = 0; lane < width; lane += 16)
    for (Dim c = 0; c < d; c += 32) {
      __m512i r[16];
      for (int i = 0; i < 16; ++i) r[i] = round32(block.q[lane + i] + c, d - c);
      transpose16(r);
      const Dim pairs = (d - c + 1) / 2;
      float* to = block.queries + c / 2 * width + lane;
      for (int i = 0; i < 16 && i < pairs; ++i) _mm512_store_si512(to + i * width, r[i]);
    }
  for (Dim lane = 0; lane < width; lane += 16) {
    _mm512_store_ps(block.top + lane, _mm512_set1_ps(attention_masked));
    _mm512_store_ps(block.sum + lane, _mm512_setzero_ps());
  }
  std::memset(block.mixed, 0, static_cast<std::size_t>(d * width) * sizeof(float));
}

// Scores of KT keys for QV vectors of queries; `most` collects the highest of each lane.
template <int QV, int KT>
TAP_BF16 inline void score_tile(const LaneBlock& block, const KeyStep& step, Dim at, __m512* most) {
  const AttentionLayout& layout = *block.layout;
  const auto* keys = static_cast<const std::uint16_t*>(step.keys) + at * layout.key_row;
  const Dim row = layout.key_row, pairs = layout.head_dim / 2;
  __m512 acc[KT][QV];
#pragma GCC unroll 16
  for (int k = 0; k < KT; ++k)
#pragma GCC unroll 4
    for (int v = 0; v < QV; ++v) acc[k][v] = _mm512_setzero_ps();
  const float* queries = block.queries;
  for (Dim c = 0; c < pairs; ++c, queries += QV * 16, keys += 2) {
    __m512bh q[QV];
#pragma GCC unroll 4
    for (int v = 0; v < QV; ++v) q[v] = as_bf16(_mm512_load_si512(queries + v * 16));
#pragma GCC unroll 16
    for (int k = 0; k < KT; ++k) {
      const __m512bh key = broadcast_pair(keys + k * row);
#pragma GCC unroll 4
      for (int v = 0; v < QV; ++v) acc[k][v] = _mm512_dpbf16_ps(acc[k][v], q[v], key);
    }
  }
  if (step.masked) {
#pragma GCC unroll 16
    for (int k = 0; k < KT; ++k) {
      const __m512i j = _mm512_set1_epi32(static_cast<std::int32_t>(step.first + at + k));
#pragma GCC unroll 4
      for (int v = 0; v < QV; ++v) {
        const __mmask16 seen = _mm512_cmpge_epi32_mask(j, _mm512_load_si512(block.begin + v * 16)) &
                               _mm512_cmplt_epi32_mask(j, _mm512_load_si512(block.end + v * 16));
        acc[k][v] = _mm512_mask_blend_ps(seen, _mm512_set1_ps(attention_masked), acc[k][v]);
      }
    }
  }
  float* scores = block.scores + at * QV * 16;
#pragma GCC unroll 16
  for (int k = 0; k < KT; ++k)
#pragma GCC unroll 4
    for (int v = 0; v < QV; ++v) {
      _mm512_store_ps(scores + (k * QV + v) * 16, acc[k][v]);
      most[v] = _mm512_max_ps(most[v], acc[k][v]);
    }
}

// Scores in place to pairs of bf16 probabilities [count / 2][QV * 16]; sums, maxima and `keep` move on.
template <int QV>
TAP_BF16 inline void soften(LaneBlock& block, Dim count, const __m512* most) {
  const float cap = block.layout->softcap;
  const __m512 scale = _mm512_set1_ps(block.layout->scale * (cap > 0 ? 1.0f : log2_e)),
               masked = _mm512_set1_ps(attention_masked / 2);
  const __m512 to_log2 = _mm512_set1_ps(log2_e);
  // Softcapped scores are written back in units of log2 e; raw ones are scaled on the fly.
  if (cap > 0)
    for (Dim i = 0; i < count * QV * 16; i += 16) {
      const __m512 s = _mm512_load_ps(block.scores + i);
      const __mmask16 seen = _mm512_cmp_ps_mask(s, masked, _CMP_GT_OQ);
      _mm512_store_ps(block.scores + i, _mm512_mask_mul_ps(s, seen, capped(_mm512_mul_ps(s, scale), cap), to_log2));
    }
  const __m512i interleave =
      _mm512_setr_epi32(0x00100000, 0x00110001, 0x00120002, 0x00130003, 0x00140004, 0x00150005, 0x00160006, 0x00170007,
                        0x00180008, 0x00190009, 0x001a000a, 0x001b000b, 0x001c000c, 0x001d000d, 0x001e000e, 0x001f000f);
#pragma GCC unroll 4
  for (int v = 0; v < QV; ++v) {
    __m512 highest = most[v];
    const __mmask16 any = _mm512_cmp_ps_mask(highest, masked, _CMP_GT_OQ);
    if (cap > 0) highest = _mm512_mask_mul_ps(highest, any, capped(_mm512_mul_ps(highest, scale), cap), to_log2);
    const __m512 factor = cap > 0 ? _mm512_set1_ps(1.0f) : scale;
    const __m512 old = _mm512_load_ps(block.top + v * 16);  // in units of log2 e
    const __m512 now = _mm512_mask_max_ps(old, any, old, _mm512_mul_ps(highest, factor));
    const __mmask16 known = _mm512_cmp_ps_mask(old, masked, _CMP_GT_OQ),
                    some = _mm512_cmp_ps_mask(now, masked, _CMP_GT_OQ);
    _mm512_store_ps(block.top + v * 16, now);
    const __m512 keep = _mm512_maskz_mov_ps(known, exp2_fine(_mm512_sub_ps(old, now)));
    _mm512_store_ps(block.keep + v * 16, keep);
    const __m512 down = _mm512_maskz_mov_ps(some, now);  // a lane that has seen nothing: 2^(masked) = 0
    __m512 sum0 = _mm512_mul_ps(_mm512_load_ps(block.sum + v * 16), keep), sum1 = _mm512_setzero_ps();
    float* scores = block.scores + v * 16;
    float* pairs = block.scores + v * 16;
    for (Dim k = 0; k + 2 <= count; k += 2, scores += QV * 32, pairs += QV * 16) {
      const __m512 p0 = exp2_rough(_mm512_fmsub_ps(_mm512_load_ps(scores), factor, down));
      const __m512 p1 = exp2_rough(_mm512_fmsub_ps(_mm512_load_ps(scores + QV * 16), factor, down));
      sum0 = _mm512_add_ps(sum0, p0);
      sum1 = _mm512_add_ps(sum1, p1);
      _mm512_store_si512(pairs, _mm512_permutexvar_epi16(interleave, bits(_mm512_cvtne2ps_pbh(p1, p0))));
    }
    if (count % 2) {
      const __m512 p0 = exp2_rough(_mm512_fmsub_ps(_mm512_load_ps(scores), factor, down));
      sum0 = _mm512_add_ps(sum0, p0);
      _mm512_store_si512(pairs,
                         _mm512_permutexvar_epi16(interleave, bits(_mm512_cvtne2ps_pbh(_mm512_setzero_ps(), p0))));
    }
    _mm512_store_ps(block.sum + v * 16, _mm512_add_ps(sum0, sum1));
  }
}

// mixed[d] = mixed[d] * keep + sum over key pairs of value pair x probability pair, DT elements at a time.
template <int QV, int DT>
TAP_BF16 inline void mix_tile(LaneBlock& block, const std::uint16_t* values, Dim value_row, Dim pairs, Dim at) {
  __m512 acc[DT][QV];
  float* mixed = block.mixed + at * QV * 16;
#pragma GCC unroll 16
  for (int i = 0; i < DT; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < QV; ++v)
      acc[i][v] = _mm512_mul_ps(_mm512_load_ps(mixed + (i * QV + v) * 16), _mm512_load_ps(block.keep + v * 16));
  const float* probabilities = block.scores;
  values += 2 * at;
  for (Dim k = 0; k < pairs; ++k, probabilities += QV * 16, values += value_row) {
    __m512bh p[QV];
#pragma GCC unroll 4
    for (int v = 0; v < QV; ++v) p[v] = as_bf16(_mm512_load_si512(probabilities + v * 16));
#pragma GCC unroll 16
    for (int i = 0; i < DT; ++i) {
      const __m512bh value = broadcast_pair(values + 2 * i);
#pragma GCC unroll 4
      for (int v = 0; v < QV; ++v) acc[i][v] = _mm512_dpbf16_ps(acc[i][v], p[v], value);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < DT; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < QV; ++v) _mm512_store_ps(mixed + (i * QV + v) * 16, acc[i][v]);
}

// Rows of values to pairs [count / 2][head_dim rounded up to 32][2]; the row that is missing from the last pair counts
// as zeros.
TAP_BF16 void pair_values(const std::uint16_t* values, Dim row, Dim count, Dim d, std::uint16_t* to) {
  const Dim padded = round_up(d, 32);
  for (Dim k = 0; k < count; k += 2, values += 2 * row, to += 2 * padded)
    for (Dim c = 0; c < d; c += 32) {
      const __mmask32 valid = first32(d - c);
      const __m512i a = _mm512_maskz_loadu_epi16(valid, values + c);
      const __m512i b = k + 1 < count ? _mm512_maskz_loadu_epi16(valid, values + row + c) : _mm512_setzero_si512();
      __m512i low, high;
      pair_rows(a, b, low, high);
      _mm512_storeu_si512(to + 2 * c, low);
      _mm512_storeu_si512(to + 2 * c + 32, high);
    }
}

template <int QV, int KT>
TAP_BF16 void block_keys(LaneBlock& block, const KeyStep& step) {
  __m512 most[QV];
#pragma GCC unroll 4
  for (int v = 0; v < QV; ++v) most[v] = _mm512_set1_ps(attention_masked);
  Dim k = 0;
  for (; k + KT <= step.count; k += KT) score_tile<QV, KT>(block, step, k, most);
  for (; k < step.count; ++k) score_tile<QV, 1>(block, step, k, most);
  soften<QV>(block, step.count, most);

  const AttentionLayout& layout = *block.layout;
  const Dim d = layout.head_dim, pairs = ceil_div(step.count, 2);
  const auto* values = static_cast<const std::uint16_t*>(step.values);
  Dim value_row = layout.value_row;
  if (!layout.paired_values) {
    auto* packed = reinterpret_cast<std::uint16_t*>(block.values_f32);
    pair_values(values, value_row, step.count, d, packed);
    values = packed;
    value_row = 2 * round_up(d, 32);
  }
  Dim c = 0;
  for (; c + KT <= d; c += KT) mix_tile<QV, KT>(block, values, value_row, pairs, c);
  for (; c < d; ++c) mix_tile<QV, 1>(block, values, value_row, pairs, c);
}

TAP_BF16 void step_keys(LaneBlock& block, const KeyStep& step) {
  switch (block.width) {
    case 16: return block_keys<1, 12>(block, step);
    case 32: return block_keys<2, 8>(block, step);
    case 48: return block_keys<3, 6>(block, step);
    default: return block_keys<4, 4>(block, step);
  }
}

TAP_BF16 void end_block(LaneBlock& block, float* const* out, Dim lanes) {
  const Dim d = block.layout->head_dim, width = block.width;
  for (Dim lane = 0; lane < lanes; lane += 16) {
    const __m512 sum = _mm512_load_ps(block.sum + lane);
    const __m512 inverse =
        _mm512_maskz_div_ps(_mm512_cmp_ps_mask(sum, _mm512_setzero_ps(), _CMP_GT_OQ), _mm512_set1_ps(1.0f), sum);
    for (Dim c = 0; c < d; c += 16) {
      __m512i r[16];
      for (int i = 0; i < 16; ++i)
        r[i] = c + i < d
                   ? _mm512_castps_si512(_mm512_mul_ps(_mm512_load_ps(block.mixed + (c + i) * width + lane), inverse))
                   : _mm512_setzero_si512();
      transpose16(r);
      for (int i = 0; i < 16 && lane + i < lanes; ++i)
        _mm512_mask_storeu_epi32(out[lane + i] + c, first16(d - c), r[i]);
    }
  }
}

// The sums of 16 vectors, one per lane.
TAP_BF16 inline __m512 sums16(const __m512* r) {
  __m512 t[8], u[4];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    t[i] = _mm512_add_ps(_mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]), _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512d a = _mm512_castps_pd(t[2 * i]), b = _mm512_castps_pd(t[2 * i + 1]);
    u[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  const __m512 v0 = _mm512_add_ps(_mm512_shuffle_f32x4(u[0], u[1], 0x88), _mm512_shuffle_f32x4(u[0], u[1], 0xdd));
  const __m512 v1 = _mm512_add_ps(_mm512_shuffle_f32x4(u[2], u[3], 0x88), _mm512_shuffle_f32x4(u[2], u[3], 0xdd));
  return _mm512_add_ps(_mm512_shuffle_f32x4(v0, v1, 0x88), _mm512_shuffle_f32x4(v0, v1, 0xdd));
}

// One query against a step's keys: scores [round_up(count, 16)] in the lanes' own order.
TAP_BF16 void row_scores(const std::uint16_t* q, const std::uint16_t* keys, Dim row, Dim count, Dim d, float* scores,
                         bool ask) {
  for (Dim k = 0; k < count; k += 16) {
    __m512 acc[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) acc[i] = _mm512_setzero_ps();
    const std::uint16_t* at[16];
    for (int i = 0; i < 16; ++i) at[i] = keys + (k + i < count ? k + i : count - 1) * row;
    if (ask)
      for (int i = 0; i < 16; ++i) ask_ahead(at[i], d * 2, row * 2);
    Dim c = 0;
    for (; c + 32 <= d; c += 32) {
      const __m512bh query = as_bf16(_mm512_loadu_si512(q + c));
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) acc[i] = _mm512_dpbf16_ps(acc[i], as_bf16(_mm512_loadu_si512(at[i] + c)), query);
    }
    if (c < d) {
      const __m512bh query = as_bf16(_mm512_loadu_si512(q + c));
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        acc[i] = _mm512_dpbf16_ps(acc[i], as_bf16(_mm512_maskz_loadu_epi16(first32(d - c), at[i] + c)), query);
    }
    _mm512_storeu_ps(scores + k, sums16(acc));
  }
}

// Scores to bf16 probabilities; part is {maximum, sum, mix…} of this head. Returns the factor of what was mixed before.
TAP_BF16 float row_soften(const AttentionLayout& layout, float* scores, Dim count, std::uint16_t* probabilities,
                          float* part) {
  const __m512 scale = _mm512_set1_ps(layout.scale);
  __m512 most = _mm512_set1_ps(attention_masked);
  for (Dim k = 0; k < count; k += 16) {
    __m512 s = _mm512_mul_ps(_mm512_loadu_ps(scores + k), scale);
    if (layout.softcap > 0) s = capped(s, layout.softcap);
    s = _mm512_mask_blend_ps(first16(count - k), _mm512_set1_ps(attention_masked), s);
    _mm512_storeu_ps(scores + k, s);
    most = _mm512_max_ps(most, s);
  }
  const float old = part[0], now = std::max(old, _mm512_reduce_max_ps(most));
  const float keep = _mm512_cvtss_f32(exp2_fine(_mm512_set1_ps(std::max((old - now) * log2_e, -1000.0f))));
  const __m512 top = _mm512_set1_ps(now), unit = _mm512_set1_ps(log2_e);
  __m512 sum = _mm512_setzero_ps();
  for (Dim k = 0; k < count; k += 16) {
    const __m512 x =
        _mm512_max_ps(_mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(scores + k), top), unit), _mm512_set1_ps(-1000.0f));
    const __m512 p = exp2_rough(x);
    sum = _mm512_add_ps(sum, p);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(probabilities + k),
                        __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(p)));
  }
  part[0] = now;
  part[1] = part[1] * keep + _mm512_reduce_add_ps(sum);
  return keep;
}

// G heads' probabilities [G][attention_block_keys] times a step's values, into their parts.
template <int G>
TAP_BF16 void row_mix(const std::uint16_t* probabilities, const std::uint16_t* values, Dim row, Dim count, Dim d,
                      const float* keep, float* part, bool ask) {
  const __m512i order0 = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i order1 = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  for (Dim c = 0; c < d; c += 64) {  // two vectors of 32 elements at a time
    const __mmask32 valid0 = first32(d - c), valid1 = d - c > 32 ? first32(d - c - 32) : __mmask32{0};
    __m512 acc[G][4];
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) acc[g][i] = _mm512_setzero_ps();
    const std::uint16_t* at = values + c;
    for (Dim k = 0; k < count; k += 2, at += 2 * row) {
      if (ask) ask_ahead(at, 128, row * 2), ask_ahead(at + row, 128, row * 2);
      const __m512i a0 = _mm512_maskz_loadu_epi16(valid0, at), a1 = _mm512_maskz_loadu_epi16(valid1, at + 32);
      __m512i b0 = _mm512_setzero_si512(), b1 = b0;
      if (k + 1 < count)
        b0 = _mm512_maskz_loadu_epi16(valid0, at + row), b1 = _mm512_maskz_loadu_epi16(valid1, at + row + 32);
      const __m512bh low0 = as_bf16(_mm512_unpacklo_epi16(a0, b0)), high0 = as_bf16(_mm512_unpackhi_epi16(a0, b0));
      const __m512bh low1 = as_bf16(_mm512_unpacklo_epi16(a1, b1)), high1 = as_bf16(_mm512_unpackhi_epi16(a1, b1));
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const __m512bh p = broadcast_pair(probabilities + g * attention_block_keys + k);
        acc[g][0] = _mm512_dpbf16_ps(acc[g][0], low0, p);
        acc[g][1] = _mm512_dpbf16_ps(acc[g][1], high0, p);
        acc[g][2] = _mm512_dpbf16_ps(acc[g][2], low1, p);
        acc[g][3] = _mm512_dpbf16_ps(acc[g][3], high1, p);
      }
    }
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) {
      float* mixed = part + g * (2 + d) + 2 + c;
      const __m512 factor = _mm512_set1_ps(keep[g]);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        if (c + i * 16 >= d) break;
        const __m512 sum = _mm512_permutex2var_ps(acc[g][i / 2 * 2], i % 2 ? order1 : order0, acc[g][i / 2 * 2 + 1]);
        const __mmask16 valid = first16(d - c - i * 16);
        _mm512_mask_storeu_ps(mixed + i * 16, valid,
                              _mm512_fmadd_ps(_mm512_maskz_loadu_ps(valid, mixed + i * 16), factor, sum));
      }
    }
  }
}

}  // namespace

LaneKernel lane_kernel_bf16() { return {begin_block, step_keys, end_block}; }

void attention_row_step_bf16(const AttentionLayout& layout, const std::uint16_t* q, const KeyStep& step, float* parts,
                             float* scratch, bool ask) {
  const Dim d = layout.head_dim, padded = round_up(d, 32), group = layout.heads / layout.kv_heads;
  alignas(64) std::uint16_t probabilities[4 * attention_block_keys];
  const auto *keys = static_cast<const std::uint16_t*>(step.keys),
             *values = static_cast<const std::uint16_t*>(step.values);
  for (Dim h = 0; h < group; h += 4, q += 4 * padded, parts += 4 * (2 + d)) {  // four heads' sums fit the registers
    const Dim count = group - h < 4 ? group - h : 4;
    float keep[4];
    for (Dim g = 0; g < count; ++g) {
      row_scores(q + g * padded, keys, layout.key_row, step.count, d, scratch, ask && h + g == 0);
      keep[g] = row_soften(layout, scratch, step.count, probabilities + g * attention_block_keys, parts + g * (2 + d));
    }
    switch (count) {
      case 1: row_mix<1>(probabilities, values, layout.value_row, step.count, d, keep, parts, ask && h == 0); break;
      case 2: row_mix<2>(probabilities, values, layout.value_row, step.count, d, keep, parts, ask && h == 0); break;
      case 3: row_mix<3>(probabilities, values, layout.value_row, step.count, d, keep, parts, ask && h == 0); break;
      default: row_mix<4>(probabilities, values, layout.value_row, step.count, d, keep, parts, ask && h == 0); break;
    }
  }
}

TAP_BF16 void attention_pack(const AttentionLayout& layout, const float* keys, const float* values, Dim begin, Dim end,
                             const KvRun& packed) {
  const Dim d = layout.head_dim, row = layout.kv_heads * d;
  auto* packed_keys = static_cast<std::uint16_t*>(const_cast<void*>(packed.keys));
  auto* packed_values = static_cast<std::uint16_t*>(const_cast<void*>(packed.values));
  for (Dim r = begin; r < end; ++r)
    for (Dim h = 0; h < layout.kv_heads; ++h)
      for (Dim c = 0; c < d; c += 32)
        _mm512_mask_storeu_epi16(packed_keys + h * packed.key_head + r * layout.key_row + c, first32(d - c),
                                 round32(keys + r * row + h * d + c, d - c));
  for (Dim r = begin; r < end; r += 2)
    for (Dim h = 0; h < layout.kv_heads; ++h)
      for (Dim c = 0; c < d; c += 32) {
        const float* from = values + r * row + h * d + c;
        __m512i low, high;
        pair_rows(round32(from, d - c), r + 1 < end ? round32(from + row, d - c) : _mm512_setzero_si512(), low, high);
        std::uint16_t* to = packed_values + h * packed.value_head + r / 2 * layout.value_row + 2 * c;
        _mm512_mask_storeu_epi32(to, first16(d - c), low);
        if (d - c > 16) _mm512_mask_storeu_epi32(to + 32, first16(d - c - 16), high);
      }
}

}  // namespace tap::kernels

#else

#include "base/error.h"

namespace tap::kernels {

// Never reached: active_isa() stays below avx512_bf16.
LaneKernel lane_kernel_bf16() { return {}; }
void attention_row_step_bf16(const AttentionLayout&, const std::uint16_t*, const KeyStep&, float*, float*, bool) {
  TAP_ASSERT(false);
}
void attention_pack(const AttentionLayout&, const float*, const float*, Dim, Dim, const KvRun&) { TAP_ASSERT(false); }

}  // namespace tap::kernels

#endif
