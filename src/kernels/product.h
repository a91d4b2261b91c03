// Products with packed weights: y = finish(x · Wᵀ). Activations are converted once for all weights of a type that read
// them.
#pragma once

#include <span>

#include "kernels/pack.h"
#include "kernels/product_tiles.h"
#include "kernels/quantize.h"
#include "kernels/scratch.h"

namespace tap::kernels {

// Rows of activations in the form that weights of one type multiply: f32 as they are, bf16, u8 with a scale a row (q8),
// int8 groups (q4). Keeps no copy of f32 rows: x must outlive it.
struct Operand {
  Pack type = Pack::f32;
  Dim rows = 0, in = 0;
  const void* data = nullptr;
  Dim stride = 0;                                // elements a row
  const float* scale = nullptr;                  // q8: [rows]; q4: [rows, groups]
  const float* sum = nullptr;                    // q4: [rows, groups]
  const Outlier* outliers = nullptr;             // q8: [rows, most_outliers(in)]
  const std::int32_t* outlier_counts = nullptr;  // q8: [rows]
  Scratch kept, kept_scale, kept_outliers;
  // Rows [row, row + count) of sums [count, columns] of one panel of q8 weights.
  void add_outliers(Dim row, Dim count, const std::int8_t* panel, Dim columns, std::int32_t* sums, Dim stride) const;
};
// x: [rows, in] f32 at `stride` a row.
Operand prepare(Pack type, const float* x, Dim stride, Dim rows, Dim in);

// Which code multiplies. Automatic: our tiles, and oneDNN for 16 rows and more where it is faster (AMX; see
// onednn_wins).
enum class ProductPath : std::uint8_t { automatic, tiles, onednn };

// a must be prepared for w.type. Threads: the current ExecContext's.
void product(const Operand& a, const PackView& w, const Finish& finish, ProductPath path = ProductPath::automatic);

// Several weights of one type that multiply the same rows (query, key, value): one start of the threads for all when
// rows are few.
struct ProductJob {
  PackView w;
  Finish finish;
};
void product_each(const Operand& a, std::span<const ProductJob> jobs);

// out = act(x · gateᵀ) * (x · upᵀ): finish.activation is of the gate; finish.bias and .multiply are ignored, biases may
// be null.
void product_gated(const Operand& a, const PackView& gate, const float* gate_bias, const PackView& up,
                   const float* up_bias, const Finish& finish);

}  // namespace tap::kernels
