#include "ops/mlp.h"

#include <algorithm>

#include "autograd/tape.h"
#include "kernels/product.h"
#include "ops/product_work.h"
#include "tensor/packed_data.h"

namespace tap::ops {

namespace {

// Rows that go through the whole block together: their intermediate stays in the last-level cache.
Dim panel_rows(Dim rows, Dim inner) {
  const Dim most = std::clamp<Dim>((Dim{4} << 20) / (inner * 4), 96, 512);
  return std::max<Dim>(1, ceil_div(rows, ceil_div(rows, most)));
}

const float* values_of(const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; }

void require_match(const Tensor& x, const PackedMatrix& first, const PackedMatrix& second, const Tensor& residual) {
  if (x.rank() < 1 || x.width() != first.in() || second.in() != first.out())
    fail(ErrorCode::bad_input, "mlp: x is {}, weights are {} x {} and {} x {}", x.shape().to_string(), first.out(),
         first.in(), second.out(), second.in());
  if (residual.defined() && (residual.width() != second.out() || residual.row_count() != x.row_count()))
    fail(ErrorCode::bad_input, "mlp: residual is {}, must be [{}, {}]", residual.shape().to_string(), x.row_count(),
         second.out());
}

void require_biases(const MlpBiases& biases, Dim inner, Dim out) {
  if (biases.gate.defined()) require_shape("mlp", "gate bias", biases.gate, {inner});
  if (biases.up.defined()) require_shape("mlp", "up bias", biases.up, {inner});
  if (biases.down.defined()) require_shape("mlp", "down bias", biases.down, {out});
}

// Runs inner(first row, rows, intermediate) and the product with `down` for each panel of rows.
template <class Inner>
Tensor by_panels(const Tensor& x, Dim inner_width, const PackedMatrix& down, const Tensor& residual, const Tensor& bias,
                 const Inner& inner) {
  const Dim rows = x.row_count(), out = down.out();
  std::vector<Dim> dims(x.shape().dims().begin(), x.shape().dims().end());
  dims.back() = out;
  Tensor y = Tensor::empty(Shape(dims));
  if (rows == 0) return y;
  const Dim panel = panel_rows(rows, inner_width);
  const kernels::Scratch wide(panel * inner_width * 4);
  const kernels::PackView view = down.data().view();
  const kernels::Finish finish{.bias = values_of(bias),
                               .residual = values_of(residual),
                               .residual_stride = out,
                               .out = y.write<float>(),
                               .out_stride = out};
  for (Dim row = 0; row < rows; row += panel) {
    const Dim count = std::min(panel, rows - row);
    inner(row, count, wide.as<float>());
    const Profile::Scope profile([&] { return product_label("down", down); },
                                 [&] { return product_work(count, down); });
    const kernels::Operand a = kernels::prepare(view.type, wide.as<float>(), inner_width, count, inner_width);
    product(a, view, finish.from(row, 0));
  }
  return y;
}

}  // namespace

Tensor gated_mlp(const Tensor& x, const PackedMatrix& gate, const PackedMatrix& up, const PackedMatrix& down,
                 Activation activation, const Tensor& residual, const MlpBiases& biases) {
  require_match(x, gate, down, residual);
  require_match(x, up, down, residual);
  require_biases(biases, gate.out(), down.out());
  const kernels::PackView gate_view = gate.data().view(), up_view = up.data().view();
  if (gate_view.type != up_view.type || tape::wants({&x, &residual, &gate.data().master, &up.data().master,
                                                     &down.data().master, &biases.gate, &biases.up, &biases.down})) {
    const Tensor wide = linear(x, up, {.bias = biases.up});
    const Tensor h = linear(x, gate, {.bias = biases.gate, .activation = activation, .multiply = wide});
    return linear(h, down, {.bias = biases.down, .residual = residual});
  }
  return by_panels(x, gate.out(), down, residual, biases.down, [&](Dim row, Dim count, float* wide) {
    const Profile::Scope profile([&] { return product_label("gate and up", gate); },
                                 [&] {
                                   const Profile::Work one = product_work(count, gate);
                                   return Profile::Work{2 * one.operations, 2 * one.bytes};
                                 });
    const kernels::Operand a =
        kernels::prepare(gate_view.type, x.data<float>() + row * x.width(), x.width(), count, x.width());
    product_gated(a, gate_view, values_of(biases.gate), up_view, values_of(biases.up),
                  {.activation = activation, .out = wide, .out_stride = gate.out()});
  });
}

Tensor mlp(const Tensor& x, const PackedMatrix& fc1, const PackedMatrix& fc2, Activation activation,
           const Tensor& residual, const MlpBiases& biases) {
  require_match(x, fc1, fc2, residual);
  require_biases(biases, fc1.out(), fc2.out());
  if (tape::wants({&x, &residual, &fc1.data().master, &fc2.data().master, &biases.up, &biases.down})) {
    const Tensor h = linear(x, fc1, {.bias = biases.up, .activation = activation});
    return linear(h, fc2, {.bias = biases.down, .residual = residual});
  }
  const kernels::PackView view = fc1.data().view();
  return by_panels(x, fc1.out(), fc2, residual, biases.down, [&](Dim row, Dim count, float* wide) {
    const Profile::Scope profile([&] { return product_label("fc1", fc1); }, [&] { return product_work(count, fc1); });
    const kernels::Operand a =
        kernels::prepare(view.type, x.data<float>() + row * x.width(), x.width(), count, x.width());
    product(a, view, {.bias = values_of(biases.up), .activation = activation, .out = wide, .out_stride = fc1.out()});
  });
}

}  // namespace tap::ops
