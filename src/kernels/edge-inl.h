// Vectors of f32 at the edges of rows: loads and stores of fewer than a whole vector, in any instruction set, touching
// nothing beyond.
#if defined(TAP_KERNELS_EDGE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TAP_KERNELS_EDGE_INL_H
#undef TAP_KERNELS_EDGE_INL_H
#else
#define TAP_KERNELS_EDGE_INL_H
#endif

#include <hwy/highway.h>

#include "base/dim.h"

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using I32 = hn::RebindToSigned<F32>;
using U32 = hn::RebindToUnsigned<F32>;
using VF = hn::Vec<F32>;

// `n` values at `from` as a vector; missing lanes are `fill`.
HWY_INLINE VF load_some(F32 d, const float* from, Dim n, float fill) {
  if (n >= static_cast<Dim>(hn::Lanes(d))) return hn::LoadU(d, from);
  HWY_ALIGN float lanes[HWY_MAX_BYTES / 4];
  for (Dim i = 0; i < static_cast<Dim>(hn::Lanes(d)); ++i) lanes[i] = i < n ? from[i] : fill;
  return hn::Load(d, lanes);
}

template <class D, class V, class T>
HWY_INLINE void store_some(D d, V v, T* to, Dim n) {
  if (n >= static_cast<Dim>(hn::Lanes(d))) return hn::StoreU(v, d, to);
  HWY_ALIGN T lanes[HWY_MAX_BYTES / 4];
  hn::Store(v, d, lanes);
  for (Dim i = 0; i < n; ++i) to[i] = lanes[i];
}

}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
