// Streaming attention of query rows over intervals of keys (Milakov & Gimelshein 2018, arXiv:1805.02867; Dao et al.
// 2022, arXiv:2205.14135): scores of one block of keys at a time, rescaled by the running maximum; never a whole row of
// scores.
//
// Queries stand across the lanes: a block is up to 64 (row, head) pairs that share one KV head, so grouped heads read
// each key once, the softmax needs no horizontal step, and keys and values are broadcast straight from their rows.
#pragma once

#include <cstddef>
#include <span>

#include "base/dim.h"
#include "kernels/attention_types.h"

namespace tap::kernels {

constexpr Dim attention_lanes = 64;  // queries of a block

struct AttentionLayout {
  Dim heads = 0, kv_heads = 0, head_dim = 0;
  Dim key_row = 0, value_row = 0;  // elements from row to row of a head; the runs say how far heads are apart
  bool bf16_rows = false;          // keys and values are bf16, otherwise f32; queries are rounded alike
  bool paired_values = false;      // value rows lie as [row / 2][head_dim][2]; value_row counts from pair to pair
  bool bf16_products = false;      // bf16 dot products (needs bf16_rows, Isa::avx512_bf16 and an even head_dim)
  float scale = 1, softcap = 0;
};

// One sequence: q and out [rows, heads, head_dim], an interval per row, and the runs its keys lie in, the first being
// logical row `base`. The caller has checked that every interval lies inside the runs.
struct AttentionSequence {
  const float* q = nullptr;
  float* out = nullptr;
  const Interval* intervals = nullptr;
  Dim rows = 0;
  const KvRun* runs = nullptr;
  Dim run_count = 0, base = 0;
};

std::size_t attention_scratch_bytes(const AttentionLayout& layout);

// Lanes [lane, lane + count) of KV head `kv_head`: lane i is row i / group, head kv_head * group + i % group; count <=
// attention_lanes.
void attention_block(const AttentionLayout& layout, const AttentionSequence& sequence, Dim kv_head, Dim lane, Dim count,
                     std::byte* scratch);

// A query row [heads, head_dim] and its part for one KV head: running maximum, sum and unnormalized mix,
// [heads / kv_heads, 2 + head_dim].
struct AttentionRow {
  const float* q;
  float* part;
};
constexpr Dim attention_rows_at_once = 16;

// The heads of KV head `kv_head` of at most attention_rows_at_once rows against keys [begin, end), the same of all:
// each gets the bits that it gets alone. The parts of several ranges, [heads, 2 + head_dim] each, are put together by
// attention_combine, in order, into out [heads, head_dim]; no key at all gives zeros.
void attention_rows(const AttentionLayout& layout, const AttentionSequence& keys, std::span<const AttentionRow> rows,
                    Dim kv_head, Dim begin, Dim end, std::byte* scratch);
void attention_combine(const AttentionLayout& layout, const float* parts, Dim part_count, float* out);

// f32 rows [rows, kv_heads, head_dim] to bf16 as bf16_products likes them, into `packed`: keys
// [kv_heads][rows][head_dim], values [kv_heads][rows / 2] [head_dim][2]; rows [begin, end), begin even. Only where
// Isa::avx512_bf16 is.
void attention_pack(const AttentionLayout& layout, const float* keys, const float* values, Dim begin, Dim end,
                    const KvRun& packed);

}  // namespace tap::kernels
