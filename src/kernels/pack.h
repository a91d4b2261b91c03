// The layouts of packed weights, and packing by panels of 64 outputs. A panel holds all inputs of its outputs and is
// contiguous:
//   f32   [in up to 16][64]          oneDNN's BA16a64b
//   bf16  [in up to 32, / 2][64][2]                BA16a64b2a
//   q8    [in up to 64, / 4][64][4]  int8          BA16a64b4a; one scale a output: w = scale * q
//   q4    [in up to 32, / 32] groups of 64 outputs x 32 inputs: 1024 bytes of nibbles, then 64 pairs (step, least) of
//   bf16:
//         w = least + step * q, q = 0..15. Byte 256 i + 4 n + j holds inputs 4 i + j (low nibble) and 16 + 4 i + j
//         (high).
// Padding is zero (q4: step and least are zero too).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/dim.h"

namespace tap::kernels {

enum class Pack : std::uint8_t { f32, bf16, q8, q4 };

constexpr Dim panel_outputs = 64;
constexpr Dim q4_group = 32;  // inputs that share a step and a least value
constexpr int q4_nibble_bytes = 64 * 32 / 2, q4_group_bytes = q4_nibble_bytes + 64 * 4;

inline Dim padded_inputs(Pack type, Dim in) {
  switch (type) {
    case Pack::f32: return round_up(in, 16);
    case Pack::bf16: return round_up(in, 32);
    case Pack::q8: return round_up(in, 64);
    case Pack::q4: return round_up(in, q4_group);
  }
  return 0;
}

inline Dim panel_bytes(Pack type, Dim in) {
  const Dim inputs = padded_inputs(type, in);
  switch (type) {
    case Pack::f32: return inputs * 64 * 4;
    case Pack::bf16: return inputs * 64 * 2;
    case Pack::q8: return inputs * 64;
    case Pack::q4: return inputs / q4_group * q4_group_bytes;
  }
  return 0;
}

// A packed matrix as kernels see it: W of y = x · Wᵀ.
struct PackView {
  Pack type = Pack::f32;
  Dim in = 0, out = 0;
  const std::byte* panels = nullptr;         // [ceil(out / 64)] panels
  const float* scale = nullptr;              // [out up to 64], q8
  const std::int32_t* column_sum = nullptr;  // [out up to 64], q8: sum of an output's int8 weights
  Dim panel_count() const { return ceil_div(out, panel_outputs); }
  const std::byte* panel(Dim index) const { return panels + index * panel_bytes(type, in); }
};

// Output rows as a checkpoint stores them.
struct RowsView {
  const std::byte* data = nullptr;
  Dim row_bytes = 0;
  bool is_bf16 = false;  // else f32
};

// Packs `count` (at most 64) rows of `in` numbers as one panel; scale and column_sum ([64], q8 only) are of these
// outputs.
void pack_panel(Pack type, const RowsView& rows, Dim count, Dim in, std::byte* panel, float* scale,
                std::int32_t* column_sum);

// Rows of a q8 or q4 matrix that are quantized already, one after the other.
struct QuantizedRowsView {
  const std::byte* values = nullptr;     // q8: [rows][in] int8; q4: [rows][groups][16], byte j of a group holds inputs
                                         // j (low nibble) and 16 + j (high), padding is zero
  const float* scale = nullptr;          // q8: [rows]
  const std::uint16_t* step = nullptr;   // q4: [rows][groups] bf16
  const std::uint16_t* least = nullptr;  // likewise
};

inline Dim quantized_row_bytes(Pack type, Dim in) { return type == Pack::q8 ? in : ceil_div(in, q4_group) * 16; }

// As pack_panel, and nothing is rounded.
void pack_quantized_panel(Pack type, const QuantizedRowsView& rows, Dim count, Dim in, std::byte* panel, float* scale,
                          std::int32_t* column_sum);
// The inverse for one row of a q8 or q4 matrix. values: [quantized_row_bytes]; scale of q8; step, least: [groups] of
// q4.
void unpack_quantized_row(const PackView& w, Dim row, std::byte* values, float* scale, std::uint16_t* step,
                          std::uint16_t* least);

// One output row of a panel as f32: the numbers that products compute with.
void unpack_row(const PackView& w, Dim row, float* out);
// The whole panel `index` as f32 rows: out[64, in], rows past `w.out` are zeros.
void unpack_panel(const PackView& w, Dim index, float* out);

}  // namespace tap::kernels
