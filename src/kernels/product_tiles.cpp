#include "kernels/product_tiles.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/product_tiles.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "kernels/pack.h"
#include "kernels/edge-inl.h"
#include "kernels/vec_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// ---- tiles: every type comes down to f32 products of staged activations with weights widened on the fly

constexpr Dim chunk_inputs = 512;  // of q8: 512 * 255 * 127 < 2^24, so its f32 sums are exact integers
constexpr Dim most_rows = 6;

// The first columns of a chunk ask for the weights of all columns to come: 256 bytes a step, in every layout.
HWY_INLINE void fetch_step(const void* weights, Dim step) {
  const char* at = static_cast<const char*>(weights) + step * 256 + 4096;
#pragma GCC unroll 4
  for (int line = 0; line < 4; ++line) __builtin_prefetch(at + line * 64);
}

// Weights of 2 vectors of outputs for inputs [i, i + Step) of a chunk, and the micro-kernel that multiplies them.
struct LoadF32 {
  static constexpr int step = 1;
  const float* panel;
  HWY_INLINE VF get(F32 d, Dim i, int, Dim n) const { return hn::LoadU(d, panel + i * 64 + n); }
};

struct LoadBf16 {
  static constexpr int step = 2;
  const std::uint16_t* panel;
  HWY_INLINE VF get(F32 d, Dim i, int j, Dim n) const {
    const U32 du;
    const auto pair = hn::LoadU(du, reinterpret_cast<const std::uint32_t*>(panel + i * 64) + n);
    return hn::BitCast(d, j == 0 ? hn::ShiftLeft<16>(pair) : hn::And(pair, hn::Set(du, 0xffff0000u)));
  }
};

struct LoadQ8 {
  static constexpr int step = 4;
  const std::int8_t* panel;
  HWY_INLINE VF get(F32 d, Dim i, int j, Dim n) const {
    const I32 di;
    const auto quad = hn::LoadU(di, reinterpret_cast<const std::int32_t*>(panel + i * 64) + n);
    switch (j) {
      case 0: return hn::ConvertTo(d, hn::ShiftRight<24>(hn::ShiftLeft<24>(quad)));
      case 1: return hn::ConvertTo(d, hn::ShiftRight<24>(hn::ShiftLeft<16>(quad)));
      case 2: return hn::ConvertTo(d, hn::ShiftRight<24>(hn::ShiftLeft<8>(quad)));
      default: return hn::ConvertTo(d, hn::ShiftRight<24>(quad));
    }
  }
};

// One group of q4: 8 steps of 4 inputs, the first half in low nibbles.
struct LoadQ4 {
  static constexpr int step = 4;
  const std::uint8_t* panel;  // the group's part
  HWY_INLINE VF get(F32 d, Dim i, int j, Dim n) const {
    const U32 du;
    const I32 di;
    const bool high = i >= 16;
    const auto both = hn::LoadU(du, reinterpret_cast<const std::uint32_t*>(panel + (high ? i - 16 : i) * 64) + n);
    const auto nibbles = high ? hn::ShiftRight<4>(both) : both;
    const auto mask = hn::Set(du, 15);
    switch (j) {
      case 0: return hn::ConvertTo(d, hn::BitCast(di, hn::And(nibbles, mask)));
      case 1: return hn::ConvertTo(d, hn::BitCast(di, hn::And(hn::ShiftRight<8>(nibbles), mask)));
      case 2: return hn::ConvertTo(d, hn::BitCast(di, hn::And(hn::ShiftRight<16>(nibbles), mask)));
      default: return hn::ConvertTo(d, hn::BitCast(di, hn::And(hn::ShiftRight<24>(nibbles), mask)));
    }
  }
};

// acc += a[MR, k] · weights of outputs [n, n + 2 vectors). Accumulators live in named arrays that unroll into
// registers.
template <int MR, class Load>
HWY_INLINE void micro(const float* a, Dim lda, const Load& weights, Dim k, Dim n, VF (&low)[MR], VF (&high)[MR]) {
  const F32 d;
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  for (Dim i = 0; i < k; i += Load::step) {
    if (n == 0) fetch_step(weights.panel, i / Load::step);
#pragma GCC unroll 4
    for (int j = 0; j < Load::step; ++j) {
      const auto w0 = weights.get(d, i, j, n), w1 = weights.get(d, i, j, n + lanes);
#pragma GCC unroll 6
      for (int r = 0; r < MR; ++r) {
        const auto x = hn::Set(d, a[r * lda + i + j]);
        low[r] = hn::MulAdd(x, w0, low[r]);
        high[r] = hn::MulAdd(x, w1, high[r]);
      }
    }
  }
}

template <int MR, class Load>
void sums_f32(const float* a, Dim lda, const Load& weights, Dim k, float* c, bool first) {
  const F32 d;
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  for (Dim n = 0; n < 64; n += 2 * lanes) {
    VF low[MR], high[MR];
#pragma GCC unroll 6
    for (int r = 0; r < MR; ++r) {
      low[r] = first ? hn::Zero(d) : hn::LoadU(d, c + r * 64 + n);
      high[r] = first ? hn::Zero(d) : hn::LoadU(d, c + r * 64 + n + lanes);
    }
    micro<MR>(a, lda, weights, k, n, low, high);
#pragma GCC unroll 6
    for (int r = 0; r < MR; ++r) {
      hn::StoreU(low[r], d, c + r * 64 + n);
      hn::StoreU(high[r], d, c + r * 64 + n + lanes);
    }
  }
}

template <int MR>
void sums_q8(const float* a, Dim lda, const LoadQ8& weights, Dim k, std::int32_t* c, bool first) {
  const F32 d;
  const I32 di;
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  for (Dim n = 0; n < 64; n += 2 * lanes) {
    VF low[MR], high[MR];
#pragma GCC unroll 6
    for (int r = 0; r < MR; ++r) low[r] = high[r] = hn::Zero(d);
    micro<MR>(a, lda, weights, k, n, low, high);
#pragma GCC unroll 6
    for (int r = 0; r < MR; ++r) {
      std::int32_t *at = c + r * 64 + n, *then = at + lanes;
      hn::StoreU(first ? hn::ConvertTo(di, low[r]) : hn::Add(hn::LoadU(di, at), hn::ConvertTo(di, low[r])), di, at);
      hn::StoreU(first ? hn::ConvertTo(di, high[r]) : hn::Add(hn::LoadU(di, then), hn::ConvertTo(di, high[r])), di,
                 then);
    }
  }
}

// One group's exact sums of two vectors of outputs: total += step * (scale * sum of q * x) + least * (scale * sum of
// x), in the order of dot_avx512.cpp.
template <int MR>
HWY_INLINE void add_group(const VF (&low)[MR], const VF (&high)[MR], const std::uint8_t* group, Dim n,
                          const float* scale, const float* sum, Dim stride, float* c, bool first) {
  const F32 d;
  const U32 du;
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  const auto* pairs = reinterpret_cast<const std::uint32_t*>(group + q4_nibble_bytes);
  for (int half = 0; half < 2; ++half) {
    const auto pair = hn::LoadU(du, pairs + n + half * lanes);
    const auto step = hn::BitCast(d, hn::ShiftLeft<16>(pair));
    const auto least = hn::BitCast(d, hn::And(pair, hn::Set(du, 0xffff0000u)));
#pragma GCC unroll 6
    for (int r = 0; r < MR; ++r) {
      float* at = c + r * 64 + n + half * lanes;
      const auto part = half == 0 ? low[r] : high[r];
      auto total = first ? hn::Zero(d) : hn::LoadU(d, at);
      total = hn::MulAdd(hn::Mul(part, hn::Set(d, scale[r * stride])), step, total);
      hn::StoreU(hn::MulAdd(least, hn::Set(d, sum[r * stride]), total), d, at);
    }
  }
}

template <int MR>
void sums_q4(const float* a, Dim lda, const std::uint8_t* group, const float* scale, const float* sum, Dim stride,
             float* c, bool first) {
  const F32 d;
  for (Dim n = 0; n < 64; n += 2 * static_cast<Dim>(hn::Lanes(d))) {
    VF low[MR], high[MR];
#pragma GCC unroll 6
    for (int r = 0; r < MR; ++r) low[r] = high[r] = hn::Zero(d);
    micro<MR>(a, lda, LoadQ4{group}, q4_group, n, low, high);
    add_group<MR>(low, high, group, n, scale, sum, stride, c, first);
  }
}

#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
// x86 multiplies pairs of int16 and adds each pair in place (pmaddwd): half the work of going through floats.
#define TAP_PAIRS 1
using VI = hn::Vec<I32>;
constexpr Dim most_pair_rows = 4;

// Activations of one quad of inputs as two words of int16: (x0, x2) and (x1, x3).
template <class T>
HWY_INLINE void stage_pairs(const T* a, Dim quads, std::int32_t* words) {
  for (Dim i = 0; i < 4 * quads; i += 4) {
    *words++ = static_cast<std::int32_t>((static_cast<std::uint32_t>(a[i]) & 0xffffu) |
                                         static_cast<std::uint32_t>(a[i + 2]) << 16);
    *words++ = static_cast<std::int32_t>((static_cast<std::uint32_t>(a[i + 1]) & 0xffffu) |
                                         static_cast<std::uint32_t>(a[i + 3]) << 16);
  }
}

// sums[r] += pairs of weights · word of row r
template <int MR, class V16>
HWY_INLINE void multiply_pairs(V16 low_weights, V16 high_weights, const std::int32_t* words, Dim stride, VI (&low)[MR],
                               VI (&high)[MR]) {
  const I32 di;
  const hn::Repartition<std::int16_t, I32> d16;
  auto unused = hn::Zero(di);
#pragma GCC unroll 4
  for (int r = 0; r < MR; ++r) {
    const auto x = hn::BitCast(d16, hn::Set(di, words[r * stride]));
    low[r] = hn::ReorderWidenMulAccumulate(di, low_weights, x, low[r], unused);
    high[r] = hn::ReorderWidenMulAccumulate(di, high_weights, x, high[r], unused);
  }
}

template <int MR>
void sums_q8_pairs(const std::int32_t* words, Dim stride, const std::int8_t* panel, Dim quads, std::int32_t* c,
                   bool first) {
  const I32 di;
  const hn::Repartition<std::int16_t, I32> d16;
  const Dim lanes = static_cast<Dim>(hn::Lanes(di));
  for (Dim n = 0; n < 64; n += 2 * lanes) {
    VI low[MR], high[MR];
#pragma GCC unroll 4
    for (int r = 0; r < MR; ++r) {
      low[r] = first ? hn::Zero(di) : hn::LoadU(di, c + r * 64 + n);
      high[r] = first ? hn::Zero(di) : hn::LoadU(di, c + r * 64 + n + lanes);
    }
    for (Dim q = 0; q < quads; ++q) {
      if (n == 0) fetch_step(panel, q);
      const auto* at = reinterpret_cast<const std::int32_t*>(panel + q * 256) + n;
      const auto w0 = hn::BitCast(d16, hn::LoadU(di, at)), w1 = hn::BitCast(d16, hn::LoadU(di, at + lanes));
      const std::int32_t* x = words + 2 * q;
      multiply_pairs<MR>(hn::ShiftRight<8>(hn::ShiftLeft<8>(w0)), hn::ShiftRight<8>(hn::ShiftLeft<8>(w1)), x, stride,
                         low, high);
      multiply_pairs<MR>(hn::ShiftRight<8>(w0), hn::ShiftRight<8>(w1), x + 1, stride, low, high);
    }
#pragma GCC unroll 4
    for (int r = 0; r < MR; ++r) {
      hn::StoreU(low[r], di, c + r * 64 + n);
      hn::StoreU(high[r], di, c + r * 64 + n + lanes);
    }
  }
}

template <int MR>
void sums_q4_pairs(const std::int32_t* words, Dim stride, const std::uint8_t* group, const float* scale,
                   const float* sum, Dim groups, float* c, bool first) {
  const F32 d;
  const I32 di;
  const hn::Repartition<std::int16_t, I32> d16;
  const hn::Repartition<std::uint16_t, I32> du16;
  const Dim lanes = static_cast<Dim>(hn::Lanes(di));
  const auto mask = hn::Set(du16, 15);
  const auto get = [&](auto bits) { return hn::BitCast(d16, hn::And(bits, mask)); };
  for (Dim n = 0; n < 64; n += 2 * lanes) {
    VI low[MR], high[MR];
#pragma GCC unroll 4
    for (int r = 0; r < MR; ++r) low[r] = high[r] = hn::Zero(di);
    for (Dim q = 0; q < 4; ++q) {  // low nibbles are quad q, high ones quad 4 + q
      const auto* at = reinterpret_cast<const std::int32_t*>(group + q * 256) + n;
      const auto w0 = hn::BitCast(du16, hn::LoadU(di, at)), w1 = hn::BitCast(du16, hn::LoadU(di, at + lanes));
      const std::int32_t* x = words + 2 * q;
      multiply_pairs<MR>(get(w0), get(w1), x, stride, low, high);
      multiply_pairs<MR>(get(hn::ShiftRight<8>(w0)), get(hn::ShiftRight<8>(w1)), x + 1, stride, low, high);
      multiply_pairs<MR>(get(hn::ShiftRight<4>(w0)), get(hn::ShiftRight<4>(w1)), x + 8, stride, low, high);
      multiply_pairs<MR>(get(hn::ShiftRight<12>(w0)), get(hn::ShiftRight<12>(w1)), x + 9, stride, low, high);
    }
    VF low_f[MR], high_f[MR];
#pragma GCC unroll 4
    for (int r = 0; r < MR; ++r) low_f[r] = hn::ConvertTo(d, low[r]), high_f[r] = hn::ConvertTo(d, high[r]);
    add_group<MR>(low_f, high_f, group, n, scale, sum, groups, c, first);
  }
}
#else
#define TAP_PAIRS 0
#endif

// Calls fn(count of rows as a constant) for 1..6 rows.
template <class Fn>
HWY_INLINE void with_rows(Dim rows, const Fn& fn) {
  switch (rows) {
    case 1: return fn(std::integral_constant<int, 1>());
    case 2: return fn(std::integral_constant<int, 2>());
    case 3: return fn(std::integral_constant<int, 3>());
    case 4: return fn(std::integral_constant<int, 4>());
    case 5: return fn(std::integral_constant<int, 5>());
    default: return fn(std::integral_constant<int, 6>());
  }
}

void TileF32(const float* a, Dim lda, Dim rows, const float* panel, Dim k, float* c) {
  constexpr Dim chunk = 128;
  for (Dim i = 0; i < k; i += chunk)
    for (Dim r = 0; r < rows; r += most_rows)
      with_rows(rows - r, [&](auto n) {
        sums_f32<n()>(a + r * lda + i, lda, LoadF32{panel + i * 64}, std::min(chunk, k - i), c + r * 64, i == 0);
      });
}

void TileBf16(const std::uint16_t* a, Dim lda, Dim rows, const std::uint16_t* panel, Dim k, float* c) {
  HWY_ALIGN float staged[most_rows * chunk_inputs];
  for (Dim i = 0; i < k; i += chunk_inputs) {
    const Dim n = std::min(chunk_inputs, k - i);
    for (Dim r = 0; r < rows; r += most_rows) {
      for (Dim s = 0; s < std::min(most_rows, rows - r); ++s)
        for (Dim j = 0; j < n; ++j) {
          const std::uint32_t bits = static_cast<std::uint32_t>(a[(r + s) * lda + i + j]) << 16;
          std::memcpy(staged + s * chunk_inputs + j, &bits, 4);
        }
      with_rows(rows - r, [&](auto count) {
        sums_f32<count()>(staged, chunk_inputs, LoadBf16{panel + i * 64}, n, c + r * 64, i == 0);
      });
    }
  }
}

#if TAP_PAIRS

void TileQ8(const std::uint8_t* a, Dim lda, Dim rows, const std::int8_t* panel, Dim k, std::int32_t* c) {
  HWY_ALIGN std::int32_t words[most_pair_rows * chunk_inputs / 2];
  for (Dim i = 0; i < k; i += chunk_inputs) {
    const Dim quads = std::min(chunk_inputs, k - i) / 4;
    for (Dim r = 0; r < rows; r += most_pair_rows) {
      const Dim n = std::min(most_pair_rows, rows - r);
      for (Dim s = 0; s < n; ++s) stage_pairs(a + (r + s) * lda + i, quads, words + s * chunk_inputs / 2);
      with_rows(n, [&](auto count) {
        if constexpr (count() <= most_pair_rows)
          sums_q8_pairs<count()>(words, chunk_inputs / 2, panel + i * 64, quads, c + r * 64, i == 0);
      });
    }
  }
}

void TileQ4(const std::int8_t* a, Dim lda, const float* scale, const float* sum, Dim rows, const std::uint8_t* panel,
            Dim groups, float* c) {
  HWY_ALIGN std::int32_t words[most_pair_rows * q4_group / 2];
  for (Dim g = 0; g < groups; ++g) {
    for (Dim r = 0; r < rows; r += most_pair_rows) {
      const Dim n = std::min(most_pair_rows, rows - r);
      for (Dim s = 0; s < n; ++s) stage_pairs(a + (r + s) * lda + g * q4_group, q4_group / 4, words + s * q4_group / 2);
      with_rows(n, [&](auto count) {
        if constexpr (count() <= most_pair_rows)
          sums_q4_pairs<count()>(words, q4_group / 2, panel + g * q4_group_bytes, scale + r * groups + g,
                                 sum + r * groups + g, groups, c + r * 64, g == 0);
      });
    }
  }
}

#else

void TileQ8(const std::uint8_t* a, Dim lda, Dim rows, const std::int8_t* panel, Dim k, std::int32_t* c) {
  HWY_ALIGN float staged[most_rows * chunk_inputs];
  for (Dim i = 0; i < k; i += chunk_inputs) {
    const Dim n = std::min(chunk_inputs, k - i);
    for (Dim r = 0; r < rows; r += most_rows) {
      for (Dim s = 0; s < std::min(most_rows, rows - r); ++s)
        for (Dim j = 0; j < n; ++j) staged[s * chunk_inputs + j] = static_cast<float>(a[(r + s) * lda + i + j]);
      with_rows(rows - r, [&](auto count) {
        sums_q8<count()>(staged, chunk_inputs, LoadQ8{panel + i * 64}, n, c + r * 64, i == 0);
      });
    }
  }
}

void TileQ4(const std::int8_t* a, Dim lda, const float* scale, const float* sum, Dim rows, const std::uint8_t* panel,
            Dim groups, float* c) {
  HWY_ALIGN float staged[most_rows * q4_group];
  for (Dim g = 0; g < groups; ++g) {
    for (Dim r = 0; r < rows; r += most_rows) {
      for (Dim s = 0; s < std::min(most_rows, rows - r); ++s)
        for (Dim j = 0; j < q4_group; ++j)
          staged[s * q4_group + j] = static_cast<float>(a[(r + s) * lda + g * q4_group + j]);
      with_rows(rows - r, [&](auto count) {
        sums_q4<count()>(staged, q4_group, panel + g * q4_group_bytes, scale + r * groups + g, sum + r * groups + g,
                         groups, c + r * 64, g == 0);
      });
    }
  }
}

#endif
#undef TAP_PAIRS

// ---- finishing

template <Activation A>
HWY_INLINE VF activate(F32 d, VF v) {
  if constexpr (A == Activation::gelu_tanh) return vec::gelu_tanh(d, v);
  if constexpr (A == Activation::gelu_erf) return vec::gelu_erf(d, v);
  if constexpr (A == Activation::quick_gelu) return vec::quick_gelu(d, v);
  if constexpr (A == Activation::silu) return vec::silu(d, v);
  return v;
}

struct Integers {  // how q8 sums become floats
  const float *row_scale, *column_scale;
  const std::int32_t* column_sum;
};

template <Activation A, class T>
void finish_rows(const T* sums, Dim stride, Dim rows, Dim columns, const Integers* q, const Finish& f) {
  const F32 d;
  const I32 di;
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  for (Dim r = 0; r < rows; ++r) {
    for (Dim n = 0; n < columns; n += lanes) {
      const Dim left = columns - n;
      VF v;
      if constexpr (std::is_same_v<T, float>) {
        v = load_some(d, sums + r * stride + n, left, 0.0f);
      } else {
        HWY_ALIGN std::int32_t edge[HWY_MAX_BYTES / 4] = {};
        const T* at = sums + r * stride + n;
        if (left < lanes) {
          for (Dim i = 0; i < left; ++i) edge[i] = at[i];
          at = edge;
        }
        const auto zero_point = hn::ShiftLeft<7>(hn::LoadU(di, q->column_sum + n));
        const auto scale = hn::Mul(hn::Set(d, q->row_scale[r]), hn::LoadU(d, q->column_scale + n));
        v = hn::Mul(hn::ConvertTo(d, hn::Sub(hn::LoadU(di, at), zero_point)), scale);
      }
      if (f.bias) v = hn::Add(v, load_some(d, f.bias + n, left, 0.0f));
      v = activate<A>(d, v);
      if (f.multiply) v = hn::Mul(v, load_some(d, f.multiply + r * f.multiply_stride + n, left, 0.0f));
      if (f.residual) v = hn::Add(v, load_some(d, f.residual + r * f.residual_stride + n, left, 0.0f));
      store_some(d, v, f.out + r * f.out_stride + n, left);
    }
  }
}

template <class T>
void finish_any(const T* sums, Dim stride, Dim rows, Dim columns, const Integers* q, const Finish& f) {
  switch (f.activation) {
    case Activation::none: return finish_rows<Activation::none>(sums, stride, rows, columns, q, f);
    case Activation::gelu_tanh: return finish_rows<Activation::gelu_tanh>(sums, stride, rows, columns, q, f);
    case Activation::gelu_erf: return finish_rows<Activation::gelu_erf>(sums, stride, rows, columns, q, f);
    case Activation::quick_gelu: return finish_rows<Activation::quick_gelu>(sums, stride, rows, columns, q, f);
    case Activation::silu: return finish_rows<Activation::silu>(sums, stride, rows, columns, q, f);
  }
}

void FinishF32(const float* sums, Dim stride, Dim rows, Dim columns, const Finish& f) {
  finish_any(sums, stride, rows, columns, nullptr, f);
}

void FinishQ8(const std::int32_t* sums, Dim stride, Dim rows, Dim columns, const float* row_scale,
              const float* column_scale, const std::int32_t* column_sum, const Finish& f) {
  const Integers q{row_scale, column_scale, column_sum};
  finish_any(sums, stride, rows, columns, &q, f);
}

}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tap::kernels {

HWY_EXPORT(TileF32);
HWY_EXPORT(TileBf16);
HWY_EXPORT(TileQ8);
HWY_EXPORT(TileQ4);
HWY_EXPORT(FinishF32);
HWY_EXPORT(FinishQ8);

void tile_f32_portable(const float* a, Dim lda, Dim rows, const float* panel, Dim k, float* c) {
  HWY_DYNAMIC_DISPATCH(TileF32)(a, lda, rows, panel, k, c);
}
void tile_bf16_portable(const std::uint16_t* a, Dim lda, Dim rows, const std::uint16_t* panel, Dim k, float* c) {
  HWY_DYNAMIC_DISPATCH(TileBf16)(a, lda, rows, panel, k, c);
}
void tile_q8_portable(const std::uint8_t* a, Dim lda, Dim rows, const std::int8_t* panel, Dim k, std::int32_t* c) {
  HWY_DYNAMIC_DISPATCH(TileQ8)(a, lda, rows, panel, k, c);
}
void tile_q4_portable(const std::int8_t* a, Dim lda, const float* scale, const float* sum, Dim rows,
                      const std::uint8_t* panel, Dim groups, float* c) {
  HWY_DYNAMIC_DISPATCH(TileQ4)(a, lda, scale, sum, rows, panel, groups, c);
}
void finish_f32(const float* sums, Dim stride, Dim rows, Dim columns, const Finish& finish) {
  HWY_DYNAMIC_DISPATCH(FinishF32)(sums, stride, rows, columns, finish);
}
void finish_q8(const std::int32_t* sums, Dim stride, Dim rows, Dim columns, const float* row_scale,
               const float* column_scale, const std::int32_t* column_sum, const Finish& finish) {
  HWY_DYNAMIC_DISPATCH(FinishQ8)(sums, stride, rows, columns, row_scale, column_scale, column_sum, finish);
}

}  // namespace tap::kernels
#endif
