#include "ops/linear.h"

#include <algorithm>
#include <vector>

#include "autograd/tape.h"
#include "base/parallel.h"
#include "kernels/product.h"
#include "ops/linear_grad.h"
#include "ops/ops.h"
#include "ops/product_work.h"
#include "tensor/packed_data.h"

namespace tap::ops {

namespace {

Shape with_width(const Shape& shape, Dim width) {
  std::vector<Dim> dims(shape.dims().begin(), shape.dims().end());
  dims.back() = width;
  return Shape(dims);
}

void check(const Tensor& x, const PackedMatrix& w, const Epilogue& e) {
  if (!w.defined()) fail(ErrorCode::internal, "linear: the weight is empty");
  if (x.rank() < 1 || x.width() != w.in())
    fail(ErrorCode::bad_input, "linear: x is {}, its rows must be [{}] to match a weight of {} x {}",
         x.shape().to_string(), w.in(), w.out(), w.in());
  if (e.bias.defined()) require_shape("linear", "bias", e.bias, {w.out()});
  for (const auto& [tensor, name] : {std::pair{&e.multiply, "multiply"}, {&e.residual, "residual"}})
    if (tensor->defined() && (tensor->width() != w.out() || tensor->row_count() != x.row_count()))
      fail(ErrorCode::bad_input, "linear: {} is {}, must be [{}, {}]", name, tensor->shape().to_string(), x.row_count(),
           w.out());
}

Tensor forward(const Tensor& x, const PackedMatrix& w, const Epilogue& e) {
  const Profile::Scope profile([&] { return product_label("product", w); },
                               [&] { return product_work(x.row_count(), w); });
  Tensor y = Tensor::empty(with_width(x.shape(), w.out()));
  const kernels::PackView view = w.data().view();
  const kernels::Operand a = kernels::prepare(view.type, x.data<float>(), x.width(), x.row_count(), x.width());
  product(a, view,
          {.bias = e.bias.defined() ? e.bias.data<float>() : nullptr,
           .activation = e.activation,
           .multiply = e.multiply.defined() ? e.multiply.data<float>() : nullptr,
           .multiply_stride = w.out(),
           .residual = e.residual.defined() ? e.residual.data<float>() : nullptr,
           .residual_stride = w.out(),
           .out = y.write<float>(),
           .out_stride = w.out()});
  return y;
}

}  // namespace

Tensor linear(const Tensor& x, const PackedMatrix& w, const Epilogue& e) {
  check(x, w, e);
  const Tensor& master = w.data().master;
  if (!tape::wants({&x, &master, &e.bias, &e.multiply, &e.residual})) return forward(x, w, e);

  // Under a tape the stages are kept apart: the backward pass needs the sum before the activation and the factor after
  // it.
  Tensor sum = forward(x, w, {.bias = e.bias});
  tape::record(sum, {&x, &master, &e.bias}, [x, w, has_bias = e.bias.defined()](const Tensor& dy) {
    const bool dense = w.type() == WeightType::dense;
    return std::vector<Tensor>{linear_grad_input(dy, w, x.shape()), dense ? linear_grad_weight(dy, x) : Tensor(),
                               has_bias ? linear_grad_bias(dy) : Tensor()};
  });
  Tensor y = e.activation == Activation::none ? sum : activate(sum, e.activation);
  if (e.multiply.defined())
    y = multiply(y, e.multiply.shape() == y.shape() ? e.multiply : e.multiply.reshape(y.shape()));
  if (e.residual.defined()) y = add(y, e.residual.shape() == y.shape() ? e.residual : e.residual.reshape(y.shape()));
  return y;
}

std::vector<Tensor> linear_each(const Tensor& x, std::span<const PackedMatrix* const> weights,
                                std::span<const Tensor> biases) {
  TAP_ASSERT(biases.empty() || biases.size() == weights.size());
  const auto bias = [&](std::size_t i) { return biases.empty() ? Tensor() : biases[i]; };
  bool together = !weights.empty();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Tensor b = bias(i);
    check(x, *weights[i], {.bias = b});
    together &=
        weights[i]->data().pack == weights[0]->data().pack && !tape::wants({&x, &weights[i]->data().master, &b});
  }
  std::vector<Tensor> results;
  if (!together) {
    for (std::size_t i = 0; i < weights.size(); ++i) results.push_back(linear(x, *weights[i], {.bias = bias(i)}));
    return results;
  }
  const Profile::Scope profile(
      [&] { return fmt::format("{} and {} more", product_label("product", *weights[0]), weights.size() - 1); },
      [&] {
        Profile::Work sum;
        for (const PackedMatrix* w : weights) {
          const Profile::Work one = product_work(x.row_count(), *w);
          sum.operations += one.operations;
          sum.bytes += one.bytes;
        }
        return sum;
      });
  std::vector<kernels::ProductJob> jobs;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Dim out = weights[i]->out();
    results.push_back(Tensor::empty(with_width(x.shape(), out)));
    const float* b = bias(i).defined() ? bias(i).data<float>() : nullptr;
    jobs.push_back({weights[i]->data().view(), {.bias = b, .out = results.back().write<float>(), .out_stride = out}});
  }
  product_each(kernels::prepare(jobs[0].w.type, x.data<float>(), x.width(), x.row_count(), x.width()), jobs);
  return results;
}

DenseWeight::DenseWeight(const Tensor& weight, DType products) {
  if (products != DType::f32 && products != DType::bf16)
    fail(ErrorCode::bad_input, "a dense weight multiplies in f32 or bf16, not {}", name(products));
  packed_ = PackedMatrix::pack(weight, WeightType::dense);
  if (products == DType::f32) {
    packed_.shared()->pack = kernels::Pack::f32;
    refresh();
  }
}

Tensor& DenseWeight::master() { return packed_.shared()->master; }
void DenseWeight::refresh() { refresh_dense(*packed_.shared()); }

}  // namespace tap::ops
