#include "kernels/quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantize.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "kernels/edge-inl.h"
#include "kernels/pack.h"

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {

void RowsToBf16(const float* x, Dim stride, Dim rows, Dim in, std::uint16_t* out, Dim padded) {
  const F32 d;
  const U32 du;
  const hn::RebindToSigned<F32> di;
  const hn::Rebind<std::uint16_t, F32> d16;
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  for (Dim r = 0; r < rows; ++r) {
    std::uint16_t* to = out + r * padded;
    for (Dim i = 0; i < in; i += lanes) {
      const auto v = load_some(d, x + r * stride + i, in - i, 0.0f);
      const auto u = hn::BitCast(du, v);
      const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(du, 1));
      const auto rounded = hn::ShiftRight<16>(hn::Add(u, hn::Add(odd, hn::Set(du, 0x7fff))));
      const auto bits = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), hn::Set(du, 0x7fc0), rounded);
      store_some(d16, hn::DemoteTo(d16, hn::BitCast(di, bits)), to + i, in - i);
    }
    std::fill(to + in, to + padded, std::uint16_t{0});
  }
}

// The largest magnitude of x[n], plus NaN when a value is not finite.
HWY_INLINE float largest_of(F32 d, const float* x, Dim n) {
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  auto most = hn::Zero(d), poison = hn::Zero(d);
  for (Dim i = 0; i < n; i += lanes) {
    const auto v = load_some(d, x + i, n - i, 0.0f);
    most = hn::Max(most, hn::Abs(v));
    poison = hn::MulAdd(v, hn::Zero(d), poison);
  }
  return hn::GetLane(hn::MaxOfLanes(d, most)) + hn::GetLane(hn::SumOfLanes(d, poison));
}

HWY_INLINE Dim count_above(F32 d, const float* x, Dim n, float limit) {
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  Dim count = 0;
  for (Dim i = 0; i < n; i += lanes)
    count += static_cast<Dim>(hn::CountTrue(d, hn::Gt(hn::Abs(load_some(d, x + i, n - i, 0.0f)), hn::Set(d, limit))));
  return count;
}

// The magnitude that becomes 127 steps: the largest, or a 4th to a 1024th of it when few values are above. Decided by
// counting, so that every instruction set decides alike.
HWY_INLINE float whole_range(F32 d, const float* x, Dim n, float largest) {
  constexpr std::int64_t most_beyond = 1 << 22;  // steps; times 127 they leave room for the other products
  const auto fits = [&](int halvings) {
    const Dim count = count_above(d, x, n, std::ldexp(largest, -halvings));
    return count <= most_outliers(n) && (count * 127) << halvings <= most_beyond;
  };
  constexpr float least = 1e-20f;  // smaller rows would have steps whose inverse is no number
  if (!(largest > least) || most_outliers(n) == 0 || !fits(2)) return largest;
  int halvings = 2;
  while (halvings < 10 && fits(halvings + 1)) ++halvings;
  return std::ldexp(largest, -halvings);
}

void RowsToU8(const float* x, Dim stride, Dim rows, Dim in, std::uint8_t* out, Dim padded, float* scale,
              Outlier* outliers, std::int32_t* counts) {
  const F32 d;
  const I32 di;
  const hn::Rebind<std::uint8_t, F32> d8;
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  for (Dim r = 0; r < rows; ++r) {
    const float* from = x + r * stride;
    std::uint8_t* to = out + r * padded;
    const float largest = largest_of(d, from, in);
    const float range = whole_range(d, from, in, largest);
    scale[r] = range / 127.0f;
    const auto inverse = hn::Set(d, range > 0 ? 127.0f / range : 0.0f);
    for (Dim i = 0; i < in; i += lanes) {
      const auto q = hn::Add(hn::NearestInt(hn::Mul(load_some(d, from + i, in - i, 0.0f), inverse)), hn::Set(di, 128));
      store_some(d8, hn::DemoteTo(d8, hn::Max(hn::Min(q, hn::Set(di, 255)), hn::Set(di, 1))), to + i, in - i);
    }
    std::fill(to + in, to + padded, std::uint8_t{128});
    counts[r] = 0;
    if (range < largest)
      for (Dim i = 0; i < in; ++i) {
        const auto q = static_cast<std::int32_t>(std::nearbyint(from[i] * (127.0f / range)));
        if (q < -127 || q > 127)
          outliers[r * most_outliers(in) + counts[r]++] = {static_cast<std::int32_t>(i), q - std::clamp(q, -127, 127)};
      }
  }
}

void AddOutliers(const Outlier* outliers, Dim count, const std::int8_t* panel, Dim columns, std::int32_t* sums) {
  const I32 di;
  const Dim lanes = static_cast<Dim>(hn::Lanes(di));
  HWY_ALIGN std::int32_t sum[64] = {};
  std::copy_n(sums, columns, sum);
  for (Dim n = 0; n < columns; n += lanes) {
    auto total = hn::Load(di, sum + n);
    for (Dim i = 0; i < count; ++i) {
      const auto [input, beyond] = outliers[i];
      const auto four =
          hn::LoadU(di, reinterpret_cast<const std::int32_t*>(panel + input / 4 * 256 + n * 4));  // inputs of an output
      const auto w = hn::ShiftRight<24>(hn::ShiftLeftSame(four, 24 - input % 4 * 8));
      total = hn::Add(total, hn::Mul(w, hn::Set(di, beyond)));
    }
    hn::Store(total, di, sum + n);
  }
  std::copy_n(sum, columns, sums);
}

void RowsToS8Groups(const float* x, Dim stride, Dim rows, Dim in, std::int8_t* out, Dim padded, float* scale,
                    float* sum) {
  const F32 d;
  const I32 di;
  const hn::Rebind<std::int8_t, F32> d8;
  const Dim lanes = static_cast<Dim>(hn::Lanes(d)), groups = padded / q4_group;
  for (Dim r = 0; r < rows; ++r) {
    for (Dim g = 0; g < groups; ++g) {
      const Dim begin = g * q4_group, n = std::min(q4_group, in - begin);
      const float* from = x + r * stride + begin;
      std::int8_t* to = out + r * padded + begin;
      const float largest = largest_of(d, from, n);
      const float step = largest / 127.0f;
      const auto inverse = hn::Set(d, largest > 0 ? 127.0f / largest : 0.0f);
      auto total = hn::Zero(di);
      for (Dim i = 0; i < n; i += lanes) {
        auto q = hn::NearestInt(hn::Mul(load_some(d, from + i, n - i, 0.0f), inverse));
        q = hn::Max(hn::Min(q, hn::Set(di, 127)), hn::Set(di, -127));
        total = hn::Add(total, q);
        store_some(d8, hn::DemoteTo(d8, q), to + i, n - i);
      }
      std::fill(to + n, to + q4_group, std::int8_t{0});
      scale[r * groups + g] = step;
      sum[r * groups + g] = step * static_cast<float>(hn::GetLane(hn::SumOfLanes(di, total)));
    }
  }
}

void QuantizeQ8Row(const float* row, Dim in, std::int8_t* out, float* scale, std::int32_t* sum) {
  const F32 d;
  const I32 di;
  const hn::Rebind<std::int8_t, F32> d8;
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  const float largest = largest_of(d, row, in);
  *scale = largest / 127.0f;
  const auto inverse = hn::Set(d, largest > 0 ? 127.0f / largest : 0.0f);
  auto total = hn::Zero(di);
  for (Dim i = 0; i < in; i += lanes) {
    auto q = hn::NearestInt(hn::Mul(load_some(d, row + i, in - i, 0.0f), inverse));
    q = hn::Max(hn::Min(q, hn::Set(di, 127)), hn::Set(di, -127));
    total = hn::Add(total, q);
    store_some(d8, hn::DemoteTo(d8, q), out + i, in - i);
  }
  *sum = hn::GetLane(hn::SumOfLanes(di, total));
}

// Plain code: a bf16 below and one above a value.
HWY_INLINE std::uint32_t bf16_bits(float value) {
  const auto u = __builtin_bit_cast(std::uint32_t, value);
  return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}
HWY_INLINE float bf16_value(std::uint32_t bits) { return __builtin_bit_cast(float, bits << 16); }

void QuantizeQ4Row(const float* row, Dim in, std::uint8_t* q, std::uint32_t* pairs) {
  const F32 d;
  const I32 di;
  const hn::Rebind<std::uint8_t, F32> d8;
  const Dim lanes = static_cast<Dim>(hn::Lanes(d));
  for (Dim g = 0; g * q4_group < in; ++g) {
    const Dim n = std::min(q4_group, in - g * q4_group);
    const float* from = row + g * q4_group;
    auto low = hn::Set(d, from[0]), high = low, poison = hn::Zero(d);
    for (Dim i = 0; i < n; i += lanes) {
      const auto v = load_some(d, from + i, n - i, from[0]);
      low = hn::Min(low, v);
      high = hn::Max(high, v);
      poison = hn::MulAdd(v, hn::Zero(d), poison);
    }
    const float top = hn::GetLane(hn::MaxOfLanes(d, high)), bad = hn::GetLane(hn::SumOfLanes(d, poison));
    std::uint32_t least_bits = bf16_bits(hn::GetLane(hn::MinOfLanes(d, low))), step_bits = 0;
    const float least = bf16_value(least_bits);
    if (top > least) {
      step_bits = bf16_bits((top - least) / 15.0f);
      if (bf16_value(step_bits) * 15.0f < top - least) ++step_bits;  // 15 steps reach the top
    }
    if (bad != bad) least_bits = 0x7fc0;  // a weight that is not finite stays visible
    const float step = bf16_value(step_bits);
    const auto inverse = hn::Set(d, step > 0 ? 1.0f / step : 0.0f), base = hn::Set(d, least);
    std::uint8_t* to = q + g * q4_group;
    for (Dim i = 0; i < n; i += lanes) {
      auto steps = hn::NearestInt(hn::Mul(hn::Sub(load_some(d, from + i, n - i, from[0]), base), inverse));
      steps = hn::Max(hn::Min(steps, hn::Set(di, 15)), hn::Zero(di));
      store_some(d8, hn::DemoteTo(d8, steps), to + i, n - i);
    }
    std::fill(to + n, to + q4_group, std::uint8_t{0});
    pairs[g] = step_bits | (least_bits << 16);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tap::kernels {

HWY_EXPORT(RowsToBf16);
HWY_EXPORT(RowsToU8);
HWY_EXPORT(AddOutliers);
HWY_EXPORT(RowsToS8Groups);
HWY_EXPORT(QuantizeQ8Row);
HWY_EXPORT(QuantizeQ4Row);

void rows_to_bf16(const float* x, Dim stride, Dim rows, Dim in, std::uint16_t* out, Dim padded) {
  HWY_DYNAMIC_DISPATCH(RowsToBf16)(x, stride, rows, in, out, padded);
}
void rows_to_u8(const float* x, Dim stride, Dim rows, Dim in, std::uint8_t* out, Dim padded, float* scale,
                Outlier* outliers, std::int32_t* counts) {
  HWY_DYNAMIC_DISPATCH(RowsToU8)(x, stride, rows, in, out, padded, scale, outliers, counts);
}
void add_outliers(const Outlier* outliers, Dim count, const std::int8_t* panel, Dim columns, std::int32_t* sums) {
  HWY_DYNAMIC_DISPATCH(AddOutliers)(outliers, count, panel, columns, sums);
}
void rows_to_s8_groups(const float* x, Dim stride, Dim rows, Dim in, std::int8_t* out, Dim padded, float* scale,
                       float* sum) {
  HWY_DYNAMIC_DISPATCH(RowsToS8Groups)(x, stride, rows, in, out, padded, scale, sum);
}
void quantize_q8_row(const float* row, Dim in, std::int8_t* out, float& scale, std::int32_t& sum) {
  HWY_DYNAMIC_DISPATCH(QuantizeQ8Row)(row, in, out, &scale, &sum);
}
void quantize_q4_row(const float* row, Dim in, std::uint8_t* q, std::uint32_t* pairs) {
  HWY_DYNAMIC_DISPATCH(QuantizeQ4Row)(row, in, q, pairs);
}

}  // namespace tap::kernels
#endif
