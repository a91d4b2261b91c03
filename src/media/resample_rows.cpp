#include "media/resample_rows.h"

#include <algorithm>

#include "kernels/isa.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "media/resample_rows.cpp"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tap::media::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void weigh_rows(const FixedTaps& taps, Dim begin, Dim end, const std::uint8_t* in, std::uint8_t* out, Dim lanes) {
  const hn::ScalableTag<std::int32_t> d32;
  const hn::Rebind<std::uint8_t, decltype(d32)> d8;
  const Dim n = static_cast<Dim>(hn::Lanes(d32));
  const auto half = hn::Set(d32, 1 << (weight_bits - 1));
  for (Dim i = begin; i < end; ++i, out += lanes) {
    const std::uint8_t* first = in + taps.first[static_cast<std::size_t>(i)] * lanes;
    const std::int32_t* weight = taps.weight.data() + i * taps.most;
    const Dim count = taps.count[static_cast<std::size_t>(i)];
    Dim lane = 0;
    for (; lane + 4 * n <= lanes; lane += 4 * n) {
      auto sum0 = half, sum1 = half, sum2 = half, sum3 = half;
      const std::uint8_t* row = first + lane;
      for (Dim j = 0; j < count; ++j, row += lanes) {
        const auto w = hn::Set(d32, weight[j]);
        sum0 = hn::Add(sum0, hn::Mul(w, hn::PromoteTo(d32, hn::LoadU(d8, row))));
        sum1 = hn::Add(sum1, hn::Mul(w, hn::PromoteTo(d32, hn::LoadU(d8, row + n))));
        sum2 = hn::Add(sum2, hn::Mul(w, hn::PromoteTo(d32, hn::LoadU(d8, row + 2 * n))));
        sum3 = hn::Add(sum3, hn::Mul(w, hn::PromoteTo(d32, hn::LoadU(d8, row + 3 * n))));
      }
      hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<weight_bits>(sum0)), d8, out + lane);
      hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<weight_bits>(sum1)), d8, out + lane + n);
      hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<weight_bits>(sum2)), d8, out + lane + 2 * n);
      hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<weight_bits>(sum3)), d8, out + lane + 3 * n);
    }
    for (; lane + n <= lanes; lane += n) {
      auto sum = half;
      const std::uint8_t* row = first + lane;
      for (Dim j = 0; j < count; ++j, row += lanes)
        sum = hn::Add(sum, hn::Mul(hn::Set(d32, weight[j]), hn::PromoteTo(d32, hn::LoadU(d8, row))));
      hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<weight_bits>(sum)), d8, out + lane);
    }
    for (; lane < lanes; ++lane) {
      std::int32_t sum = 1 << (weight_bits - 1);
      const std::uint8_t* row = first + lane;
      for (Dim j = 0; j < count; ++j, row += lanes) sum += weight[j] * *row;
      out[lane] = static_cast<std::uint8_t>(std::clamp(sum >> weight_bits, 0, 255));
    }
  }
}

}  // namespace tap::media::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tap::media {

HWY_EXPORT(weigh_rows);

void weigh_rows(const FixedTaps& taps, Dim begin, Dim end, const std::uint8_t* in, std::uint8_t* out, Dim lanes) {
  active_isa();  // caps Highway's choice by TAPETUM_ISA before its first use
  HWY_DYNAMIC_DISPATCH(weigh_rows)(taps, begin, end, in, out, lanes);
}

}  // namespace tap::media
#endif
