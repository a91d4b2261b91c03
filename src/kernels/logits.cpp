#include "kernels/logits.h"

#include <algorithm>
#include <limits>

#include "kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/logits.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/lanes-inl.h"
#include "kernels/vec_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {

constexpr Dim sum_block = 1024;  // values summed in f32 lanes before they go into the double

// Not finite values, NaN among them, become -inf.
Vf finite(Vf v) {
  const F32 d;
  return hn::IfThenElse(hn::Le(hn::Abs(v), hn::Set(d, std::numeric_limits<float>::max())), v,
                        hn::Set(d, -std::numeric_limits<float>::infinity()));
}

Vf load_finite(const float* x, Dim left) {
  const F32 d;
  if (left >= lanes()) return finite(hn::LoadU(d, x));
  return hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(left)), finite(load_first(x, left)),
                        hn::Set(d, -std::numeric_limits<float>::infinity()));
}

RowPeak peak_each(const float* x, Dim width) {
  const F32 d;
  RowPeak peak;
  Vf most = hn::Set(d, -std::numeric_limits<float>::infinity());
  for (Dim i = 0; i < width; i += lanes()) most = hn::Max(most, load_finite(x + i, width - i));
  const Vf top = hn::MaxOfLanes(d, most);
  peak.top = hn::GetLane(top);
  if (peak.top < -std::numeric_limits<float>::max()) return peak;
  peak.at = std::find(x, x + width, peak.top) - x;
  for (Dim begin = 0; begin < width; begin += sum_block) {
    const Dim end = std::min(width, begin + sum_block);
    Vf sum = hn::Zero(d);
    for (Dim i = begin; i < end; i += lanes())
      sum = hn::Add(sum, vec::exp(d, hn::Sub(load_finite(x + i, end - i), top)));
    peak.sum += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
  }
  return peak;
}

void exp_each(const float* x, Dim width, float top, float divisor, float* y) {
  const F32 d;
  map(x, width, y,
      [=](Vf v) HWY_ATTR { return vec::exp(d, hn::Div(hn::Sub(v, hn::Set(d, top)), hn::Set(d, divisor))); });
}

}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tap::kernels {

HWY_EXPORT(peak_each);
HWY_EXPORT(exp_each);

RowPeak peak_of(const float* x, Dim width) { return HWY_DYNAMIC_DISPATCH(peak_each)(x, width); }
void exp_row(const float* x, Dim width, float top, float divisor, float* y) {
  HWY_DYNAMIC_DISPATCH(exp_each)(x, width, top, divisor, y);
}

}  // namespace tap::kernels
#endif
