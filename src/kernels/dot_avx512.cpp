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
// One group of rows asks for its weights this far ahead: past a page's end the hardware does not look. More groups
// share the asking for the next chunk, a few lines each step, so that memory never waits for arithmetic.
constexpr int ahead_bytes = 8192;

// `Lines` of 64 bytes of the weights to come: near for the sole group of rows, to the second-level cache for the next
// chunk.
template <int Lines, bool Near>
inline void fetch_lines(const char* at) {
#pragma GCC unroll 32
  for (int i = 0; i < Lines; ++i) {
    if constexpr (Near) _mm_prefetch(at + i * 64, _MM_HINT_T0);
    else _mm_prefetch(at + i * 64, _MM_HINT_T1);
  }
}

// Every micro-kernel: MR rows x 64 outputs, 4 accumulators a row, one weight step loaded once for all rows.
template <int MR, int Lines>
TAP_F32 void micro_f32(const float* a, Dim lda, const float* b, Dim k, float* c, bool first, const char* fetch) {
  __m512 acc[MR][4];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc[r][j] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(c + r * 64 + j * 16);
  }
  for (Dim i = 0; i < k; ++i, b += 64) {
    fetch_lines<Lines, Lines == 4>(fetch);
    fetch += Lines * 64;
    const __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16), b2 = _mm512_loadu_ps(b + 32),
                 b3 = _mm512_loadu_ps(b + 48);
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

template <int MR, int Lines>
TAP_BF16 void micro_bf16(const std::uint16_t* a, Dim lda, const std::uint16_t* b, Dim pairs, float* c, bool first,
                         const char* fetch) {
  __m512 acc[MR][4];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc[r][j] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(c + r * 64 + j * 16);
  }
  for (Dim i = 0; i < pairs; ++i, b += 128) {
    fetch_lines<Lines, Lines == 4>(fetch);
    fetch += Lines * 64;
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

template <int MR, int Lines>
TAP_VNNI void micro_q8(const std::uint8_t* a, Dim lda, const std::int8_t* b, Dim quads, std::int32_t* c, bool first,
                       const char* fetch) {
  __m512i acc[MR][4];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc[r][j] = first ? _mm512_setzero_si512() : _mm512_loadu_si512(c + r * 64 + j * 16);
  }
  for (Dim i = 0; i < quads; ++i, b += 256) {
    fetch_lines<Lines, Lines == 4>(fetch);
    fetch += Lines * 64;
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

// Columns [16 * from, 16 * (from + NR)) of a q4 panel. Whole sums of a group are exact integers; groups add up in
// order.
template <int MR, int NR, int Lines>
TAP_VNNI void micro_q4(const std::int8_t* a, Dim lda, const float* scale, const float* sum, Dim scale_stride,
                       const std::uint8_t* b, Dim groups, int from, float* c, bool first, const char* fetch) {
  __m512 total[MR][NR];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < NR; ++j)
      total[r][j] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(c + r * 64 + (from + j) * 16);
  }
  const __m512i low_nibbles = _mm512_set1_epi8(15), high_half = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (Dim g = 0; g < groups; ++g, b += q4_group_bytes) {
    __m512i acc[MR][NR];
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
      for (int j = 0; j < NR; ++j) acc[r][j] = _mm512_setzero_si512();
    }
    fetch_lines<Lines, Lines == 20>(fetch);
    fetch += Lines * 64;
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

// By lines asked for each step (0, 1, 2, 4) and rows (1..6).
constexpr decltype(&micro_f32<1, 0>) table_f32[4][6] = {
    {micro_f32<1, 0>, micro_f32<2, 0>, micro_f32<3, 0>, micro_f32<4, 0>, micro_f32<5, 0>, micro_f32<6, 0>},
    {micro_f32<1, 1>, micro_f32<2, 1>, micro_f32<3, 1>, micro_f32<4, 1>, micro_f32<5, 1>, micro_f32<6, 1>},
    {micro_f32<1, 2>, micro_f32<2, 2>, micro_f32<3, 2>, micro_f32<4, 2>, micro_f32<5, 2>, micro_f32<6, 2>},
    {micro_f32<1, 4>, micro_f32<2, 4>, micro_f32<3, 4>, micro_f32<4, 4>, micro_f32<5, 4>, micro_f32<6, 4>}};
constexpr decltype(&micro_bf16<1, 0>) table_bf16[4][6] = {
    {micro_bf16<1, 0>, micro_bf16<2, 0>, micro_bf16<3, 0>, micro_bf16<4, 0>, micro_bf16<5, 0>, micro_bf16<6, 0>},
    {micro_bf16<1, 1>, micro_bf16<2, 1>, micro_bf16<3, 1>, micro_bf16<4, 1>, micro_bf16<5, 1>, micro_bf16<6, 1>},
    {micro_bf16<1, 2>, micro_bf16<2, 2>, micro_bf16<3, 2>, micro_bf16<4, 2>, micro_bf16<5, 2>, micro_bf16<6, 2>},
    {micro_bf16<1, 4>, micro_bf16<2, 4>, micro_bf16<3, 4>, micro_bf16<4, 4>, micro_bf16<5, 4>, micro_bf16<6, 4>}};
constexpr decltype(&micro_q8<1, 0>) table_q8[4][6] = {
    {micro_q8<1, 0>, micro_q8<2, 0>, micro_q8<3, 0>, micro_q8<4, 0>, micro_q8<5, 0>, micro_q8<6, 0>},
    {micro_q8<1, 1>, micro_q8<2, 1>, micro_q8<3, 1>, micro_q8<4, 1>, micro_q8<5, 1>, micro_q8<6, 1>},
    {micro_q8<1, 2>, micro_q8<2, 2>, micro_q8<3, 2>, micro_q8<4, 2>, micro_q8<5, 2>, micro_q8<6, 2>},
    {micro_q8<1, 4>, micro_q8<2, 4>, micro_q8<3, 4>, micro_q8<4, 4>, micro_q8<5, 4>, micro_q8<6, 4>}};

// By lines asked for each group (0, 5, 10) and rows (1..6).
constexpr decltype(&micro_q4<1, 2, 0>) q4_table[3][6] = {
    {micro_q4<1, 2, 0>, micro_q4<2, 2, 0>, micro_q4<3, 2, 0>, micro_q4<4, 2, 0>, micro_q4<5, 2, 0>, micro_q4<6, 2, 0>},
    {micro_q4<1, 2, 5>, micro_q4<2, 2, 5>, micro_q4<3, 2, 5>, micro_q4<4, 2, 5>, micro_q4<5, 2, 5>, micro_q4<6, 2, 5>},
    {micro_q4<1, 2, 10>, micro_q4<2, 2, 10>, micro_q4<3, 2, 10>, micro_q4<4, 2, 10>, micro_q4<5, 2, 10>,
     micro_q4<6, 2, 10>}};

// Chunk by chunk of the panel, row group by row group: `step` inputs stand behind one 32-bit lane of the weights.
template <class A, class B, class C, class Function>
void tile(const Function (&table)[4][6], const A* a, Dim lda, Dim rows, const B* panel, Dim steps, Dim step, C* c) {
  constexpr Dim chunk_steps = chunk_bytes / 256;
  const Dim height = group_height(rows, 6), row_groups = ceil_div(rows, height);
  const Dim choice = row_groups == 1   ? 3
                     : row_groups <= 3 ? 2
                                       : 1,
            askers = row_groups == 1   ? 1
                     : row_groups <= 3 ? 2
                                       : 4;
  for (Dim s = 0; s < steps; s += chunk_steps) {
    const Dim n = std::min(chunk_steps, steps - s);
    const B* b = panel + s * step * 64;
    const auto* next = reinterpret_cast<const char*>(b) + (row_groups == 1 ? ahead_bytes : n * 256);
    for (Dim g = 0; g < row_groups; ++g) {
      const Dim r = g * height, m = std::min(height, rows - r);
      const Function function = table[g < askers ? choice : 0][m - 1];
      function(a + r * lda + s * step, lda, b, n, c + r * 64, s == 0, next + g * (n * 256 / askers));
    }
  }
}

}  // namespace

void tile_f32_avx512(const float* a, Dim lda, Dim rows, const float* panel, Dim k, float* c) {
  tile(table_f32, a, lda, rows, panel, k, 1, c);
}

void tile_bf16_avx512(const std::uint16_t* a, Dim lda, Dim rows, const std::uint16_t* panel, Dim k, float* c) {
  tile(table_bf16, a, lda, rows, panel, k / 2, 2, c);
}

void tile_q8_avx512(const std::uint8_t* a, Dim lda, Dim rows, const std::int8_t* panel, Dim k, std::int32_t* c) {
  tile(table_q8, a, lda, rows, panel, k / 4, 4, c);
}

void tile_q4_avx512(const std::int8_t* a, Dim lda, const float* scale, const float* sum, Dim rows,
                    const std::uint8_t* panel, Dim groups, float* c) {
  constexpr Dim chunk_groups = chunk_bytes / q4_group_bytes;
  const Dim height = group_height(rows, 6), row_groups = ceil_div(rows, height);
  const bool narrow = height <= 2;  // one pass over all 64 outputs; else two passes of 32
  for (Dim s = 0; s < groups; s += chunk_groups) {
    const Dim n = std::min(chunk_groups, groups - s), next_bytes = n * q4_group_bytes;
    const std::uint8_t* b = panel + s * q4_group_bytes;
    const auto* next = reinterpret_cast<const char*>(b) + (narrow ? ahead_bytes : next_bytes);
    for (Dim g = 0; g < row_groups; ++g) {
      const Dim r = g * height, m = std::min(height, rows - r);
      const std::int8_t* x = a + r * lda + s * q4_group;
      const float *xs = scale + r * groups + s, *xm = sum + r * groups + s;
      float* y = c + r * 64;
      const bool first = s == 0;
      if (narrow) {
        (m == 1 ? micro_q4<1, 4, 20> : micro_q4<2, 4, 20>)(x, lda, xs, xm, groups, b, n, 0, y, first, next);
        continue;
      }
      for (int half = 0; half < 2; ++half) {  // the first 2 or 4 passes ask for the next chunk
        const Dim pass = g * 2 + half;
        const char* fetch = next + pass * (row_groups == 1 ? next_bytes / 2 : next_bytes / 4);
        const auto& by_lines = q4_table[row_groups == 1 ? 2 : pass < 4 ? 1 : 0];
        by_lines[m - 1](x, lda, xs, xm, groups, b, n, 2 * half, y, first, fetch);
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
