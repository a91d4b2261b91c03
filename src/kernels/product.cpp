#include "kernels/product.h"

#include <algorithm>

#include "base/parallel.h"
#include "kernels/dot_avx512.h"
#include "kernels/isa.h"
#include "kernels/product_onednn.h"

namespace tap::kernels {

namespace {

// Products of so few rows are shared out together: a decoding batch has too few panels in each to share them evenly.
constexpr Dim most_rows_at_once = 24;
// Sums of one tile of at most `most_tile_rows` rows x 64 outputs, in the type that the weights give.
constexpr Dim most_tile_rows = 192;
union TileSums {
  float f32[most_tile_rows * 64];
  std::int32_t s32[most_tile_rows * 64];
};

template <class T>
const T* at_row(const Operand& a, Dim row) {
  return static_cast<const T*>(a.data) + row * a.stride;
}

void tile(const Operand& a, Dim row, Dim rows, const PackView& w, Dim panel, Isa isa, TileSums& sums) {
  const std::byte* weights = w.panel(panel);
  switch (w.type) {
    case Pack::f32: {
      const auto run = isa >= Isa::avx512 ? tile_f32_avx512 : tile_f32_portable;
      return run(at_row<float>(a, row), a.stride, rows, reinterpret_cast<const float*>(weights), w.in, sums.f32);
    }
    case Pack::bf16: {
      const auto run = isa >= Isa::avx512_bf16 ? tile_bf16_avx512 : tile_bf16_portable;
      return run(at_row<std::uint16_t>(a, row), a.stride, rows, reinterpret_cast<const std::uint16_t*>(weights),
                 round_up(w.in, 2), sums.f32);
    }
    case Pack::q8: {
      const auto run = isa >= Isa::avx512_vnni ? tile_q8_avx512 : tile_q8_portable;
      const auto* panel_weights = reinterpret_cast<const std::int8_t*>(weights);
      run(at_row<std::uint8_t>(a, row), a.stride, rows, panel_weights, round_up(w.in, 4), sums.s32);
      return a.add_outliers(row, rows, panel_weights, panel_outputs, sums.s32, panel_outputs);
    }
    case Pack::q4: {
      const Dim groups = ceil_div(w.in, q4_group);
      const auto run = isa >= Isa::avx512_vnni ? tile_q4_avx512 : tile_q4_portable;
      return run(at_row<std::int8_t>(a, row), a.stride, a.scale + row * groups, a.sum + row * groups, rows,
                 reinterpret_cast<const std::uint8_t*>(weights), groups, sums.f32);
    }
  }
}

// finish: at the tile's first row and output.
void finish_tile(const TileSums& sums, const Operand& a, const PackView& w, Dim row, Dim rows, Dim panel,
                 const Finish& finish) {
  const Dim column = panel * panel_outputs, columns = std::min(panel_outputs, w.out - column);
  if (w.type == Pack::q8)
    finish_q8(sums.s32, panel_outputs, rows, columns, a.scale + row, w.scale + column, w.column_sum + column, finish);
  else
    finish_f32(sums.f32, panel_outputs, rows, columns, finish);
}

// How a product is cut: blocks of rows whose activations stay in the second-level cache, and runs of panels a task
// takes in a row.
struct Cut {
  Dim block_rows, blocks, panels, grain = 1;
  static Cut of(const Operand& a, const PackView& w) {
    Cut cut;
    cut.panels = w.panel_count();
    const Dim bytes_a_row = a.stride * (a.type == Pack::f32 ? 4 : a.type == Pack::bf16 ? 2 : 1);
    Dim most = std::clamp<Dim>((Dim{256} << 10) / std::max<Dim>(1, bytes_a_row), 24, most_tile_rows);
    while (most > 24 && ceil_div(a.rows, most) * cut.panels < 16) most /= 2;  // enough tasks for every thread
    cut.blocks = ceil_div(a.rows, most);
    cut.block_rows = round_up(ceil_div(a.rows, cut.blocks), 12);  // whole groups of 6 and of 4 rows
    cut.blocks = ceil_div(a.rows, cut.block_rows);
    // Few rows read the weights at the speed of memory: one long run for each thread suits the prefetchers best; large
    // weights are cut finer, so that a thread that is held up costs little. Under 48 KB a second thread is not worth
    // waking.
    if (a.rows <= 8) {
      const Dim bytes = panel_bytes(w.type, w.in) * cut.panels, threads = ExecContext::current().threads();
      const Dim runs = bytes < (Dim{48} << 10) ? 1 : bytes > (Dim{8} << 20) * threads ? 4 * threads : threads;
      cut.grain = ceil_div(cut.panels * cut.blocks, runs);
    } else {
      // Many rows: long runs too, so that a thread keeps its rows in its own caches. Tile by tile, threads of different
      // core complexes would pass weights and rows back and forth (80 instead of 91 % of the peak); two runs a thread
      // still even out.
      cut.grain = ceil_div(cut.panels * cut.blocks, 2 * ExecContext::current().threads());
    }
    return cut;
  }
};

// body(first row, rows, first panel, panels) for runs of tiles: panels one after the other in memory, at most as many
// as a TileSums holds of such rows.
template <class Body>
void for_runs(const Operand& a, const PackView& w, const Body& body) {
  const Cut cut = Cut::of(a, w);
  parallel_rows(cut.blocks * cut.panels, cut.grain, [&](Rows tasks) {
    for (Dim t = tasks.begin; t < tasks.end;) {
      const Dim row = t / cut.panels * cut.block_rows, rows = std::min(cut.block_rows, a.rows - row),
                panel = t % cut.panels;
      const Dim run = std::min({tasks.end - t, cut.panels - panel, std::max<Dim>(1, most_tile_rows / rows)});
      body(row, rows, panel, run);
      t += run;
    }
  });
}

}  // namespace

void Operand::add_outliers(Dim row, Dim count, const std::int8_t* panel, Dim columns, std::int32_t* sums,
                           Dim stride_of_sums) const {
  for (Dim r = 0; r < count; ++r)
    if (const Dim found = outlier_counts[row + r]; found > 0)
      kernels::add_outliers(outliers + (row + r) * most_outliers(in), found, panel, columns, sums + r * stride_of_sums);
}

Operand prepare(Pack type, const float* x, Dim stride, Dim rows, Dim in) {
  active_isa();  // caps Highway before its first use
  Operand a;
  a.type = type;
  a.rows = rows;
  a.in = in;
  if (type == Pack::f32) {
    a.data = x;
    a.stride = stride;
    return a;
  }
  const Dim padded = padded_inputs(type, in), groups = padded / q4_group;
  a.stride = padded;
  a.kept = Scratch(std::max<Dim>(1, rows * padded * (type == Pack::bf16 ? 2 : 1)));
  a.data = a.kept.as<void>();
  Outlier* outliers = nullptr;
  std::int32_t* counts = nullptr;
  if (type == Pack::q8) {
    a.kept_outliers = Scratch(rows * (4 + most_outliers(in) * static_cast<Dim>(sizeof(Outlier))) + 64);
    a.outlier_counts = counts = a.kept_outliers.as<std::int32_t>();
    a.outliers = outliers = reinterpret_cast<Outlier*>(counts + round_up(rows, 16));
  }
  if (type == Pack::q8 || type == Pack::q4) {
    const Dim scales = type == Pack::q8 ? rows : rows * groups;
    a.kept_scale = Scratch(std::max<Dim>(1, scales * 8));
    a.scale = a.kept_scale.as<float>();
    a.sum = a.scale + scales;
  }
  auto* scale = a.kept_scale.as<float>();
  const Dim grain = std::max<Dim>(1, 8192 / std::max<Dim>(1, in));
  parallel_rows(rows, grain, [&](Rows r) {
    const float* from = x + r.begin * stride;
    switch (type) {
      case Pack::f32: break;
      case Pack::bf16:
        rows_to_bf16(from, stride, r.size(), in, a.kept.as<std::uint16_t>() + r.begin * padded, padded);
        break;
      case Pack::q8:
        rows_to_u8(from, stride, r.size(), in, a.kept.as<std::uint8_t>() + r.begin * padded, padded, scale + r.begin,
                   outliers + r.begin * most_outliers(in), counts + r.begin);
        break;
      case Pack::q4:
        rows_to_s8_groups(from, stride, r.size(), in, a.kept.as<std::int8_t>() + r.begin * padded, padded,
                          scale + r.begin * groups, scale + rows * groups + r.begin * groups);
        break;
    }
  });
  return a;
}

void product(const Operand& a, const PackView& w, const Finish& finish, ProductPath path) {
  if (a.rows == 0 || w.out == 0) return;
  const Isa isa = active_isa();
  if (path == ProductPath::automatic)
    path = onednn_wins(w.type, a.rows, isa) ? ProductPath::onednn : ProductPath::tiles;
  if (path == ProductPath::onednn && product_onednn(a, w, finish)) return;
  for_runs(a, w, [&](Dim row, Dim rows, Dim panel, Dim run) {
    alignas(64) TileSums sums;
    for (const Dim end = panel + run; panel < end; ++panel) {
      tile(a, row, rows, w, panel, isa, sums);
      finish_tile(sums, a, w, row, rows, panel, finish.from(row, panel * panel_outputs));
    }
  });
}

void product_each(const Operand& a, std::span<const ProductJob> jobs) {
  const Isa isa = active_isa();
  if (a.rows > most_rows_at_once || onednn_wins(a.type, a.rows, isa)) {
    for (const ProductJob& job : jobs) product(a, job.w, job.finish);
    return;
  }
  if (a.rows == 0) return;
  Dim panels = 0;
  for (const ProductJob& job : jobs) panels += job.w.panel_count();
  parallel_rows(panels, ceil_div(panels, ExecContext::current().threads()), [&](Rows tasks) {
    alignas(64) TileSums sums;
    Dim first = 0;  // number of the job's first panel
    for (const ProductJob& job : jobs) {
      const Dim end = first + job.w.panel_count();
      for (Dim t = std::max(tasks.begin, first); t < std::min(tasks.end, end); ++t) {
        tile(a, 0, a.rows, job.w, t - first, isa, sums);
        finish_tile(sums, a, job.w, 0, a.rows, t - first, job.finish.from(0, (t - first) * panel_outputs));
      }
      first = end;
    }
  });
}

void product_gated(const Operand& a, const PackView& gate, const float* gate_bias, const PackView& up,
                   const float* up_bias, const Finish& finish) {
  if (a.rows == 0 || gate.out == 0) return;
  const Isa isa = active_isa();
  for_runs(a, gate, [&](Dim row, Dim rows, Dim panel, Dim run) {
    alignas(64) TileSums sums;
    alignas(64) float other[most_tile_rows * panel_outputs];  // the run's part of x · upᵀ, tile by tile
    for (Dim i = 0; i < run; ++i) {
      tile(a, row, rows, up, panel + i, isa, sums);
      finish_tile(sums, a, up, row, rows, panel + i,
                  {.bias = up_bias ? up_bias + (panel + i) * panel_outputs : nullptr,
                   .out = other + i * rows * panel_outputs,
                   .out_stride = panel_outputs});
    }
    for (Dim i = 0; i < run; ++i) {
      tile(a, row, rows, gate, panel + i, isa, sums);
      Finish gated = finish.from(row, (panel + i) * panel_outputs);
      gated.bias = gate_bias ? gate_bias + (panel + i) * panel_outputs : nullptr;
      gated.multiply = other + i * rows * panel_outputs;
      gated.multiply_stride = panel_outputs;
      finish_tile(sums, a, gate, row, rows, panel + i, gated);
    }
  });
}

}  // namespace tap::kernels
