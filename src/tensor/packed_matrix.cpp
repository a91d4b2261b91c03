#include "tensor/packed_matrix.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "tensor/packed_data.h"

namespace tap {

namespace {

kernels::Pack layout_of(WeightType type) {
  switch (type) {
    case WeightType::f32: return kernels::Pack::f32;
    case WeightType::bf16:
    case WeightType::dense: return kernels::Pack::bf16;
    case WeightType::q8: return kernels::Pack::q8;
    case WeightType::q4: return kernels::Pack::q4;
  }
  return kernels::Pack::f32;
}

Dim panels_bytes(kernels::Pack pack, Dim in, Dim out) {
  const auto bytes = checked_mul(kernels::panel_bytes(pack, in), ceil_div(out, kernels::panel_outputs));
  if (!bytes) fail(ErrorCode::limit, "a packed matrix of {} x {} is too large", out, in);
  return std::max<Dim>(64, *bytes);
}

Dim scales_bytes(WeightType type, Dim out) {
  return type == WeightType::q8 ? round_up(out, kernels::panel_outputs) * 8 : 0;
}

std::shared_ptr<Storage> panels_for(kernels::Pack pack, Dim in, Dim out) {
  return Storage::allocate(static_cast<std::size_t>(panels_bytes(pack, in, out)));
}

void pack_into(PackedMatrix::Data& data, Dim panel, const kernels::RowsView& rows, Dim count) {
  float* scale = nullptr;
  std::int32_t* sums = nullptr;
  if (data.scales) {
    scale = reinterpret_cast<float*>(data.scales->data());
    sums = reinterpret_cast<std::int32_t*>(scale + round_up(data.out, kernels::panel_outputs)) +
           panel * kernels::panel_outputs;
    scale += panel * kernels::panel_outputs;
  }
  kernels::pack_panel(data.pack, rows, count, data.in,
                      data.panels->data() + panel * kernels::panel_bytes(data.pack, data.in), scale, sums);
}

}  // namespace

std::string_view name(WeightType type) {
  switch (type) {
    case WeightType::f32: return "f32";
    case WeightType::bf16: return "bf16";
    case WeightType::q8: return "q8";
    case WeightType::q4: return "q4";
    case WeightType::dense: return "dense";
  }
  return "?";
}

struct PackedMatrix::Builder::State {
  std::shared_ptr<Data> data;
  Dim added = 0;
  Tensor waiting;  // rows of a panel that is not full yet, [64, in] of the type last seen
  Dim waiting_rows = 0;
  // Packs `count` rows as the panel that ends at row `added`.
  void flush() {
    if (waiting_rows == 0) return;
    const Dim panel = (added - waiting_rows) / kernels::panel_outputs;
    const Dim row_bytes = data->in * bytes_of(waiting.dtype());
    pack_into(*data, panel, {waiting.raw(), row_bytes, waiting.dtype() == DType::bf16}, waiting_rows);
    waiting_rows = 0;
  }
};

PackedMatrix::Builder::Builder(WeightType type, Dim in, Dim out) : state_(std::make_unique<State>()) {
  if (in < 1 || out < 1)
    fail(ErrorCode::bad_input, "a packed matrix of {} x {}: both sizes must be at least 1", out, in);
  auto data = std::make_shared<Data>();
  data->type = type;
  data->in = in;
  data->out = out;
  data->pack = layout_of(type);
  data->panels = panels_for(data->pack, in, out);
  if (const Dim scales = scales_bytes(type, out)) data->scales = Storage::allocate(static_cast<std::size_t>(scales));
  if (type == WeightType::dense) data->master = Tensor::empty({out, in});
  state_->data = std::move(data);
}

PackedMatrix::Builder::~Builder() = default;

void PackedMatrix::Builder::add_rows(const Tensor& rows) {
  State& s = *state_;
  Data& data = *s.data;
  if (rows.rank() < 1 || rows.width() != data.in || (rows.dtype() != DType::f32 && rows.dtype() != DType::bf16))
    fail(ErrorCode::bad_input, "pack: rows are {} {}, must be [n, {}] f32 or bf16", rows.shape().to_string(),
         name(rows.dtype()), data.in);
  const Dim count = rows.row_count(), row_bytes = data.in * bytes_of(rows.dtype());
  if (count > data.out - s.added)
    fail(ErrorCode::bad_input, "pack: {} rows added, the matrix has {}", s.added + count, data.out);
  if (data.type == WeightType::dense) {
    const Tensor values = rows.to(DType::f32);
    std::copy_n(values.data<float>(), values.elements(), data.master.row_write(s.added));
    s.added += count;
    return;
  }
  constexpr Dim panel = kernels::panel_outputs;
  const bool is_bf16 = rows.dtype() == DType::bf16;
  Dim at = 0;
  while (at < count) {
    if (s.waiting_rows == 0 && count - at >= panel) {  // whole panels straight from the source
      const Dim panels = (count - at) / panel, first = s.added / panel;
      parallel_rows(panels, 1, [&](Rows r) {
        for (Dim p = r.begin; p < r.end; ++p)
          pack_into(data, first + p, {rows.raw() + (at + p * panel) * row_bytes, row_bytes, is_bf16}, panel);
      });
      at += panels * panel;
      s.added += panels * panel;
      continue;
    }
    if (s.waiting_rows == 0 && (!s.waiting.defined() || s.waiting.dtype() != rows.dtype()))
      s.waiting = Tensor::empty({panel, data.in}, rows.dtype());
    if (s.waiting.dtype() != rows.dtype())
      fail(ErrorCode::bad_input, "pack: rows change from {} to {} in the middle of a panel", name(s.waiting.dtype()),
           name(rows.dtype()));
    const Dim n = std::min(panel - s.waiting_rows, count - at);
    std::memcpy(s.waiting.raw_write() + s.waiting_rows * row_bytes, rows.raw() + at * row_bytes,
                static_cast<std::size_t>(n * row_bytes));
    s.waiting_rows += n;
    s.added += n;
    at += n;
    if (s.waiting_rows == panel) s.flush();
  }
}

PackedMatrix PackedMatrix::Builder::finish() {
  State& s = *state_;
  if (s.added != s.data->out)
    fail(ErrorCode::bad_input, "pack: {} rows added, the matrix has {}", s.added, s.data->out);
  if (s.data->type == WeightType::dense)
    refresh_dense(*s.data);
  else
    s.flush();
  PackedMatrix matrix;
  matrix.data_ = std::move(s.data);
  return matrix;
}

PackedMatrix PackedMatrix::pack(const Tensor& weight, WeightType type) {
  if (weight.rank() != 2)
    fail(ErrorCode::bad_input, "pack: weight is {}, must be [out, in]", weight.shape().to_string());
  Builder builder(type, weight.dim(1), weight.dim(0));
  builder.add_rows(weight);
  return builder.finish();
}

Dim PackedMatrix::bytes_for(WeightType type, Dim in, Dim out) {
  TAP_ASSERT(type != WeightType::dense);
  return panels_bytes(layout_of(type), in, out) + scales_bytes(type, out);
}

PackedMatrix PackedMatrix::planned(WeightType type, Dim in, Dim out) {
  auto data = std::make_shared<Data>();
  data->type = type;
  data->in = in;
  data->out = out;
  data->pack = layout_of(type);
  PackedMatrix matrix;
  matrix.data_ = std::move(data);
  return matrix;
}

void refresh_dense(PackedMatrix::Data& data) {
  TAP_ASSERT(data.type == WeightType::dense);
  if (kernels::panel_bytes(data.pack, data.in) * ceil_div(data.out, kernels::panel_outputs) >
      static_cast<Dim>(data.panels->bytes()))
    data.panels = panels_for(data.pack, data.in, data.out);
  const Dim transposed_bytes = kernels::panel_bytes(data.pack, data.out) * ceil_div(data.in, kernels::panel_outputs);
  if (!data.transposed || transposed_bytes > static_cast<Dim>(data.transposed->bytes()))
    data.transposed = panels_for(data.pack, data.out, data.in);
  constexpr Dim panel = kernels::panel_outputs;
  const float* master = data.master.data<float>();
  parallel_rows(ceil_div(data.out, panel), 1, [&](Rows r) {
    for (Dim p = r.begin; p < r.end; ++p) {
      const kernels::RowsView rows{reinterpret_cast<const std::byte*>(master + p * panel * data.in), data.in * 4};
      pack_into(data, p, rows, std::min(panel, data.out - p * panel));
    }
  });
  parallel_rows(ceil_div(data.in, panel), 1, [&](Rows r) {
    Tensor columns = Tensor::empty({panel, data.out});  // rows of the transpose
    for (Dim p = r.begin; p < r.end; ++p) {
      const Dim count = std::min(panel, data.in - p * panel);
      for (Dim o = 0; o < data.out; ++o)
        for (Dim i = 0; i < count; ++i) columns.row_write(i)[o] = master[o * data.in + p * panel + i];
      kernels::pack_panel(data.pack, {columns.raw(), data.out * 4}, count, data.out,
                          data.transposed->data() + p * kernels::panel_bytes(data.pack, data.out), nullptr, nullptr);
    }
  });
}

WeightType PackedMatrix::type() const { return data_->type; }
Dim PackedMatrix::in() const { return data_->in; }
Dim PackedMatrix::out() const { return data_->out; }

Dim PackedMatrix::bytes() const {
  const auto of = [](const std::shared_ptr<Storage>& storage) {
    return storage ? static_cast<Dim>(storage->bytes()) : 0;
  };
  return of(data_->panels) + of(data_->scales) + of(data_->transposed) +
         (data_->master.defined() ? data_->master.bytes() : 0);
}

Tensor PackedMatrix::unpack() const {
  Tensor out = Tensor::empty({data_->out, data_->in});
  const kernels::PackView view = data_->view();
  parallel_rows(data_->out, 16, [&](Rows r) {
    for (Dim row = r.begin; row < r.end; ++row) kernels::unpack_row(view, row, out.row_write(row));
  });
  return out;
}

void PackedMatrix::unpack_row(Dim row, float* out) const {
  if (row < 0 || row >= data_->out)
    fail(ErrorCode::bad_input, "row {} of a packed matrix with {} rows", row, data_->out);
  kernels::unpack_row(data_->view(), row, out);
}

}  // namespace tap
