// The values every forward shares: which rows belong to which sequence, what each may attend to, and where cached keys
// lie.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/attention_types.h"
#include "tensor/tensor.h"

namespace tap {

// One sequence's share of a ragged batch: rows [begin, end) of the packed tokens; `past` keys of it were cached before.
struct Span {
  Dim begin, end;
  Dim past = 0;
  Dim rows() const { return end - begin; }
};

// Several sequences in a row, without padding. One user, a busy server, prefill, decode and packed training are the
// same call.
struct Batch {
  std::vector<Span> sequences;
  std::vector<std::vector<std::int32_t>> positions;  // 1 or 3 axes, each with one position per row
  std::vector<Interval> intervals;                   // one per row
  std::vector<Span> atomic;  // rows that no chunking may cut (a picture that sees itself, a whole prefix)

  Dim rows() const { return static_cast<Dim>(intervals.size()); }
  // `count` rows of one causal sequence after `past` cached ones, positions past, past + 1, …
  static Batch causal(Dim count, Dim past = 0);
  // Packed bidirectional segments (pictures, windows): each row sees its whole segment; no cache.
  static Batch segments(std::span<const Dim> lengths);
};

// The keys and values that one sequence's intervals count in: runs of consecutive rows in memory, the first of them
// being logical row `base`. Contiguous, paged, shared-prefix and ring-buffer caches all look like this. An interval
// that reaches below `base` or past the last row is an error, never silently cut.
struct KvSequence {
  std::vector<KvRun> runs;
  Dim base = 0;
};
struct KvView {
  KvView() = default;
  // These tokens only (training, vision towers): one run per sequence of the batch is cut out of k and v. [t, kv_heads,
  // head_dim]
  KvView(const Tensor& k, const Tensor& v) : keys(k), values(v) {}

  Tensor keys, values;                // set for the plain form: gradients flow to them; otherwise `sequences` is set
  std::vector<KvSequence> sequences;  // one per Batch sequence
  DType dtype = DType::f32;           // of the rows in `sequences`: f32 or bf16
  Dim kv_heads = 0, head_dim = 0;     // for `sequences`
  std::shared_ptr<const void> owner;  // keeps the memory of `sequences` alive
};

}  // namespace tap
