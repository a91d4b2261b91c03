#include "ops/reference_linear.h"

#include <cmath>

namespace tap::ops {

namespace {

double activated(Activation activation, double v) {
  switch (activation) {
    case Activation::none: return v;
    case Activation::gelu_tanh: return 0.5 * v * (1 + std::tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
    case Activation::gelu_erf: return 0.5 * v * (1 + std::erf(v * 0.7071067811865476));
    case Activation::quick_gelu: return v / (1 + std::exp(-1.702 * v));
    case Activation::silu: return v / (1 + std::exp(-v));
  }
  return v;
}

}  // namespace

Tensor reference_linear(const Tensor& x, const PackedMatrix& w, const Epilogue& e) {
  const Tensor weight = w.unpack();
  const Dim rows = x.row_count();
  Tensor y = Tensor::empty({rows, w.out()});
  for (Dim r = 0; r < rows; ++r)
    for (Dim n = 0; n < w.out(); ++n) {
      double sum = e.bias.defined() ? static_cast<double>(e.bias.data<float>()[n]) : 0.0;
      for (Dim i = 0; i < w.in(); ++i) sum += static_cast<double>(x.row(r)[i]) * static_cast<double>(weight.row(n)[i]);
      sum = activated(e.activation, sum);
      if (e.multiply.defined()) sum *= static_cast<double>(e.multiply.row(r)[n]);
      if (e.residual.defined()) sum += static_cast<double>(e.residual.row(r)[n]);
      y.row_write(r)[n] = static_cast<float>(sum);
    }
  return y;
}

}  // namespace tap::ops
