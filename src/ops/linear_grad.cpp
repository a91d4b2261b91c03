#include "ops/linear_grad.h"

#include <algorithm>

#include "base/parallel.h"
#include "kernels/product.h"
#include "tensor/packed_data.h"

namespace tap::ops {

namespace {

// y = x · wᵀ for rows of x at `stride`.
void multiply(const float* x, Dim stride, Dim rows, const kernels::PackView& w, const float* residual, float* y) {
  const kernels::Operand a = kernels::prepare(w.type, x, stride, rows, w.in);
  product(a, w, {.residual = residual, .residual_stride = w.out, .out = y, .out_stride = w.out});
}

// rows[count][width], row r = column `first + r` of a [height, width...] matrix.
void transpose(const float* from, Dim height, Dim width, Dim first, Dim count, float* to) {
  for (Dim h = 0; h < height; ++h)
    for (Dim r = 0; r < count; ++r) to[r * height + h] = from[h * width + first + r];
}

// f32 panels of the transpose of from[height, width]: a weight of `width` outputs and `height` inputs.
struct TransposedPack {
  kernels::Scratch panels;
  kernels::PackView view;
  TransposedPack(const float* from, Dim height, Dim width) {
    constexpr Dim panel = kernels::panel_outputs;
    const Dim bytes = kernels::panel_bytes(kernels::Pack::f32, height), count = ceil_div(width, panel);
    panels = kernels::Scratch(bytes * count);
    parallel_rows(count, 1, [&](Rows r) {
      const kernels::Scratch rows(panel * height * 4);
      for (Dim p = r.begin; p < r.end; ++p) {
        const Dim n = std::min(panel, width - p * panel);
        transpose(from, height, width, p * panel, n, rows.as<float>());
        kernels::pack_panel(kernels::Pack::f32, {rows.as<std::byte>(), height * 4}, n, height,
                            panels.as<std::byte>() + p * bytes, nullptr, nullptr);
      }
    });
    view = {kernels::Pack::f32, height, width, panels.as<std::byte>(), nullptr, nullptr};
  }
};

}  // namespace

Tensor linear_grad_input(const Tensor& dy, const PackedMatrix& w, const Shape& x_shape) {
  const PackedMatrix::Data& data = w.data();
  Tensor dx = Tensor::empty(x_shape);
  const Dim rows = dy.row_count();
  if (data.transposed) {
    multiply(dy.data<float>(), w.out(), rows, data.transposed_view(), nullptr, dx.write<float>());
    return dx;
  }
  // Outputs by the block: unpacked, transposed, multiplied with their part of dy and added up.
  constexpr Dim block = 16 * kernels::panel_outputs;
  std::fill_n(dx.write<float>(), dx.elements(), 0.0f);
  const Tensor part = Tensor::empty({std::min(block, w.out()), w.in()});
  for (Dim first = 0; first < w.out(); first += block) {
    const Dim count = std::min(block, w.out() - first);
    Tensor unpacked = part.rows(0, count);
    parallel_rows(count, 16, [&](Rows r) {
      for (Dim i = r.begin; i < r.end; ++i) kernels::unpack_row(data.view(), first + i, unpacked.row_write(i));
    });
    const TransposedPack pack(unpacked.data<float>(), count, w.in());
    multiply(dy.data<float>() + first, w.out(), rows, pack.view, dx.data<float>(), dx.write<float>());
  }
  return dx;
}

Tensor linear_grad_weight(const Tensor& dy, const Tensor& x) {
  const Dim rows = dy.row_count(), out = dy.width(), in = x.width();
  Tensor dw = Tensor::zeros({out, in});
  if (rows == 0) return dw;
  const TransposedPack pack(x.data<float>(), rows, in);  // in outputs, rows inputs
  const kernels::Scratch columns(out * rows * 4);        // dyᵀ
  parallel_rows(out, 64, [&](Rows r) {
    transpose(dy.data<float>(), rows, out, r.begin, r.size(), columns.as<float>() + r.begin * rows);
  });
  multiply(columns.as<float>(), rows, out, pack.view, nullptr, dw.write<float>());
  return dw;
}

Tensor linear_grad_bias(const Tensor& dy) {
  const Dim rows = dy.row_count(), out = dy.width();
  Tensor db = Tensor::zeros({out});
  for (Dim r = 0; r < rows; ++r)
    for (Dim n = 0; n < out; ++n) db.write<float>()[n] += dy.row(r)[n];
  return db;
}

}  // namespace tap::ops
