// What the attention kernels of the instruction sets share: the state of one block of queries, and their entry points.
#pragma once

#include <cstdint>

#include "kernels/attention.h"

namespace tap::kernels {

constexpr float attention_masked = -1e30f;  // score of a key that is not seen: finite, so that no difference is NaN

struct LaneBlock {
  const AttentionLayout* layout = nullptr;
  Dim width = 0;                    // lanes in use, rounded up to 16
  const float* q[attention_lanes];  // [head_dim] each
  alignas(64) std::int32_t begin[attention_lanes], end[attention_lanes];
  alignas(64) float top[attention_lanes];  // running maximum of the scores
  alignas(64) float sum[attention_lanes];
  alignas(64) float keep[attention_lanes];  // factor of what was mixed before this step
  float* queries = nullptr;                 // packed; bf16: pairs [head_dim / 2][width], f32: [head_dim][width]
  float* scores = nullptr;                  // [attention_block_keys][width]
  float* mixed = nullptr;                   // [head_dim][width]
  float *keys_f32 = nullptr, *values_f32 = nullptr;  // a step's rows, converted or packed
};

// A step: rows [first, first + count) of the sequence, all of one run and one KV head.
struct KeyStep {
  const void *keys, *values;
  Dim first, count;
  bool masked;  // some lane does not see some key
};

struct RowsF32 {
  const float* data;
  Dim row;  // floats from row to row
};

// Part of a row of a step's is used: that of the step behind comes into the second cache (the first is full of the
// step's own rows). Asking for a whole step at once is half as fast: the requests wait for each other.
inline void ask_ahead(const void* row, Dim bytes, Dim row_bytes) {
  const char* next = static_cast<const char*>(row) + attention_block_keys * row_bytes;
  for (Dim i = 0; i < bytes; i += 64) __builtin_prefetch(next + i, 0, 2);
}

// begin: packs the queries, clears the state. keys: one step. end: divides `mixed` by the sums.
struct LaneKernel {
  void (*begin)(LaneBlock&);
  void (*keys)(LaneBlock&, const KeyStep&);
  void (*end)(LaneBlock&, float* const* out, Dim lanes);
};

LaneKernel lane_kernel_bf16();  // attention_avx512.cpp

// One query row's share of a step of one KV head, whose `group` heads have the queries q [group][head_dim rounded up to
// 32] and the parts [group, 2 + head_dim]. `ask`: for the rows behind.
void attention_row_step_bf16(const AttentionLayout& layout, const std::uint16_t* q, const KeyStep& step, float* parts,
                             float* scratch, bool ask);

}  // namespace tap::kernels
