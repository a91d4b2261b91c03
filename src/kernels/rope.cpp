#include "kernels/rope.h"

#include "kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rope.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {

// One head whose rotary pairs are (x[i], x[i + half]).
HWY_INLINE void turn_halves(const float* x, const float* cos, const float* sin, Dim half, Vf direction, float* y) {
  const F32 d;
  Dim i = 0;
  for (; i + lanes() <= half; i += lanes()) {
    const Vf a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + half + i), c = hn::LoadU(d, cos + i),
             s = hn::Mul(hn::LoadU(d, sin + i), direction);
    hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, y + i);
    hn::StoreU(hn::MulAdd(a, s, hn::Mul(b, c)), d, y + half + i);
  }
  if (const Dim n = half - i; n > 0) {
    const Vf a = load_first(x + i, n), b = load_first(x + half + i, n), c = load_first(cos + i, n),
             s = hn::Mul(load_first(sin + i, n), direction);
    store_first(hn::NegMulAdd(b, s, hn::Mul(a, c)), y + i, n);
    store_first(hn::MulAdd(a, s, hn::Mul(b, c)), y + half + i, n);
  }
}

// One head whose rotary pairs are (x[2i], x[2i + 1]).
HWY_INLINE void turn_pairs(const float* x, const float* cos, const float* sin, Dim half, float direction, float* y) {
  for (Dim i = 0; i < half; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1], s = direction * sin[i];
    y[2 * i] = a * cos[i] - b * s;
    y[2 * i + 1] = b * cos[i] + a * s;
  }
}

void rope_each(const float* x, const float* cos, const float* sin, Dim rows, Dim heads, Dim head_dim, bool pairs,
               float direction, float* y) {
  const Dim half = head_dim / 2;
  const Vf way = hn::Set(F32(), direction);
  for (Dim r = 0; r < rows; ++r, cos += half, sin += half)
    for (Dim h = 0; h < heads; ++h, x += head_dim, y += head_dim) {
      if (pairs) turn_pairs(x, cos, sin, half, direction, y);
      else turn_halves(x, cos, sin, half, way, y);
    }
}

}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tap::kernels {

HWY_EXPORT(rope_each);

void rope(const float* x, const float* cos, const float* sin, Dim rows, Dim heads, Dim head_dim, bool pairs,
          float direction, float* y) {
  HWY_DYNAMIC_DISPATCH(rope_each)(x, cos, sin, rows, heads, head_dim, pairs, direction, y);
}

}  // namespace tap::kernels
#endif
