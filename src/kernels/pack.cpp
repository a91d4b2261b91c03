#include "kernels/pack.h"

#include <algorithm>
#include <cstring>

#include "kernels/isa.h"
#include "kernels/quantize.h"
#include "kernels/scratch.h"

namespace tap::kernels {

namespace {

float from_bf16(std::uint16_t bits) { return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16); }

void read_row(const RowsView& rows, Dim row, Dim in, float* out) {
  const std::byte* at = rows.data + row * rows.row_bytes;
  if (!rows.is_bf16) {
    std::memcpy(out, at, static_cast<std::size_t>(in) * 4);
    return;
  }
  for (Dim i = 0; i < in; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, at + 2 * i, 2);
    out[i] = from_bf16(bits);
  }
}

// panel[word][64] from rows[64][words]: what all layouts but q4 come down to, 4 bytes of inputs a word.
void transpose(const std::uint32_t* rows, Dim words, std::uint32_t* panel) {
  constexpr Dim block = 16;
  for (Dim w0 = 0; w0 < words; w0 += block) {
    const Dim w1 = std::min(words, w0 + block);
    for (Dim n = 0; n < 64; ++n)
      for (Dim w = w0; w < w1; ++w) panel[w * 64 + n] = rows[n * words + w];
  }
}

void pack_q4(const RowsView& rows, Dim count, Dim in, std::byte* panel) {
  std::memset(panel, 0, static_cast<std::size_t>(panel_bytes(Pack::q4, in)));
  const Scratch kept((2 * in + 3 * q4_group) * 4);
  auto* row = kept.as<float>();
  const Dim groups = padded_inputs(Pack::q4, in) / q4_group;
  auto* q = reinterpret_cast<std::uint8_t*>(row + in);
  auto* pairs = reinterpret_cast<std::uint32_t*>(q + groups * q4_group);
  for (Dim n = 0; n < count; ++n) {
    read_row(rows, n, in, row);
    quantize_q4_row(row, in, q, pairs);
    auto* group = reinterpret_cast<std::uint8_t*>(panel) + n * 4;
    for (Dim g = 0; g < groups; ++g, group += q4_group_bytes) {
      for (Dim i = 0; i < 4; ++i) {
        std::uint32_t low, high;
        std::memcpy(&low, q + g * q4_group + 4 * i, 4);
        std::memcpy(&high, q + g * q4_group + 16 + 4 * i, 4);
        low |= high << 4;
        std::memcpy(group + i * 256, &low, 4);
      }
      std::memcpy(group + q4_nibble_bytes, pairs + g, 4);
    }
  }
}

}  // namespace

void pack_panel(Pack type, const RowsView& rows, Dim count, Dim in, std::byte* panel, float* scale,
                std::int32_t* column_sum) {
  active_isa();  // caps Highway before its first use
  if (type == Pack::q4) return pack_q4(rows, count, in, panel);
  const Dim inputs = padded_inputs(type, in);
  const Dim words = type == Pack::f32 ? inputs : type == Pack::bf16 ? inputs / 2 : inputs / 4;
  const Scratch kept((words * 64 + in) * 4);
  auto* staged = kept.as<std::uint32_t>();
  auto* row = reinterpret_cast<float*>(staged + words * 64);
  for (Dim n = 0; n < 64; ++n) {
    auto* to = reinterpret_cast<std::byte*>(staged + n * words);
    if (type == Pack::q8) scale[n] = 0, column_sum[n] = 0;
    if (n >= count) {
      std::memset(to, 0, static_cast<std::size_t>(words) * 4);
      continue;
    }
    const std::byte* from = rows.data + n * rows.row_bytes;
    if (type == Pack::bf16 && rows.is_bf16) {
      std::memcpy(to, from, static_cast<std::size_t>(in) * 2);
    } else if (type == Pack::f32) {
      read_row(rows, n, in, reinterpret_cast<float*>(to));
    } else {
      read_row(rows, n, in, row);
      if (type == Pack::q8) {
        quantize_q8_row(row, in, reinterpret_cast<std::int8_t*>(to), scale[n], column_sum[n]);
      } else {
        rows_to_bf16(row, in, 1, in, reinterpret_cast<std::uint16_t*>(to), in);
      }
    }
    const Dim used = type == Pack::f32 ? in * 4 : type == Pack::bf16 ? in * 2 : in;
    std::memset(to + used, 0, static_cast<std::size_t>(words * 4 - used));
  }
  transpose(staged, words, reinterpret_cast<std::uint32_t*>(panel));
}

void pack_quantized_panel(Pack type, const QuantizedRowsView& rows, Dim count, Dim in, std::byte* panel, float* scale,
                          std::int32_t* column_sum) {
  std::memset(panel, 0, static_cast<std::size_t>(panel_bytes(type, in)));
  const Dim row_bytes = quantized_row_bytes(type, in), groups = ceil_div(in, q4_group);
  for (Dim n = 0; n < count; ++n) {
    const std::byte* from = rows.values + n * row_bytes;
    if (type == Pack::q8) {
      std::int32_t sum = 0;
      for (Dim i = 0; i < in; ++i) {
        panel[(i / 4 * 64 + n) * 4 + i % 4] = from[i];
        sum += static_cast<std::int8_t>(from[i]);
      }
      scale[n] = rows.scale[n];
      column_sum[n] = sum;
      continue;
    }
    for (Dim g = 0; g < groups; ++g) {
      std::byte* group = panel + g * q4_group_bytes + n * 4;
      for (Dim i = 0; i < 4; ++i) std::memcpy(group + i * 256, from + g * 16 + i * 4, 4);
      std::memcpy(group + q4_nibble_bytes, rows.step + n * groups + g, 2);
      std::memcpy(group + q4_nibble_bytes + 2, rows.least + n * groups + g, 2);
    }
  }
  if (type != Pack::q8) return;
  std::fill(scale + count, scale + panel_outputs, 0.0f);
  std::fill(column_sum + count, column_sum + panel_outputs, 0);
}

void unpack_quantized_row(const PackView& w, Dim row, std::byte* values, float* scale, std::uint16_t* step,
                          std::uint16_t* least) {
  const Dim n = row % panel_outputs;
  const std::byte* panel = w.panel(row / panel_outputs);
  if (w.type == Pack::q8) {
    for (Dim i = 0; i < w.in; ++i) values[i] = panel[(i / 4 * 64 + n) * 4 + i % 4];
    *scale = w.scale[row];
    return;
  }
  for (Dim g = 0; g * q4_group < w.in; ++g) {
    const std::byte* group = panel + g * q4_group_bytes + n * 4;
    for (Dim i = 0; i < 4; ++i) std::memcpy(values + g * 16 + i * 4, group + i * 256, 4);
    std::memcpy(step + g, group + q4_nibble_bytes, 2);
    std::memcpy(least + g, group + q4_nibble_bytes + 2, 2);
  }
}

void unpack_row(const PackView& w, Dim row, float* out) {
  const Dim n = row % panel_outputs;
  const std::byte* panel = w.panel(row / panel_outputs);
  switch (w.type) {
    case Pack::f32:
      for (Dim i = 0; i < w.in; ++i) std::memcpy(out + i, panel + (i * 64 + n) * 4, 4);
      return;
    case Pack::bf16:
      for (Dim i = 0; i < w.in; ++i) {
        std::uint16_t bits;
        std::memcpy(&bits, panel + ((i / 2 * 64 + n) * 2 + i % 2) * 2, 2);
        out[i] = from_bf16(bits);
      }
      return;
    case Pack::q8: {
      const auto* q = reinterpret_cast<const std::int8_t*>(panel);
      for (Dim i = 0; i < w.in; ++i) out[i] = w.scale[row] * static_cast<float>(q[(i / 4 * 64 + n) * 4 + i % 4]);
      return;
    }
    case Pack::q4:
      for (Dim g = 0; g * q4_group < w.in; ++g) {
        const auto* group = reinterpret_cast<const std::uint8_t*>(panel) + g * q4_group_bytes;
        std::uint16_t pair[2];
        std::memcpy(pair, group + q4_nibble_bytes + n * 4, 4);
        const float step = from_bf16(pair[0]), least = from_bf16(pair[1]);
        for (Dim i = 0; i < std::min(q4_group, w.in - g * q4_group); ++i) {
          const std::uint8_t both = group[i % 16 / 4 * 256 + n * 4 + i % 4];
          out[g * q4_group + i] = least + step * static_cast<float>(i < 16 ? both & 15 : both >> 4);
        }
      }
      return;
  }
}

void unpack_panel(const PackView& w, Dim index, float* out) {
  for (Dim n = 0; n < panel_outputs; ++n) {
    const Dim row = index * panel_outputs + n;
    if (row < w.out)
      unpack_row(w, row, out + n * w.in);
    else
      std::fill_n(out + n * w.in, w.in, 0.0f);
  }
}

}  // namespace tap::kernels
