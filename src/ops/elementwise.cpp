// Element by element: add, multiply, scale, activate, softcap, and the softmax of a row.
#include "autograd/tape.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernels/activation.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "ops/ops.h"

namespace tap::ops {

namespace {

constexpr Dim grain = 32768;  // elements a thread takes at once: less is not worth entering the team

template <class Fn>
void over(Dim elements, Fn&& fn) {  // fn(begin, count)
  if (elements <= grain) return fn(0, elements);
  parallel_rows(elements, grain, [&](Rows r) { fn(r.begin, r.size()); });
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  const Profile::Scope profile([] { return "elementwise"; });
  require_shape("add", "b", b, a.shape());
  Tensor y = Tensor::empty(a.shape());
  const float *pa = a.data<float>(), *pb = b.data<float>();
  float* out = y.write<float>();
  over(y.elements(), [&](Dim at, Dim n) { kernels::add(pa + at, pb + at, n, out + at); });
  if (tape::wants({&a, &b})) tape::record(y, {&a, &b}, [](const Tensor& dy) { return std::vector<Tensor>{dy, dy}; });
  return y;
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  const Profile::Scope profile([] { return "elementwise"; });
  require_shape("multiply", "b", b, a.shape());
  Tensor y = Tensor::empty(a.shape());
  const float *pa = a.data<float>(), *pb = b.data<float>();
  float* out = y.write<float>();
  over(y.elements(), [&](Dim at, Dim n) { kernels::multiply(pa + at, pb + at, n, out + at); });
  if (tape::wants({&a, &b}))
    tape::record(y, {&a, &b}, [a, b](const Tensor& dy) {
      return std::vector<Tensor>{multiply(dy, b), multiply(dy, a)};
    });
  return y;
}

Tensor scale(const Tensor& x, float factor) {
  const Profile::Scope profile([] { return "elementwise"; });
  Tensor y = Tensor::empty(x.shape());
  const float* in = x.data<float>();
  float* out = y.write<float>();
  over(y.elements(), [&](Dim at, Dim n) { kernels::scale(in + at, factor, n, out + at); });
  if (tape::wants({&x}))
    tape::record(y, {&x}, [factor](const Tensor& dy) { return std::vector<Tensor>{scale(dy, factor)}; });
  return y;
}

Tensor activate(const Tensor& x, Activation activation) {
  Tensor y = Tensor::empty(x.shape());
  const float* in = x.data<float>();
  float* out = y.write<float>();
  over(y.elements(), [&](Dim at, Dim n) { kernels::activate(in + at, activation, n, out + at); });
  if (tape::wants({&x}))
    tape::record(y, {&x}, [x, activation](const Tensor& dy) {
      Tensor dx = Tensor::empty(x.shape());
      const float *px = x.data<float>(), *pdy = dy.data<float>();
      float* pdx = dx.write<float>();
      over(dx.elements(), [&](Dim at, Dim n) { kernels::activate_grad(px + at, pdy + at, activation, n, pdx + at); });
      return std::vector<Tensor>{dx};
    });
  return y;
}

Tensor softcap(const Tensor& x, float cap) {
  const Profile::Scope profile([] { return "elementwise"; });
  if (!(cap > 0)) fail(ErrorCode::bad_input, "softcap: cap is {}, must be above 0", cap);
  Tensor y = Tensor::empty(x.shape());
  const float* in = x.data<float>();
  float* out = y.write<float>();
  over(y.elements(), [&](Dim at, Dim n) { kernels::softcap(in + at, cap, n, out + at); });
  if (tape::wants({&x}))
    tape::record(y, {&x}, [x, cap](const Tensor& dy) {
      Tensor dx = Tensor::empty(x.shape());
      const float *px = x.data<float>(), *pdy = dy.data<float>();
      float* pdx = dx.write<float>();
      over(dx.elements(), [&](Dim at, Dim n) { kernels::softcap_grad(px + at, pdy + at, cap, n, pdx + at); });
      return std::vector<Tensor>{dx};
    });
  return y;
}

void softmax_rows(Tensor& x) {
  if (tape::wants({&x})) fail(ErrorCode::internal, "softmax_rows: works in place, not under a tape");
  const Dim width = x.rank() ? x.width() : 0, rows = x.rank() ? x.row_count() : 0;
  if (!width) return;
  float* data = x.write<float>();
  parallel_rows(rows, std::max<Dim>(1, grain / 4 / width), [&](Rows r) {
    kernels::softmax_rows(data + r.begin * width, r.size(), width, data + r.begin * width);
  });
}

}  // namespace tap::ops
