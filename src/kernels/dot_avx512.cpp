#include "kernels/dot_avx512.h"

#include <algorithm>

#include "kernels/pack.h"

#if defined(__x86_64__)
#include <immintrin.h>

// gcc 12's own intrinsics start from an undefined register and warn about it (GCC PR 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define TAP_F32 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define TAP_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define TAP_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

namespace tap::kernels {

namespace {

// A chunk of a panel stays in the first-level cache (32 KB) while the rows pass over it.
constexpr Dim chunk_bytes = 32 * 1024;
constexpr int ahead_bytes = 4096;  // weights are asked for this far ahead: past a page's end the hardware does not look

// Every micro-kernel: MR rows x 64 outputs, 4 accumulators a row, one weight step loaded once for all rows.
template <int MR, bool Ahead>
TAP_F32 void micro_f32(const float* a, Dim lda, const float* b, Dim k, float* c, bool first) {
  __m512 acc[MR][4];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc[r][j] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(c + r * 64 + j * 16);
  }
  for (Dim i = 0; i < k; ++i, b += 64) {
    if constexpr (Ahead) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) _mm_prefetch(reinterpret_cast<const char*>(b + j * 16) + ahead_bytes, _MM_HINT_T0);
    }
    const __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16), b2 = _mm512_loadu_ps(b + 32), b3 = _mm512_loadu_ps(b + 48);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      const __m512 x = _mm512_set1_ps(a[r * lda + i]);
      acc[r][0] = _mm512_fmadd_ps(x, b0, acc[r][0]);
      acc[r][1] = _mm512_fmadd_ps(x, b1, acc[r][1]);
      acc[r][2] = _mm512_fmadd_ps(x, b2, acc[r][2]);
      acc[r][3] = _mm512_fmadd_ps(x, b3, acc[r][3]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) _mm512_storeu_ps(c + r * 64 + j * 16, acc[r][j]);
  }
}

template <int MR, bool Ahead>
TAP_BF16 void micro_bf16(const std::uint16_t* a, Dim lda, const std::uint16_t* b, Dim pairs, float* c, bool first) {
  __m512 acc[MR][4];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc[r][j] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(c + r * 64 + j * 16);
  }
  for (Dim i = 0; i < pairs; ++i, b += 128) {
    if constexpr (Ahead) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) _mm_prefetch(reinterpret_cast<const char*>(b + j * 32) + ahead_bytes, _MM_HINT_T0);
    }
    const auto b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + 32),
               b2 = (__m512bh)_mm512_loadu_si512(b + 64), b3 = (__m512bh)_mm512_loadu_si512(b + 96);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      int pair;
      __builtin_memcpy(&pair, a + r * lda + 2 * i, 4);
      const auto x = (__m512bh)_mm512_set1_epi32(pair);
      acc[r][0] = _mm512_dpbf16_ps(acc[r][0], x, b0);
      acc[r][1] = _mm512_dpbf16_ps(acc[r][1], x, b1);
      acc[r][2] = _mm512_dpbf16_ps(acc[r][2], x, b2);
      acc[r][3] = _mm512_dpbf16_ps(acc[r][3], x, b3);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) _mm512_storeu_ps(c + r * 64 + j * 16, acc[r][j]);
  }
}

template <int MR, bool Ahead>
TAP_VNNI void micro_q8(const std::uint8_t* a, Dim lda, const std::int8_t* b, Dim quads, std::int32_t* c, bool first) {
  __m512i acc[MR][4];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc[r][j] = first ? _mm512_setzero_si512() : _mm512_loadu_si512(c + r * 64 + j * 16);
  }
  for (Dim i = 0; i < quads; ++i, b += 256) {
    if constexpr (Ahead) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) _mm_prefetch(reinterpret_cast<const char*>(b + j * 64) + ahead_bytes, _MM_HINT_T0);
    }
    const __m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + 64), b2 = _mm512_loadu_si512(b + 128),
                  b3 = _mm512_loadu_si512(b + 192);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      int quad;
      __builtin_memcpy(&quad, a + r * lda + 4 * i, 4);
      const __m512i x = _mm512_set1_epi32(quad);
      acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], x, b0);
      acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], x, b1);
      acc[r][2] = _mm512_dpbusd_epi32(acc[r][2], x, b2);
      acc[r][3] = _mm512_dpbusd_epi32(acc[r][3], x, b3);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) _mm512_storeu_si512(c + r * 64 + j * 16, acc[r][j]);
  }
}

// Columns [16 * from, 16 * (from + NR)) of a q4 panel. Whole sums of a group are exact integers; groups add up in order.
template <int MR, int NR, bool Ahead>
TAP_VNNI void micro_q4(const std::int8_t* a, Dim lda, const float* scale, const float* sum, Dim scale_stride, const std::uint8_t* b,
                       Dim groups, int from, float* c, bool first) {
  __m512 total[MR][NR];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < NR; ++j) total[r][j] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(c + r * 64 + (from + j) * 16);
  }
  const __m512i low_nibbles = _mm512_set1_epi8(15), high_half = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (Dim g = 0; g < groups; ++g, b += q4_group_bytes) {
    __m512i acc[MR][NR];
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
      for (int j = 0; j < NR; ++j) acc[r][j] = _mm512_setzero_si512();
    }
    if constexpr (Ahead) {
#pragma GCC unroll 32
      for (int line = 0; line < q4_group_bytes / 64; ++line)
        _mm_prefetch(reinterpret_cast<const char*>(b + line * 64) + ahead_bytes, _MM_HINT_T0);
    }
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {  // byte q*256 + ...: low nibbles are inputs 4q..4q+3, high ones 16 more
      __m512i low[NR], high[NR];
#pragma GCC unroll 4
      for (int j = 0; j < NR; ++j) {
        const __m512i both = _mm512_loadu_si512(b + q * 256 + (from + j) * 64);
        low[j] = _mm512_and_si512(both, low_nibbles);
        high[j] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low_nibbles);
      }
#pragma GCC unroll 8
      for (int r = 0; r < MR; ++r) {
        int near, far;
        __builtin_memcpy(&near, a + r * lda + g * 32 + 4 * q, 4);
        __builtin_memcpy(&far, a + r * lda + g * 32 + 16 + 4 * q, 4);
        const __m512i x = _mm512_set1_epi32(near), y = _mm512_set1_epi32(far);
#pragma GCC unroll 4
        for (int j = 0; j < NR; ++j) acc[r][j] = _mm512_dpbusd_epi32(acc[r][j], low[j], x);
#pragma GCC unroll 4
        for (int j = 0; j < NR; ++j) acc[r][j] = _mm512_dpbusd_epi32(acc[r][j], high[j], y);
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < NR; ++j) {
      const __m512i pair = _mm512_loadu_si512(b + q4_nibble_bytes + (from + j) * 64);
      const __m512 step = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
      const __m512 least = _mm512_castsi512_ps(_mm512_and_si512(pair, high_half));
#pragma GCC unroll 8
      for (int r = 0; r < MR; ++r) {
        const __m512 part = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][j]), _mm512_set1_ps(scale[r * scale_stride + g]));
        total[r][j] = _mm512_fmadd_ps(part, step, total[r][j]);
        total[r][j] = _mm512_fmadd_ps(least, _mm512_set1_ps(sum[r * scale_stride + g]), total[r][j]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < NR; ++j) _mm512_storeu_ps(c + r * 64 + (from + j) * 16, total[r][j]);
  }
}

// Row groups of equal height: 8 rows run as 4 + 4, not 6 + 2.
Dim group_height(Dim rows, Dim most) { return ceil_div(rows, ceil_div(rows, most)); }

// Asks for bytes that the next row groups will read: into the second-level cache.
void fetch_far(const char* at, Dim bytes) {
  for (Dim i = 0; i < bytes; i += 64) _mm_prefetch(at + i, _MM_HINT_T1);
}

template <class Function>
struct ByRows {
  Function ahead[6], near[6];  // for 1..6 rows; `ahead` also asks for the weights to come
};

constexpr ByRows<decltype(&micro_f32<1, true>)> by_rows_f32{
    {micro_f32<1, true>, micro_f32<2, true>, micro_f32<3, true>, micro_f32<4, true>, micro_f32<5, true>, micro_f32<6, true>},
    {micro_f32<1, false>, micro_f32<2, false>, micro_f32<3, false>, micro_f32<4, false>, micro_f32<5, false>, micro_f32<6, false>}};
constexpr ByRows<decltype(&micro_bf16<1, true>)> by_rows_bf16{
    {micro_bf16<1, true>, micro_bf16<2, true>, micro_bf16<3, true>, micro_bf16<4, true>, micro_bf16<5, true>, micro_bf16<6, true>},
    {micro_bf16<1, false>, micro_bf16<2, false>, micro_bf16<3, false>, micro_bf16<4, false>, micro_bf16<5, false>,
     micro_bf16<6, false>}};
constexpr ByRows<decltype(&micro_q8<1, true>)> by_rows_q8{
    {micro_q8<1, true>, micro_q8<2, true>, micro_q8<3, true>, micro_q8<4, true>, micro_q8<5, true>, micro_q8<6, true>},
    {micro_q8<1, false>, micro_q8<2, false>, micro_q8<3, false>, micro_q8<4, false>, micro_q8<5, false>, micro_q8<6, false>}};

// Chunk by chunk of the panel, row group by row group: `step` inputs stand behind one 32-bit lane of the weights.
template <class A, class B, class C, class Function>
void tile(const ByRows<Function>& micro, const A* a, Dim lda, Dim rows, const B* panel, Dim steps, Dim step, C* c) {
  constexpr Dim chunk_steps = chunk_bytes / 256;
  const Dim height = group_height(rows, 6);
  const Dim share = round_up(ceil_div(chunk_bytes, ceil_div(rows, height)), 64);  // of the next chunk, for each row group to ask for
  for (Dim s = 0; s < steps; s += chunk_steps) {
    const Dim n = std::min(chunk_steps, steps - s);
    for (Dim r = 0; r < rows; r += height) {
      const Dim m = std::min(height, rows - r);
      const auto& functions = r == 0 ? micro.ahead : micro.near;
      functions[m - 1](a + r * lda + s * step, lda, panel + s * step * 64, n, c + r * 64, s == 0);
      if (rows > height) fetch_far(reinterpret_cast<const char*>(panel + (s + n) * step * 64) + r / height * share, share);
    }
  }
}

}  // namespace

void tile_f32_avx512(const float* a, Dim lda, Dim rows, const float* panel, Dim k, float* c) {
  tile(by_rows_f32, a, lda, rows, panel, k, 1, c);
}

void tile_bf16_avx512(const std::uint16_t* a, Dim lda, Dim rows, const std::uint16_t* panel, Dim k, float* c) {
  tile(by_rows_bf16, a, lda, rows, panel, k / 2, 2, c);
}

void tile_q8_avx512(const std::uint8_t* a, Dim lda, Dim rows, const std::int8_t* panel, Dim k, std::int32_t* c) {
  tile(by_rows_q8, a, lda, rows, panel, k / 4, 4, c);
}

void tile_q4_avx512(const std::int8_t* a, Dim lda, const float* scale, const float* sum, Dim rows, const std::uint8_t* panel,
                    Dim groups, float* c) {
  constexpr Dim chunk_groups = chunk_bytes / q4_group_bytes;
  const Dim height = group_height(rows, 4);
  for (Dim s = 0; s < groups; s += chunk_groups) {
    const Dim n = std::min(chunk_groups, groups - s);
    for (Dim r = 0; r < rows; r += height) {
      const Dim m = std::min(height, rows - r);
      const std::int8_t* x = a + r * lda + s * q4_group;
      const float *xs = scale + r * groups + s, *xm = sum + r * groups + s;
      const std::uint8_t* b = panel + s * q4_group_bytes;
      float* y = c + r * 64;
      const bool first = s == 0;
      if (m == 1) {
        r == 0 ? micro_q4<1, 4, true>(x, lda, xs, xm, groups, b, n, 0, y, first)
               : micro_q4<1, 4, false>(x, lda, xs, xm, groups, b, n, 0, y, first);
      } else if (m == 2) {
        r == 0 ? micro_q4<2, 4, true>(x, lda, xs, xm, groups, b, n, 0, y, first)
               : micro_q4<2, 4, false>(x, lda, xs, xm, groups, b, n, 0, y, first);
      } else {
        const auto function = m == 3 ? (r == 0 ? micro_q4<3, 2, true> : micro_q4<3, 2, false>)
                                     : (r == 0 ? micro_q4<4, 2, true> : micro_q4<4, 2, false>);
        const auto other = m == 3 ? micro_q4<3, 2, false> : micro_q4<4, 2, false>;
        function(x, lda, xs, xm, groups, b, n, 0, y, first);
        other(x, lda, xs, xm, groups, b, n, 2, y, first);
      }
    }
  }
}

}  // namespace tap::kernels

#else

namespace tap::kernels {

void tile_f32_avx512(const float*, Dim, Dim, const float*, Dim, float*) {}
void tile_bf16_avx512(const std::uint16_t*, Dim, Dim, const std::uint16_t*, Dim, float*) {}
void tile_q8_avx512(const std::uint8_t*, Dim, Dim, const std::int8_t*, Dim, std::int32_t*) {}
void tile_q4_avx512(const std::int8_t*, Dim, const float*, const float*, Dim, const std::uint8_t*, Dim, float*) {}

}  // namespace tap::kernels

#endif
