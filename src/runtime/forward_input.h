// What one ragged forward reads, put together from stretches of prompts and newest tokens: one sequence after the
// other.
#pragma once

#include <span>
#include <vector>

#include "models/family.h"

namespace tap {

constexpr Dim prefill_rows = 512;  // a chunk: enough to keep the products busy, few enough to be interrupted

// The end of the chunk of a prompt that starts at row `begin`: enough rows to keep the products busy, few enough to be
// interrupted; no atomic span is cut.
Dim chunk_end(const Prompt& prompt, Dim begin, Dim rows = prefill_rows);

class ForwardInput {
 public:
  // Rows [begin, end) of a prompt whose first `begin` rows are cached. `features`: [rows, d] of each picture, undefined
  // for those with no slot in these rows.
  void add_prompt(const Prompt& prompt, Dim begin, Dim end, std::span<const Tensor> features);
  // The newest token, after `past` cached rows, and those drafted behind it: `position` and on.
  void add_tokens(std::span<const TokenId> ids, std::int32_t position, std::size_t axes, Dim past);
  void add_nothing(Dim past);  // a sequence of the cache that takes no part and keeps its `past` rows

  Dim rows() const { return batch_.rows(); }
  Dim sequences() const { return static_cast<Dim>(batch_.sequences.size()); }
  const Batch& batch() const { return batch_; }
  Tensor embed(const Network& network) const;  // [t, d]: pictures in their slots

 private:
  std::vector<TokenId> ids_;
  Batch batch_;
  std::vector<Dim> slots_;
  std::vector<Tensor> pictures_;  // their rows, one after the other
};

}  // namespace tap
