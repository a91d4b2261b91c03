// RMS norm (Zhang & Sennrich 2019) and layer norm (Ba et al. 2016) over the last axis.
#include "autograd/tape.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "ops/ops.h"

namespace tap::ops {

namespace {

// Rows of a task, and of those whose gradients are added up first.
Dim grain_of(Dim width, Dim elements = 8192) { return std::max<Dim>(1, elements / std::max<Dim>(1, width)); }
constexpr Dim gradient_elements = 16384;

void check(std::string_view op, const Tensor& x, const Tensor& gain) {
  if (x.rank() < 1) fail(ErrorCode::bad_input, "{}: x has no axis", op);
  require_shape(op, "gain", gain, {x.width()});
}

// Sums of rows are made in chunks of fixed size and then in order: the same bits for any number of threads.
Tensor sum_chunks(const Tensor& chunks, const Shape& shape) {
  Tensor sum = Tensor::zeros(shape);
  for (Dim i = 0; i < chunks.dim(0); ++i)
    kernels::add(sum.data<float>(), chunks.row(i), shape.elements(), sum.write<float>());
  return sum;
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& gain, float eps, bool one_plus) {
  const Profile::Scope profile([] { return "norm"; });
  check("rms_norm", x, gain);
  Tensor y = Tensor::empty(x.shape());
  const Dim width = x.width(), rows = x.row_count();
  const float *in = x.data<float>(), *g = gain.data<float>();
  float* out = y.write<float>();
  parallel_rows(rows, grain_of(width), [&](Rows r) {
    kernels::rms_norm(in + r.begin * width, g, r.size(), width, eps, one_plus, out + r.begin * width);
  });
  if (tape::wants({&x, &gain}))
    tape::record(y, {&x, &gain}, [x, gain, eps, one_plus](const Tensor& dy) {
      const Dim w = x.width(), count = x.row_count(), step = grain_of(w, gradient_elements);
      Tensor dx = Tensor::empty(x.shape()), parts = Tensor::zeros({ceil_div(count, step), w});
      const float *px = x.data<float>(), *pg = gain.data<float>(), *pdy = dy.data<float>();
      float *pdx = dx.write<float>(), *part = parts.write<float>();
      parallel_rows(count, step, [&](Rows r) {
        const Dim at = r.begin * w;
        kernels::rms_norm_grad(px + at, pg, pdy + at, r.size(), w, eps, one_plus, pdx + at, part + r.begin / step * w);
      });
      return std::vector<Tensor>{dx, sum_chunks(parts, gain.shape())};
    });
  return y;
}

Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, float eps) {
  const Profile::Scope profile([] { return "norm"; });
  check("layer_norm", x, gain);
  require_shape("layer_norm", "bias", bias, {x.width()});
  Tensor y = Tensor::empty(x.shape());
  const Dim width = x.width(), rows = x.row_count();
  const float *in = x.data<float>(), *g = gain.data<float>(), *b = bias.data<float>();
  float* out = y.write<float>();
  parallel_rows(rows, grain_of(width), [&](Rows r) {
    kernels::layer_norm(in + r.begin * width, g, b, r.size(), width, eps, out + r.begin * width);
  });
  if (tape::wants({&x, &gain, &bias}))
    tape::record(y, {&x, &gain, &bias}, [x, gain, eps](const Tensor& dy) {
      const Dim w = x.width(), count = x.row_count(), step = grain_of(w, gradient_elements),
                chunks = ceil_div(count, step);
      Tensor dx = Tensor::empty(x.shape()), gain_parts = Tensor::zeros({chunks, w}),
             bias_parts = Tensor::zeros({chunks, w});
      const float *px = x.data<float>(), *pg = gain.data<float>(), *pdy = dy.data<float>();
      float *pdx = dx.write<float>(), *dgain = gain_parts.write<float>(), *dbias = bias_parts.write<float>();
      parallel_rows(count, step, [&](Rows r) {
        const Dim at = r.begin * w, part = r.begin / step * w;
        kernels::layer_norm_grad(px + at, pg, pdy + at, r.size(), w, eps, pdx + at, dgain + part, dbias + part);
      });
      return std::vector<Tensor>{dx, sum_chunks(gain_parts, gain.shape()), sum_chunks(bias_parts, gain.shape())};
    });
  return y;
}

}  // namespace tap::ops
