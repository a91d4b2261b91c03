#include "kernels/elementwise.h"

#include <cmath>

#include "kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/lanes-inl.h"
#include "kernels/vec_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {

void add_rows(const float* a, const float* b, Dim n, float* y) {
  map(a, b, n, y, [](Vf u, Vf v) HWY_ATTR { return hn::Add(u, v); });
}
void multiply_rows(const float* a, const float* b, Dim n, float* y) {
  map(a, b, n, y, [](Vf u, Vf v) HWY_ATTR { return hn::Mul(u, v); });
}
void scale_rows(const float* x, float factor, Dim n, float* y) {
  const Vf f = hn::Set(F32(), factor);
  map(x, n, y, [f](Vf v) HWY_ATTR { return hn::Mul(v, f); });
}
void multiply_add_rows(const float* x, float factor, Dim n, float* y) {
  const Vf f = hn::Set(F32(), factor);
  map(x, y, n, y, [f](Vf v, Vf sum) HWY_ATTR { return hn::MulAdd(v, f, sum); });
}
float dot_rows(const float* a, const float* b, Dim n) { return dot_lanes(a, b, n); }
void softcap_rows(const float* x, float cap, Dim n, float* y) {
  const Vf c = hn::Set(F32(), cap);
  map(x, n, y, [c](Vf v) HWY_ATTR { return hn::Mul(c, vec::tanh(F32(), hn::Div(v, c))); });
}

void to_bf16_rows(const float* x, Dim n, std::uint16_t* y) {
  const F32 d;
  const hn::RebindToUnsigned<F32> du;
  const hn::Rebind<std::uint16_t, F32> half;
  const auto round = [&](Vf v) HWY_ATTR {
    const auto u = hn::BitCast(du, v);
    const auto even = hn::And(hn::ShiftRight<16>(u), hn::Set(du, 1));
    const auto rounded = hn::ShiftRight<16>(hn::Add(u, hn::Add(even, hn::Set(du, 0x7fff))));
    const auto quiet = hn::Or(hn::ShiftRight<16>(u), hn::Set(du, 0x40));
    const auto is_nan = hn::RebindMask(du, hn::Ne(v, v));
    return hn::DemoteTo(half, hn::BitCast(hn::RebindToSigned<F32>(), hn::IfThenElse(is_nan, quiet, rounded)));
  };
  Dim i = 0;
  for (; i + lanes() <= n; i += lanes()) hn::StoreU(round(hn::LoadU(d, x + i)), half, y + i);
  if (i < n) {
    HWY_ALIGN std::uint16_t buffer[HWY_MAX_BYTES / sizeof(float)];
    hn::Store(round(load_first(x + i, n - i)), half, buffer);
    for (Dim k = 0; i + k < n; ++k) y[i + k] = buffer[k];
  }
}

void from_bf16_rows(const std::uint16_t* x, Dim n, float* y) {
  const F32 d;
  const hn::RebindToUnsigned<F32> du;
  const hn::Rebind<std::uint16_t, F32> half;
  Dim i = 0;
  for (; i + lanes() <= n; i += lanes())
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(half, x + i)))), d, y + i);
  for (; i < n; ++i) y[i] = __builtin_bit_cast(float, static_cast<std::uint32_t>(x[i]) << 16);
}

}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tap::kernels {

HWY_EXPORT(add_rows);
HWY_EXPORT(multiply_rows);
HWY_EXPORT(scale_rows);
HWY_EXPORT(multiply_add_rows);
HWY_EXPORT(dot_rows);
HWY_EXPORT(softcap_rows);
HWY_EXPORT(to_bf16_rows);
HWY_EXPORT(from_bf16_rows);

void add(const float* a, const float* b, Dim n, float* y) { HWY_DYNAMIC_DISPATCH(add_rows)(a, b, n, y); }
void multiply(const float* a, const float* b, Dim n, float* y) { HWY_DYNAMIC_DISPATCH(multiply_rows)(a, b, n, y); }
void scale(const float* x, float factor, Dim n, float* y) { HWY_DYNAMIC_DISPATCH(scale_rows)(x, factor, n, y); }
void multiply_add(const float* x, float factor, Dim n, float* y) {
  HWY_DYNAMIC_DISPATCH(multiply_add_rows)(x, factor, n, y);
}
float dot(const float* a, const float* b, Dim n) { return HWY_DYNAMIC_DISPATCH(dot_rows)(a, b, n); }
void softcap(const float* x, float cap, Dim n, float* y) { HWY_DYNAMIC_DISPATCH(softcap_rows)(x, cap, n, y); }
void to_bf16(const float* x, Dim n, std::uint16_t* y) { HWY_DYNAMIC_DISPATCH(to_bf16_rows)(x, n, y); }
void from_bf16(const std::uint16_t* x, Dim n, float* y) { HWY_DYNAMIC_DISPATCH(from_bf16_rows)(x, n, y); }

void softcap_grad(const float* x, const float* dy, float cap, Dim n, float* dx) {
  for (Dim i = 0; i < n; ++i) {
    const float t = std::tanh(x[i] / cap);
    dx[i] = dy[i] * (1 - t * t);
  }
}

}  // namespace tap::kernels
#endif
