#include "kernels/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace tap::kernels {

namespace {

// Round to nearest even, as tensor/tensor.h does; a NaN stays one.
std::uint16_t bf16_bits(float value) {
  const auto u = __builtin_bit_cast(std::uint32_t, value);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x40u);
  return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

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

std::uint32_t* scratch_words(Dim words) {  // one per thread, kept: packing is called panel by panel
  static thread_local std::vector<std::uint32_t> words_kept;
  if (words_kept.size() < static_cast<std::size_t>(words)) words_kept.resize(static_cast<std::size_t>(words));
  return words_kept.data();
}

// Symmetric int8: the largest magnitude becomes 127.
void quantize_q8(const float* row, Dim in, std::int8_t* out, float& scale, std::int32_t& sum) {
  float largest = 0;
  for (Dim i = 0; i < in; ++i) largest = std::max(largest, std::fabs(row[i]));
  scale = largest / 127.0f;
  const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
  sum = 0;
  for (Dim i = 0; i < in; ++i) {
    const auto q = static_cast<std::int32_t>(std::clamp(std::nearbyintf(row[i] * inverse), -127.0f, 127.0f));
    out[i] = static_cast<std::int8_t>(q);
    sum += q;
  }
}

// A group's step and least value in bf16, chosen so that 16 steps reach both ends: least rounds down, step rounds up.
void quantize_q4(const float* row, Dim n, std::uint8_t* q, std::uint16_t& step_bits, std::uint16_t& least_bits) {
  float low = row[0], high = row[0];
  for (Dim i = 1; i < n; ++i) low = std::min(low, row[i]), high = std::max(high, row[i]);
  least_bits = bf16_bits(low);
  const float least = from_bf16(least_bits);
  step_bits = bf16_bits(std::max(0.0f, (high - least) / 15.0f));
  if (from_bf16(step_bits) * 15.0f < high - least) ++step_bits;
  const float step = from_bf16(step_bits), inverse = step > 0 ? 1.0f / step : 0.0f;
  for (Dim i = 0; i < n; ++i) q[i] = static_cast<std::uint8_t>(std::clamp(std::nearbyintf((row[i] - least) * inverse), 0.0f, 15.0f));
  std::fill(q + n, q + q4_group, std::uint8_t{0});
}

void pack_q4(const RowsView& rows, Dim count, Dim in, std::byte* panel) {
  std::memset(panel, 0, static_cast<std::size_t>(panel_bytes(Pack::q4, in)));
  auto* row = reinterpret_cast<float*>(scratch_words(in));
  for (Dim n = 0; n < count; ++n) {
    read_row(rows, n, in, row);
    for (Dim g = 0; g * q4_group < in; ++g) {
      std::uint8_t q[q4_group];
      std::uint16_t pair[2];
      quantize_q4(row + g * q4_group, std::min(q4_group, in - g * q4_group), q, pair[0], pair[1]);
      auto* group = reinterpret_cast<std::uint8_t*>(panel) + g * q4_group_bytes;
      for (Dim i = 0; i < 16; ++i) group[i / 4 * 256 + n * 4 + i % 4] = static_cast<std::uint8_t>(q[i] | (q[i + 16] << 4));
      std::memcpy(group + q4_nibble_bytes + n * 4, pair, 4);
    }
  }
}

}  // namespace

void pack_panel(Pack type, const RowsView& rows, Dim count, Dim in, std::byte* panel, float* scale, std::int32_t* column_sum) {
  if (type == Pack::q4) return pack_q4(rows, count, in, panel);
  const Dim inputs = padded_inputs(type, in);
  const Dim words = type == Pack::f32 ? inputs : type == Pack::bf16 ? inputs / 2 : inputs / 4;
  std::uint32_t* staged = scratch_words(words * 64 + in);
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
        quantize_q8(row, in, reinterpret_cast<std::int8_t*>(to), scale[n], column_sum[n]);
      } else {
        auto* bits = reinterpret_cast<std::uint16_t*>(to);
        for (Dim i = 0; i < in; ++i) bits[i] = bf16_bits(row[i]);
      }
    }
    const Dim used = type == Pack::f32 ? in * 4 : type == Pack::bf16 ? in * 2 : in;
    std::memset(to + used, 0, static_cast<std::size_t>(words * 4 - used));
  }
  transpose(staged, words, reinterpret_cast<std::uint32_t*>(panel));
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
    if (row < w.out) unpack_row(w, row, out + n * w.in);
    else std::fill_n(out + n * w.in, w.in, 0.0f);
  }
}

}  // namespace tap::kernels
