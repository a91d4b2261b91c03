// Loads and stores of less than a vector, for tails that run the body's own maths. Included after hwy/highway.h in each
// target's pass.
#if defined(TAP_KERNELS_LANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TAP_KERNELS_LANES_INL_H
#undef TAP_KERNELS_LANES_INL_H
#else
#define TAP_KERNELS_LANES_INL_H
#endif

#include <hwy/highway.h>

#include "base/dim.h"

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using Vf = hn::Vec<F32>;

HWY_INLINE Dim lanes() { return static_cast<Dim>(hn::Lanes(F32())); }

// The first n lanes; the others are zero and are not read.
HWY_INLINE Vf load_first(const float* HWY_RESTRICT p, Dim n) {
  const F32 d;
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float buffer[HWY_MAX_BYTES / sizeof(float)] = {};
  for (Dim i = 0; i < n; ++i) buffer[i] = p[i];
  return hn::Load(d, buffer);
#else
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(n)), d, p);
#endif
}

HWY_INLINE void store_first(Vf v, float* HWY_RESTRICT p, Dim n) {
  const F32 d;
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float buffer[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(v, d, buffer);
  for (Dim i = 0; i < n; ++i) p[i] = buffer[i];
#else
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(n)), d, p);
#endif
}

// y[i] = fn(x[i]) and y[i] = fn(a[i], b[i]); y may be an input.
template <class Fn>
HWY_INLINE void map(const float* x, Dim n, float* y, Fn fn) {
  const F32 d;
  Dim i = 0;
  for (; i + lanes() <= n; i += lanes()) hn::StoreU(fn(hn::LoadU(d, x + i)), d, y + i);
  if (i < n) store_first(fn(load_first(x + i, n - i)), y + i, n - i);
}
template <class Fn>
HWY_INLINE void map(const float* a, const float* b, Dim n, float* y, Fn fn) {
  const F32 d;
  Dim i = 0;
  for (; i + lanes() <= n; i += lanes()) hn::StoreU(fn(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  if (i < n) store_first(fn(load_first(a + i, n - i), load_first(b + i, n - i)), y + i, n - i);
}

// The sum over i of term(x[i]); lanes past the end count as nothing.
template <class Term>
HWY_INLINE float sum_of(const float* x, Dim n, Term term) {
  const F32 d;
  Vf s0 = hn::Zero(d), s1 = hn::Zero(d);
  Dim i = 0;
  for (; i + 2 * lanes() <= n; i += 2 * lanes()) {
    s0 = hn::Add(s0, term(hn::LoadU(d, x + i)));
    s1 = hn::Add(s1, term(hn::LoadU(d, x + i + lanes())));
  }
  if (i + lanes() <= n) s0 = hn::Add(s0, term(hn::LoadU(d, x + i))), i += lanes();
  if (i < n)
    s1 = hn::Add(s1, hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(n - i)), term(load_first(x + i, n - i))));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
}

HWY_INLINE float dot_lanes(const float* a, const float* b, Dim n) {
  const F32 d;
  Vf s0 = hn::Zero(d), s1 = hn::Zero(d);
  Dim i = 0;
  for (; i + 2 * lanes() <= n; i += 2 * lanes()) {
    s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0);
    s1 = hn::MulAdd(hn::LoadU(d, a + i + lanes()), hn::LoadU(d, b + i + lanes()), s1);
  }
  if (i + lanes() <= n) s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0), i += lanes();
  if (i < n) s1 = hn::MulAdd(load_first(a + i, n - i), load_first(b + i, n - i), s1);
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
}

}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
