// What attention kernels and their callers share.
#pragma once

#include <cstdint>

#include "base/dim.h"

namespace tap {

// Keys a query row may see: [begin, end), logical positions among the keys of its own sequence (0 = the sequence's
// first token ever, whether still cached or not).
struct Interval {
  std::int32_t begin, end;
  bool operator==(const Interval&) const = default;
};

// Keys of a step of the kernels, which count them from the beginning of a run: where runs are cut at multiples of it,
// an answer has the bits that it has over one run.
constexpr Dim attention_block_keys = 64;

// Consecutive rows of keys and values in memory, [kv_heads, rows, head_dim] each, the rows of a head one behind the
// other (a head's rows are read as one stream), a head's first so many elements behind the one of the head before.
struct KvRun {
  const void* keys;
  const void* values;
  Dim rows;
  Dim key_head, value_head;
};

}  // namespace tap
