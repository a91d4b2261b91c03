#include "kernels/norm.h"

#include <cmath>

#include "kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/lanes-inl.h"
#include "kernels/vec_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tap::kernels {
namespace HWY_NAMESPACE {

void rms_norm_each(const float* x, const float* gain, Dim rows, Dim width, float eps, bool one_plus, float* y) {
  const F32 d;
  const Vf plus = hn::Set(d, one_plus ? 1.0f : 0.0f);
  for (Dim r = 0; r < rows; ++r, x += width, y += width) {
    const float square = sum_of(x, width, [](Vf v) HWY_ATTR { return hn::Mul(v, v); });
    const Vf inverse = hn::Set(d, 1.0f / std::sqrt(square / static_cast<float>(width) + eps));
    map(x, gain, width, y, [=](Vf v, Vf g) HWY_ATTR { return hn::Mul(hn::Mul(v, inverse), hn::Add(g, plus)); });
  }
}

void layer_norm_each(const float* x, const float* gain, const float* bias, Dim rows, Dim width, float eps, float* y) {
  const F32 d;
  for (Dim r = 0; r < rows; ++r, x += width, y += width) {
    const Vf mean = hn::Set(d, sum_of(x, width, [](Vf v) HWY_ATTR { return v; }) / static_cast<float>(width));
    const float square = sum_of(x, width, [mean](Vf v) HWY_ATTR {
      const Vf c = hn::Sub(v, mean);
      return hn::Mul(c, c);
    });
    const Vf inverse = hn::Set(d, 1.0f / std::sqrt(square / static_cast<float>(width) + eps));
    const auto one = [=](Vf v, Vf g, Vf b) HWY_ATTR { return hn::MulAdd(hn::Mul(hn::Sub(v, mean), inverse), g, b); };
    Dim i = 0;
    for (; i + lanes() <= width; i += lanes())
      hn::StoreU(one(hn::LoadU(d, x + i), hn::LoadU(d, gain + i), hn::LoadU(d, bias + i)), d, y + i);
    if (const Dim n = width - i; n > 0)
      store_first(one(load_first(x + i, n), load_first(gain + i, n), load_first(bias + i, n)), y + i, n);
  }
}

void softmax_each(const float* x, Dim rows, Dim width, float* y) {
  const F32 d;
  for (Dim r = 0; r < rows; ++r, x += width, y += width) {
    Vf most = hn::Set(d, x[0]);
    Dim i = 0;
    for (; i + lanes() <= width; i += lanes()) most = hn::Max(most, hn::LoadU(d, x + i));
    if (i < width)
      most = hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(width - i)), hn::Max(most, load_first(x + i, width - i)),
                            most);
    const Vf top = hn::MaxOfLanes(d, most);
    map(x, width, y, [=](Vf v) HWY_ATTR { return vec::exp(d, hn::Sub(v, top)); });
    const Vf inverse = hn::Set(d, 1.0f / sum_of(y, width, [](Vf v) HWY_ATTR { return v; }));
    map(y, width, y, [=](Vf v) HWY_ATTR { return hn::Mul(v, inverse); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tap::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tap::kernels {

HWY_EXPORT(rms_norm_each);
HWY_EXPORT(layer_norm_each);
HWY_EXPORT(softmax_each);

void rms_norm(const float* x, const float* gain, Dim rows, Dim width, float eps, bool one_plus, float* y) {
  HWY_DYNAMIC_DISPATCH(rms_norm_each)(x, gain, rows, width, eps, one_plus, y);
}
void layer_norm(const float* x, const float* gain, const float* bias, Dim rows, Dim width, float eps, float* y) {
  HWY_DYNAMIC_DISPATCH(layer_norm_each)(x, gain, bias, rows, width, eps, y);
}
void softmax_rows(const float* x, Dim rows, Dim width, float* y) {
  if (width) HWY_DYNAMIC_DISPATCH(softmax_each)(x, rows, width, y);
}

void rms_norm_grad(const float* x, const float* gain, const float* dy, Dim rows, Dim width, float eps, bool one_plus,
                   float* dx, float* dgain) {
  const auto n = static_cast<float>(width);
  for (Dim r = 0; r < rows; ++r, x += width, dy += width, dx += width) {
    float sum = 0, dot = 0;
    for (Dim i = 0; i < width; ++i) {
      sum += x[i] * x[i];
      dot += dy[i] * (one_plus ? 1 + gain[i] : gain[i]) * x[i];
    }
    const float inverse = 1.0f / std::sqrt(sum / n + eps), pull = dot * inverse * inverse * inverse / n;
    for (Dim i = 0; i < width; ++i) {
      dgain[i] += dy[i] * x[i] * inverse;
      dx[i] = dy[i] * (one_plus ? 1 + gain[i] : gain[i]) * inverse - x[i] * pull;
    }
  }
}

void layer_norm_grad(const float* x, const float* gain, const float* dy, Dim rows, Dim width, float eps, float* dx,
                     float* dgain, float* dbias) {
  const auto n = static_cast<float>(width);
  for (Dim r = 0; r < rows; ++r, x += width, dy += width, dx += width) {
    float sum = 0;
    for (Dim i = 0; i < width; ++i) sum += x[i];
    const float mean = sum / n;
    float square = 0, g = 0, gx = 0;
    for (Dim i = 0; i < width; ++i) {
      const float centred = x[i] - mean, d = dy[i] * gain[i];
      square += centred * centred;
      g += d;
      gx += d * centred;
    }
    const float inverse = 1.0f / std::sqrt(square / n + eps), mean_g = g / n, pull = gx * inverse * inverse / n;
    for (Dim i = 0; i < width; ++i) {
      const float centred = x[i] - mean;
      dgain[i] += dy[i] * centred * inverse;
      dbias[i] += dy[i];
      dx[i] = (dy[i] * gain[i] - mean_g - centred * pull) * inverse;
    }
  }
}

}  // namespace tap::kernels
#endif
