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

// Where a panel and its scales go.
struct PanelPlace {
  std::byte* panel;
  float* scale = nullptr;
  std::int32_t* sums = nullptr;
  PanelPlace(PackedMatrix::Data& data, Dim index)
      : panel(data.panels->data() + index * kernels::panel_bytes(data.pack, data.in)) {
    if (!data.scales) return;
    scale = reinterpret_cast<float*>(data.scales->data());
    sums = reinterpret_cast<std::int32_t*>(scale + round_up(data.out, kernels::panel_outputs)) +
           index * kernels::panel_outputs;
    scale += index * kernels::panel_outputs;
  }
};

void pack_into(PackedMatrix::Data& data, Dim panel, const kernels::RowsView& rows, Dim count) {
  const PanelPlace to(data, panel);
  kernels::pack_panel(data.pack, rows, count, data.in, to.panel, to.scale, to.sums);
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

PackedSlabs::Place PackedSlabs::next(std::size_t bytes) {
  constexpr std::size_t least = std::size_t{256} << 10, most = std::size_t{64} << 20;
  bytes = static_cast<std::size_t>(round_up(static_cast<Dim>(bytes), 64));
  std::size_t block = 0;
  if (bytes > size_ - used_) {
    if (bytes >= most / 4) return {bytes, 0, true};                 // huge pages of its own
    block = size_ = std::clamp(taken_, std::max(least, bytes), most);  // a small model takes small ones
    used_ = 0;
  }
  const std::size_t offset = used_;
  used_ += bytes;
  taken_ += bytes;
  return {block, offset, false};
}

std::shared_ptr<Storage> PackedSlabs::take(std::size_t bytes) {
  const Place place = next(bytes);
  if (place.alone) return Storage::allocate(bytes);
  if (place.new_block > 0) slab_ = Storage::allocate(place.new_block);
  return Storage::part(slab_, place.offset, bytes);
}

std::size_t PackedSlabs::plan(std::size_t bytes) {
  const Place place = next(bytes);
  return place.alone ? bytes : place.new_block;
}

PackedMatrix::Builder::Builder(WeightType type, Dim in, Dim out, PackedSlabs* slabs)
    : state_(std::make_unique<State>()) {
  if (in < 1 || out < 1)
    fail(ErrorCode::bad_input, "a packed matrix of {} x {}: both sizes must be at least 1", out, in);
  auto data = std::make_shared<Data>();
  data->type = type;
  data->in = in;
  data->out = out;
  data->pack = layout_of(type);
  const auto memory = [&](Dim bytes) {
    const auto count = static_cast<std::size_t>(bytes);
    return slabs ? slabs->take(count) : Storage::allocate(count);
  };
  data->panels = memory(panels_bytes(data->pack, in, out));
  if (const Dim scales = scales_bytes(type, out)) data->scales = memory(scales);
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

void PackedMatrix::Builder::add_rows(const QuantizedRows& rows) {
  State& s = *state_;
  Data& data = *s.data;
  constexpr Dim panel = kernels::panel_outputs;
  if (data.type != WeightType::q8 && data.type != WeightType::q4)
    fail(ErrorCode::bad_input, "pack: quantized rows for a matrix in {}", name(data.type));
  const Dim count = rows.values.defined() ? rows.values.dim(0) : 0, groups = ceil_div(data.in, kernels::q4_group);
  const Dim row_bytes = kernels::quantized_row_bytes(data.pack, data.in);
  require_shape("pack", "values", rows.values, {count, row_bytes});
  kernels::QuantizedRowsView view{reinterpret_cast<const std::byte*>(rows.values.data<std::uint8_t>())};
  if (data.type == WeightType::q8) {
    require_shape("pack", "scale", rows.scale, {count});
    view.scale = rows.scale.data<float>();
  } else {
    require_shape("pack", "step", rows.step, {count, groups});
    require_shape("pack", "least", rows.least, {count, groups});
    view.step = reinterpret_cast<const std::uint16_t*>(rows.step.data<bf16>());
    view.least = reinterpret_cast<const std::uint16_t*>(rows.least.data<bf16>());
  }
  if (s.added % panel != 0 || count > data.out - s.added)
    fail(ErrorCode::bad_input, "pack: {} quantized rows behind {} of {}: whole panels of {} but for the last", count,
         s.added, data.out, panel);
  const Dim first = s.added / panel;
  parallel_rows(ceil_div(count, panel), 1, [&](Rows r) {
    for (Dim p = r.begin; p < r.end; ++p) {
      const PanelPlace to(data, first + p);
      const Dim at = p * panel;
      kernels::QuantizedRowsView part{view.values + at * row_bytes};
      if (view.scale) part.scale = view.scale + at;
      if (view.step) part.step = view.step + at * groups, part.least = view.least + at * groups;
      kernels::pack_quantized_panel(data.pack, part, std::min(panel, count - at), data.in, to.panel, to.scale, to.sums);
    }
  });
  s.added += count;
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

PackedMatrix PackedMatrix::pack(const Tensor& weight, WeightType type, PackedSlabs* slabs) {
  if (weight.rank() != 2)
    fail(ErrorCode::bad_input, "pack: weight is {}, must be [out, in]", weight.shape().to_string());
  Builder builder(type, weight.dim(1), weight.dim(0), slabs);
  builder.add_rows(weight);
  return builder.finish();
}

PackedMatrix PackedMatrix::of_parts(WeightType type, Dim in, Dim out, std::shared_ptr<Storage> panels,
                                    std::shared_ptr<Storage> scales) {
  const auto bytes = [](const std::shared_ptr<Storage>& s) { return s ? static_cast<Dim>(s->bytes()) : 0; };
  if (type > WeightType::q4 || in < 1 || out < 1 || bytes(panels) != panels_bytes(layout_of(type), in, out) ||
      bytes(scales) != scales_bytes(type, out))
    fail(ErrorCode::bad_file, "{} and {} bytes are no packed matrix of {} x {}", bytes(panels), bytes(scales), out, in);
  PackedMatrix matrix = planned(type, in, out);
  matrix.data_->panels = std::move(panels);
  matrix.data_->scales = std::move(scales);
  return matrix;
}

std::vector<Dim> PackedMatrix::part_bytes(WeightType type, Dim in, Dim out) {
  std::vector<Dim> parts{panels_bytes(layout_of(type), in, out)};
  if (const Dim scales = scales_bytes(type, out)) parts.push_back(scales);
  return parts;
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

QuantizedRows PackedMatrix::quantized_rows(Dim begin, Dim end) const {
  const Data& data = *data_;
  if ((data.type != WeightType::q8 && data.type != WeightType::q4) || begin < 0 || end < begin || end > data.out)
    fail(ErrorCode::bad_input, "quantized rows {} to {} of a matrix of {} rows in {}", begin, end, data.out,
         name(data.type));
  const Dim count = end - begin, groups = ceil_div(data.in, kernels::q4_group);
  const Dim row_bytes = kernels::quantized_row_bytes(data.pack, data.in);
  QuantizedRows rows;
  rows.values = Tensor::empty({count, row_bytes}, DType::u8);
  std::byte* const values = rows.values.raw_write();
  float* scale = nullptr;
  std::uint16_t *step = nullptr, *least = nullptr;
  if (data.type == WeightType::q8) {
    rows.scale = Tensor::empty({count});
    scale = rows.scale.write<float>();
  } else {
    rows.step = Tensor::empty({count, groups}, DType::bf16);
    rows.least = Tensor::empty({count, groups}, DType::bf16);
    step = reinterpret_cast<std::uint16_t*>(rows.step.write<bf16>());
    least = reinterpret_cast<std::uint16_t*>(rows.least.write<bf16>());
  }
  const kernels::PackView view = data.view();
  parallel_rows(count, 16, [&](Rows r) {
    for (Dim i = r.begin; i < r.end; ++i)
      kernels::unpack_quantized_row(view, begin + i, values + i * row_bytes, scale ? scale + i : nullptr,
                                    step ? step + i * groups : nullptr, least ? least + i * groups : nullptr);
  });
  return rows;
}

void PackedMatrix::unpack_row(Dim row, float* out) const {
  if (row < 0 || row >= data_->out)
    fail(ErrorCode::bad_input, "row {} of a packed matrix with {} rows", row, data_->out);
  kernels::unpack_row(data_->view(), row, out);
}

}  // namespace tap
